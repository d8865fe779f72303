"""Training with PyTorch Lightning."""

from vae_lab.training.atomic import AtomicCheckpointIO
from vae_lab.training.fit import Record, fit, prepare_process
from vae_lab.training.lit_module import VariationalModule
from vae_lab.training.optimization import Optimization

__all__ = ["AtomicCheckpointIO", "Optimization", "Record", "VariationalModule", "fit", "prepare_process"]
