"""pythae 0.1.2 (Chadebec, Vincent and Allassonniere 2022, arXiv:2206.08309), the same network in its own trainer."""

from __future__ import annotations

import logging
import tempfile
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bare import clock, mlp


def installed() -> bool:
    """True if pythae is installed: `pip install pythae==0.1.2`."""
    return find_spec("pythae") is not None


def pythae_epochs(images: Tensor, batch_size: int, num: int) -> list[float]:
    """Returns the seconds of each epoch of 784-256-2 on floats in memory, trained on the device of the images."""
    from pythae.data.datasets import BaseDataset  # noqa: PLC0415
    from pythae.models import VAE, VAEConfig  # noqa: PLC0415
    from pythae.models.base.base_utils import ModelOutput  # noqa: PLC0415
    from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: PLC0415
    from pythae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: PLC0415
    from pythae.trainers.training_callbacks import TrainingCallback  # noqa: PLC0415

    logging.getLogger("pythae").setLevel(logging.ERROR)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(784, 256, 4)

        def forward(self, x: Tensor) -> Any:
            mean, log_covariance = self.layers(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(mlp(2, 256, 784), nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z))

    class Times(TrainingCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_train_step_begin(self, training_config: Any, **kwargs: Any) -> None:
            self.start = clock()
            self.seconds.append(0.0)

        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            self.seconds[-1] = clock() - self.start  # it comes after every batch; the last one counts

    model = VAE(VAEConfig(input_dim=(784,), latent_dim=2, reconstruction_loss="bce"), Encoder(), Decoder())
    x = images.cpu().flatten(1).float() / 255
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=num,
            learning_rate=1e-3,
            per_device_train_batch_size=batch_size,
            no_cuda=images.device.type != "cuda",
        )
        trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config, callbacks=[times])
        trainer.train()
    return times.seconds
