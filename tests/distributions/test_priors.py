from __future__ import annotations

import pytest
import torch

from vae_lab.distributions import LabelConditional, StandardNormal
from vae_lab.networks import OneHot


def test_standard_normal_has_the_batch_shape_of_its_context() -> None:
    prior = StandardNormal((3,), 5)
    assert prior(None, None).batch_shape == ()
    for batch in ((4,), (2, 4)):
        d = prior(None, torch.randn(*batch, 5))
        assert d.batch_shape == batch
        assert d.event_shape == (3,)
        assert torch.equal(d.mean, torch.zeros(*batch, 3))
        assert torch.equal(d.stddev, torch.ones(*batch, 3))


def test_standard_normal_follows_the_dtype_of_the_model_and_adds_nothing_to_a_checkpoint() -> None:
    prior = StandardNormal((3,)).double()
    assert prior(None).mean.dtype == torch.float64
    assert not prior.state_dict()


def test_each_label_has_its_own_place() -> None:
    torch.manual_seed(0)
    prior, embed = LabelConditional((3,), 4), OneHot(4)
    d = prior(None, embed(torch.tensor([0, 1, 2, 3, 0])))
    assert d.batch_shape == (5,)
    assert d.event_shape == (3,)
    assert torch.equal(d.mean[0], d.mean[4])
    for parameter in (d.mean, d.stddev):
        assert (torch.pdist(parameter[:4]) > 1e-3).all()


def test_label_conditional_prior_needs_labels() -> None:
    with pytest.raises(ValueError, match=r"LabelConditional.*conditional=True"):
        LabelConditional((3,), 0)
