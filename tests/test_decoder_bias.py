"""decoder_bias=data_mean: training starts at the mean training image."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FAST, Outcome
from torch import nn

from vae_lab.distributions import Bernoulli, Categorical, ConditionalDistribution, DiscretizedLogistic, Gaussian
from vae_lab.distributions.conditional import Head
from vae_lab.networks import ConvArchitecture, MlpArchitecture

SHAPE = (1, 8, 8)
MEAN = torch.linspace(0.1, 0.9, 64).reshape(SHAPE)


def silenced(net: nn.Module) -> nn.Module:
    """The network with all weights of its last layer at zero: what is left of its output is the bias."""
    last = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    return net


@pytest.mark.parametrize(
    "head",
    [
        Bernoulli(SHAPE),
        Gaussian(SHAPE, "shared"),
        Gaussian(SHAPE, "per_dimension"),
        DiscretizedLogistic(SHAPE),
    ],
    ids=lambda head: type(head).__name__,
)
def test_the_decoder_starts_at_the_mean(head: Head) -> None:
    likelihood = ConditionalDistribution(silenced(MlpArchitecture([4]).decoder((3,), head.param_shape)), head)
    likelihood.start_at(MEAN)
    found = likelihood(torch.randn(5, 3)).mean
    tolerance = 0.1 if isinstance(head, DiscretizedLogistic) else 1e-6  # clipping to [0, 1] moves its mean
    torch.testing.assert_close(found, MEAN.expand(5, *SHAPE), atol=tolerance, rtol=0)


def test_pixels_that_never_change_stay_finite() -> None:
    raw = Bernoulli(SHAPE).raw_of_mean(torch.zeros(SHAPE))
    assert raw.unique().item() == pytest.approx(math.log(0.001 / 0.999))


def test_a_convolution_starts_at_the_mean_of_each_channel() -> None:
    shape = (3, 8, 8)
    head = Gaussian(shape, "shared")
    net = silenced(ConvArchitecture([4]).decoder((3,), head.param_shape))
    likelihood = ConditionalDistribution(net, head)
    mean = torch.rand(shape)
    likelihood.start_at(mean)
    expected = mean.mean((1, 2), keepdim=True).expand(shape)
    torch.testing.assert_close(likelihood(torch.randn(1, 3)).mean[0], expected)


def test_what_cannot_start_there_says_so() -> None:
    for head, net, message in (
        (Categorical(SHAPE, levels=4), MlpArchitecture([4]), "likelihood Categorical has no parameter for the mean"),
        (Bernoulli(SHAPE), None, "network Identity has no start_at"),
    ):
        built = nn.Identity() if net is None else net.decoder((3,), head.param_shape)
        with pytest.raises(ValueError, match=message):
            ConditionalDistribution(built, head).start_at(MEAN)


def test_a_run_starts_there(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """After three steps at a rate of nearly zero, the bias is still that of the data."""
    start = partial(train, *FAST, "optimizer.lr=1e-12")
    assert start("decoder_bias=data_mean", f"hydra.run.dir={tmp_path / 'run'}").code == 0
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    bias = state["model.likelihood.net.layers.2.bias"].sigmoid().numpy()

    from vae_lab.data import ImageDataModule, Mnist

    images = ImageDataModule(Mnist).images.load(train=True).x
    expected = np.clip(images.mean(0).ravel() / 255, 0.001, 0.999)
    assert np.abs(bias - expected).max() < 0.01  # the 5,000 images held out for validation are not in it
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["decoder_bias"] == "data_mean"

    mistake = start("decoder_bias=mean")
    assert "decoder_bias=mean: must be one of default, data_mean" in mistake.error_lines[0]
