"""`python -m vae_lab.sample what=decode z=...`: the picture of codes that are given as numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vae_lab
from tests.conftest import FAST, Outcome, trained_run
from vae_lab.sample import main

RUNS = {"cvae": ("model=cvae", "latent_dim=2"), "mhvae": ("model=mhvae", "model.latent_dims=[3,2]")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, words in RUNS.items():
        trained_run(folder / name, *FAST, *words, "logger=none")
    return folder


@pytest.fixture
def decode(command: Callable[..., Outcome], runs: Path, tmp_path: Path) -> Callable[..., dict[str, np.ndarray]]:
    def run(name: str, *words: str) -> dict[str, np.ndarray]:
        outcome = command(main, f"run={runs / name}", "what=decode", f"out={tmp_path / 'out'}", *words)
        assert outcome.code == 0, outcome.err
        (path,) = (Path(line) for line in outcome.out.split() if line.endswith(".npz"))
        with np.load(path) as arrays:
            return dict(arrays)

    return run


def test_a_code_is_decoded_under_each_class(decode: Callable[..., dict[str, np.ndarray]], runs: Path) -> None:
    found = decode("cvae", "z=[0.5,-1.25]", "y=[3,7]")
    z = torch.tensor([[0.5, -1.25]] * 2)
    expected = vae_lab.load_run(runs / "cvae").decode(z, [3, 7])
    assert np.allclose(found["images"], expected, atol=1e-6)
    assert np.array_equal(found["z_1"], z)
    assert found["y"].tolist() == [3, 7]


@pytest.mark.parametrize("codes", [[[0.1, -0.2, 0.3], [1, 2e-5]], [[1.5, -2]]])
def test_levels_that_are_not_given_follow_their_priors(
    decode: Callable[..., dict[str, np.ndarray]], runs: Path, tmp_path: Path, codes: list[list[float]]
) -> None:
    model = vae_lab.load_run(runs / "mhvae").model
    expected = model.decode([torch.tensor([code], dtype=torch.float32) for code in codes]).mean.detach()
    found = decode("mhvae", f"z={json.dumps(codes).replace(' ', '')}")
    assert np.allclose(found["images"], expected, atol=1e-6)
    assert set(found) == {"images", *(f"z_{level}" for level in range(3 - len(codes), 3))}
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    assert np.array_equal(decode("mhvae", f"z={tmp_path / 'codes.json'}")["images"], found["images"])


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("mhvae", ["what=decode"], "z: give the codes to decode"),
        ("mhvae", ["what=decode", "z=[1,2]", "num=3"], "num=3: decode draws one z"),
        ("mhvae", ["z=[1,2]"], "z=[1, 2]: does not apply to samples, only to decode"),
        ("mhvae", ["what=decode", "z=[1,2]", "temperature=0.5"], "temperature=0.5: does not apply to decode"),
        ("mhvae", ["what=decode", "z=[1,2,3]"], "z: 3 numbers for level 2, which has 2"),
        ("mhvae", ["what=decode", "z=[[1],[1,2,3],[1,2]]"], "z: codes of 3 levels; this model has 2"),
        ("mhvae", ["what=decode", "z=[a,2]"], "z: a in the code of level 2; must be a finite number"),
        ("mhvae", ["what=decode", "z=[nan,2]"], "z[0]=nan: must be a finite number"),
        ("mhvae", ["what=decode", "z=[]"], "z: 0 numbers for level 2"),
        ("mhvae", ["what=decode", "z=gone.json"], "z=gone.json: no such file"),
        ("cvae", ["what=decode", "z=[1,2]"], "y: this model is conditional; give y=all or a class: 0"),
    ],
)
def test_wrong_codes_are_refused(
    command: Callable[..., Outcome], runs: Path, name: str, words: list[str], said: str
) -> None:
    outcome = command(main, f"run={runs / name}", *words)
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {said}")
