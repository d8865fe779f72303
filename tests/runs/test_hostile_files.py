"""Files of a stranger's run cost bounded time and memory, and weights that are none are named in one line."""

from __future__ import annotations

import os
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vae_lab
from tests.conftest import FAST, Outcome
from vae_lab import evaluate, sample
from vae_lab.distributions import Bernoulli
from vae_lab.errors import RunError
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.runs.checkpoints import read_checkpoint
from vae_lab.runs.loading import find_run
from vae_lab.runs.untrusted import parse_yaml, read_json, read_yaml
from vae_lab.types import DataSpec

# YAML

_HASH = 2**61 - 1
"""Python's hash of each multiple is 0."""
SLOW: dict[str, str] = {
    "a number of base 60": "a: 1" + ":59" * 200_000,
    "a fraction of base 60": "a: 1" + ":59" * 200_000 + ".5",
    "a number of base 60, by its tag": "a: !!int 1" + ":59" * 200_000,
    "a long number": "a: 0x" + "f" * 900_000,
    "a list": "a: [" + "1," * 450_000 + "]",
    "a list of lists": "a: [" + "[]," * 300_000 + "]",
    "a list of pairs": "[" + "a: b," * 180_000 + "]",
    "a block": "a:\n" + "- \n" * 300_000,
    "keys of one hash": "{" + ",".join(f"{i * _HASH}: 1" for i in range(1, 40_000)) + "}",
    "merged mappings": "{<<: [" + "{a: 1}," * 100_000 + "]}",
    "directives": "".join(f"%TAG !a{i}! tag:x\n" for i in range(40_000)) + "--- a",
    "documents": "--- a\n" * 150_000,
    "nested lists": "[" * 900_000,
    "nested keys": "? " * 400_000,
}


@pytest.mark.parametrize("kind", SLOW)
def test_yaml_is_refused_in_bounded_time(kind: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r".") as raised:
        parse_yaml(SLOW[kind])
    assert time.process_time() - started < 2  # a second or less on a busy machine; ten and more without bounds
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\nmodel: {}\nseed: 5\n", "it has the key seed twice"),
        ("model:\n  a: 1\n  'a': 2\n", "it has the key a twice"),
        ("{" + ",".join(f"k{i % 20_000}: 1" for i in range(40_000)) + "}", "it has the key k0 twice"),
        (f"? {'k' * 10_000}\n: 1\n", "it has a key of 10000 characters"),
    ],
    ids=["twice", "within", "many", "long"],
)
def test_a_key_that_says_two_things_is_refused(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("kind", ["plain", "quoted", "literal"])
def test_long_texts_are_still_read(kind: str) -> None:
    text = "long words " * 50_000
    shown = {"plain": text.strip(), "quoted": f'"{text}"', "literal": f"|\n  {text}\n"}[kind]
    assert str(parse_yaml(f"a: {shown}")["a"]).strip() == text.strip()


@pytest.mark.parametrize(
    "text",
    ['!!int ""', "!!float ''", "!!bool x", "!!timestamp x", "!!int []", '!!binary "é"', "? [a]\n: 1", "=", "<<: 1"],
)
def test_odd_values_are_named_and_never_a_traceback(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(text)


def test_what_a_run_writes_is_read_back(tmp_path: Path) -> None:
    config = {
        "a": [1, -2.5, 1e-30, 2**63, True, None, "1:59:59", "0x1F", "2020-01-01"],
        "b": {"c": list(range(20_000))},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert read_yaml(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("text", ["1" * 5000, "[" * 100_000, '{"a": ' * 100_000])
def test_json_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics.json: not readable as JSON"):
        read_json(tmp_path / "metrics.json")


# Tensors

_BIG = torch.zeros(250_000)
STRANGE: dict[str, Callable[[], Any]] = {
    "strides of 0": lambda: torch.zeros(1).expand(10**6, 10**6),
    "one stride of 0": lambda: torch.zeros(10).expand(10**6, 10),
    "overlapping windows": lambda: torch.zeros(1000).unfold(0, 500, 1),
    "one storage, many views": lambda: [_BIG[i:] for i in range(1000)],
    "one storage, many names": lambda: [_BIG.view(500, 500) for _ in range(1000)],
    "no storage": lambda: torch.empty(10**6, 10**6, device="meta"),
    "sparse": lambda: torch.sparse_coo_tensor([[0]], [1.0], (10**12,), check_invariants=False),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_tensors_take_no_more_memory_than_their_file(tmp_path: Path, kind: str) -> None:
    path, strange = tmp_path / "best.ckpt", STRANGE[kind]()
    places: list[dict[str, Any]] = [
        {"state_dict": {"model.x": strange}},
        {"optimizer_states": {"model.x": strange}},
        {"callbacks": {"x": ([{"y": (strange,)}],)}},
    ]
    for place in places:
        torch.save({"state_dict": {}} | place, path)
        assert path.stat().st_size < 2 * 10**6
        with pytest.raises(RunError, match=r"best.ckpt: truncated, corrupt or no checkpoint") as raised:
            read_checkpoint(path)
        assert "\n" not in str(raised.value)


def test_honest_tensors_are_read_and_outlive_their_file(tmp_path: Path) -> None:
    path, shared = tmp_path / "best.ckpt", torch.randn(3, 4)
    kept = {"a": shared, "b": shared, "c": torch.randn(4, 3).T, "d": torch.randn(5)[2:], "e": torch.tensor(7), "f": []}
    kept["f"].append(kept["f"])  # a list that holds itself
    torch.save({"state_dict": kept, "empty": torch.zeros(0, 3)}, path)
    read = read_checkpoint(path)["state_dict"]
    path.write_bytes(b"\0" * path.stat().st_size)
    for name in "abcde":
        assert torch.equal(read[name], kept[name])


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {"model.x": torch.zeros(100_000)}}, path)
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        read_checkpoint(path)


def test_a_part_that_is_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {"model.x": torch.zeros(100_000)}}, path)
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as cut:
        for name, content in parts.items():
            cut.writestr(name, content[:16] if name.endswith("data/0") else content)
    with pytest.raises(RunError, match="truncated, corrupt"):
        read_checkpoint(path)


# A run whose checkpoints are something else

WORDS = (*FAST, "latent_dim=2")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Returns the run folder of a training, made without one."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    network = {"_target_": "vae_lab.networks.MlpArchitecture", "widths": [4]}
    likelihood = {"_target_": "vae_lab.distributions.Bernoulli", "_partial_": True}
    model = {"_target_": "vae_lab.models.VAE", "_partial_": True, "latent_dim": 2, "network": network}
    spec = {"shape": [1, 2, 2], "num_classes": 0, "support": "binary"}
    config = {"model": {**model, "likelihood": likelihood}, "data": {}, "spec": spec, "overrides": []}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    whole = VAE(DataSpec((1, 2, 2), 0, "binary"), 2, MlpArchitecture([4]), Bernoulli)
    for name in ("best.ckpt", "last.ckpt"):
        save(folder / "checkpoints" / name, whole.state_dict())
    return folder


def save(path: Path, weights: dict[str, Any]) -> None:
    torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}}, path)


def test_the_run_is_as_it_should_be(run: Path) -> None:
    assert vae_lab.load_run(run).generate(3).mean.shape == (3, 1, 2, 2)


CHANGED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "complex": lambda value: value.to(torch.complex64),
    "integers": lambda value: value.to(torch.int64),
    "truth values": lambda value: value.bool(),
    "NaN": lambda value: value.fill_(float("nan")),
    "one infinity": lambda value: value.index_fill_(0, torch.tensor([0]), float("-inf")),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_weights_that_are_no_numbers_are_refused(run: Path, command: Callable[..., Outcome], kind: str) -> None:
    weights = {name: value.clone() for name, value in vae_lab.load_run(run).state_dict().items()}
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] = CHANGED[kind](weights[name])
    save(run / "checkpoints" / "best.ckpt", weights)
    named = "not finite" if kind in ("NaN", "one infinity") else "weights of another model"
    with pytest.raises(RunError, match=named) as raised:
        vae_lab.load_run(run)
    assert name in str(raised.value)
    for main, words in ((sample.main, []), (evaluate.main, ["num_samples=2", "trainer=cpu"])):
        outcome = command(main, f"run={run}", *words)
        assert (outcome.code, len(outcome.error_lines)) == (1, 1)
        assert f"best.ckpt: {name}" in outcome.err or named in outcome.err
        assert not (run / "samples").exists()
        assert not (run / "evaluation.json").exists()
    assert vae_lab.load_run(run / "checkpoints" / "last.ckpt"), "the other weights are still good"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the whole path may be too long for a socket


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (os.mkfifo, "is a pipe"),
    "a socket": (make_socket, "is a socket"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
    "an empty file": (lambda path: path.touch(), "truncated, corrupt"),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_checkpoint_that_is_something_else_is_named(run: Path, command: Callable[..., Outcome], kind: str) -> None:
    """Neither waited for, nor passed over for last.ckpt."""
    best = run / "checkpoints" / "best.ckpt"
    best.unlink()
    make, named = ODD[kind]
    make(best)
    for path in (run, best):
        with pytest.raises(RunError, match=named) as raised:
            vae_lab.load_run(path)
        assert "best.ckpt" in str(raised.value)
        assert "\n" not in str(raised.value)
        outcome = command(sample.main, f"run={path}")
        assert (outcome.code, len(outcome.error_lines)) == (1, 1)
        assert named in outcome.err
    best.unlink() if kind != "a folder" else best.rmdir()
    assert find_run(run).checkpoint.name == "last.ckpt", "where there is no best one, the last is meant"


def test_a_checkpoint_that_may_not_be_read_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("zipfile.is_zipfile", refuse)  # root may read anything
    with pytest.raises(RunError, match=r"best.ckpt: Permission denied"):
        vae_lab.load_run(run)
