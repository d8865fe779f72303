"""The variational core: chains, posteriors, the terms of the bound, and the model that joins them."""

from vae_lab.core.chain import Chain, MarkovChain, Walk
from vae_lab.core.model import LatentVariableModel
from vae_lab.core.posterior import BottomUpPosterior, LadderPosterior, Posterior, TopDownPosterior
from vae_lab.core.relative import RelativePosterior
from vae_lab.core.residual import ResidualChain
from vae_lab.core.terms import ElboTerms, ImportanceEstimate, LatentLevel

__all__ = [
    "BottomUpPosterior",
    "Chain",
    "ElboTerms",
    "ImportanceEstimate",
    "LadderPosterior",
    "LatentLevel",
    "LatentVariableModel",
    "MarkovChain",
    "Posterior",
    "RelativePosterior",
    "ResidualChain",
    "TopDownPosterior",
    "Walk",
]
