"""The folders of runs and sweeps: a new one for each, the user's own, or that of a sweep which is resumed."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from vae_lab.errors import RunError
from vae_lab.nested import key_of, value_at
from vae_lab.runs.folder import is_run, make_unique_folder, remove_if_empty
from vae_lab.runs.locks import AT_END
from vae_lab.runs.sweep_folder import MULTIRUN, is_sweep
from vae_lab.runs.untrusted import read_yaml
from vae_lab.sweeps.grid import shared_words


def sweep_folder(config: DictConfig) -> Path:
    """Makes the folder of a new sweep, or returns that of the sweep which is resumed.

    Raises:
        RunError: if the folder cannot be made, holds another sweep or a run, or is not that of a sweep.
    """
    if config.sweep.resume is not None:
        folder = Path(str(config.sweep.resume)).expanduser()
        if not is_sweep(folder):
            reason = f"no sweep there; a sweep folder holds {MULTIRUN}" if folder.is_dir() else "no such folder"
            raise RunError(f"sweep.resume={config.sweep.resume}: {reason}")
        other = _resolved(config, "hydra.sweep.dir")
        if is_set(config, "hydra.sweep.dir") and other.resolve() != folder.resolve():
            raise RunError(
                f"hydra.sweep.dir={other}: sweep.resume={folder} goes on in its own folder; leave hydra.sweep.dir out"
            )
        return folder
    folder = made_folder(config, "hydra.sweep.dir")
    if is_sweep(folder):
        raise RunError(f"hydra.sweep.dir={folder}: holds a sweep already; sweep.resume={folder} resumes it")
    if is_run(folder):
        raise RunError(f"hydra.sweep.dir={folder}: holds a run; name a folder of its own for the sweep")
    return folder


def excluded_words(config: DictConfig, folder: Path) -> list[str]:
    """Returns the words and keys that the names of the jobs' folders leave out: of a resumed sweep those of before.

    Raises:
        RunError: for a record of the sweep that cannot be read.
    """
    if config.sweep.resume is None:
        return [*config.hydra.job.config.override_dirname.exclude_keys, *shared_words(config)]
    try:
        record = read_yaml(folder / MULTIRUN)
    except ValueError as error:
        raise RunError(f"sweep.resume={folder}: {error}; start a new sweep") from error
    before = value_at(record, "hydra.job.config.override_dirname.exclude_keys")
    return [word for word in before if isinstance(word, str)] if isinstance(before, list) else []


def made_folder(config: DictConfig, key: str) -> Path:
    """Makes the folder that a key of Hydra's names: the user's own, or a new one.

    If the command makes it and leaves it empty, because it is refused, it is removed at the end.

    Raises:
        RunError: if it cannot be made; it names the key.
    """
    folder, is_own = _resolved(config, key), is_set(config, key)
    missing = [path for path in (folder, *folder.parents) if is_own and not path.exists()]
    for path in reversed(missing):
        AT_END.callback(remove_if_empty, path)
    try:
        if is_own:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = make_unique_folder(folder)
            AT_END.callback(remove_if_empty, folder)
    except OSError as error:
        is_link = isinstance(error, FileExistsError) and any(path.is_symlink() for path in missing)
        reason = "a link in it leads nowhere" if is_link else error.strerror or error
        raise RunError(f"{key}={folder}: {reason}; name another folder") from error
    return folder


def is_set(config: DictConfig, key: str) -> bool:
    """Returns True if the user chose the folder: by a word, or in a YAML by a name that is not of the present time."""
    named = value_at(OmegaConf.to_container(config.hydra, resolve=False), key.removeprefix("hydra."))
    return "${now:" not in str(named) or any(key_of(word) == key for word in config.hydra.overrides.hydra)


def _resolved(config: DictConfig, key: str) -> Path:
    """Returns the value of a key before the job begins, when Hydra cannot resolve ``${hydra:...}`` yet."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return Path(str(OmegaConf.select(config, key)))
    finally:
        HydraConfig.instance().cfg = before
        OmegaConf.set_readonly(config.hydra, False)
