"""The Markov hierarchical variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
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
from vae_lab.networks import Architecture
from vae_lab.types import DataSpec


class MHVAE(LatentVariableModel):
    """p(z_L) p(z_{L-1}|z_L) ... p(x|z_1) with q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1}).

    The two-level model of Burda et al. (2016, arXiv:1509.00519) and the Markov hierarchy of Luo (2022,
    arXiv:2208.11970), with the KL of inner levels estimated at the sample, for the reason in `vae_lab.core.posterior`.

    Args:
        spec: spec of the data.
        latent_dims: sizes of the levels, nearest the data first; the last is the top.
        network: builds the networks between the data and z_1.
        latent_network: builds the networks between neighbouring levels.
        likelihood, prior, conditional: parts of the model, with the prior of the top level; see `vae_lab.models.VAE`.

    Raises:
        ValueError: for no levels, and for the reasons of `vae_lab.models.VAE`.
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dims: Sequence[int],
        network: Architecture,
        latent_network: Architecture,
        likelihood: LikelihoodFactory,
        prior: PriorFactory = StandardNormal,
        conditional: bool = False,
    ) -> None:
        check_kinds(spec, likelihood, prior, network, latent_network)
        check_latent_dims(latent_dims)
        embed, context = label_embedding(spec, conditional)
        heads = [Gaussian((dim,)) for dim in latent_dims]
        links = [ConditionalDistribution(network.encoder(spec.seen_shape, heads[0].param_shape, context), heads[0])]
        for below, above in pairwise(heads):
            net = latent_network.encoder(below.event_shape, above.param_shape, context)
            links.append(ConditionalDistribution(net, above))
        super().__init__(
            prior=prior_chain([head.event_shape for head in heads], context, latent_network, prior),
            posterior=BottomUpPosterior(MarkovChain(links)),
            likelihood=image_likelihood(spec, heads[0].event_shape, context, network, likelihood),
            embed=embed,
            spec=spec,
        )
        share_posterior(self, spec, below=heads[-2].event_shape if len(heads) > 1 else None)
