"""Training objectives: ElboTerms -> Loss."""

from vae_lab.objectives.base import Loss, Objective
from vae_lab.objectives.elbo import Elbo
from vae_lab.objectives.iwae import Iwae

__all__ = ["Elbo", "Iwae", "Loss", "Objective"]
