"""The importance-weighted bound with an encoder gradient that improves with more samples."""

from __future__ import annotations

from dataclasses import replace

from torch.distributions import Distribution

from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.distributions.gaussian import diagonal_gaussian, is_diagonal_gaussian, loc_and_scale
from vae_lab.objectives.base import Loss, Objective, Scheduled, example_terms


class IwaeDreg(Objective):
    """`Iwae` with doubly reparametrised gradients (Tucker, Lawson, Gu and Maddison 2019, arXiv:1810.04152).

    The value and the gradient of the generative model are those of the importance-weighted bound. The gradient of the
    encoder has the same mean but a smaller variance, above all for large K, where noise dominates the plain gradient
    (Rainforth et al. 2018, arXiv:1802.04537):

        sum_k v_k^2 (d log w_k / d z_k) (d z_k / d phi),   v_k = w_k / sum_j w_j

    The weights change the gradient that arrives at z, so that the same terms cannot be used for a second loss. Defined
    for models of one level with a Gaussian posterior.

    Args:
        num_samples: K; 1 is the path derivative of the ELBO (Roeder, Wu and Duvenaud 2017, arXiv:1703.09194).

    Raises:
        ValueError: by `check` and `loss`, for a posterior that is not a diagonal Gaussian.
    """

    one_level = True

    def __init__(self, num_samples: int = 5) -> None:
        super().__init__(num_samples)

    def check(self, model: LatentVariableModel) -> None:
        super().check(model)
        terms = example_terms(model)
        if terms is not None:
            _without_gradient(terms.levels[0].q)

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        (level,) = terms.levels
        terms = replace(terms, levels=(replace(level, q=_without_gradient(level.q), log_q=None),))
        if level.z.requires_grad:
            normalised = terms.log_weight.detach().softmax(0)  # (K, B)
            factor = normalised.reshape(normalised.shape + (1,) * len(level.q.event_shape))
            # The gradient of the bound has one v_k; this is the other.
            level.z.register_hook(lambda gradient: factor * gradient)  # type: ignore[no-untyped-call]
        return Loss(-terms.importance_weighted_bound.mean())


def _without_gradient(q: Distribution) -> Distribution:
    """Returns the same Gaussian with constant parameters: phi then affects log w only through the sample z."""
    if not is_diagonal_gaussian(q):
        raise ValueError("objective IwaeDreg needs a posterior of independent Gaussians")
    loc, scale = loc_and_scale(q)
    return diagonal_gaussian(loc.detach(), scale.detach(), len(q.event_shape))
