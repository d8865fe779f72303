"""Heads (raw network output -> distribution), conditional distributions and priors."""

from vae_lab.distributions.bernoulli import Bernoulli
from vae_lab.distributions.categorical import Categorical
from vae_lab.distributions.conditional import ConditionalDistribution, Head
from vae_lab.distributions.discretized_logistic import DiscretizedLogistic
from vae_lab.distributions.gaussian import Gaussian
from vae_lab.distributions.priors import LabelConditional, StandardNormal

__all__ = [
    "Bernoulli",
    "Categorical",
    "ConditionalDistribution",
    "DiscretizedLogistic",
    "Gaussian",
    "Head",
    "LabelConditional",
    "StandardNormal",
]
