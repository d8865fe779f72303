"""Tests the structure that keeps a training step fast, independent of the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from tests.data.small_sets import image_set
from vae_lab.core import model as model_module
from vae_lab.data import BatchLoader, EpochSampler, ImageDataModule
from vae_lab.data.array.files import ArrayFiles
from vae_lab.distributions import Bernoulli, LabelConditional, MixtureOfGaussians, VampPrior
from vae_lab.models import MHVAE, VAE, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import BetaTcvae, Capacity, Elbo, InfoVae, Iwae, IwaeDreg, Objective
from vae_lab.objectives.schedules import Linear
from vae_lab.training import Optimization, VariationalModule, optimization

NETWORK = MlpArchitecture([8])
NORMALISED = MlpArchitecture([8], "gated", batch_norm=True)
VAMP = partial(VampPrior, num_components=3)


def python_calls(work: Callable[[], object]) -> int:
    """The number of Python and C functions that are called."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def loader_of(num: int, mapped: bool) -> BatchLoader:
    """Two batches of half of the images each."""
    images = image_set(num)(memory_limit_gb=0.0 if mapped else 1.0)
    arrays = images.load(train=True)
    return BatchLoader(arrays, EpochSampler(np.arange(num), seed=0), num // 2)


@pytest.mark.parametrize("mapped", [False, True])
def test_the_loader_calls_nothing_for_each_example(mapped: bool) -> None:
    few, many = loader_of(20, mapped), loader_of(2000, mapped)
    list(few)  # what happens only once in a process is past
    assert python_calls(lambda: list(few)) == python_calls(lambda: list(many))


def test_rows_on_a_device_are_those_of_the_host() -> None:
    arrays = image_set(40)().load(train=True)
    rows = np.arange(3, 33)
    host, device = (
        BatchLoader(arrays, EpochSampler(rows, seed=5), 8, device=place) for place in (None, torch.device("cpu"))
    )
    for here, there in zip(host, device, strict=True):
        assert torch.equal(here.x, there.x)
        assert torch.equal(here.y, there.y)
        assert here.shard == there.shard
    shards = [BatchLoader(arrays, EpochSampler(rows, 5), 8, rank, 2, device=torch.device("cpu")) for rank in (0, 1)]
    for whole, *parts in zip(host, *shards, strict=True):
        for part in parts:
            assert torch.equal(part.x, whole.x[part.shard.rows])


class Record(TorchDispatchMode):
    """Names of the operations, and the largest tensor that one of them made."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket.__name__)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


WAITS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "unique", "masked_select"}
"""Operations that need the host to wait for the device."""


class Probe(pl.Callback):
    """Records the operations of every step."""

    def __init__(self) -> None:
        self.record = Record()
        self.steps = 0

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        step = pl_module._optimizer_step

        def recorded(batches: Any) -> Any:
            with self.record:
                self.steps += 1
                return step(batches)

        pl_module._optimizer_step = recorded


def module_of(kind: str, data: ImageDataModule, objective: Objective, compile: Any = False) -> VariationalModule:
    torch.manual_seed(0)
    models = {
        "vae": lambda: VAE(data.spec, 2, NETWORK, Bernoulli),
        "cvae": lambda: VAE(data.spec, 2, NETWORK, Bernoulli, LabelConditional, conditional=True),
        "mhvae": lambda: MHVAE(data.spec, [4, 2], NETWORK, NETWORK, Bernoulli),
        "ladder": lambda: Ladder(data.spec, [4, 2], [8, 8], NETWORK, NETWORK, Bernoulli),
        "mixture": lambda: VAE(data.spec, 2, NORMALISED, Bernoulli, MixtureOfGaussians),
        "vamp": lambda: VAE(data.spec, 2, NETWORK, Bernoulli, VAMP, conditional=True),
    }
    optimization = Optimization(lambda p: torch.optim.Adam(p, lr=1e-3, fused=True), compile=compile)
    return VariationalModule(models[kind](), objective, optimization, data.spec)


def fit(module: VariationalModule, data: ImageDataModule, *callbacks: pl.Callback, epochs: int = 2) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        callbacks=list(callbacks),
    )
    trainer.fit(module, datamodule=data)


def data_of(binarization: Any = "dynamic") -> ImageDataModule:
    return ImageDataModule(image_set(125), batch_size=16, val_size=5, binarization=binarization)  # a short last batch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "objective"),
    [  # each model, and each objective: with several levels where it takes them
        ("vae", Elbo(warmup=Linear(30), free_bits=0.1)),
        ("mhvae", Elbo(warmup=Linear(30), free_bits=0.1)),
        ("ladder", Iwae(3)),
        ("vamp", Iwae(3)),
        ("cvae", IwaeDreg(3)),
        ("mixture", IwaeDreg(3)),
        ("mixture", BetaTcvae()),
        ("cvae", BetaTcvae()),
        ("mhvae", Capacity(steps=30)),
        ("ladder", InfoVae()),
        ("vamp", InfoVae()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_no_step_waits_for_the_device(kind: str, objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimization, "SYNCHRONOUS_DEVICES", ())  # the CPU stands for a device that is waited for
    data, probe = data_of(), Probe()
    fit(module_of(kind, data, objective), data, probe)
    assert probe.steps == 16
    assert "addmm" in probe.record.names
    assert not probe.record.names & WAITS


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the graph that is traced as it is, or compiles it, which takes ten seconds each."""
    whole, own = torch.compile, {"backend": request.param}
    if request.param != "inductor":
        own["options"] = None  # they are inductor's
    monkeypatch.setattr(torch, "compile", lambda *args, **options: whole(*args, **options | own))
    return str(request.param)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("cvae", Elbo(warmup=Linear(30))),
        ("mhvae", Iwae(3)),
        ("cvae", IwaeDreg(3)),
        pytest.param("vae", BetaTcvae(), marks=pytest.mark.slow),
        pytest.param("cvae", InfoVae(), marks=pytest.mark.slow),
        pytest.param("mixture", Elbo(), marks=pytest.mark.slow),
        ("vamp", Elbo()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_run_is_compiled_once_and_to_the_same_numbers(kind: str, objective: Objective) -> None:
    weights = []
    for compile in (False, True):
        data = data_of()
        module = module_of(kind, data, objective, compile)
        counters.clear()
        fit(module, data, epochs=3)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()]))
        assert counters["stats"]["unique_graphs"] == int(compile)
        assert not counters["graph_break"]
        assert (module.compile_seconds > 0) == compile
    assert torch.allclose(weights[0], weights[1], rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_goes_on_where_compiling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> Any:
        def fail(*args: object) -> None:
            raise RuntimeError("no compiler here\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    data = data_of()
    module = module_of("vae", data, Elbo(), compile=True)
    with pytest.warns(UserWarning, match="training goes on uncompiled: no compiler here$"):
        fit(module, data)
    assert module.trainer.global_step == 16


@pytest.mark.parametrize("num_samples", [50, 500])
def test_evaluation_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch, num_samples: int) -> None:
    data = data_of("threshold")
    module = module_of("mhvae", data, Elbo())
    x = torch.rand(10, *data.spec.shape)
    monkeypatch.setattr(model_module, "_MARGINAL_BUDGET", 10 * x.numel())
    with Record() as record:
        module.model.log_marginal(x, None, num_samples)
    assert record.largest <= 10 * x.numel()


def resident_kilobytes(path: Path) -> int:
    """Returns how many bytes of the maps of a file are resident in this process."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")
def test_a_map_that_was_read_through_is_not_resident(tmp_path: Path) -> None:
    path = tmp_path / "train_images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (4000, 1, 64, 64), np.uint8))  # 16 MB
    np.save(tmp_path / "test_images.npy", np.zeros((4, 1, 64, 64), np.uint8))
    arrays = ArrayFiles(str(tmp_path), memory_limit_gb=0.001).load(train=True)
    assert isinstance(arrays.x, np.memmap)
    assert arrays.x.sum() > 0
    assert resident_kilobytes(path) > 10_000, "the test sees what it should"
    for number, _ in enumerate(BatchLoader(arrays, EpochSampler(np.arange(4000), seed=0), 100)):
        if number % 5 == 4:  # the kernel takes long to tell, and five batches are 2 MB
            assert resident_kilobytes(path) < 1000
