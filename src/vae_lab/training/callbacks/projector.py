"""Writes TensorBoard's embedding projector: the codes of test examples in space, each with its picture."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.v2.functional import center_crop

from vae_lab.core import LatentVariableModel
from vae_lab.pictures import codes
from vae_lab.pictures.tiles import is_drawable, is_table, tiles_of
from vae_lab.training.averaging import shown_weights
from vae_lab.training.callbacks.log_pictures import data_of, model_of
from vae_lab.training.logs.tensorboard import tensorboard_writer
from vae_lab.types import Batch, DataSpec

_SPRITE_SIDE = 8192
"""The projector shows no thumbnails from a sheet that is larger, in pixels."""
_THUMBNAIL_SIDE = 32


class Projector(Callback):
    """Writes the posterior means of every level for TensorBoard's projector tab, at the end of training.

    Args:
        num_codes: number of test examples.
        seed: seed of the posterior's noise in a hierarchy.

    Raises:
        ValueError: for a number of codes below 1, or above what the projector can show.
    """

    def __init__(self, num_codes: int = 1000, seed: int = 0) -> None:
        limit = (_SPRITE_SIDE // _THUMBNAIL_SIDE) ** 2
        if not 1 <= num_codes <= limit:
            raise ValueError(f"num_codes={num_codes}: must be from 1 to {limit}, the thumbnails that a sheet holds")
        self.num_codes = num_codes
        self.seed = seed

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = model_of(pl_module)
        with shown_weights(trainer, pl_module, model):
            writer = tensorboard_writer(trainer)
            if writer is not None and trainer.is_global_zero:
                data = data_of(trainer, self)
                self._show(writer, model, data.examples(self.num_codes, split="test"), trainer.global_step)

    def _show(self, writer: SummaryWriter, model: LatentVariableModel, examples: Batch, step: int) -> None:
        metadata = {} if examples.y is None else _metadata(model.spec, examples.y)
        if model.discrete:  # distances between numbers of entries mean nothing
            return
        levels = codes(model, examples, self.seed)
        shown = examples.x if examples.grey is None else examples.grey
        for number, level in enumerate(levels, start=1):
            tag = "codes" if len(levels) == 1 else f"codes_level_{number}"
            _add_embedding(writer, tag, level.mean, _thumbnails(shown, model.spec), metadata, step)


def _thumbnails(x: Tensor, spec: DataSpec | None = None) -> Tensor | None:
    """Returns small square images (N, 1 or 3, side, side) in [0, 1], as the projector cuts them from one sheet.

    None for data that cannot be drawn and for rows of tables, which are shown as points.
    """
    if not is_drawable(x.shape[1:]) or is_table(x.shape[1:]):
        return None
    shown = tiles_of(x, spec).pictures
    square = center_crop(shown, [max(shown.shape[2:])] * 2)  # larger than the image: fills up with black
    return interpolate(square, size=(_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), mode="area")


def _metadata(spec: DataSpec | None, y: Tensor) -> dict[str, Any]:
    """Returns the class of each example by name, or all columns of its condition under their names."""
    if y.dim() == 1:
        return {"metadata": [str(label) if spec is None else spec.name_of(label) for label in y.tolist()]}
    assert spec is not None, "rows of a condition belong to a spec"
    rows = [[f"{value:g}" for value in row] for row in y.tolist()]
    if spec.context_features == 1:  # TensorBoard has a header above several columns alone
        return {"metadata": [row[0] for row in rows]}
    return {"metadata": rows, "metadata_header": list(spec.context_names)}


def _add_embedding(
    writer: SummaryWriter, tag: str, codes: Tensor, images: Tensor | None, metadata: dict[str, Any], step: int
) -> None:
    vectors = codes.flatten(1).float().cpu()
    writer.add_embedding(vectors, label_img=images, global_step=step, tag=tag, **metadata)
