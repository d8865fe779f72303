"""Trains a variational autoencoder: the parts of the lab in a loop of plain PyTorch, about a minute on a CPU.

python examples/vae.py                  # MNIST, which comes with the package
python examples/vae.py fashion_mnist    # read from the folder data, or downloaded to it
"""

from __future__ import annotations

import sys

import torch
from torchvision.utils import save_image

from vae_lab import noise
from vae_lab.data import FashionMnist, ImageDataModule, Mnist
from vae_lab.distributions import Bernoulli, StandardNormal
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo
from vae_lab.types import DataSpec

DATA_SETS = {"mnist": Mnist, "fashion_mnist": FashionMnist}


def build_model(spec: DataSpec) -> VAE:
    """Returns p(z) p(x|z) with q(z|x): 16 Gaussian latents, Bernoulli pixels, two perceptrons between them."""
    return VAE(spec, 16, network=MlpArchitecture([512, 256]), likelihood=Bernoulli, prior=StandardNormal)


def train(model: VAE, data: ImageDataModule, epochs: int) -> None:
    """Maximises the ELBO, E_q[log p(x|z)] - KL(q(z|x) || p(z)), and prints that of the test set after each epoch."""
    objective = Elbo()  # or Iwae(num_samples=5), Elbo(beta=4.0, warmup=Linear(1000)), ...
    optimizer = torch.optim.Adam(objective.parameter_groups(model), lr=1e-3)
    loader, step = data.train_dataloader(), 0
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # a new order of the examples
        for batch in loader:
            x = data.transform(batch, training=True).x  # (B, 1, 28, 28), pixels drawn anew from their grey values
            terms = model(x, num_samples=objective.num_samples)  # log p(x|z) and the KL of each sample, (1, B)
            loss = objective(terms, step).value  # one number, in nats
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        print(f"epoch {epoch + 1}: test ELBO {elbo_of_test_set(model, data):.2f} nats per example")


@torch.no_grad()
def elbo_of_test_set(model: VAE, data: ImageDataModule) -> float:
    """Returns the mean ELBO: a sum over examples, divided once."""
    batches = [data.transform(batch, training=False).x for batch in data.test_dataloader()]
    return torch.cat([model(x).elbo for x in batches]).mean().item()


def main(name: str = "mnist", epochs: int = 5) -> None:
    """Trains, estimates log p(x) of 100 test pictures, and draws 64 pictures from the prior into samples.png."""
    noise.seed(0)
    data = ImageDataModule(DATA_SETS[name], binarization="dynamic")
    data.prepare_data()
    model = build_model(data.spec)
    train(model, data, epochs)
    log_p = model.log_marginal(data.examples(100).x, num_samples=1000)  # (100,), by importance sampling
    print(f"log p(x) of 100 test pictures: {log_p.mean():.2f} nats per example")
    save_image(model.generate(64).mean, "samples.png", nrow=8)  # (64, 1, 28, 28)


if __name__ == "__main__":
    main(*sys.argv[1:])
