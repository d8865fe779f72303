"""Composes the objects of a run from words of the command line.

Mistakes are found in this order, all before any data are read:

1. words: each is ``key=value``, and a group gets the name of an option (`vae_lab.cli.overrides.check_words`);
2. keys: each is one that something reads (`vae_lab.cli.keys.admitted`, called while Hydra composes the config);
3. values: each has the type and the range that its component takes (`vae_lab.cli.check.check_config`);
4. objects: what was asked for is used, and the components fit together (`assemble`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import hydra
import omegaconf
from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vae_lab.cli import keys
from vae_lab.cli.by_data import choose_likelihood, refuse_missing_labels
from vae_lab.cli.check import ConfigError
from vae_lab.cli.messages import message
from vae_lab.cli.overrides import check_words, quoted_names, without_keys
from vae_lab.cli.paths import with_quoted_path
from vae_lab.cli.trainers import OPTIMIZATION, add_loggers, build_trainer, refuse_blind_callbacks
from vae_lab.cli.unused import OF_BEFORE, refuse_unused_latent_dim, refuse_unused_parts, refuse_unused_sizes
from vae_lab.cli.weights_memory import bounded_weights
from vae_lab.errors import RunError, one_line
from vae_lab.files import absolute
from vae_lab.nested import key_of
from vae_lab.threads import one_thread

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule
    from vae_lab.training import VariationalModule
    from vae_lab.types import DataSpec

keys.install()  # at import, because a job in a process of another launcher composes its config there

# Hydra 1.4 announces what 1.5 will refuse; pyproject.toml excludes 1.5.
for _start in ("The version_base", r"hydra\.utils\.instantiate\(\) resolved", "Hydra configured Python logging"):
    warnings.filterwarnings("ignore", _start)
# OmegaConf 2.4 gives the function a new name, under which 2.3 has another function.
_register = getattr(OmegaConf, "register_resolver" if omegaconf.__version__ >= "2.4" else "register_new_resolver")


def register_resolver(name: str, function: Callable[..., Any]) -> None:
    """Makes a function available to all configs of this process, which call it as ``${name:arguments}``."""
    _register(name, function, replace=True)


# For network=mlp_auto.
register_resolver("batch_norm_with", lambda prior: not str(prior).endswith(".VampPrior"))


NO_SETTINGS = ("sweep", "sweep.resume", "resume", "resume_changed", "launcher", "search")
"""Keys of the command line that say how a run is started, and are not settings of it."""


class Composition(NamedTuple):
    """A composed config, and how it came about.

    Attributes:
        cfg: config of a training, without Hydra's own part.
        overrides: words that set something of the run.
        choices: option of each group; None for a group without one.
    """

    cfg: DictConfig
    overrides: list[str]
    choices: dict[str, str | None]

    def record(self) -> dict[str, Any]:
        """Returns the whole config as plain containers, as config.yaml records it."""
        chosen = {group: option for group, option in self.choices.items() if option}
        resolved = cast(dict[str, Any], OmegaConf.to_container(self.cfg, resolve=True))
        return resolved | {"overrides": self.overrides, "choices": chosen}


@contextmanager
def composed(*words: str) -> Iterator[Composition]:
    """Context manager with the config of a training; afterwards Hydra's global state is what it was.

    Raises:
        ConfigError: for a word or a key that is wrong.
    """
    quoted = [quoted_names(with_quoted_path(word)) for word in words]
    check_words(quoted, groups())
    with one_thread, _restored_hydra():
        try:
            with initialize_config_dir(str(config_dir()), JobRuntime.instance().get("name"), version_base="1.3"):
                cfg = hydra.compose("train", quoted, return_hydra_config=True)
        except HydraException as error:
            raise ConfigError(message(error)) from error
        HydraConfig.instance().set_config(cfg)
        folder, composition = str(cfg.hydra.run.dir), composition_of(cfg, HydraConfig.get())
        with open_dict(cfg):
            del cfg["hydra"]
            cfg.run_dir = os.path.abspath(folder).replace("${", "\\${")
        yield composition


def composed_or_none(words: Sequence[str]) -> Composition | None:
    """Returns what these words compose; None for a mistake in them, which the command itself reports."""
    try:
        with composed(*words) as composition:
            return composition
    except (ConfigError, OmegaConfBaseException):
        return None


def composition_of(cfg: DictConfig, of_hydra: Any) -> Composition:
    """Returns a config with the words and choices that Hydra's own part records."""
    choices = {group: option for group, option in of_hydra.runtime.choices.items() if not group.startswith("hydra/")}
    return Composition(cfg, overrides_of(of_hydra), choices)


def overrides_of(of_hydra: Any) -> list[str]:
    """Returns the words that set something of the run, from Hydra's own part of a config."""
    return without_keys(of_hydra.overrides.task, NO_SETTINGS)


_FOR_OTHER_PROCESSES = ("hydra.searchpath", "hydra.job_logging", "hydra/job_logging", "hydra.verbose")
"""Hydra's own keys that mean the same in another process; of others the environment already says what they did."""


def words_for_other_processes(of_hydra: Any) -> list[str]:
    """Returns the words by which another command finds the user's configs and logs as this one does."""
    dirs = [source.path for source in of_hydra.runtime.config_sources if source.provider == "command-line"]
    of_user = [word for word in of_hydra.overrides.hydra if key_of(word).startswith(_FOR_OTHER_PROCESSES)]
    return [*of_user, *(word for path in dirs for word in ("-cd", path))]


@contextmanager
def _restored_hydra() -> Iterator[None]:
    """Context manager in which Hydra is not initialised; afterwards its state is restored."""
    instance, config, base = GlobalHydra.instance(), HydraConfig.instance().cfg, version.getbase()
    initialised = instance.hydra
    instance.clear()
    try:
        yield
    finally:
        instance.hydra = initialised
        GlobalHydra.set_instance(instance)  # Hydra has restored a copy
        HydraConfig.instance().cfg = config
        version.VersionBase.instance().version_base = base


def config_dir() -> Path:
    """Returns the folder of the Hydra tree: inside the package, or of the checkout in which the package lies."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def groups() -> dict[str, list[str]]:
    """Returns the options of each group of the Hydra tree."""
    folders = (folder for folder in config_dir().iterdir() if folder.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def name_whole_root(cfg: DictConfig) -> None:
    """Makes ``data.root`` absolute, so that the run's config means the same in every working directory."""
    root = OmegaConf.select(cfg, "data.root")
    if isinstance(root, str):
        OmegaConf.update(cfg, "data.root", absolute(root).replace("${", "\\${"))


def assemble(
    composition: Composition, give: Callable[[Any], Any] | None = None, recorded: DataSpec | None = None
) -> tuple[ImageDataModule, VariationalModule, Any]:
    """Returns the data, the module and the Trainer of a run.

    Args:
        give: gives the data module what it serves, and returns the one that is to be used; None: it reads files.
        recorded: spec of the run that goes on, whose scaling is kept; None: a new run.

    Raises:
        RunError: for a part that was asked for and would do nothing, a model that does not fit into memory, or a
            callback that monitors what this run never logs.
        ValueError: for parts that do not fit together.
    """
    cfg = composition.cfg
    is_new = recorded is None and OF_BEFORE not in os.environ
    refuse_unused_parts(cfg, composition.overrides, composition.choices)
    if is_new:
        refuse_unused_latent_dim(cfg, composition.overrides)
    parts = {key: instantiate(cfg[key], _convert_="all") for key in ("data", "objective", "optimizer", "scheduler")}
    if give is not None:
        parts["data"] = give(parts["data"])
    _try_optimizer(parts)
    if recorded is not None:
        parts["data"].keep_scaling(recorded)
    refuse_missing_labels(cfg, parts["data"])
    if is_new:
        refuse_unused_sizes(cfg, composition.overrides, parts["data"])
    chosen = choose_likelihood(cfg, composition.choices, parts["data"].spec, config_dir())
    module = _build_module(cfg, parts)
    trainer = build_trainer(cfg)
    if chosen and trainer.is_global_zero:
        print(chosen)
    refuse_blind_callbacks(cfg, module, trainer, is_new=is_new or cfg.resume_changed)
    add_loggers(trainer, cfg)
    return parts["data"], module, trainer


def _try_optimizer(parts: Mapping[str, Any]) -> None:
    """Builds a throw-away optimizer and schedule, so that wrong values are reported before the data are read."""
    from torch import nn, zeros  # noqa: PLC0415

    from vae_lab.training.optimization import schedule  # noqa: PLC0415

    try:
        optimizer = parts["optimizer"]([nn.Parameter(zeros(1))])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"optimizer: {error}") from error
    if parts["scheduler"]:
        try:
            schedule(parts["scheduler"], optimizer, 100)
        except TypeError as error:
            raise ValueError(f"scheduler: {error}") from error


def _build_module(cfg: DictConfig, parts: Mapping[str, Any]) -> VariationalModule:
    """Returns the model, sized by the data's spec, with the objective and the optimizer that train it."""
    from vae_lab.training import Optimization, VariationalModule  # noqa: PLC0415

    spec = parts["data"].spec
    make_model = instantiate(cfg.model, _convert_="all")
    try:
        with bounded_weights():
            model = make_model(spec=spec)
    except (RuntimeError, MemoryError, TypeError) as error:
        if isinstance(error, TypeError) and "verflow" not in str(error):  # torch's error for a size beyond 64 bits
            raise
        reason = one_line(error, 150)
        sizes = f"latent_dim (now {cfg.latent_dim}) or the sizes under network, likelihood, prior and model"
        given = f"the data's shape {spec.shape} and {spec.num_classes} classes count as well"
        raise RunError(f"not enough memory to build the model ({reason}): reduce {sizes}; {given}") from error
    of_trainer = {key: cfg.trainer[key] for key in OPTIMIZATION}
    how = {key: cfg[key] for key in ("compile", "gradient_skip", "steps_per_pass")}
    optimization = Optimization(parts["optimizer"], parts["scheduler"], **how, **of_trainer)
    return VariationalModule(model, parts["objective"], optimization, spec, cfg.seed, cfg.eval_samples)
