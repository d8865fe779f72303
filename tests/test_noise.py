"""Noise does not depend on how many processes share a batch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from linear_gaussian import random_model

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.distributions import Bernoulli, Gaussian, LabelConditional
from vae_lab.models import MHVAE, VAE, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Shard

SIZE = 7
WORLDS = [1, 2, 3, 4]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("batch_dim", [0, 1])
@pytest.mark.parametrize("draw", [noise.normal, noise.uniform])
def test_a_shard_draws_its_rows_of_the_whole(draw, batch_dim: int, world: int) -> None:
    like = torch.zeros((), dtype=torch.float64)

    def shape(rows: int) -> tuple[int, ...]:
        return (rows, 5, 2) if batch_dim == 0 else (3, rows, 2)

    torch.manual_seed(0)
    whole = [draw(shape(SIZE), like, batch_dim) for _ in range(2)]
    for rank in range(world):
        shard = Shard(rank, world, SIZE)
        rows = torch.arange(SIZE)[shard.rows]
        torch.manual_seed(0)
        with noise.sharded(shard):
            parts = [draw(shape(len(rows)), like, batch_dim) for _ in range(2)]
        assert parts[0].dtype == torch.float64
        for part, full in zip(parts, whole, strict=True):  # the second draw too: generators stay in step
            assert torch.equal(part, full.index_select(batch_dim, rows))


@pytest.mark.parametrize("world", WORLDS)
def test_shards_partition_the_batch(world: int) -> None:
    rows = [torch.arange(SIZE)[Shard(rank, world, SIZE).rows] for rank in range(world)]
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(SIZE))


def test_sharding_ends_with_its_block_even_after_an_error() -> None:
    like = torch.zeros(())
    with pytest.raises(RuntimeError, match="inside"), noise.sharded(Shard(1, 2, SIZE)):
        raise RuntimeError("inside")
    torch.manual_seed(0)
    drawn = noise.normal((4, 2), like)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.randn(4, 2))
    with noise.sharded(Shard(0, 2, 8)):
        with noise.sharded(None):
            assert noise.normal((3, 2), like).shape == (3, 2)
        assert noise.normal((4, 2), like).shape == (4, 2)


def test_fixed_seed_repeats_and_leaves_the_global_state_untouched() -> None:
    torch.manual_seed(1)
    expected = torch.randn(4)
    torch.manual_seed(1)
    draws = []
    for seed in (5, 5, 6):
        with noise.fixed_seed(seed, torch.device("cpu")):
            draws.append(torch.randn(3))
    with pytest.raises(RuntimeError, match="inside"), noise.fixed_seed(5, torch.device("cpu")):
        raise RuntimeError("inside")
    assert torch.equal(torch.randn(4), expected)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_threads_with_fixed_seeds_do_not_take_numbers_from_each_other() -> None:
    def drawn(seed: int) -> list[float]:
        with noise.fixed_seed(seed, torch.device("cpu")):
            return [(time.sleep(1e-4), torch.rand(()).item())[1] for _ in range(20)]

    state = torch.get_rng_state()
    seeds = [0, 1, 2, 3] * 5
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(drawn, seeds)) == list(map(drawn, seeds))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mixed_seed_depends_on_every_number_and_on_their_order() -> None:
    def first(*numbers: int) -> float:
        noise.seed(*numbers)
        return float(torch.rand(()))

    assert first(1, 2) == first(1, 2)
    mixtures = [(1, 2), (2, 1), (1, 3), (2, 2), (3,), (0, 3), (1, 2, 1)]
    assert len({first(*numbers) for numbers in mixtures}) == len(mixtures)


def test_normal_and_uniform_are_what_they_say() -> None:
    torch.manual_seed(2)
    like = torch.zeros((), dtype=torch.float64)
    z, u = noise.normal((100_000,), like), noise.uniform((100_000,), like)
    assert abs(float(z.mean())) < 4.5 / 100_000**0.5
    assert abs(float(z.var()) - 1) < 4.5 * (2 / 100_000) ** 0.5
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(float(u.mean()) - 0.5) < 4.5 * (1 / 12 / 100_000) ** 0.5


def assert_shards_join_to_the_whole(
    model: LatentVariableModel, x: torch.Tensor, y: torch.Tensor | None, world: int, num_samples: int, atol: float
) -> None:
    torch.manual_seed(3)
    whole = model(x, y, num_samples)
    for rank in range(world):
        shard = Shard(rank, world, len(x))
        torch.manual_seed(3)
        with noise.sharded(shard):
            part = model(x[shard.rows], None if y is None else y[shard.rows], num_samples)
        for name in ("log_likelihood", "kl", "log_weight"):
            expected = getattr(whole, name)[:, shard.rows]
            assert (getattr(part, name) - expected).abs().max() <= atol, name
        for mine, full in zip(part.levels, whole.levels, strict=True):
            assert (mine.z - full.z[:, shard.rows]).abs().max() <= atol


# The noise is the same bit by bit; matrix products of fewer rows may round differently in the last place.
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
def test_terms_over_shards_are_those_of_the_whole_batch(kind: str, num_samples: int, world: int) -> None:
    numbers = random_model(0, levels=3, classes=2)
    x, y = numbers.data(SIZE)
    assert_shards_join_to_the_whole(numbers.model(kind, widen=[2.0] * 3), x, y, world, num_samples, atol=1e-12)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", ["vae", "mhvae", "ladder"])
def test_named_models_over_shards(name: str, conditional: bool) -> None:
    spec, net, latent = DataSpec((1, 3, 3), 3, "binary"), MlpArchitecture([8]), MlpArchitecture([6])
    options = {"likelihood": Bernoulli, "conditional": conditional}
    if conditional:
        options["prior"] = LabelConditional
    torch.manual_seed(4)
    model = {
        "vae": lambda: VAE(spec, 4, net, **options),
        "mhvae": lambda: MHVAE(spec, [4, 3], net, latent, **options),
        "ladder": lambda: Ladder(spec, [4, 3], [6, 5], net, latent, **options),
    }[name]()
    x = torch.rand(SIZE, 1, 3, 3).round().double()
    y = torch.arange(SIZE) % 3 if conditional else None
    assert_shards_join_to_the_whole(model.double(), x, y, world=3, num_samples=2, atol=1e-12)


def test_generated_images_over_shards_are_those_of_the_whole() -> None:
    """Also with labels, where the batch is the first and only dimension of the latents."""
    numbers = random_model(1, levels=2, classes=2)
    model = numbers.model()
    _, y = numbers.data(SIZE)
    torch.manual_seed(5)
    whole = model.generate(SIZE, y).mean
    for rank in range(2):
        shard = Shard(rank, 2, SIZE)
        torch.manual_seed(5)
        with noise.sharded(shard):
            part = model.generate(len(y[shard.rows]), y[shard.rows]).mean
        assert torch.allclose(part, whole[shard.rows], atol=1e-12)


def test_noise_from_the_host_is_the_same_for_every_precision() -> None:
    drawn = {}
    for dtype in (torch.float64, torch.float32):
        like = torch.zeros((), dtype=dtype)
        torch.rand(3)  # of another generator
        with noise.from_host(5):
            drawn[dtype] = torch.cat([noise.normal((4, 3), like), noise.uniform((2, 3), like)])
        assert drawn[dtype].dtype == dtype
    assert torch.equal(drawn[torch.float64].float(), drawn[torch.float32])
    with noise.from_host(6):
        assert not torch.equal(noise.normal((4, 3), torch.zeros(())), drawn[torch.float32][:4])
    torch.manual_seed(0)
    outside = noise.normal((4, 3), torch.zeros(()))
    torch.manual_seed(0)
    assert torch.equal(outside, torch.randn(4, 3))


def test_given_noise_repeats_what_was_recorded() -> None:
    model = MHVAE(DataSpec((1, 2, 3)), [4, 3], MlpArchitecture([5]), MlpArchitecture([4]), Gaussian).eval()
    x = torch.rand(5, 1, 2, 3)
    with noise.recorded() as draws:
        terms = model(x, num_samples=2)
    assert [(draw.kind, tuple(draw.value.shape)) for draw in draws] == [("normal", (2, 5, 4)), ("normal", (2, 5, 3))]
    values = [draw.value for draw in draws]
    with noise.given(values):
        assert torch.equal(model(x, num_samples=2).log_weight, terms.log_weight)
    with pytest.raises(ValueError, match="fewer draws given"), noise.given(values[:1]):
        model(x, num_samples=2)
    with pytest.raises(ValueError, match=r"shape \(2, 5, 4\) is given where \(1, 5, 4\)"), noise.given(values):
        model(x)
    with pytest.raises(ValueError, match="1 were not made"), noise.given([*values, values[0]]):
        model(x, num_samples=2)
