"""The named models: each composes a prior, a posterior and a likelihood in its __init__ and adds nothing else."""

from vae_lab.models.deep import Deep
from vae_lab.models.ladder import Ladder
from vae_lab.models.mhvae import MHVAE
from vae_lab.models.vae import VAE
from vae_lab.models.vq_vae import VqVae

__all__ = ["MHVAE", "VAE", "Deep", "Ladder", "VqVae"]
