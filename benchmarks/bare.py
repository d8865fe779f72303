"""The loops that vae_lab is measured against: the same networks, as an expert would write them in plain PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vae_lab.fitting import compose

Loss = Callable[[Tensor], Tensor]


def sample(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, log-variance and a reparametrised sample."""
    mean, log_variance = parameters.chunk(2, dim=-1)
    return mean, log_variance, mean + torch.randn_like(mean) * (log_variance / 2).exp()


def standard_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Without its constant."""
    return -0.5 * (log_variance + (x - mean) ** 2 / log_variance.exp()).sum()


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Vae(nn.Module):
    """A VAE of any encoder and decoder."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance, z = sample(self.encoder(x))
        reconstruction = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return (reconstruction + standard_kl(mean, log_variance)) / len(x)


class TwoLevels(nn.Module):
    """784-512-256-z64-128-128-z10 and back: a Markov hierarchy with the log-ratio at the sample on the lower level."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(784, 512, 256, 128), mlp(64, 256, 512, 784)
        self.up, self.down = mlp(64, 128, 128, 20), mlp(10, 128, 128, 128)

    def forward(self, x: Tensor) -> Tensor:
        mean_1, log_variance_1, z_1 = sample(self.encoder(x))
        mean_2, log_variance_2, z_2 = sample(self.up(z_1))
        reconstruction = functional.binary_cross_entropy_with_logits(self.decoder(z_1), x, reduction="sum")
        ratio = log_normal(z_1, mean_1, log_variance_1) - log_normal(z_1, *self.down(z_2).chunk(2, dim=-1))
        return (reconstruction + ratio + standard_kl(mean_2, log_variance_2)) / len(x)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.silu(self.first(functional.silu(x))))


class Upsample(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(self.size, self.size))


def conv_vae() -> Vae:
    """The default residual network: 28x28 -> 14x14x32 -> 7x7x64 -> 256 -> z10 and back."""
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 3, stride=2, padding=1),
        Residual(32),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        Residual(64),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.SiLU(),
        nn.Linear(256, 20),
    )
    decoder = nn.Sequential(
        nn.Linear(10, 256),
        nn.SiLU(),
        nn.Linear(256, 64 * 7 * 7),
        nn.Unflatten(1, (64, 7, 7)),
        Residual(64),
        nn.SiLU(),
        Upsample(14),
        nn.Conv2d(64, 32, 3, padding=1),
        Residual(32),
        nn.SiLU(),
        Upsample(28),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Flatten(),
    )
    return Vae(encoder, decoder)


DEEP = ("model=deep", "latent_dim=16", "warmup=none", "data.binarization=none")


class Lab(nn.Module):
    """A model and an objective of vae_lab, as they would be used in a loop of one's own.

    Args:
        overrides: overrides that compose them.
    """

    def __init__(self, *overrides: str) -> None:
        super().__init__()
        run = compose("trainer=cpu", *overrides)
        self.model, self.objective = run.module.model, run.module.objective

    def forward(self, x: Tensor) -> Tensor:
        return self.objective(self.model(x.unflatten(1, (1, 28, 28)), None, check=False), 0).value


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: Vae(mlp(784, 256, 4), mlp(2, 256, 784)),
    "mhvae": TwoLevels,
    "conv": conv_vae,
    "deep": lambda: Lab(*DEEP),
}


def clock() -> float:
    """Seconds, once the device has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def steps(model: Loss, optimizer: torch.optim.Optimizer, batches: Iterator[Tensor]) -> None:
    """The loop itself."""
    for x in batches:
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()


def epochs(model: nn.Module, batches: Callable[[], Iterator[Tensor]], num: int) -> list[float]:
    """Seconds of each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    seconds = []
    for _ in range(num):
        start = time.perf_counter()
        steps(model, optimizer, batches())
        seconds.append(time.perf_counter() - start)
    return seconds


def in_memory(images: Tensor, batch_size: int, limit: int) -> Callable[[], Iterator[Tensor]]:
    """At most ``limit`` batches of bytes (N, ...), picked by one index operation and made floats (B, D) in [0, 1]."""

    def batches() -> Iterator[Tensor]:
        for rows in torch.randperm(len(images), device=images.device).split(batch_size)[:limit]:
            yield images[rows].flatten(1).float() / 255

    return batches


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures with labels as torchvision.datasets.MNIST gives them: a Pillow image for each, then the transform."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.transform = images.numpy()[:, 0], ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), 0


def with_transforms(images: Tensor, batch_size: int) -> Callable[[], Iterator[Tensor]]:
    """A DataLoader that makes a tensor of each example, as the tutorials do."""
    loader = DataLoader(_Pictures(images), batch_size, shuffle=True)
    return lambda: (x.flatten(1) for x, _ in loader)
