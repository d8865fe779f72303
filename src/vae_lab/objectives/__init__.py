"""Training objectives: ElboTerms -> Loss."""

from vae_lab.objectives.base import Loss, Objective, Scheduled
from vae_lab.objectives.beta_tcvae import BetaTcvae
from vae_lab.objectives.capacity import Capacity
from vae_lab.objectives.elbo import Elbo
from vae_lab.objectives.factor_vae import FactorVae
from vae_lab.objectives.info_vae import InfoVae
from vae_lab.objectives.iwae import Iwae
from vae_lab.objectives.iwae_dreg import IwaeDreg
from vae_lab.objectives.vector_quantisation import VectorQuantisation

__all__ = [
    "BetaTcvae",
    "Capacity",
    "Elbo",
    "FactorVae",
    "InfoVae",
    "Iwae",
    "IwaeDreg",
    "Loss",
    "Objective",
    "Scheduled",
    "VectorQuantisation",
]
