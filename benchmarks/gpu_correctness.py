"""Checks that must hold on a GPU before its speed counts: losses, precisions, no waiting, data on the device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks import program
from benchmarks.bench import NOT_APPLICABLE, Bench, Part
from vae_lab import noise
from vae_lab.data import ImageDataModule
from vae_lab.training import VariationalModule

SMOOTH = "network.activation=silu"
"""A unit of relu that is within rounding of 0 changes sign: seen on a CPU, one moved the gradient by 5e-4, not 1e-7."""
MODELS = {
    "vae": ("model=vae", SMOOTH),
    "cvae": ("model=cvae", SMOOTH),
    "mhvae": ("model=mhvae", SMOOTH, "warmup=none"),  # with the whole KL from the first step
    "ladder": ("model=ladder", SMOOTH, "warmup=none"),
    "conv": ("model=vae", "network=conv", SMOOTH),
    "deep": ("model=deep", "latent_dim=4"),
}
SMALL = {
    "conv": ("network.channels=[4,4]", "network.features=16"),
    "deep": ("model.levels=[1,1]", "model.channels=[2,2]", "model.widths=[4,4]", "model.top_width=4"),
}
"""Overrides of --tiny; of all other models the width."""
QUIET = ("callbacks=none", "logger=none", "compile=false")

FIRST_LOSS, LOSSES, GRADIENT = 1e-6, 1e-5, 1e-4
"""Relative bounds of float32 on the device against float64 on the CPU: of the loss of the first step, of each loss of
20 steps, and of the norm of the difference of the first gradients. A CPU's float32 comes to 9e-8, 4e-7 and, of
convolutions, 4e-6."""

ELBO = 5e-3
"""Relative bound of the test ELBO in bfloat16 and float16 against float32."""


def sizes(bench: Bench, name: str) -> tuple[str, ...]:
    """Overrides for a model of the benchmark."""
    if not bench.tiny:
        return MODELS[name]
    return (*MODELS[name], *SMALL.get(name, ("network.widths=[16]",)), "data.batch_size=20")


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Without TF32, which PyTorch allows convolutions by default and matrix products not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class Training:
    """A training loop whose weights, batches and noise are the same for every device and precision.

    Args:
        words: overrides of the command line.
        device: where the model is trained.
        dtype: its precision.
    """

    def __init__(self, words: tuple[str, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        run = program.composed("seed=0", *words)
        self.model, self.objective, self.data = run.module.model.to(device, dtype), run.module.objective, run.data
        self.optimizer = run.module.optimization.optimizer(self.model.parameters())
        self.device, self.dtype = device, dtype
        self.first_gradient: Tensor | None = None

    def placed(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        y = batch.y.to(self.device) if self.model.conditional else None
        return batch.x.to(self.device, self.dtype), y

    def losses(self, steps: int) -> list[float]:
        """The loss of each of the steps taken."""
        found = []
        with noise.from_host(0):
            for step, batch in enumerate(islice(self.data.train_dataloader(), steps)):
                x, y = self.placed(self.data.transform(batch, training=True))
                loss = self.objective(self.model(x, y, self.objective.num_samples), step).value
                loss.backward()
                gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
                self.first_gradient = torch.cat(gradients).cpu().double() if step == 0 else self.first_gradient
                self.optimizer.step()
                self.optimizer.zero_grad()
                found.append(float(loss.detach()))
        return found

    @torch.no_grad()
    def elbo(self, num: int, autocast: torch.dtype | None) -> float:
        """Returns the ELBO of this many test images, with two samples each, in nats per image."""
        x, y = self.placed(self.data.examples(num))
        context = torch.autocast(self.device.type, autocast) if autocast else nullcontext()
        with noise.from_host(1), context:
            return float(self.model(x, y, 2).elbo.double().mean())


def relative(found: float, exact: float) -> float:
    return abs(found - exact) / abs(exact)


def golden(bench: Bench) -> dict[str, Any]:
    """Losses of every model in float32 on the device against float64 on the CPU, with the same weights and noise."""
    rows = {}
    for name in MODELS:
        reference = Training(sizes(bench, name), torch.device("cpu"), torch.float64)
        ours = Training(sizes(bench, name), bench.device)
        steps = bench.pick(20, 5)
        exact = reference.losses(steps)
        with exact_convolutions():
            errors = [relative(*pair) for pair in zip(ours.losses(steps), exact, strict=True)]
        difference = (ours.first_gradient - reference.first_gradient).norm() / reference.first_gradient.norm()
        rows[name] = {"first_loss": errors[0], "losses": max(errors), "gradient": float(difference)}
    bounds = {"first_loss": FIRST_LOSS, "losses": LOSSES, "gradient": GRADIENT}
    holds = all(row[key] <= bound for row in rows.values() for key, bound in bounds.items())
    return {"holds": holds, "bounds": bounds, "relative_errors": rows}


def precisions(bench: Bench) -> dict[str, Any]:
    """The test ELBO of each model after a short training, in float32 and under autocast, with the same noise."""
    rows = {}
    for name in MODELS:
        training = Training(sizes(bench, name), bench.device)
        training.losses(bench.pick(200, 5))
        num = bench.pick(1000, 50)
        exact = training.elbo(num, None)
        halves = {"bfloat16": torch.bfloat16, "float16": torch.float16}
        errors = {half: relative(training.elbo(num, dtype), exact) for half, dtype in halves.items()}
        rows[name] = {"float32": exact, **errors}
    holds = all(max(row["bfloat16"], row["float16"]) <= ELBO for row in rows.values())
    return {"holds": holds, "bounds": {"elbo": ELBO}, "relative_errors": rows}


def fp16(bench: Bench) -> dict[str, Any]:
    """2,000 steps of trainer=gpu_fp16; on a CPU, which has no gradient scaler, of bfloat16."""
    precision = "16-mixed" if bench.on_gpu else "bf16-mixed"
    steps = bench.pick(2000, 20)
    words = (*sizes(bench, "vae"), *bench.trainer(precision), *QUIET, f"trainer.max_steps={steps}")
    module = program.fitted(*words, "trainer.max_epochs=-1")
    weights = weights_of(module)
    taken = module.trainer.global_step
    few = max(1, steps // 100)  # the scaler begins with a scale that overflows
    holds = bool(weights.isfinite().all()) and taken == steps and module.guard.skipped <= few
    return {"holds": holds, "precision": precision, "steps": taken, "skipped": module.guard.skipped}


def weights_of(module: VariationalModule) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])


CAPTURED = {
    "vae": ("warmup=linear",),
    "cvae, cosine, IWAE": ("model=cvae", "objective=iwae", "scheduler=cosine"),
    "mhvae, clipped": ("model=mhvae", "trainer.gradient_clip_val=1"),
    "ladder": ("model=ladder",),
    "conv, dynamic": ("network=conv", "data.binarization=dynamic"),
    "vq_vae": ("model=vq_vae", "objective=vq"),
    "factor_vae": ("objective=factor_vae", "latent_dim=4"),
    "deep, averaged": ("model=deep", "latent_dim=4", "average=0.99", "gradient_skip=20", "likelihood=bernoulli"),
}
"""Trainings of which captured steps are compared with plain ones."""
COMPILED = ("vae", "mhvae, clipped")
"""Those of them that are compiled, too."""
CAPTURE = 1e-3
"""Relative bound of the norm of the difference of all weights after 40 steps: the rates are rounded to float32."""


def captured(bench: Bench) -> dict[str, Any]:
    """Weights after steps captured as a CUDA graph, and some compiled besides, against those of plain steps."""
    if not bench.on_gpu:
        return NOT_APPLICABLE
    rows = {}
    for name, words in CAPTURED.items():
        common = (*bench.trainer(), *QUIET[:2], "trainer.max_steps=40", "trainer.limit_val_batches=1", *words)
        plain = weights_of(program.fitted(*common, "data.batch_size=64", "compile=false"))
        for compile in ("graph", "true") if name in COMPILED else ("graph",):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                module = program.fitted(*common, "data.batch_size=64", f"compile={compile}")
            said = [str(warning.message) for warning in caught]
            rows[f"{name}, compile={compile}"] = {
                "difference": float((weights_of(module) - plain).norm() / plain.norm()),
                "captured": module.captured_steps > 0,
                "said": [line for line in said if "captured" in line or "uncompiled" in line],
            }
    holds = all(row["captured"] and row["difference"] <= CAPTURE for row in rows.values())
    return {"holds": holds, "bounds": {"difference": CAPTURE}, "relative_errors": rows}


WATCHED = {
    "vae": (),
    "vae, captured": ("compile=graph",),
    "deep, averaged": ("model=deep", "average=0.99", "gradient_skip=20", "trainer.precision=bf16-mixed"),
    "vae, compiled, warm-up": ("compile=true", "warmup=linear"),
    "mhvae": ("model=mhvae",),
    "ladder, clipped": ("model=ladder", "trainer.gradient_clip_val=1"),
    "conv, bf16": ("network=conv", "trainer.precision=bf16-mixed"),
}
WAITS = "called a synchronizing CUDA operation"
"""PyTorch's warning; when it is asked for them, it warns in similar words that it does not know all such operations."""
SETTLED = 4
"""Steps before a step is watched: the first ones make workspaces and compile."""


@contextmanager
def watched_steps() -> Iterator[dict[str, Any]]:
    """Within it, notes every place in a training step at which the host waits for the device, and counts the steps."""
    found: dict[str, Any] = {"steps": 0, "waits": []}
    whole = VariationalModule._optimizer_step

    def step(self: VariationalModule, batches: Any) -> Any:
        if self.global_step < SETTLED:
            return whole(self, batches)
        found["steps"] += 1
        with warnings.catch_warnings(record=True) as caught, sync_warnings():
            warnings.simplefilter("always")
            done = whole(self, batches)
        found["waits"] += [f"{Path(w.filename).name}:{w.lineno}" for w in caught if WAITS in str(w.message)]
        return done

    with mock.patch.object(VariationalModule, "_optimizer_step", step):
        yield found


@contextmanager
def sync_warnings() -> Iterator[None]:
    """Within it, PyTorch warns of each operation that waits for a GPU."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(bench: Bench) -> dict[str, Any]:
    """Places at which a training step makes the host wait for the device."""
    if not bench.on_gpu:
        return NOT_APPLICABLE
    rows = {}
    for name, words in WATCHED.items():
        with watched_steps() as found:
            program.fitted(*bench.trainer(), *QUIET, *SHORT, *words)
        rows[name] = {"steps": found["steps"], "waits": sorted(set(found["waits"]))}
    return {"holds": all(row["steps"] and not row["waits"] for row in rows.values()), "settings": rows}


SHORT = ("trainer.max_steps=40", "trainer.limit_val_batches=1")


def residence(bench: Bench) -> dict[str, Any]:
    """Kinds of devices on which batches lie when the loader gives them."""
    if not bench.on_gpu:
        return NOT_APPLICABLE
    found: set[str] = set()
    whole = ImageDataModule.transfer_batch_to_device

    def seen(self: ImageDataModule, batch: Any, *args: Any) -> Any:
        found.add(batch.x.device.type)
        return whole(self, batch, *args)

    with mock.patch.object(ImageDataModule, "transfer_batch_to_device", seen):
        program.fitted(*bench.trainer(), *QUIET, *SHORT)
    return {"holds": found == {"cuda"}, "devices": sorted(found)}


PARTS = (
    Part("captured", "correctness", 60, captured),
    Part("golden", "correctness", 30, golden),
    Part("precisions", "correctness", 15, precisions),
    Part("fp16", "correctness", 15, fp16),
    Part("waits", "correctness", 60, waits),
    Part("residence", "correctness", 5, residence),
)
