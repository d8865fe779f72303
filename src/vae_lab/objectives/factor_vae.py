"""The total correlation of the aggregated posterior, measured by a discriminator that is trained beside the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.networks.mlp import Mlp
from vae_lab.objectives.base import Loss, Objective, Scheduled, example_terms
from vae_lab.objectives.whole_batch import whole_batch


class FactorVae(Objective):
    """-E[log p(x|z)] + KL + gamma TC, with TC by a density ratio (Kim and Mnih 2018, arXiv:1802.05983).

    TC = KL(q(z) || prod_d q(z_d)) is the mean logit of a discriminator between codes of the batch and codes with each
    dimension shuffled over the batch by itself. Its own loss, a cross-entropy, is added: no gradient of it reaches the
    model, and no gradient of TC reaches the discriminator. Both are trained in the same optimizer step and by the same
    batch, whereas the paper alternates and takes two batches.

    Defined for models of one level.

    Args:
        latent_dim: D, the size of the codes.
        gamma: weight of the total correlation; 0 gives the ELBO.
        widths: hidden layers of the discriminator, with leaky ReLUs of slope 0.2.
        lr: learning rate of the discriminator.
        betas: betas of the discriminator's Adam; None: those of the model's optimizer.
        num_samples: K, samples that are averaged.

    Raises:
        ValueError: for a negative or non-finite gamma, a learning rate that is not positive, betas outside [0, 1),
            or a width below 1; in `check`, for codes of another size.
    """

    one_level = True
    log_names = ("tc", "discriminator_loss", "discriminator_accuracy")

    def __init__(
        self,
        latent_dim: int,
        gamma: float = 35.0,
        widths: Sequence[int] = (1000,) * 5,
        lr: float = 1e-4,
        betas: Sequence[float] | None = (0.5, 0.9),
        num_samples: int = 1,
    ) -> None:
        super().__init__(num_samples)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma={gamma}: must be a finite number, 0 or more")
        if not 0 < lr < math.inf:
            raise ValueError(f"lr={lr}: must be a finite number above 0")
        if betas is not None and not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas={list(betas)}: must be two numbers of at least 0 and below 1, or null")
        self.gamma, self.lr, self.betas = gamma, lr, betas
        self.discriminator = Mlp((latent_dim,), (), widths=widths, activation="leaky_relu")
        for layer in self.discriminator.layers:
            if isinstance(layer, nn.LeakyReLU):
                layer.negative_slope = 0.2

    def check(self, model: LatentVariableModel) -> None:
        super().check(model)
        terms = example_terms(model)
        if terms is None:
            return
        first = self.discriminator.layers[0]
        size = terms.levels[0].z.flatten(2).shape[2]
        if isinstance(first, nn.Linear) and first.in_features != size:
            raise ValueError(f"latent_dim={first.in_features}: the codes of this model have {size} dimensions")

    def parameter_groups(self, model: LatentVariableModel) -> list[dict[str, Any]]:
        options = {"lr": self.lr} | ({} if self.betas is None else {"betas": tuple(self.betas)})
        return [{"params": list(model.parameters())}, {"params": list(self.discriminator.parameters()), **options}]

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        (level,) = terms.levels
        z = level.z.flatten(2)  # (K, B, D)
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        tc = functional_call(self.discriminator, fixed, (z,)).to(z.dtype).mean()  # of 16 bits under autocast
        codes = (z.detach(), shuffled(z.detach()))
        joint, product = (self.discriminator(each).to(z.dtype) for each in codes)
        discriminator_loss = (softplus(-joint) + softplus(product)).mean() / 2
        accuracy = ((joint > 0).float().mean() + (product < 0).float().mean()) / 2
        value = terms.kl.mean((0, 1)).sum() - terms.log_likelihood.mean() + self.gamma * tc + discriminator_loss
        logs = {"tc": tc.detach(), "discriminator_loss": discriminator_loss.detach()}
        return Loss(value, {**logs, "discriminator_accuracy": accuracy})


def shuffled(z: Tensor) -> Tensor:
    """Returns codes whose dimensions were permuted over the batch, each by itself, (K, B, D).

    Row i holds, in each dimension, the entry of the example whose random number is the i-th smallest: the rows are the
    same set however many processes share the batch.
    """
    order = whole_batch(noise.uniform(z.shape, z, 1), 1).argsort(1)
    rows = whole_batch(z, 1).gather(1, order)
    shard = noise.current_shard()
    return rows if shard is None or rows.shape[1] == z.shape[1] else rows[:, shard.rows]
