"""A trained run for other programs: weights, graphs that other runtimes compute, and a card that describes them."""

from vae_lab.exports.writing import Export, export_run
from vae_lab.settings import ExportSettings

__all__ = ["Export", "ExportSettings", "export_run"]
