"""The graph that `torch.export` traces of a model serves any number of examples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from tests.test_contract import SHAPE, make
from vae_lab.core import LatentVariableModel
from vae_lab.noise import fixed_seed


class Method(nn.Module):
    """Methods of a model as the forward of a module, their distributions as tensors."""

    def __init__(self, model: LatentVariableModel, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, x: Tensor, y: Tensor | None) -> list[Tensor]:
        if self.name == "forward":
            terms = self.model(x, y, 2)
            return [terms.elbo, terms.log_weight]
        return [*self.model.encode(x, y), self.model.reconstruct(x, y).mean]


@pytest.mark.parametrize("method", ["forward", "encode and reconstruct"])
@pytest.mark.parametrize(
    ("model", "labels", "network"),
    [
        ("vae", "unconditional", "mlp"),
        ("vae", "label-prior", "conv"),
        ("mhvae-2", "unconditional", "mlp"),
        ("ladder-3", "conditional", "mlp"),
    ],
)
def test_a_graph_traced_with_four_examples_serves_seven(model: str, labels: str, network: str, method: str) -> None:
    module = Method(make(model, labels, network).model.eval(), method)
    x, y = torch.rand(7, *SHAPE).round(), torch.arange(7) % 3 if module.model.conditional else None
    batch = Dim("batch")
    four = (x[:4], None if y is None else y[:4])
    shapes = ({0: batch}, None if y is None else {0: batch})
    graph = export(module, four, dynamic_shapes=shapes, strict=False).module()
    with fixed_seed(0, x.device):
        traced = graph(x, y)
    with fixed_seed(0, x.device):
        eager = module(x, y)
    for one, other in zip(traced, eager, strict=True):
        torch.testing.assert_close(one, other)
