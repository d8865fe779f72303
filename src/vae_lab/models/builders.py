"""Parts that several models are built from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import constraints

from vae_lab.core import LatentVariableModel, MarkovChain
from vae_lab.distributions.conditional import ConditionalDistribution, Head
from vae_lab.distributions.gaussian import Gaussian
from vae_lab.distributions.missing import check_independent
from vae_lab.distributions.priors import PriorFactory
from vae_lab.distributions.product import ByColumn
from vae_lab.distributions.vamp import VampPrior
from vae_lab.networks import Architecture, OneHot, StandardisedRows
from vae_lab.types import DataSpec

_MANY_COMPONENTS = 100
"""Components of a VampPrior above which a condition of attributes or numbers makes a step several times slower."""

LikelihoodFactory = Callable[[Sequence[int]], Head]
"""event_shape -> likelihood head."""


def check_kinds(spec: DataSpec, likelihood: LikelihoodFactory, prior: PriorFactory, *networks: Architecture) -> None:
    """Raises TypeError for a part of the wrong kind, before Python reports a missing attribute of it."""
    if not isinstance(spec, DataSpec):
        raise TypeError(f"spec={spec!r}: a {type(spec).__name__}, must be a DataSpec, such as DataSpec((1, 28, 28))")
    for key, factory, example in (("likelihood", likelihood, "Bernoulli"), ("prior", prior, "StandardNormal")):
        if isinstance(factory, nn.Module) or not callable(factory):
            raise TypeError(f"{key}={factory!r}: must be a class, or a functools.partial of one, such as {example}")
    for network in networks:
        if isinstance(network, type) or not (hasattr(network, "encoder") and hasattr(network, "decoder")):
            raise TypeError(f"network={network!r}: must be an architecture, such as MlpArchitecture([512, 512])")


def label_embedding(spec: DataSpec, conditional: bool) -> tuple[OneHot | StandardisedRows | None, int]:
    """Returns the embedding of the condition and the width C of its context; (None, 0) for an unconditional model.

    Raises:
        ValueError: for a conditional model of data without labels.
    """
    if not conditional:
        return None, 0
    if not spec.context_features:
        raise ValueError("conditional=True: these data have no labels")
    embed = StandardisedRows(spec) if spec.vector_condition else OneHot(spec.num_classes)
    return embed, spec.context_features


def check_latent_dims(latent_dims: Sequence[int]) -> None:
    """Raises ValueError for no level, or a level without a dimension; TypeError for sizes that are not integers."""
    if not isinstance(latent_dims, Sequence) or isinstance(latent_dims, str):
        kind = type(latent_dims).__name__
        raise TypeError(f"latent_dims={latent_dims!r}: a {kind}, must be a list of integers, such as [40, 10]")
    for size in latent_dims:
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(f"latent_dim={size!r}: a {type(size).__name__}, must be an integer of 1 or more")
    if not latent_dims:
        raise ValueError("latent_dims=[]: name the size of at least one level, nearest the data first")
    if min(latent_dims) < 1:
        name, sizes = ("latent_dims", list(latent_dims)) if len(latent_dims) > 1 else ("latent_dim", latent_dims[0])
        raise ValueError(f"{name}={sizes}: every level needs at least 1 dimension")


def check_sizes(least: int, **sizes: int | Sequence[int]) -> None:
    """Raises ValueError for a size below ``least``, also in a list of sizes."""
    for name, size in sizes.items():
        numbers = list(size) if isinstance(size, Sequence) else [size]
        if min(numbers, default=least) < least:
            shown = numbers if isinstance(size, Sequence) else size
            raise ValueError(f"{name}={shown}: must be at least {least}")


def prior_chain(
    event_shapes: Sequence[Sequence[int]], context_features: int, architecture: Architecture, top: PriorFactory
) -> MarkovChain:
    """Returns p(z_L|c) p(z_{L-1}|z_L, c) ... p(z_1|z_2, c) of events of these shapes, nearest the data first."""
    links: list[nn.Module] = [top(event_shapes[-1], context_features)]
    for below, above in reversed(list(pairwise(event_shapes))):
        head = Gaussian(below)
        net = architecture.decoder(above, head.param_shape, context_features)
        links.append(ConditionalDistribution(net, head))
    return MarkovChain(links)


def image_likelihood(
    spec: DataSpec,
    event_shape: Sequence[int],
    context_features: int,
    architecture: Architecture,
    likelihood: LikelihoodFactory,
) -> ConditionalDistribution:
    """Returns p(x|z_1, c) for a z_1 of this shape; raises ValueError for data that the architecture cannot read."""
    check_data = getattr(architecture, "check_data", None)
    if check_data is not None:
        check_data(spec.shape)
    head = likelihood_head(spec, likelihood)
    return ConditionalDistribution(architecture.decoder(event_shape, head.param_shape, context_features), head)


def likelihood_head(spec: DataSpec, likelihood: LikelihoodFactory) -> Head:
    """Returns the head over an example: that of the likelihood and, for categorical columns, one for each.

    Raises:
        ValueError: for a likelihood that cannot model the values, or values that may be missing.
    """
    num = spec.shape[0] - sum(spec.categories)
    head = likelihood((num, *spec.shape[1:])) if num else None
    whole = head if head is not None and not spec.categories else ByColumn(head, spec.categories)
    whole.check_support(spec.support)
    if head is not None:
        _check_distribution(head, spec)
    if spec.missing:
        check_independent(whole)
    return whole


def _check_distribution(head: Head, spec: DataSpec) -> None:
    """Raises ValueError for a distribution that is not over an example, or has no probability at the data.

    Log-probabilities of single columns would be broadcast against those of examples. Heads switch the validation of
    torch.distributions off, so that its log_prob of values outside of the support would be a number without a meaning.
    """
    name, p = type(head).__name__, head(torch.zeros(1, 1, *head.param_shape))  # one sample of one example, as in a pass
    if p.event_shape != head.event_shape:
        raise ValueError(
            f"likelihood {name}: build returns a distribution over events of shape {tuple(p.event_shape)}, must be"
            f" {head.event_shape}; torch.distributions.Independent makes batch dimensions part of the event"
        )
    kind, value = ("standardised", -0.5) if spec.scaling else (spec.support, 128 / 255)  # which is a level of bytes
    if spec.support in head.tolerates or kind in ("binary", "real"):
        return
    try:
        support = p.support
    except NotImplementedError:  # it states none
        return
    if support is None or constraints.is_dependent(support):  # type: ignore[no-untyped-call]
        return
    if not support.check(torch.full(head.event_shape, value)).all():
        raise ValueError(
            f"likelihood {name} cannot model {kind} data: its distribution excludes values such as {value:.3g}"
        )


def share_posterior(model: LatentVariableModel, spec: DataSpec, below: Sequence[int] | None = None) -> None:
    """Passes the top level of the posterior to a `VampPrior`, which is made of it; does nothing for other priors.

    Args:
        model: complete model.
        spec: spec of the data.
        below: shape of the level below the top, which the top reads; None: it reads the data.

    Raises:
        ValueError: for a posterior that is not Gaussian, or has batch normalisation, whose statistics would mix the
            data with the inputs of the prior.
    """
    prior = model.prior.links[0]
    if not isinstance(prior, VampPrior):
        return
    if any(isinstance(module, Head) and not isinstance(module, Gaussian) for module in model.posterior.modules()):
        raise ValueError("a VampPrior is a mixture of Gaussian posteriors, and this posterior is not Gaussian")
    if any(isinstance(module, nn.BatchNorm1d) for module in model.posterior.modules()):
        raise ValueError("VampPrior: needs an encoder without batch normalisation (batch_norm=False)")
    if isinstance(model.embed, StandardisedRows) and prior.num_components > _MANY_COMPONENTS:
        warnings.warn(
            f"num_components={prior.num_components}: a VampPrior encodes all its inputs under the attributes and"
            " numbers of each example of a batch, under labels once per class; fewer take less time and memory",
            stacklevel=2,
        )
    in_shape = spec.seen_shape if below is None else tuple(below)
    images = below is None and spec.support != "real"
    prior.attach(model.posterior.top, in_shape, images, one_hot=isinstance(model.embed, OneHot))
