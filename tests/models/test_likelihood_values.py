"""Tests that a likelihood of one's own is refused for data that its distribution gives no probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.distributions import Distribution, Exponential, Independent, Laplace, Poisson, constraints

from vae_lab.cli.check import ConfigError
from vae_lab.cli.remedies import naming_keys
from vae_lab.distributions import Head
from vae_lab.models.builders import likelihood_head
from vae_lab.types import DataSpec, Scaling


class _Own(Head):
    def __init__(self, event_shape: Sequence[int], family: Callable[[Tensor], Distribution]) -> None:
        super().__init__(event_shape)
        self.family = family

    def build(self, params: Sequence[Tensor]) -> Distribution:
        return Independent(self.family(params[0].exp()), len(self.event_shape), validate_args=False)


FAMILIES: dict[str, Callable[[Tensor], Distribution]] = {
    "poisson": lambda rate: Poisson(rate, validate_args=False),
    "exponential": lambda rate: Exponential(rate, validate_args=False),
    "laplace": lambda scale: Laplace(torch.zeros_like(scale), scale, validate_args=False),
}
STANDARDISED = DataSpec((3,), support="real", scaling=Scaling((4.0, 5.0, 6.0), (1.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("family", "kind"), [("poisson", "standardised"), ("exponential", "standardised"), ("poisson", "unit")]
)
def test_values_without_probability_are_refused(family: str, kind: str) -> None:
    """Torch does not validate them, as heads ask, and its log_prob is a finite number without a meaning."""
    spec = STANDARDISED if kind == "standardised" else DataSpec((3,), support="unit")
    assert FAMILIES[family](torch.ones(3)).log_prob(torch.full((3,), -0.5 if spec.scaling else 0.5)).isfinite().all()
    with pytest.raises(ValueError, match=f"likelihood _Own cannot model {kind} data"):
        likelihood_head(spec, lambda shape: _Own(shape, FAMILIES[family]))


class _OfBytes(constraints.Constraint):
    def check(self, value: Tensor) -> Tensor:
        return (value * 255 - (value * 255).round()).abs() < 1e-3


class _Levels(Laplace):
    support = _OfBytes()  # type: ignore[assignment]


class _OneExampleAtLeast(Head):
    def build(self, params: Sequence[Tensor]) -> Distribution:
        samples, examples, *event = params[0].shape
        loc = params[0].reshape(samples * examples, *event).view_as(params[0])
        return Independent(_Levels(loc, torch.ones_like(loc), validate_args=False), len(event), validate_args=False)


def test_a_likelihood_of_levels_of_passes_alone_is_taken() -> None:
    """A pass gives it parameters of samples and examples, and bytes have no value of a half."""
    likelihood_head(DataSpec((3,), support="uint8"), _OneExampleAtLeast)


@pytest.mark.parametrize("family", FAMILIES)
def test_data_as_they_are_suit_any_family_over_them(family: str) -> None:
    likelihood_head(DataSpec((3,), support="real"), lambda shape: _Own(shape, FAMILIES[family]))
    likelihood_head(STANDARDISED, lambda shape: _Own(shape, FAMILIES["laplace"]))


def test_a_distribution_over_single_columns_is_refused() -> None:
    """Its log-probabilities (K, B, 1) are broadcast against the KL (K, B): a traceback, or an ELBO of (B, B)."""

    class Loose(Head):
        def build(self, params: Sequence[Tensor]) -> Distribution:
            return Laplace(params[0], torch.ones_like(params[0]), validate_args=False)

    with pytest.raises(
        ValueError, match=r"Loose: build returns a distribution over events of shape \(\), must be \(1,\)"
    ):
        likelihood_head(DataSpec((1,), support="real"), Loose)


def test_the_command_names_the_key_that_leaves_counts_as_they_are() -> None:
    expected = r"cannot model standardised data: .*; data\.standardize=false"
    with pytest.raises(ConfigError, match=expected), naming_keys(OmegaConf.create({})):
        likelihood_head(STANDARDISED, lambda shape: _Own(shape, FAMILIES["poisson"]))
