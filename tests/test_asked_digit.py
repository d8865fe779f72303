"""A conditional model gives the digit that it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome
from hydra.utils import instantiate
from omegaconf import OmegaConf

from vae_lab.data import Mnist


def nearest_neighbours(images: torch.Tensor, k: int = 5) -> torch.Tensor:
    """The majority label of the k nearest MNIST training images, (N,): right for 0.957 of real digits."""
    train = Mnist().load(train=True)
    distance = torch.cdist(images.flatten(1), torch.tensor(train.x).flatten(1).float() / 255)
    labels = torch.tensor(train.y)[distance.topk(k, largest=False).indices]
    return labels.mode(dim=1).values


@pytest.mark.slow
def test_cvae_gives_the_asked_digit(train: Callable[..., Outcome], tmp_path: Path) -> None:
    quick = ("trainer=cpu", "trainer.max_epochs=10", "trainer.enable_progress_bar=false", "logger=none")
    outcome = train("model=cvae", "latent_dim=8", *quick, "callbacks.pictures=null", "callbacks.projector=null")
    assert outcome.code == 0, outcome.err
    (config,) = tmp_path.rglob("config.yaml")
    cfg = OmegaConf.load(config)
    spec = instantiate(cfg.data, _convert_="all").spec
    model = instantiate(cfg.model, _convert_="all")(spec=spec).eval()
    state = torch.load(config.parent / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict(
        {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    )
    asked = torch.arange(10).repeat_interleave(100)
    torch.manual_seed(0)
    with torch.no_grad():
        drawn = model.generate(1000, asked).mean
    # Chance is 0.1. After these few epochs 0.92 was seen, by a judge that is right for 0.957 of real images.
    assert (nearest_neighbours(drawn) == asked).float().mean() > 0.85
