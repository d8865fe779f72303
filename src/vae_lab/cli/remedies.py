"""Adds the keys of the command line to errors of the mathematics, which knows only its own arguments.

A constructor says ``beta=-1: must be ...``; on the command line this becomes ``objective.beta=-1: must be ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vae_lab.cli.check import ConfigError
from vae_lab.cli.messages import root_cause
from vae_lab.nested import leaves

_GREY = "likelihood=discretized_logistic, logistic_mixture, categorical or gaussian, or data.binarization=dynamic"
_REMEDIES = {
    r"cannot model binary data": "choose likelihood=bernoulli, or data.binarization=none if that made them binary",
    r"cannot model uint8 data|\(uint8\) is not a density": f"choose {_GREY}",
    r"cannot model (unit|real) data|\(unit\) is not a density": "choose likelihood=gaussian",
    r"cannot model standardised data": "data.standardize=false leaves counts and positive numbers as they are",
    r"needs a conditional model": "set model.conditional=true, or choose another prior=",
    r"conditional=True: these data have no labels": "take data with labels (class folders, train_labels.npy, or"
    " data.images.label=COLUMN of a table or a Hugging Face set), or set model.conditional=false",
    r"^warmup\.(max_)?steps=": "warmup=none switches it off",
    r"has no parameter for the mean|has no start_at": "leave out decoder_bias=data_mean",
    r"needs a model of one level": "choose model=vae or cvae",
    r"does not train a codebook": "model=vq_vae needs objective=vq",
    r"needs a model with a codebook": "objective=vq needs model=vq_vae",
    r"this posterior is not Gaussian|needs a posterior of independent": "choose posterior=gaussian",
    r"needs pictures, \(channels": "choose model=vae, cvae, mhvae or ladder",
    r"^LogisticMixture: needs pictures": "choose likelihood=discretized_logistic",
    r"^ConvArchitecture: needs signals": "choose network=mlp, or data.images.kind=signals for (N, T)",
    r"needs an encoder without batch normalisation": "set network.batch_norm=false, or choose another prior=",
}
"""Pattern of an error or warning -> the words of the command line that mend it."""


def _with_remedy(line: str) -> str:
    """Returns an error or warning with the words that mend it, instead of the remedy that it has for Python."""
    found = next((remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, line)), None)
    return f"{line.partition('; ')[0]}; {found}" if found else line


def formatted_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    """Returns the line that a warning is printed as, in place of `warnings.formatwarning`."""
    return f"warning: {_with_remedy(str(message))}\n"


@contextmanager
def naming_keys(cfg: DictConfig) -> Iterator[None]:
    """Context manager in which errors of components name the key of the argument, and the words that mend it."""
    try:
        yield
    except Exception as error:
        cause = root_cause(error)
        line = str(cause)
        named = _with_remedy(_with_key(line, cfg)) if isinstance(cause, ValueError) else line
        if named == line:
            raise
        raise ConfigError(named) from error


def _with_key(line: str, cfg: DictConfig) -> str:
    """Returns ``name=value: ...`` with the dotted key of the one component whose argument has that name and value."""
    found = re.match(r"(\w+)=(.*?): ", line)
    if not found:
        return line
    config = OmegaConf.to_container(cfg, resolve=False)
    keys = [key for key, value in leaves(config) if (key.rpartition(".")[2], str(value)) == found.groups()]
    return f"{keys[0].rpartition('.')[0]}.{line}" if len(keys) == 1 and "." in keys[0] else line
