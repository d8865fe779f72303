"""Callbacks: pictures and the embedding projector."""

from vae_lab.training.callbacks.pictures import Pictures
from vae_lab.training.callbacks.projector import Projector

__all__ = ["Pictures", "Projector"]
