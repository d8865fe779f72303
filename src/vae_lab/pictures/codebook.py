"""Use of the entries of a codebook."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.grid import DPI, figure_picture
from vae_lab.pictures.latents import batch_on_model, encode, evaluation_mode
from vae_lab.types import Batch


def codebook_use(model: LatentVariableModel, examples: Batch, seed: int = 0) -> Tensor:
    """Draws the share of each entry among the codes of examples, most used first, as a picture (3, H, W).

    Args:
        model: model with a codebook, of one level.
        examples: examples whose codes are counted.
        seed: seed of the noise, which a quantiser does not use.
    """
    with evaluation_mode(model, seed):
        (codes,) = encode(model, batch_on_model(model, examples))
    links: Any = model.prior.links
    num_codes = int(links[0].num_codes)
    share = codes.long().flatten().bincount(minlength=num_codes).double() / codes.numel()
    share = share.sort(descending=True).values.cpu()
    perplexity = float(torch.special.entr(share).sum().exp())
    figure = Figure(figsize=(5.0, 2.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(1, num_codes + 1), share.numpy(), width=1.0)
    axes.set_xlabel("entry of the codebook, most used first")
    axes.set_ylabel("share of the codes")
    axes.set_title(f"{int((share > 0).sum())} of {num_codes} used, perplexity {perplexity:.1f}", fontsize=9)
    return figure_picture(figure)
