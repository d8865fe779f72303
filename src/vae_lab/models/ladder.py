"""The ladder variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vae_lab.core import LadderPosterior, LatentVariableModel
from vae_lab.distributions import ConditionalDistribution, Gaussian, StandardNormal
from vae_lab.distributions.priors import PriorFactory
from vae_lab.models.builders import (
    LikelihoodFactory,
    check_kinds,
    check_latent_dims,
    image_likelihood,
    label_embedding,
    prior_chain,
    share_posterior,
)
from vae_lab.networks import Architecture, Mlp
from vae_lab.types import DataSpec


class Ladder(LatentVariableModel):
    """The generative chain of `MHVAE` with a top-down posterior (Soenderby et al. 2016, arXiv:1602.02282).

    Args:
        spec: spec of the data.
        latent_dims: sizes of the levels, nearest the data first; the last is the top.
        features: widths of the features of the upward pass, one for each level.
        network: builds the networks between the data and the first level.
        latent_network: builds the networks between neighbouring levels.
        likelihood, prior, conditional: parts of the model; see `vae_lab.models.MHVAE`.

    Raises:
        ValueError: for another number of features than of levels, and for the reasons of `vae_lab.models.MHVAE`.
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dims: Sequence[int],
        features: Sequence[int],
        network: Architecture,
        latent_network: Architecture,
        likelihood: LikelihoodFactory,
        prior: PriorFactory = StandardNormal,
        conditional: bool = False,
    ) -> None:
        check_kinds(spec, likelihood, prior, network, latent_network)
        check_latent_dims(latent_dims)
        if len(features) != len(latent_dims):
            raise ValueError(f"features={list(features)}: name one width for each of the {len(latent_dims)} levels")
        embed, context = label_embedding(spec, conditional)
        blocks = [network.encoder(spec.seen_shape, features[:1], context)]
        blocks += [latent_network.encoder((below,), (above,), context) for below, above in pairwise(features)]
        heads = [Gaussian((dim,)) for dim in latent_dims]
        evidence = [
            ConditionalDistribution(Mlp((width,), head.param_shape, context), head)
            for width, head in zip(features, heads, strict=True)
        ]
        super().__init__(
            prior=prior_chain([head.event_shape for head in heads], context, latent_network, prior),
            posterior=LadderPosterior(blocks, evidence),
            likelihood=image_likelihood(spec, heads[0].event_shape, context, network, likelihood),
            embed=embed,
            spec=spec,
        )
        share_posterior(self, spec)
