"""Pictures of what a model has learned: functions of a model that return a `Sheet` to draw, with its arrays.

Every function leaves the model and the random state as they were, and gives the same sheet of the same model.
"""

from vae_lab.pictures.album import Album
from vae_lab.pictures.grid import image_grid
from vae_lab.pictures.latents import LevelCodes, codes, decode
from vae_lab.pictures.levels import kl_by_level, progressive, redrawn
from vae_lab.pictures.plane import code_scatter, latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, reconstructions
from vae_lab.pictures.request import requested
from vae_lab.pictures.samples import condition_sheets, samples, samples_by_class
from vae_lab.pictures.saving import save_array, save_arrays, save_picture, save_table
from vae_lab.pictures.sheet import Sheet
from vae_lab.pictures.tiles import is_drawable
from vae_lab.pictures.traversals import traversals, traversals_by_factor

__all__ = [
    "Album",
    "LevelCodes",
    "Sheet",
    "code_scatter",
    "codes",
    "condition_sheets",
    "decode",
    "image_grid",
    "interpolations",
    "is_drawable",
    "kl_by_level",
    "latent_plane",
    "manifold",
    "progressive",
    "reconstructions",
    "redrawn",
    "requested",
    "samples",
    "samples_by_class",
    "save_array",
    "save_arrays",
    "save_picture",
    "save_table",
    "traversals",
    "traversals_by_factor",
]
