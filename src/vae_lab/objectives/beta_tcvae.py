"""The KL in three parts, with a weight on the total correlation."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Distribution, Normal

from vae_lab.core import ElboTerms, LatentLevel, LatentVariableModel
from vae_lab.distributions.gaussian import is_diagonal_gaussian, loc_and_scale
from vae_lab.objectives.base import Loss, Objective, Scheduled, example_terms
from vae_lab.objectives.whole_batch import whole_batch


class BetaTcvae(Objective):
    """-E[log p(x|z)] + KL + (beta - 1) TC (Chen et al. 2018, arXiv:1802.04942).

    With q(z) = E_x[q(z|x)], the KL averaged over the data is the mutual information of x and z, plus the total
    correlation TC = KL(q(z) || prod_d q(z_d)), plus the dimension-wise KL, sum_d KL(q(z_d) || p(z_d)). The three are
    logged, each estimated at the samples; the KL of the loss itself stays exact, so beta = 1 is the ELBO.

    q(z) is estimated by minibatch-weighted sampling, log q(z) = log (1/B) sum_j q(z|x_j) over the batch. The paper
    divides by the size N of the data set as well, which adds a constant and no gradient. The batch always contains
    the example that z was drawn for, so `mutual_information` cannot exceed log B. Its deficit appears in `tc` and
    `dimensionwise_kl`, because the sum of the three is right for any batch. Compare `tc` at one batch size only.

    Defined for models of one level whose q(z|x) is a diagonal Gaussian.

    Args:
        beta: weight of the total correlation; 1 gives the ELBO.
        num_samples: K, samples that are averaged.

    Raises:
        ValueError: for a negative or non-finite beta; in `check`, for a posterior of dependent dimensions.
    """

    one_level = True
    log_names = ("mutual_information", "tc", "dimensionwise_kl")

    def __init__(self, beta: float = 6.0, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        if not 0 <= beta < math.inf:
            raise ValueError(f"beta={beta}: must be a finite number, 0 or more")
        self.beta = beta

    def check(self, model: LatentVariableModel) -> None:
        super().check(model)
        terms = example_terms(model)
        if terms is not None and not is_diagonal_gaussian(terms.levels[0].q):
            raise ValueError("objective BetaTcvae needs a posterior of independent dimensions; FactorVae takes any")

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        (level,) = terms.levels
        joint, product = aggregated_log_prob(level)
        tc = (joint - product).mean()
        parts = {
            "mutual_information": (level.q.log_prob(level.z) - joint).mean(),
            "tc": tc,
            "dimensionwise_kl": (product - level.p.log_prob(level.z)).mean(),
        }
        value = terms.kl.mean((0, 1)).sum() + (self.beta - 1) * tc - terms.log_likelihood.mean()
        return Loss(value, {name: part.detach() for name, part in parts.items()})


def aggregated_log_prob(level: LatentLevel) -> tuple[Tensor, Tensor]:
    """Returns log q(z) and sum_d log q(z_d) at the samples, (K, B) each; q(z) is the mean of q(z|x_j) in the batch."""
    loc, scale = map(whole_batch, loc_and_scale(level.q))
    q: Distribution = Normal(loc, scale, validate_args=False)
    log_prob = q.log_prob(level.z.unsqueeze(2)).flatten(3)  # (K, B, B, D): of every sample under every q(.|x_j)
    num = log_prob.shape[2]
    joint: Tensor = log_prob.sum(-1).logsumexp(2) - math.log(num)
    product: Tensor = (log_prob.logsumexp(2) - math.log(num)).sum(-1)
    return joint, product
