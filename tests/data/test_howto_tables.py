"""The commands of docs/howto_tables.md on small tables, and the CSV that a run of one writes."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.conftest import DRAWN, FAST, Outcome
from vae_lab.evaluate import main as evaluate_main
from vae_lab.sample import main as sample_main

PAGE = Path(__file__).parents[2] / "docs" / "howto_tables.md"
NUM = 60


def commands() -> dict[str, list[str]]:
    """The words of each `train` of the page, by the name of its data."""
    lines = re.findall(r"^python -m vae_lab.train (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    words = [shlex.split(line) for line in lines]
    return {next(word for word in each if word.startswith("data.root=")).partition("=")[2]: each for each in words}


def write(path: str, columns: dict[str, list]) -> None:
    with Path(path).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def make(name: str) -> None:
    """Writes a small table of this name, or a data set, in the working directory."""
    rng = np.random.default_rng(0)
    numbers = {key: rng.normal(5, 2, NUM).round(4).tolist() for key in ("alcohol", "hue", "proline")}
    classes = [("red", "white")[i % 2] for i in range(NUM)]
    if name == "fashion":
        pictures = [Image.fromarray(each) for each in rng.integers(0, 256, (NUM, 8, 8), np.uint8)]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["bag", "coat"])})
        columns = {"image": pictures, "label": [i % 2 for i in range(NUM)]}
        datasets.disable_progress_bars()
        datasets.Dataset.from_dict(columns, features=features).save_to_disk(name)
    elif name == "animals.csv":
        colours = [("brown", "black", "white")[i % 3] for i in range(NUM)]
        write(name, {"weight": numbers["hue"], "sound": classes, "colour": colours, "kind": classes})
    else:
        holes = [None if "holes" in name and i % 5 == 0 else value for i, value in enumerate(numbers["hue"])]
        write(name, numbers | {"hue": holes, "target": classes})


@pytest.mark.slow
@pytest.mark.parametrize("name", commands())
def test_the_commands_of_the_page_run(name: str, train: Callable[..., Outcome]) -> None:
    assert len(commands()) == 4
    make(name)
    of_whole_runs = ("trainer.max_epochs", "callbacks.pictures.")
    words = [word for word in commands()[name] if not word.startswith(of_whole_runs)]
    outcome = train(*FAST, *words, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    if "holes" in name:
        assert "missing values in cancer_holes.csv (6.7%): the likelihood leaves them out" in outcome.out
    Path("run").rename("moved")  # what was left to the data goes on as it was found
    outcome = train("resume=moved", "trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_samples_of_a_table_are_a_csv_and_another_table_is_evaluated(
    train: Callable[..., Outcome], command: Callable[..., Outcome]
) -> None:
    make("animals.csv")
    words = ("data=table", "data.root=animals.csv", "data.images.categorical=[sound,colour]", "data.images.label=kind")
    words += ("model=cvae", "latent_dim=2", "callbacks.pictures.early_steps=false", "hydra.run.dir=run")
    assert train(*DRAWN, *words).code == 0
    drawn = {path.name for path in Path("run/figures").iterdir()}
    assert {"samples.png", "reconstructions.png", "samples_by_class.png", "codes.png"} <= drawn
    outcome = command(sample_main, "run=run", "y=red", "num=7", "draw=sample", "columns=[weight]", "out=out")
    assert outcome.code == 0, outcome.err
    stem = "samples_yred_num7_draw_sample_of_weight"
    assert [Path(line).name for line in outcome.out.split()] == [
        f"{stem}.{end}" for end in ("png", "npz", "npy", "csv")
    ]
    with Path(f"out/{stem}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    array = np.load(f"out/{stem}.npy")
    assert [list(row) for row in rows] == [["weight", "sound", "colour", "class"]] * 7
    assert array.shape == (7, 6)
    assert np.array_equal(np.array([row["weight"] for row in rows], np.float32), array[:, 0])
    assert [row["sound"] for row in rows] == [("red", "white")[place] for place in array[:, 1:3].argmax(1)]
    assert {row["class"] for row in rows} == {"red"}
    Path("other.csv").write_text(Path("animals.csv").read_text().replace("weight", "mass"))
    (line,) = command(evaluate_main, "run=run", "data_root=other.csv", "num_samples=2").error_lines
    assert "other.csv: has no column weight; its columns are mass, sound, colour, kind" in line
    wider = Path("animals.csv").read_text().replace("weight,", "id,weight,").replace("\n", "\n7,")
    Path("wider.csv").write_text(wider.removesuffix("7,"))
    outcome = command(evaluate_main, "run=run", "data_root=wider.csv", "num_samples=2")
    assert outcome.code == 0, outcome.err
    assert f"test {NUM // 10} (chosen by chance, 10%)" in outcome.out, "rows of the run"
    lines = Path("animals.csv").read_text().splitlines(keepends=True)
    Path("new.csv").write_text("".join([lines[0], *lines[:9:-1]]))
    outcome = command(evaluate_main, "run=run", "data_root=new.csv", "num_samples=2")
    assert f"test {len(lines) - 10} (all examples)" in outcome.out, outcome.err


def test_a_conditional_model_of_a_table_without_a_label_says_how_to_name_one(train: Callable[..., Outcome]) -> None:
    make("wine.csv")
    outcome = train(*FAST, "data=table", "data.root=wine.csv", "data.images.columns=[hue]", "model=cvae")
    assert outcome.code == 1
    assert "model.conditional=True: these data have no labels; " in outcome.err
    assert "data.images.label=COLUMN" in outcome.err
