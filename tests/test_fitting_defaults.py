"""Tests that what a program has set for torch, such as float64, changes neither training nor a trained run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vae_lab
import vae_lab.data.given

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (40, 4, 4), np.uint8), np.array(["cat", "dog"] * 20)
WORDS = ("trainer=cpu", "callbacks.pictures=null", "callbacks.projector=null", "logger=none", "network.widths=[8]")
HERE = {"likelihood": "discretized_logistic", "prior": "vamp", "prior.num_components": 2, "trainer.max_epochs": 2}


def fitted(folder: Path) -> vae_lab.Run:
    words = [*WORDS, *(f"{key}={value}" for key, value in HERE.items())]
    return vae_lab.fit((X, Y), "cvae", 2, words, folder=folder, verbose=False)


@contextmanager
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


DEFAULTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": float64_by_default,
    "another device": lambda: torch.device("meta"),  # as "cuda" is, on a machine without one
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}


def set_now() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    ]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> vae_lab.Run:
    return fitted(tmp_path_factory.mktemp("usual") / "run")


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_fit_is_the_same_whatever_the_program_has_set(name: str, usual: vae_lab.Run, tmp_path: Path) -> None:
    with DEFAULTS[name]():
        before = set_now()
        run = fitted(tmp_path / "run")
        assert set_now() == before
    assert run.metrics["elbo"] == usual.metrics["elbo"]
    for key, value in usual.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[key], value)
        assert run.model.state_dict()[key].dtype == value.dtype


def test_composed_parts_are_the_same_whatever_the_program_has_set(tmp_path: Path) -> None:
    states = []
    for number, context in enumerate((torch.enable_grad, *DEFAULTS.values())):
        with context():
            run = vae_lab.compose(*WORDS, f"hydra.run.dir={tmp_path / str(number)}")
        states.append(run.module.state_dict())
    for state in states:
        assert all(torch.equal(value, states[0][key]) and not value.is_inference() for key, value in state.items())


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_trained_run_is_used_whatever_the_program_has_set(name: str, usual: vae_lab.Run) -> None:
    def used() -> list[Any]:
        run = vae_lab.load_run(usual.folder)
        (code,) = usual.encode(X[:3], Y[:3])
        draws = [each.sample(3, "dog", seed=0, draw=draw) for each in (run, usual) for draw in ("mean", "sample")]
        log_probs = [given.log_prob(X[:3], Y[:3], num_samples=5) for given in (run, usual)]
        return [*code, *draws, *log_probs, usual.decode(code, "cat"), usual.reconstruct(X[:3], Y[:3].tolist())]

    expected = used()
    with DEFAULTS[name]():
        found = used()
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_imports_take_no_random_numbers_of_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first import of rich takes one."""
    given_data = vae_lab.data.given.given_data

    def importing(*args: Any) -> Any:
        random.getrandbits(24)
        return given_data(*args)

    monkeypatch.setattr(vae_lab.data.given, "given_data", importing)
    state = random.getstate()
    fitted(tmp_path / "run")
    assert random.getstate() == state
