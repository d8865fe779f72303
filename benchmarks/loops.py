"""Bare loops as functions of a number of steps: eager, compiled and as a CUDA graph, on the device of the images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from benchmarks import bare

Steps = Callable[[int], None]
"""Takes that many optimizer steps."""


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    # Without the cache of converted weights: each is used once a step, and a captured graph must convert them anew.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if bf16 else nullcontext()


def eager(network: nn.Module, images: Tensor, batch_size: int, bf16: bool = False, compile: bool = False) -> Steps:
    """The loop of `bare.steps` with a fused Adam.

    Args:
        network: called with pixels (B, D); returns the loss.
        images: bytes (N, ...), on the device that trains.
        batch_size: examples of a step.
        bf16: compute the loss under autocast to bfloat16.
        compile: compile the network with `torch.compile`.
    """
    network.to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(network, dynamic=False) if compile else network

    def loss(x: Tensor) -> Tensor:
        with autocast(x.device, bf16):
            return forward(x)

    return lambda num: bare.steps(loss, optimizer, bare.in_memory(images, batch_size, num)())


class Graphed:
    """A whole step (picking the batch, loss, gradient, fused Adam) captured once as a CUDA graph and then replayed.

    Args:
        network, images, batch_size, bf16: arguments of `eager`.
    """

    WARM_UP = 3
    """Steps outside of the graph, so that the optimizer's state and the libraries' workspaces exist before it."""

    def __init__(self, network: nn.Module, images: Tensor, batch_size: int, bf16: bool = False) -> None:
        self.network, self.images, self.bf16 = network.to(images.device), images, bf16
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True, capturable=True)
        self.rows = torch.zeros(batch_size, dtype=torch.long, device=images.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.WARM_UP):
                self.step()
                self.optimizer.zero_grad()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()  # the gradients are None: the graph makes them in its own memory and writes over them

    def step(self) -> None:
        x = self.images.index_select(0, self.rows).flatten(1).float() / 255
        with autocast(x.device, self.bf16):
            loss = self.network(x)
        loss.backward()
        self.optimizer.step()

    def __call__(self, num: int) -> None:
        """Takes at most as many steps as there are whole batches."""
        order = torch.randperm(len(self.images), device=self.images.device)
        for rows in order[: len(order) - len(order) % len(self.rows)].split(len(self.rows))[:num]:
            self.rows.copy_(rows)
            self.graph.replay()
