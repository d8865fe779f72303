"""Opens the data of a run for its model, and compares them with those that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from vae_lab.errors import naming_data_root
from vae_lab.files import resolved
from vae_lab.nested import value_at
from vae_lab.runs.folder import FINGERPRINTS, METRICS
from vae_lab.runs.loading import SavedRun
from vae_lab.runs.reading import record_of
from vae_lab.types import SplitName

if TYPE_CHECKING:
    from vae_lab.core import LatentVariableModel
    from vae_lab.data import DataModule, ImageDataModule

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def open_data(
    run: SavedRun,
    model: LatentVariableModel,
    packages: Sequence[str],
    data_root: str | None,
    split: SplitName | Literal["all"],
    **changes: Any,
) -> ImageDataModule:
    """Returns the data of a run, prepared, in the precision of its model.

    The spec of an unconditional model takes the classes, attributes and numbers of the data.

    Args:
        packages: see `vae_lab.load_run`.
        data_root: folder of the data; None: where the run found them. Of other data that bring no test set all are
            tested on, because no part of them was trained on.
        changes: further settings that replace those of the run.

    Raises:
        RunError, ValueError: for data that are not there, or that do not fit the model.
    """
    from vae_lab.core.inputs import LABELS, check_spec  # noqa: PLC0415  (a report reads runs without torch)

    with naming_data_root():
        data = run.data(packages, root=data_root, **changes)
        source = f"data_root={data_root or data.images.root}: "
        check_spec(model, data.spec, source)
        if model.conditional:
            run.check_numbers(data.spec, source)
        elif model.spec is not None:  # what is shown of examples has the names of their own classes
            model.spec = replace(model.spec, **{key: getattr(data.spec, key) for key in LABELS})
        data.prepare_data()
        if data_root and split == "test" and is_other_data(run, data):
            data.test_on_all()
    data.dtype = next(model.parameters()).dtype
    return data


def is_own_data(run: SavedRun, data_root: str | None, data: ImageDataModule, split: SplitName) -> bool:
    """True if a split holds what it held when the run ended; of older runs, if it lies where it lay.

    Args:
        data_root: folder of the data that was asked for; None for the one in the run's config.
    """
    known = _fingerprints(run, METRICS).get(split)
    if known is not None:
        return bool(known == data.fingerprint(split))
    own = run.config["data"].get("root")
    return data_root is None or (isinstance(own, str) and resolved(data_root) == resolved(own))


def is_other_data(run: SavedRun, data: ImageDataModule) -> bool:
    """True if the test set is known to be another one than that of the run, so that data without one are all new."""
    if value_at(run.config, "choices.data") == "loader":  # whose fingerprint is not that of arrays
        return False
    known = _fingerprints(run, METRICS).get("test")
    return known is not None and known != data.fingerprint("test")


def changed_splits(run: SavedRun, data: DataModule, splits: Sequence[SplitName] = SPLITS) -> list[str]:
    """Returns those of the splits that do not hold what they held when the run last began, went on or ended."""
    known = _fingerprints(run, METRICS, FINGERPRINTS)  # the latter is the newer one
    return [split for split in splits if known.get(split) not in (None, data.fingerprint(split))]


def _fingerprints(run: SavedRun, *files: str) -> dict[str, str]:
    """Returns the digests of the data by split, later files overruling others; none in older or unfinished runs."""
    known: dict[str, str] = {}
    for name in files:
        found = record_of(run.folder / name).get("fingerprints")
        known |= found if isinstance(found, dict) else {}
    return known
