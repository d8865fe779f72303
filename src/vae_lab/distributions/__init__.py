"""Heads (raw network output -> distribution), conditional distributions and priors."""

from vae_lab.distributions.bernoulli import Bernoulli
from vae_lab.distributions.categorical import Categorical
from vae_lab.distributions.conditional import ConditionalDistribution, Head, by_support
from vae_lab.distributions.discretized_logistic import DiscretizedLogistic
from vae_lab.distributions.flow import FlowGaussian, FlowPrior
from vae_lab.distributions.gaussian import Gaussian
from vae_lab.distributions.logistic_mixture import LogisticMixture
from vae_lab.distributions.mixture import DiagonalGaussianMixture, MixtureOfGaussians
from vae_lab.distributions.priors import LabelConditional, StandardNormal
from vae_lab.distributions.vamp import VampPrior

__all__ = [
    "Bernoulli",
    "Categorical",
    "ConditionalDistribution",
    "DiagonalGaussianMixture",
    "DiscretizedLogistic",
    "FlowGaussian",
    "FlowPrior",
    "Gaussian",
    "Head",
    "LabelConditional",
    "LogisticMixture",
    "MixtureOfGaussians",
    "StandardNormal",
    "VampPrior",
    "by_support",
]
