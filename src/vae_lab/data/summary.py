"""A few lines about a data set, for the start of a run."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from vae_lab.data.arrays import evenly_spread
from vae_lab.data.datamodule import ImageDataModule
from vae_lab.data.missing_values import suspected
from vae_lab.data.own_loader.module import LoaderDataModule
from vae_lab.data.protocol import DataModule
from vae_lab.data.source import DataSource, readable
from vae_lab.types import DataSpec, SplitName, listed

_SELECTED_ON_TEST = (
    "selection    by the test set, as data.val_size=0: best.ckpt, early stopping and searches see it, so that its"
    " figures are not independent of them; data.val_size=0.1 holds out a tenth of the training set instead"
)

_MAX_NUMBERS = 2**22
"""Numbers that are looked at for outliers."""
_FEW = 10
"""Examples of a split below which a run says that it has few."""


def summary(data: DataModule, splits: Sequence[SplitName] = ("train", "val", "test"), selects: bool = True) -> str:
    """Returns the set, its shape and classes, the size and origin of each split, and what was passed over.

    Args:
        data: data module; splits that have not been read are read now.
        splits: names of the splits.
        selects: True if the validation chooses something, so that its examples matter.
    """
    spec = data.spec
    unread = _unread_root(data.images) if isinstance(data, ImageDataModule) else ""
    names = [spec.name_of(y) for y in range(spec.num_classes)]
    named = {
        ("class", "classes"): names,
        ("attribute", "attributes"): spec.attributes,
        ("number", "numbers"): spec.numbers,
    }
    counts = [f"{len(each)} {words[len(each) > 1]} ({listed(each)})" for words, each in named.items() if each]
    classes = ", ".join(counts) or "no labels"
    sizes = ", ".join(_size(data, split) for split in splits)
    note = data.images.values_note() if isinstance(data, ImageDataModule) else ""
    note = data.values_note() if isinstance(data, LoaderDataModule) else note
    lines = [f"data         {data.title()}{unread}: {_shape(spec)}, {classes}"]
    if note:
        lines.append(f"values       {note}{', standardised by the training split' if spec.scaling else ''}")
    lines.append(f"splits       {sizes}")
    notes: dict[str, str] = {}
    if isinstance(data, ImageDataModule):
        notes = {
            "pictures": data.images.fit_note(),
            "labels": f"not used, because {missing}" if (missing := data.images.missing_labels) else "",
            "classes": _unseen(data) if "train" in splits else "",
            "attributes": _constant(data) if "train" in splits and spec.attributes else "",
            "balance": data.balance_note() if "train" in splits else "",
            "row numbers": data.images.row_numbers(),
            "outliers": _outliers(data) if "train" in splits and spec.support == "real" else "",
        }
    if isinstance(data, LoaderDataModule):
        notes = {"classes": _unseen(data) if "train" in splits else "", "on resume": data.resume_note()}
    lines += [f"{name:<12} {line}" for name, line in notes.items() if line]
    if selects and data.selection == "test set" and "val" in splits:
        lines.append(_SELECTED_ON_TEST)
    if spec.vector_condition and getattr(data, "horizontal_flip", False):
        lines.append("mirrored     pictures alone: attributes and numbers of their condition stay as they are")
    if "val" in splits and (few := [split for split in splits if data.size(split) < _FEW]):
        lines.append(f"few examples {', '.join(few)}: fewer than {_FEW}, so that their figures mean little")
    return "\n".join([*lines, *(f"passed over  {what}" for what in data.passed_over())])


def _unseen(data: ImageDataModule | LoaderDataModule) -> str:
    """Returns which classes have no training example, in words; empty if all have one, or there are no classes."""
    unseen = [data.spec.name_of(label) for label in data.unseen_classes()]
    return f"{len(unseen)} without a training example ({listed(unseen)})" if unseen else ""


def _constant(data: ImageDataModule) -> str:
    """Returns which attributes all training examples have, or none has, in words; empty if there are none such."""
    (arrays, rows), spec = data.split("train"), data.spec
    assert arrays.y is not None, "attributes are a part of the condition"
    flags = arrays.y[rows, spec.num_classes : spec.first_number]
    constant = [name for name, alike in zip(spec.attributes, (flags == flags[0]).all(0), strict=True) if alike]
    return (
        f"the same in all training examples ({listed(constant)}), so that nothing is learned of it" if constant else ""
    )


def _outliers(data: ImageDataModule) -> str:
    """Returns which columns hold a number such as -999 far from all others, in words; empty if none does."""
    arrays, rows = data.split("train")
    picked = evenly_spread(rows, max(1, _MAX_NUMBERS // math.prod(data.spec.shape)))
    return suspected(arrays.x[picked], data.spec.columns)


def _shape(spec: DataSpec) -> str:
    """Returns the shape of an example in words; pictures are the usual case."""
    sizes = " x ".join(map(str, spec.shape))
    if len(spec.shape) == 1 and spec.columns:
        return f"{sizes} columns ({listed(spec.columns)})"
    kinds = {1: "columns", 2: "(channels x values)", 4: "(channels x depth x height x width)"}
    return f"{sizes} {kinds[len(spec.shape)]}" if len(spec.shape) in kinds else sizes


def _size(data: DataModule, split: SplitName) -> str:
    origin = data.origin(split)
    return f"{split} {data.size(split)}" + (f" ({readable(origin)})" if origin else "")


def _unread_root(images: DataSource) -> str:
    """Returns that nothing is read from a ``root`` of the user's, if that is so."""
    root = _whole(images.root)
    usual = {_whole("data"), _whole(os.environ.get("VAE_LAB_DATA", "data"))}
    elsewhere = bool(images.place) and not _whole(images.place).is_relative_to(root)
    if root in usual or not (elsewhere or not images.reads_root):
        return ""
    return f" (nothing is read from {readable(images.root)})"


def _whole(path: str) -> Path:
    return Path(path).expanduser().resolve()
