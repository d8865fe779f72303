"""Training with PyTorch Lightning."""

from vae_lab.training.fit import fit
from vae_lab.training.lit_module import VariationalModule

__all__ = ["VariationalModule", "fit"]
