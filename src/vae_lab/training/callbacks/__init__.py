"""Callbacks: last checkpoint, pictures and the embedding projector."""

from vae_lab.training.callbacks.last_checkpoint import LastCheckpoint
from vae_lab.training.callbacks.log_pictures import Pictures
from vae_lab.training.callbacks.progress import NotebookBar, Progress, with_usual_progress
from vae_lab.training.callbacks.projector import Projector

__all__ = ["LastCheckpoint", "NotebookBar", "Pictures", "Progress", "Projector", "with_usual_progress"]
