"""The numbers of a trained run, in nats, with their standard errors."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from pytorch_lightning import Trainer

from vae_lab.core import LatentVariableModel
from vae_lab.core.inputs import check_spec
from vae_lab.data import ImageDataModule
from vae_lab.data.summary import summary
from vae_lab.evaluation.disentanglement import disentanglement
from vae_lab.evaluation.estimator import EvaluationModule
from vae_lab.pictures import codes
from vae_lab.settings import EvaluationSettings
from vae_lab.training.metrics import bits_per_dim
from vae_lab.training.trainer_checks import dtype_of
from vae_lab.types import listed

_FEW_EFFECTIVE_SAMPLES = 10.0
"""Below this number the estimate depends on a few samples, and the bound is likely to be loose."""


def evaluate(
    model: LatentVariableModel, data: ImageDataModule, trainer: Trainer, settings: EvaluationSettings | None = None
) -> dict[str, Any]:
    """Evaluates a model on a split, on the devices of a Trainer; the same for any number of them.

    Args:
        model: model with the ``spec`` of its data, as `vae_lab.load_run` gives it.
        trainer: trainer that chooses the devices.

    Returns:
        ``nll`` and ``nll_error``: the mean of -log p(x|y) over the split and, of several examples, its standard error,
        in nats; ``effective_samples``: of the K, on average (Kong 1992); ``elbo``, ``log_likelihood``, ``kl`` and
        ``kl_<group>`` of each group of levels; the counts of `vae_lab.training.metrics.unit_counts`; ``bits_per_dim``
        of the NLL where the likelihood is a density or a mass over the data; with all_labels ``nll_unconditional``
        and its error; with disentanglement, and in the first process alone, the scores of
        `vae_lab.evaluation.disentanglement.disentanglement`, ``disentanglement_codes`` and ``disentanglement_level``;
        ``num_samples``, ``num_examples``, ``split`` and ``seed``.

    Raises:
        ValueError: for all_labels with an unconditional model, disentanglement with data whose factors are not known,
            or data that do not fit the model.
    """
    settings = settings or EvaluationSettings()
    _check_fit(model, data, settings)
    if trainer.limit_test_batches == 0:
        raise ValueError("trainer.limit_test_batches=0: leaves nothing to evaluate; give a number of batches, or 1.0")
    data.prepare_data()
    if trainer.is_global_zero:
        print(summary(data, (settings.split,)))
    data.dtype = dtype_of(trainer.precision, model)
    known = bool(data.images.factor_names) and not model.discrete
    wanted = known if settings.disentanglement == "auto" else settings.disentanglement
    # First: it takes a minute, and mistakes in it should not show after hours.
    scores = _disentanglement(model, data, trainer, settings) if wanted and trainer.is_global_zero else {}
    module = EvaluationModule(model, settings)
    data.test_split, data.num_test_examples = settings.split, settings.num_examples
    with torch.no_grad():
        trainer.test(module, datamodule=data, verbose=False)
    return _result(module) | scores


def _check_fit(model: LatentVariableModel, data: ImageDataModule, settings: EvaluationSettings) -> None:
    if settings.all_labels and not model.conditional:
        raise ValueError("all_labels=true: the model is unconditional, its nll is that of log p(x) already")
    if settings.all_labels and model.spec is not None and model.spec.vector_condition:
        names = listed(model.spec.attributes + model.spec.numbers)
        raise ValueError(
            f"all_labels=true: sums over classes, but the model's condition has {names} as well; leave it out, nll is"
            " that of log p(x|y)"
        )
    check_spec(model, data.spec, f"data_root={data.images.root}: ")
    if settings.disentanglement is True and model.discrete:
        raise ValueError("disentanglement=true: the codes of this model are numbers of a codebook's entries")
    if settings.disentanglement is True and not data.images.factor_names:
        raise ValueError(f"disentanglement=true: the generative factors of {data.images.name} are not known")
    if settings.disentanglement_level > model.num_levels:
        raise ValueError(
            f"disentanglement_level={settings.disentanglement_level}: this model has levels 1 to {model.num_levels}"
        )


def _disentanglement(
    model: LatentVariableModel, data: ImageDataModule, trainer: Trainer, settings: EvaluationSettings
) -> dict[str, Any]:
    data.prepare_data()
    examples = data.examples(settings.disentanglement_codes, settings.split)
    factors = data.factors(settings.disentanglement_codes, settings.split)
    assert factors is not None
    model.to(trainer.strategy.root_device)
    level = codes(model, examples, settings.seed)[settings.disentanglement_level - 1]
    means = level.mean.flatten(1).double().cpu().numpy()
    used = {"disentanglement_codes": len(means), "disentanglement_level": settings.disentanglement_level}
    return disentanglement(means, factors, data.images.factor_names, settings.seed) | used


def _result(module: EvaluationModule) -> dict[str, Any]:
    model, settings = module.model, module.settings
    means, errors, examples = module.marginal.compute()
    result: dict[str, Any] = {"nll": -means[0], "nll_error": errors[0], "effective_samples": means[1]}
    if settings.all_labels:
        result |= {"nll_unconditional": -means[2], "nll_unconditional_error": errors[2]}
    if examples == 1:  # of which no error is known
        result = {name: value for name, value in result.items() if not name.endswith("_error")}
    result |= module.bound.compute()
    result |= module.active_units.finish()
    if model.spec is not None:
        bits = bits_per_dim(model, means[0], model.spec)
        result |= {} if bits is None else {"bits_per_dim": bits}
    if means[1] < min(_FEW_EFFECTIVE_SAMPLES, settings.num_samples / 2):
        warnings.warn(
            f"on average {means[1]:.1f} of {settings.num_samples} samples carry the estimate: the true nll is likely "
            "to be lower. More samples, or a posterior nearer the truth, would show it.",
            stacklevel=2,
        )
    if not math.isfinite(means[0]):
        warnings.warn("the nll is not finite", stacklevel=2)
    return result | {
        "num_samples": settings.num_samples,
        "num_examples": examples,
        "split": settings.split,
        "seed": settings.seed,
    }
