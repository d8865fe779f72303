"""The variational core: Markov chains, posteriors, the terms of the bound, and the model that joins them."""

from vae_lab.core.chain import MarkovChain
from vae_lab.core.elbo import ElboTerms, LatentLevel
from vae_lab.core.model import ImportanceEstimate, LatentVariableModel
from vae_lab.core.posterior import BottomUpPosterior, Posterior, TopDownPosterior

__all__ = [
    "BottomUpPosterior",
    "ElboTerms",
    "ImportanceEstimate",
    "LatentLevel",
    "LatentVariableModel",
    "MarkovChain",
    "Posterior",
    "TopDownPosterior",
]
