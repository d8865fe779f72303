"""Variational autoencoders as scikit-learn estimators: for pipelines, grid searches and cross-validation."""

from vae_lab.sklearn.models import CVAE, MHVAE, VAE, LadderVAE

__all__ = ["CVAE", "MHVAE", "VAE", "LadderVAE"]
