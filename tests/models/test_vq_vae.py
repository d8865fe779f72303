from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_lab import noise
from vae_lab.distributions import Bernoulli
from vae_lab.distributions.codes import CertainCodes, CodePrior, UniformCodes
from vae_lab.models import MHVAE, VAE, VqVae
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo, VectorQuantisation
from vae_lab.pictures.album import Album
from vae_lab.pictures.request import requested
from vae_lab.settings import Request
from vae_lab.training.metrics import UnitMetrics
from vae_lab.types import Batch, DataSpec, Shard

SPEC = DataSpec((1, 9, 6), 3, "binary")
SMALL = partial(VqVae, SPEC, 4, Bernoulli, num_codes=5, widths=(4, 6), blocks=(1, 1))
PLACES = 3 * 2  # 9 x 6 halved twice


def model_and_data(conditional: bool = False, codebook: Any = "linear") -> tuple[VqVae, Tensor, Tensor | None]:
    torch.manual_seed(0)
    model = SMALL(conditional=conditional, codebook=codebook).double()
    x = torch.rand(7, *SPEC.shape).round().double()
    return model, x, torch.arange(7) % 3 if conditional else None


@pytest.mark.parametrize("conditional", [False, True])
def test_the_bound_is_exact(conditional: bool) -> None:
    """KL = places log K; every importance weight is log p(x|e) minus that."""
    model, x, y = model_and_data(conditional)
    terms = model(x, y, num_samples=3)
    kl = PLACES * math.log(5)
    assert torch.allclose(terms.kl, torch.full_like(terms.kl, kl))
    (codes,) = model.encode(x, y)
    assert codes.shape == (7, 3, 2)
    log_p = model.decode([codes], y).log_prob(x)
    assert torch.allclose(terms.log_weight, (log_p - kl).expand(3, -1))
    assert torch.allclose(terms.elbo, terms.importance_weighted_bound)
    assert torch.allclose(model.log_marginal(x, y, num_samples=4, chunk=2), terms.elbo)


@pytest.mark.parametrize("number", [-1.0, 0.5, 5.0])
def test_codes_that_no_entry_has_are_refused(number: float) -> None:
    model, _, _ = model_and_data()
    with pytest.raises(ValueError, match=rf"z\[0\]: {number:g}, must be a whole number from 0 to 4"):
        model.decode([torch.full((2, 3, 2), number)])


def test_a_code_is_the_entry_nearest_what_the_encoder_gives() -> None:
    model, x, _ = model_and_data()
    level = model(x).levels[0]
    q = level.q
    assert isinstance(q, CertainCodes)
    distances = torch.cdist(q.encoded.movedim(1, -1).flatten(0, -2), model.prior.codebook.entries)
    assert torch.equal(distances.argmin(1).reshape(level.z[0].shape), level.z[0].long())
    assert torch.equal(q.entries, model.prior.codebook(level.z[0]))
    assert torch.allclose(level.state[0], q.entries)  # what the likelihood reads, to rounding


@pytest.mark.parametrize("codebook", ["free", "linear"])
def test_the_nearest_entry_is_found_in_float32_under_autocast(codebook: Any) -> None:
    torch.manual_seed(0)
    entries = SMALL(codebook=codebook, num_codes=512).prior.codebook
    vectors = torch.randn(64, 4, 3, 2)
    codes = entries.nearest(vectors)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(entries.nearest(vectors), codes)
        assert torch.equal(entries(codes), entries.entries[codes.long()].movedim(-1, -3))
        assert entries(codes).dtype == torch.float32


def test_gradients_go_straight_through_to_the_encoder_and_by_the_distance_to_the_codebook() -> None:
    model, x, _ = model_and_data(codebook="free")
    terms = model(x)
    q, state = terms.levels[0].q, terms.levels[0].state
    entries = model.prior.codebook.entries
    bound = Elbo()(terms, 0).value
    of_bound, of_state = torch.autograd.grad(bound, (q.encoded, state), retain_graph=True)
    assert torch.allclose(of_bound, of_state[0])
    assert torch.autograd.grad(bound, entries, retain_graph=True, allow_unused=True)[0] is None
    for commitment in (0.0, 0.7):
        loss = VectorQuantisation(commitment)(terms, 0)
        to_encoder, to_codebook = torch.autograd.grad(loss.value, (q.encoded, entries), retain_graph=True)
        pull = 2 * commitment * (q.encoded - q.entries) / len(x)
        assert torch.allclose(to_encoder, of_bound + pull)
        expected = torch.zeros_like(entries)
        moves = 2 * (q.entries - q.encoded).movedim(1, -1).flatten(0, -2) / len(x)
        expected.index_add_(0, q.codes.long().flatten(), moves)
        assert torch.allclose(to_codebook, expected)
        squares = (q.entries - q.encoded).square().sum() / len(x)
        assert torch.allclose(loss.value, bound + (1 + commitment) * squares)


def test_the_prior_draws_each_entry_equally_often_and_the_same_on_two_processes() -> None:
    prior = UniformCodes(5, torch.zeros(40, 3, 2), 2)
    noise.seed(0)
    codes = prior.rsample((50,))
    assert set(codes.unique().tolist()) == {0, 1, 2, 3, 4}
    counts = codes.long().flatten().bincount().double()
    assert ((counts - 2400).abs() < 5 * math.sqrt(2400 * 0.8)).all()
    assert torch.allclose(prior.log_prob(codes), torch.full((50, 40), -6 * math.log(5)))
    noise.seed(0)
    whole = prior.rsample()
    for rank in range(2):
        shard = Shard(rank, 2, 40)
        noise.seed(0)
        with noise.sharded(shard):
            assert torch.equal(UniformCodes(5, torch.zeros(20, 3, 2), 2).rsample(), whole[shard.rows])
    assert CodePrior(5, (3, 2))(None, torch.zeros(4, 3)).batch_shape == (4,)


def test_other_codes_than_its_own_have_no_mass() -> None:
    codes = torch.tensor([[[0.0, 1.0]], [[2.0, 3.0]]])
    q = CertainCodes(codes, codes, codes, 2)
    other = codes.clone()
    other[1, 0, 0] = 4
    assert q.log_prob(codes).tolist() == [0, 0]
    assert q.log_prob(other).tolist() == [0, -math.inf]


@pytest.mark.parametrize("seed", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_no_entry_of_a_linear_codebook_is_left_behind(seed: int) -> None:
    """From these seeds a free codebook ends with one entry for all pictures, at -28 nats."""
    log_likelihood, different = fitted("linear", seed)
    assert log_likelihood > -1
    assert different == 4


def fitted(codebook: Any, seed: int) -> tuple[float, int]:
    """Trains on four pictures; returns the log-likelihood and the number of different codes."""
    torch.manual_seed(seed)
    model, objective = SMALL(codebook=codebook), VectorQuantisation()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pictures = torch.rand(4, *SPEC.shape).round()
    for _ in range(300):
        optimizer.zero_grad()
        objective(model(pictures[torch.randint(4, (16,))]), 0).value.backward()
        optimizer.step()
    (codes,) = model.encode(pictures)
    return model(pictures).log_likelihood.mean().item(), len(codes.flatten(1).unique(dim=0))


def test_its_pictures_leave_out_what_moves_codes() -> None:
    model, x, _ = model_and_data()
    model = model.float()
    drawn = dict(Album(Batch(x.float())).full(model))
    assert set(drawn) == {"samples", "reconstructions", "codebook"}
    assert drawn["codebook"].shape[0] == 3
    with pytest.raises(ValueError, match="what=traversals: needs codes that are points of a space"):
        list(requested(Request(what="traversals"), model, lambda *_: Batch(x)))


def test_the_used_entries_are_counted_instead_of_dimensions() -> None:
    model, x, _ = model_and_data()
    model.posterior.encoder.out.weight.data *= 30  # far enough apart for several entries
    units = UnitMetrics(model.level_groups)
    used = set()
    for batch in (x[:4], x[4:]):
        terms = model(batch, num_samples=2)
        units.update(terms.levels)
        used |= set(terms.levels[0].z.flatten().tolist())
    assert len(used) > 1
    assert units.finish() == {"codes_used": len(used)}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs pictures"):
        VqVae(DataSpec((5,), support="binary"), 4, Bernoulli)
    with pytest.raises(ValueError, match="one number for each grid"):
        VqVae(SPEC, 4, Bernoulli, widths=(4,), blocks=(1, 1))
    with pytest.raises(ValueError, match="num_codes=0: must be at least 1"):
        VqVae(SPEC, 4, Bernoulli, num_codes=0)
    with pytest.raises(ValueError, match="codebook=ema: choose free or linear"):
        SMALL(codebook="ema")
    with pytest.raises(ValueError, match="commitment=-1"):
        VectorQuantisation(-1)
    net = MlpArchitecture([4])
    for model in (VAE(SPEC, 2, net, Bernoulli), MHVAE(SPEC, [3, 2], net, net, Bernoulli)):
        with pytest.raises(ValueError, match="needs a model with a codebook"):
            VectorQuantisation().check(model)
    with pytest.raises(ValueError, match="Elbo does not train a codebook"):
        Elbo().check(SMALL())
