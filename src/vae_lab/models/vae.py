"""The variational autoencoder, and with labels the conditional one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import ConditionalDistribution, Gaussian, Head, StandardNormal
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


class VAE(LatentVariableModel):
    """p(z) p(x|z) with q(z|x) (Kingma and Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082).

    Args:
        spec: spec of the data.
        latent_dim: number of latent dimensions, D.
        network: architecture of encoder and decoder.
        likelihood: event_shape -> head over the data.
        prior: (event_shape, context_features) -> p(z|c).
        conditional: True: give the label to encoder, decoder and prior: p(x|y) instead of p(x), the CVAE (Kingma et
            al. 2014, arXiv:1406.5298; Sohn, Lee and Yan 2015).
        posterior: event_shape -> head of q(z|x), such as `FlowGaussian`; None: `Gaussian`.

    Raises:
        ValueError: for a latent_dim below 1, a conditional model of unlabelled data, data that the likelihood cannot
            model, or a VampPrior with a posterior that is not Gaussian.
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        network: Architecture,
        likelihood: LikelihoodFactory,
        prior: PriorFactory = StandardNormal,
        conditional: bool = False,
        posterior: Callable[[Sequence[int]], Head] | None = None,
    ) -> None:
        check_kinds(spec, likelihood, prior, network)
        check_latent_dims([latent_dim])
        embed, context = label_embedding(spec, conditional)
        z = (posterior or Gaussian)((latent_dim,))
        encoder = ConditionalDistribution(network.encoder(spec.seen_shape, z.param_shape, context), z)
        super().__init__(
            prior=prior_chain([z.event_shape], context, network, prior),
            posterior=BottomUpPosterior(MarkovChain([encoder])),
            likelihood=image_likelihood(spec, z.event_shape, context, network, likelihood),
            embed=embed,
            spec=spec,
        )
        share_posterior(self, spec)
