"""Two processes that share a batch compute the loss and the gradient of one, whatever the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from vae_lab import noise
from vae_lab.distributions import Bernoulli, MixtureOfGaussians, StandardNormal
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import BetaTcvae, Capacity, Elbo, InfoVae, Iwae, Objective
from vae_lab.objectives.whole_batch import whole_batch
from vae_lab.types import DataSpec, Shard

SPEC = DataSpec((1, 3, 3), 0, "binary")
SIZE, WORLD = 12, 2
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": Elbo,
    "free bits": lambda: Elbo(free_bits=0.2),
    "free bits below and above": lambda: Elbo(free_bits=0.05, num_samples=3),
    "capacity above": lambda: Capacity(gamma=10.0, capacity=0.01, steps=1),
    "capacity below": lambda: Capacity(gamma=10.0, capacity=50.0, steps=1),
    "beta-TCVAE": BetaTcvae,
    "beta-TCVAE of three samples": lambda: BetaTcvae(beta=3.0, num_samples=3),
    "MMD": InfoVae,
    "MMD of three samples": lambda: InfoVae(kernel="rbf", num_samples=3),
    "WAE": lambda: InfoVae(alpha=1.0, lambda_=10.0),
    "IWAE": Iwae,
}


def losses(shard: Shard) -> Iterator[tuple[str, torch.Tensor, list[torch.Tensor]]]:
    """The loss of each objective and model on these rows of a batch, and its gradient."""
    torch.set_default_dtype(torch.float64)
    for name, make in OBJECTIVES.items():
        objective = make()
        for prior in (StandardNormal, MixtureOfGaussians):
            for levels in (1, 2)[: 1 if objective.one_level else 2]:
                torch.manual_seed(3)
                network = MlpArchitecture([8])
                model = VAE(SPEC, 2, network, Bernoulli, prior) if levels == 1 else MHVAE(
                    SPEC, [3, 2], network, network, Bernoulli, prior
                )  # fmt: skip
                x = torch.rand(SIZE, 1, 3, 3).round()[shard.rows]
                with noise.sharded(shard):
                    terms = model(x, None, objective.num_samples)
                    value = objective(terms, step=10).value
                gradient = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
                yield f"{name}, {prior.__name__}, {levels}", value.detach(), [g for g in gradient if g is not None]


def process(rank: int, folder: str) -> None:
    """Does the work of DistributedDataParallel: each process its rows, then the mean of the gradients."""
    file = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=file, rank=rank, world_size=WORLD)
    found = {}
    for name, value, gradient in losses(Shard(rank, WORLD, SIZE)):
        for tensor in (value, *gradient):
            distributed.all_reduce(tensor)
        found[name] = (value / WORLD, [each / WORLD for each in gradient])
    if rank == 0:
        torch.save(found, f"{folder}/found")
    distributed.destroy_process_group()


@pytest.mark.usefixtures("forks")
def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(process, (str(tmp_path),), nprocs=WORLD, start_method="forkserver")
    found = torch.load(tmp_path / "found")
    try:
        one = list(losses(Shard(0, 1, SIZE)))
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(one) == len(found) == 2 * (2 * len(OBJECTIVES) - 2)
    for name, value, gradient in one:
        torch.testing.assert_close(found[name][0], value, rtol=1e-10, atol=1e-10, msg=name)
        for ours, theirs in zip(gradient, found[name][1], strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("shard", [None, Shard(0, 1, 5)])
def test_one_process_takes_its_values_as_they_are(shard: Shard | None) -> None:
    values = torch.randn(3, 5)
    with noise.sharded(shard):
        assert whole_batch(values, 1) is values
