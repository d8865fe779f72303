"""The explorer's answers, asked by the WSGI client: the numbers and pictures of the model and the commands."""

from __future__ import annotations

import io
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import FAST, Outcome, trained_run
from tests.explorer.asking import Page, as_bytes, pixels
from vae_lab.explorer import projections
from vae_lab.explorer.explored import ExploredRun
from vae_lab.explorer.own_picture import read_picture
from vae_lab.sample import main as sample_main
from vae_lab.types import DataSpec

RUNS = {
    "vae": ("model=vae", "latent_dim=2"),
    "cvae": ("model=cvae", "latent_dim=5"),
    "mhvae": ("model=mhvae", "model.latent_dims=[5,4,3]"),
    "ladder": ("model=ladder", "model.latent_dims=[5,4,3]"),
    "flow": ("model=vae", "latent_dim=3", "prior=flow"),
    "vq": ("model=vq_vae", "objective=vq"),
}


SLOW = ("ladder", "flow", "vq")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in RUNS]


class Pages(dict[str, Page]):
    """Pages of runs by name; a run is trained when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Page:
        narrow = FAST if name != "vq" else [word for word in FAST if not word.startswith("network.")]
        self[name] = Page(trained_run(self.folder / name, *narrow, *RUNS[name], "logger=none"))
        return self[name]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def runs(pages: Pages) -> Path:
    """A folder with the run `vae`."""
    assert pages["vae"]
    return pages.folder


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_described_and_its_first_example_decodes_to_its_reconstruction(pages: Pages, name: str) -> None:
    page = pages[name]
    info = page.ask("open")
    run = page.explorer.runs.open(page.name)
    assert [level["shape"] for level in info["levels"]] == [list(shape) for shape in run.shapes]
    assert info["num_examples"] == 60
    assert info["problem"] == ""
    assert (info["condition"] is not None) == (name == "cvae")
    if name == "vq":
        assert not info["movable"]
    first = page.ask("example", example=0)
    assert np.allclose(np.concatenate(first["z"]), np.concatenate(info["start"]), atol=1e-5)
    decoded = page.ask("decode", z=first["z"], y=info["y"])
    z = [torch.tensor(code).reshape(1, *shape) for code, shape in zip(first["z"], run.shapes, strict=True)]
    expected = run.model.decode(z, run.first_condition()).mean[0]
    assert np.array_equal(pixels(decoded["picture"]), as_bytes(expected))
    assert first["elbo"] == pytest.approx(first["log_likelihood"] - sum(first["kl"]), rel=1e-4)


@pytest.mark.parametrize("name", ["mhvae", pytest.param("ladder", marks=pytest.mark.slow)])
def test_levels_below_the_moving_one_follow_the_means_of_their_priors(pages: Pages, name: str) -> None:
    page = pages[name]
    run = page.explorer.runs.open(page.name)
    top = [[0.5, -1.0, 2.0]]
    decoded = page.ask("decode", z=top)
    expected = run.model.decode([torch.tensor(top)]).mean[0]
    assert np.array_equal(pixels(decoded["picture"]), as_bytes(expected))
    assert decoded["mean"] == [0.0] * 3
    assert decoded["std"] == [1.0] * 3
    two = page.ask("decode", z=[[0.0] * 4, top[0]])
    below = run.model.prior.next_conditional([torch.tensor(top)])
    assert np.allclose(two["mean"], below.mean.flatten().tolist(), atol=1e-5)
    assert np.allclose(two["std"], below.stddev.flatten().tolist(), atol=1e-5)


def test_the_nats_of_the_dimensions_are_those_of_the_traversals(pages: Pages) -> None:
    info = pages["mhvae"].ask("open")
    run: ExploredRun = pages["mhvae"].explorer.runs.open(pages["mhvae"].name)
    for level, found in enumerate(info["levels"]):
        assert found["unit"] == "nats"
        assert np.allclose(found["nats"], run.levels[level].kl.flatten(), atol=1e-4)


@pytest.mark.slow
def test_dimensions_without_nats_are_ordered_by_their_variance(pages: Pages) -> None:
    assert pages["flow"].ask("open")["levels"][0]["unit"] == "var"


@pytest.mark.parametrize(("name", "y"), [("vae", None), ("cvae", 3), ("mhvae", None)])
def test_the_copied_commands_give_the_same_pictures(
    pages: Pages, command: Callable[..., Outcome], tmp_path: Path, name: str, y: int | None
) -> None:
    page = pages[name]
    z = page.ask("example", example=7)["z"]
    decode = page.ask("command", z=z, y=y)["command"]
    drawn = page.ask("samples", num=4, seed=5, temperature=[0.5] * len(z), y=y)
    for words, shown in (
        (decode, [page.ask("decode", z=z, y=y)["picture"]]),
        (drawn["command"], drawn["pictures"]),
    ):
        python, m, module, *rest = shlex.split(words)
        assert (python, m, module) == ("python", "-m", "vae_lab.sample")
        outcome = command(sample_main, *rest, f"out={tmp_path / 'out'}")
        assert outcome.code == 0, outcome.err
        (array,) = (np.load(path)["images"] for path in map(Path, outcome.out.split()) if path.suffix == ".npz")
        shutil.rmtree(tmp_path / "out")
        assert len(array) == len(shown)
        for image, example in zip(array, shown, strict=True):
            assert np.abs(as_bytes(torch.from_numpy(image)).astype(int) - pixels(example)).max() <= 1


def test_a_sample_that_is_taken_decodes_to_the_sample(pages: Pages) -> None:
    for name, y in (("vae", None), ("cvae", 8), ("mhvae", None)):
        drawn = pages[name].ask("samples", num=5, seed=2, y=y)
        taken = pages[name].ask("samples", num=5, seed=2, y=y, take=3)
        decoded = pages[name].ask("decode", z=taken["z"], y=y)
        assert np.abs(pixels(decoded["picture"]).astype(int) - pixels(drawn["pictures"][3])).max() <= 1


def test_two_runs_of_one_shape_get_the_same_noise(runs: Path) -> None:
    shutil.copytree(runs / "vae", runs / "twin", dirs_exist_ok=True)
    page = Page(runs / "vae", runs / "twin")
    first, second = page.explorer.first
    z = [page.ask("samples", run=name, num=3, seed=9, take=1)["z"] for name in (first, second)]
    assert z[0] == z[1]


def test_a_path_ends_at_its_ends_and_its_middle_is_between(pages: Pages) -> None:
    page = pages["cvae"]
    ends = [{key: page.ask("example", example=i)[key] for key in ("z", "y")} for i in (0, 3)]
    assert ends[0]["y"] != ends[1]["y"]
    pictures = page.ask("path", start=ends[0], end=ends[1], steps=5)["pictures"]
    for picture, end in ((pictures[0], ends[0]), (pictures[-1], ends[1])):
        assert np.array_equal(pixels(picture), pixels(page.ask("decode", **end)["picture"]))
    run = page.explorer.runs.open(page.name)
    z = torch.tensor([end["z"][0] for end in ends]).mean(0, keepdim=True)
    context = run.model.context(torch.tensor([end["y"] for end in ends])).mean(0, keepdim=True)
    middle = run.model.decode([z], context=context).mean[0]
    assert np.abs(pixels(pictures[2]).astype(int) - as_bytes(middle.detach())).max() <= 1


@pytest.mark.parametrize(("name", "view"), [("vae", "pca"), ("cvae", "pca"), ("cvae", "kl"), ("mhvae", "pca")])
def test_the_map_is_an_orthonormal_projection_of_the_codes(pages: Pages, name: str, view: str) -> None:
    page = pages[name]
    found = page.ask("map", level=0, view=view)
    axes, center = np.array(found["axes"]), np.array(found["center"])
    assert np.allclose(axes @ axes.T, np.eye(2), atol=1e-5)
    code = np.array(page.ask("example", example=4)["z"][0])
    assert np.allclose((code - center) @ axes.T, found["points"][4], atol=2e-3)
    assert len(found["labels"]) == len(found["points"]) == 60
    assert found["names"][:3] == ["0", "1", "2"]
    if view == "kl":
        nats = page.ask("open")["levels"][0]["nats"]
        assert {axis.argmax() for axis in axes} == set(np.argsort(nats)[-2:])


def test_an_own_picture_is_cropped_turned_over_and_encoded(pages: Pages) -> None:
    page = pages["cvae"]
    drawing = np.full((40, 60), 255, np.uint8)
    drawing[10:30, 25:35] = 0  # ink on paper
    file = io.BytesIO()
    Image.fromarray(drawing).save(file, "PNG")
    words = {"run": page.name, "y": "3", "inverted": "1"}
    response = page.client.post(
        "/api/picture", query_string=words, data=file.getvalue(), content_type="image/png",
        headers=page.headers,
    )  # fmt: skip
    assert response.status_code == 200, response.text
    found = response.get_json()
    original, seen = pixels(found["original"]), pixels(found["seen"])
    assert original.shape == (1, 28, 28)
    assert original[0, 14, 14] == 255
    assert original[0, 0, 0] == 0
    assert set(np.unique(seen)) == {0, 255}
    assert found["y"] == 3
    assert len(found["kl_by_dimension"][0]) == 5


def test_an_own_picture_of_16_bits_keeps_its_greys() -> None:
    greys = np.array([[0, 64, 128, 192]], np.uint8).repeat(4, 0)
    file = io.BytesIO()
    Image.fromarray(greys.astype(np.uint16) * 257).save(file, "PNG")
    own = read_picture(file.getvalue(), DataSpec((1, 4, 4), 0, "unit"), inverted=False)
    assert torch.equal(own.x[0, 0].mul(255).round().byte(), torch.tensor(greys))


@pytest.mark.parametrize("view", ["pca", "kl"])
def test_one_example_has_a_place_in_the_plane_too(view: str) -> None:
    found = projections.plane(torch.tensor([[1.0, 2.0, 3.0]]), view, None)
    axes, place = np.array(found["axes"]), np.array(found["points"][0])
    assert np.allclose(axes @ axes.T, np.eye(2))
    assert np.allclose(place, axes @ (np.array([1.0, 2.0, 3.0]) - found["center"]))


# Runs that change or go away.


def test_a_newer_checkpoint_is_said_and_then_taken(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", tmp_path / "run")
    page = Page(tmp_path / "run")
    info = page.ask("open")
    before = page.ask("decode", z=[[1.0, 1.0]], stamp=info["stamp"])
    other = trained_run(tmp_path / "other", *FAST, *RUNS["vae"], "seed=1", "logger=none")
    shutil.copy(other / "checkpoints" / "best.ckpt", tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert page.refusal("decode", z=[[1.0, 1.0]], stamp=info["stamp"]) == "409 the run has a newer checkpoint"
    stamp = page.ask("open")["stamp"]
    after = page.ask("decode", z=[[1.0, 1.0]], stamp=stamp)
    assert not np.array_equal(pixels(before["picture"]), pixels(after["picture"]))


def test_a_deleted_run_is_said_in_one_line(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", tmp_path / "run")
    page = Page(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    refusal = page.refusal("decode", z=[[1.0, 1.0]])
    assert refusal == f"410 run={tmp_path / 'run'}: no such file or folder"


def test_a_run_without_its_data_is_explored_all_the_same(runs: Path, tmp_path: Path) -> None:
    page = Page(runs / "vae", data_root=str(tmp_path), split="test")
    run = page.explorer.runs.open(page.name)
    run.examples, run.levels, run.problem = None, [], "the data are gone"
    info = page.ask("open")
    assert info["problem"] == "the data are gone"
    assert info["levels"][0]["nats"] is None
    assert page.ask("decode", z=info["start"])["mean"] == [0.0, 0.0]
    assert page.refusal("example", example=0) == "409 the data are gone"
    assert page.refusal("map", level=0, view="pca") == "409 the data are gone"


def test_the_status_says_which_checkpoint_a_run_has_without_waiting_for_the_model(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", tmp_path / "run")
    page = Page(tmp_path / "run")
    stamp = page.ask("open")["stamp"]
    busy = Thread(target=page.explorer.runs.lock.acquire)  # as of a long decode, which is never released
    busy.start(), busy.join()

    def status() -> dict[str, str]:
        return page.ask("status", runs=[page.name])["runs"][page.name]

    assert status() == {"stamp": stamp}
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    os.utime(checkpoint, (1, 1))
    assert status()["stamp"] not in ("", stamp)
    shutil.rmtree(tmp_path / "run")
    assert status() == {"gone": f"run={tmp_path / 'run'}: no such file or folder"}
    assert page.ask("status", runs=["other"])["runs"] == {"other": {"gone": "run=other: no such run"}}
    assert page.refusal("status", runs="other").startswith("400 runs: must be at most 8 names")
