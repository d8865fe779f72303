"""Callbacks: the checkpoint to go on from, pictures, the embedding projector, and the curve that a search prunes by."""

from vae_lab.training.callbacks.last_checkpoint import LastCheckpoint
from vae_lab.training.callbacks.pictures import Pictures
from vae_lab.training.callbacks.projector import Projector
from vae_lab.training.callbacks.pruning import Pruning

__all__ = ["LastCheckpoint", "Pictures", "Projector", "Pruning"]
