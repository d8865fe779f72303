"""Tables, signals, volumes and conditions of attributes and numbers, explored: each as its kind is drawn."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import FAST, Outcome, trained_run
from tests.explorer.asking import Page, as_bytes, pixels
from vae_lab.explorer.shown import shown
from vae_lab.sample import main as sample_main
from vae_lab.types import DataSpec, Scaling

RNG = np.random.default_rng(0)
ARRAYS = {
    "signal": RNG.normal(size=(80, 2, 16)),
    "volume": RNG.integers(0, 256, (80, 1, 6, 6, 6), np.uint8),
    "channels": RNG.integers(0, 256, (80, 4, 6, 6), np.uint8),
    "real": RNG.normal(10, 4, size=(80, 1, 6, 6)),
    "row": RNG.normal((5, 100, -3), (1, 20, 0.1), size=(80, 3)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_examples_are_drawn_as_their_kind_is(tmp_path: Path, kind: str) -> None:
    x = ARRAYS[kind]
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "train.npy", x[:60])
    np.save(tmp_path / "data" / "test.npy", x[60:])
    words = ("data=array", f"data.root={tmp_path / 'data'}", "data.val_size=10", "data.binarization=none")
    page = Page(trained_run(tmp_path / "run", *FAST, *words, "model=vae", "latent_dim=2", "logger=none"))
    info = page.ask("open")
    assert info["problem"] == ""
    assert info["num_examples"] == 20
    first = page.ask("example", example=0)
    decoded = page.ask("decode", z=first["z"])["picture"]
    original = first["original"]
    assert original["kind"] == decoded["kind"]
    run = page.explorer.runs.open(page.name)
    assert decoded == shown(run.model.decode([torch.tensor(first["z"])]).mean[0], run.spec)
    if kind == "signal":
        assert decoded["kind"] == "curves"
        assert np.array(original["values"]).shape == (2, 16)
        assert np.abs(x[60:] - np.array(original["values"])).max((1, 2)).min() < 1e-4, "in the units of the data"
    elif kind == "row":
        assert decoded["kind"] == "bars"
        assert len(decoded["names"]) == len(decoded["heights"]) == 3
        assert np.abs(x[60:] - np.array(original["values"])).max(1).min() < 1e-3, "in the units of the data"
        assert np.abs(original["heights"]).max() < 5, "in standard deviations"
    else:
        assert pixels(decoded).shape[0] in (1, 3)
        if kind != "channels":
            assert pixels(original).std() > 1
        assert bool(decoded["note"]) == (kind in ("volume", "channels", "real"))
    assert page.ask("samples", num=3, seed=0)["pictures"][0]["kind"] == decoded["kind"]
    assert len(page.ask("map", level=0, view="pca")["points"]) == 20
    assert not info["takes_pictures"]


def test_missing_values_are_shown_as_missing() -> None:
    spec = DataSpec((3,), 0, "real", columns=("a", "b", "c"), missing=True)
    assert shown(torch.tensor([1.0, float("nan"), 3.0]), spec)["values"] == [1.0, None, 3.0]


def test_the_bars_of_a_table_say_that_categories_have_shares() -> None:
    spec = DataSpec((3,), 0, "real", categories=(2,), scaling=Scaling((5.0, 0.0, 0.0), (2.0, 1.0, 1.0)))
    found = shown(torch.tensor([9.0, 0.25, 0.75]), spec)
    assert found["heights"] == [2.0, 0.25, 0.75]
    assert found["note"] == "in standard deviations from the mean; of categories their shares"


def test_a_condition_of_attributes_and_numbers_has_controls_by_name_and_a_command(
    tmp_path: Path, command: Callable[..., Outcome]
) -> None:
    (tmp_path / "data").mkdir()
    for split, num in (("train", 60), ("test", 20)):
        of = tmp_path / "data" / split
        np.save(f"{of}.npy", RNG.integers(0, 256, (num, 1, 6, 6), np.uint8))
        np.save(f"{of}_labels.npy", np.array(["cat", "dog"])[np.arange(num) % 2])
        np.save(f"{of}_attributes.npy", RNG.integers(0, 2, (num, 2)))
        np.save(f"{of}_numbers.npy", RNG.normal(3, 2, (num, 1)))
    words = ("data=array", f"data.root={tmp_path / 'data'}", "data.val_size=10", "model=cvae", "latent_dim=2")
    page = Page(trained_run(tmp_path / "run", *FAST, *words, "logger=none"))
    info = page.ask("open")
    assert info["condition"]["classes"] == ["cat", "dog"]
    assert info["condition"]["attributes"] == ["attribute_0", "attribute_1"]
    (number,) = info["condition"]["numbers"]
    assert number["name"] == "number_0"
    assert number["low"] < 3 < number["high"]
    assert len(info["y"]) == 5

    z, y = [[0.5, -1.0]], [0, 1, 1, 0, 2.5]
    decoded = page.ask("decode", z=z, y=y)["picture"]
    words = shlex.split(page.ask("command", z=z, y=y)["command"])[3:]
    assert "y=dog+attribute_0+number_0:2.5" in words
    outcome = command(sample_main, *words, f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    (path,) = (Path(line) for line in outcome.out.split() if line.endswith(".npz"))
    image = torch.from_numpy(np.load(path)["images"][0])
    assert np.abs(as_bytes(image).astype(int) - pixels(decoded)).max() <= 1

    ends = [{key: page.ask("example", example=i)[key] for key in ("z", "y")} for i in (0, 3)]
    assert len(page.ask("path", start=ends[0], end=ends[1], steps=3)["pictures"]) == 3
    assert set(page.ask("map", level=0, view="pca")["names"]) == {"cat", "dog"}
    for wrong in ([0, 1, 1, 0], [0, 1, 1, 0, None], "dog"):
        assert page.refusal("decode", z=z, y=wrong).startswith("400 y: must be 5 numbers: cat, dog, attribute_0")
    assert page.refusal("decode", z=z, y=[1, 1, 0, 0, 0]).startswith("400 y: row 0 has the classes cat, dog")
