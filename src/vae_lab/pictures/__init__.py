"""What a model has learned, as pictures: functions of a model that return an image (3, H, W) in [0, 1].

Every function leaves the model and the random state as they were, and draws the same picture of the same model.
"""

from vae_lab.pictures.album import Album
from vae_lab.pictures.grid import image_grid, save_picture
from vae_lab.pictures.latents import LevelCodes, codes, decode
from vae_lab.pictures.plane import code_scatter, latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, reconstructions
from vae_lab.pictures.samples import samples, samples_by_class
from vae_lab.pictures.traversals import traversals

__all__ = [
    "Album",
    "LevelCodes",
    "code_scatter",
    "codes",
    "decode",
    "image_grid",
    "interpolations",
    "latent_plane",
    "manifold",
    "reconstructions",
    "samples",
    "samples_by_class",
    "save_picture",
    "traversals",
]
