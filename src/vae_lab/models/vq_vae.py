"""The vector-quantised autoencoder, as a latent-variable model with a true bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.core import LatentLevel, LatentVariableModel, MarkovChain, Posterior
from vae_lab.core.chain import Chain
from vae_lab.distributions import ConditionalDistribution
from vae_lab.distributions.codes import CertainCodes, CodePrior
from vae_lab.models.builders import LikelihoodFactory, check_sizes, label_embedding, likelihood_head
from vae_lab.networks.spatial import Enlarge, Grid, Residual, StateToPicture, UpwardPass, conv, convolve
from vae_lab.types import DataSpec

CodebookKind = Literal["free", "linear"]


class Codebook(nn.Module):
    """K vectors, the nearest of which replaces each output of an encoder.

    Args:
        num_codes: number of entries, K.
        dim: D, the size of an entry.
        kind: "free", each entry a parameter, so that only those that are used move; or "linear", fixed random vectors
            under one learned affine map, so that all of them move together and none is left behind (Zhu et al. 2024,
            arXiv:2411.02038).

    Raises:
        ValueError: for another kind.
    """

    def __init__(self, num_codes: int, dim: int, kind: CodebookKind = "linear") -> None:
        super().__init__()
        if kind not in ("free", "linear"):
            raise ValueError(f"codebook={kind}: choose free or linear")
        self.vectors: Tensor
        vectors = torch.randn(num_codes, dim)
        if kind == "linear":
            self.register_buffer("vectors", vectors)
        else:
            self.vectors = nn.Parameter(vectors)
        self.map = nn.Linear(dim, dim) if kind == "linear" else None
        if self.map is not None:
            nn.init.eye_(self.map.weight)
            nn.init.zeros_(self.map.bias)

    @property
    def entries(self) -> Tensor:
        """The entries, (K, D), in full precision whatever autocast does, because the nearest one depends on them."""
        with torch.autocast(self.vectors.device.type, enabled=False):
            return self.vectors if self.map is None else self.map(self.vectors)

    def nearest(self, vectors: Tensor) -> Tensor:
        """Returns the number of the entry nearest each vector, (B, D, H, W) -> (B, H, W), as floats."""
        rows = vectors.detach().float().movedim(-3, -1).flatten(0, -2)  # (B H W, D)
        entries = self.entries.detach().float()
        with torch.autocast(rows.device.type, enabled=False):
            distance = entries.square().sum(1) - 2 * rows @ entries.T
        places = (*vectors.shape[:-3], *vectors.shape[-2:])
        return distance.argmin(1).reshape(places).float()

    def forward(self, codes: Tensor) -> Tensor:
        """Returns the entries of codes, (..., H, W) -> (..., D, H, W)."""
        return nn.functional.embedding(codes.long(), self.entries).movedim(-1, -3)


class CodeChain(MarkovChain):
    """p(k), after which the state is the entries that the codes stand for.

    Args:
        prior: prior of the codes, p(k).
        codebook: codebook that holds the entries.
    """

    def __init__(self, prior: CodePrior, codebook: Codebook) -> None:
        super().__init__([prior])
        self.codebook = codebook

    def absorb(self, i: int, state: Tensor | None, value: Tensor, context: Tensor | None) -> Tensor:
        entries: Tensor = self.codebook(value)
        return entries


class QuantisedPosterior(Posterior):
    """q(k|x), with all mass on the entry nearest to the output of the encoder.

    The likelihood reads the entry; its gradient passes straight through to the encoder, without the rounding.

    Args:
        encoder: x (B, *data_shape) -> vectors (B, D, H, W).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, context: Tensor | None, prior: Chain, num_samples: int) -> tuple[LatentLevel, ...]:
        assert isinstance(prior, CodeChain)
        encoded = self.encoder(x)
        codes = prior.codebook.nearest(encoded)
        entries = prior.codebook(codes)
        state = encoded + (entries - encoded).detach()
        q = CertainCodes(codes, encoded, entries, event_dims=2)
        z, states = (each.expand(num_samples, *each.shape) for each in (codes, state))
        log_q = z.new_zeros(z.shape[:2])
        return (LatentLevel(z, q, prior.links[0](None, context), analytic_kl=True, state=states, log_q=log_q),)

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        """Raises NotImplementedError, because a VampPrior needs a Gaussian."""
        raise NotImplementedError("a VampPrior needs a Gaussian posterior")


class VqVae(LatentVariableModel):
    """Codes on a grid, p(k) uniform, q(k|x) certain (van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937).

    With a uniform prior the KL is exactly places x log K for every example, so that the ELBO is one: it compares with
    those of other models, and is what a prior fitted to the codes afterwards can only improve. Train it by
    `vae_lab.objectives.VectorQuantisation`.

    Args:
        spec: spec of the data, pictures.
        latent_dim: D, the size of an entry of the codebook.
        likelihood: event_shape -> head over the data.
        num_codes: K, entries of the codebook.
        codebook: "linear" or "free"; see `Codebook`.
        widths: channels of the features of each grid, from the data up; each grid halves the one below.
        blocks: residual blocks on each grid.
        conditional: the label enters the decoder.

    Raises:
        ValueError: for lists of different lengths, sizes below 1, or data that are not pictures.
    """

    compile_pays = False
    discrete = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        likelihood: LikelihoodFactory,
        num_codes: int = 512,
        codebook: CodebookKind = "linear",
        widths: Sequence[int] = (64, 128),
        blocks: Sequence[int] = (0, 2),
        conditional: bool = False,
    ) -> None:
        _check_sizes(spec, latent_dim, num_codes, widths, blocks)
        embed, context = label_embedding(spec, conditional)
        grids = _halved(spec.shape, widths)
        head = likelihood_head(spec, likelihood)
        entries = Codebook(num_codes, latent_dim, codebook)
        places = grids[-1].size[1:]
        super().__init__(
            prior=CodeChain(CodePrior(num_codes, places), entries),
            posterior=QuantisedPosterior(_Encoder(spec.seen_shape, grids, blocks, latent_dim)),
            likelihood=ConditionalDistribution(_Decoder(grids, blocks, latent_dim, context, head.param_shape), head),
            embed=embed,
            spec=spec,
        )


class _Encoder(nn.Module):
    def __init__(self, picture: Sequence[int], grids: Sequence[Grid], blocks: Sequence[int], dim: int) -> None:
        super().__init__()
        self.upward = UpwardPass(picture, grids, blocks)
        self.out = conv(grids[-1].width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.out(self.upward(x)[-1])
        return encoded


class _Decoder(nn.Module):
    """Entries (..., D, H, W) and a context -> raw parameters of the likelihood."""

    def __init__(
        self, grids: Sequence[Grid], blocks: Sequence[int], dim: int, context: int, param_shape: Sequence[int]
    ) -> None:
        super().__init__()
        factor = 1 / math.sqrt(max(1, sum(blocks)))
        self.read = conv(dim, grids[-1].width, 1)
        self.read_context = nn.Linear(context, grids[-1].width) if context else None
        layers: list[nn.Module] = []
        for i in reversed(range(len(grids))):
            layers += [Residual(grids[i], factor) for _ in range(blocks[i])]
            if i:
                layers.append(Enlarge(grids[i], grids[i - 1]))
        self.layers = nn.Sequential(*layers)
        self.to_picture = StateToPicture(grids[0], param_shape)

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        features = convolve(self.read, given)
        if self.read_context is not None:
            assert context is not None
            features = features + self.read_context(context)[..., None, None]
        raw: Tensor = self.to_picture(self.layers(features))
        return raw

    def start_at(self, out: Tensor) -> None:
        """Sets the bias of each pixel to an output that the network starts at."""
        self.to_picture.start_at(out)


def _halved(shape: Sequence[int], widths: Sequence[int]) -> list[Grid]:
    """Grids of sides 14, 7, ... over pictures of 28."""
    height, side = shape[1:]
    grids = []
    for width in widths:
        height, side = math.ceil(height / 2), math.ceil(side / 2)
        grids.append(Grid(width, height, side, 2))
    return grids


def _check_sizes(spec: DataSpec, latent_dim: int, num_codes: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
    if len(spec.shape) != 3:
        raise ValueError(f"VqVae needs pictures, (channels, height, width), but an example has shape {spec.shape}")
    if len(widths) != len(blocks) or not widths:
        raise ValueError(f"widths={list(widths)}, blocks={list(blocks)}: name one number for each grid")
    check_sizes(1, latent_dim=latent_dim, num_codes=num_codes, widths=widths)
    check_sizes(0, blocks=blocks)
