"""Reads saved arrays in place of the loader of a Python program, with the splits of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_lab.errors import RunError
from vae_lab.nested import value_at


def saved_arrays(run: Path, config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config of saved arrays for a run that was trained on a loader.

    Arrays without test examples must be the whole Dataset of the run in its order; they are split as it was.

    Args:
        changes: settings of the data, among them ``root``, the folder of the arrays.

    Raises:
        RunError: if ``changes`` name no folder of arrays, or one without test examples that is not the Dataset.
    """
    from vae_lab.data.array.store import ArrayStore  # noqa: PLC0415  (which loads Lightning)

    if "root" not in changes:
        raise RunError(
            f"run={run}: was trained on a loader of a Python program, which is not saved with it; data_root=FOLDER"
            " names arrays, such as train.npy and test.npy, and vae_lab.load_run does the rest"
        )
    images: dict[str, Any] = {"_target_": "vae_lab.data.ArrayFiles", "_partial_": True}
    data = {"_target_": "vae_lab.data.ImageDataModule", "images": images, "val_size": 0.1}
    was, store = config["data"], ArrayStore(str(changes["root"]), 4.0)
    if ("test", "images") in store.found or "test_size" not in was:
        return {**data, **changes}
    rows = {split: len(store.open((split, kind))) for split, kind in store.found if kind == "images"}
    examples = str(value_at(config, "in_memory.examples"))
    if sum(rows.values()) != sum(map(int, re.findall(r"\d+", examples))):
        raise RunError(
            f"data_root={changes['root']}: {sum(rows.values())} examples and no test examples, but the run had"
            f" {examples}; save those that tested it as test.npy"
        )
    seed, size = was["seed"], was["test_size"]
    images["test_fraction"] = size if isinstance(size, float) else size / rows["train"]
    images["split_seed"] = seed if was.get("split_seed") is None else was["split_seed"]
    return {**data, "val_size": was["val_size"], "seed": seed + 1, **changes}
