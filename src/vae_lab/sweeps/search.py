"""Searches with Optuna: asks it for trials, runs them as jobs of the sweep and reports their values to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig

from vae_lab.cli.compose import NO_SETTINGS
from vae_lab.cli.overrides import without_keys
from vae_lab.cli.paths import quoted
from vae_lab.errors import RunError
from vae_lab.runs.folder import save_failure
from vae_lab.runs.reading import read_run
from vae_lab.runs.sweep_folder import DATABASE, save_search, sweep_name
from vae_lab.sweeps.jobs import folder_name
from vae_lab.sweeps.machine import jobs_at_once
from vae_lab.sweeps.search_space import describe, extremes, search_space, suggest
from vae_lab.sweeps.study import check_installed, find_trial, open_storage, whole_storage

if TYPE_CHECKING:
    from optuna import Study, Trial


class _Job(NamedTuple):
    """A trial with its overrides and the folder of its run."""

    trial: Trial
    overrides: list[str]
    folder: Path


class OptunaSearch:
    """Runs trials in batches until the study has as many as the user asked for.

    The trial of a killed process stays running in the study. A resumed sweep runs it again, with its own parameters and
    from its last checkpoint.

    Args:
        config: config of the sweep, Hydra's own part included.
        max_batch_size: number of jobs that the launcher gets at once, unless search.at_once sets it.

    Raises:
        RunError: if Optuna is not installed, or for a wrong setting of the search.
    """

    def __init__(
        self, config: DictConfig, launcher: Launcher, max_batch_size: int | None, overrides: Sequence[Override]
    ) -> None:
        check_installed()
        _check_settings(config.search)
        self.settings, self.seed, self.launcher = config.search, config.seed, launcher
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.storage = whole_storage(config.search.storage or f"sqlite:///{self.folder / DATABASE}")
        self.at_once = config.search.at_once or max_batch_size or _at_once(config.hydra)
        self.space = search_space(overrides)
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self.of_jobs = without_keys(self.fixed, NO_SETTINGS)

    def corners(self) -> list[list[str]]:
        """Returns overrides with each choice and each bound, to test that all of them can be composed."""
        return [
            [*self.fixed, f"{key}={value}"]
            for key, distribution in self.space.items()
            for value in extremes(distribution)
        ]

    def run(self) -> None:
        """Finishes the interrupted trials of this sweep and runs new ones, until a trial fails as every other would."""
        self.study = self._open_study()
        waiting = self._interrupted_trials()
        while batch := [self._job(trial) for trial in waiting[: self.at_once]] or self._new_jobs():
            waiting = waiting[self.at_once :]
            self.launcher.launch([job.overrides for job in batch], initial_job_idx=batch[0].trial.number)
            can_go_on = [self._report(job) for job in batch]
            self._save_record()
            if not all(can_go_on):
                break

    def _open_study(self) -> Study:
        import optuna  # noqa: PLC0415

        settings = self.settings
        study = optuna.create_study(
            study_name=settings.study,
            storage=open_storage(self.storage),
            direction=settings.direction,
            pruner=instantiate(settings.pruner, _convert_="all"),
            load_if_exists=True,
        )
        search = {
            "space": {key: describe(self.space[key]) for key in sorted(self.space)},
            "fixed": sorted(self.of_jobs),
        }
        _check_same_search(study, self.storage, search | {key: settings[key] for key in ("metric", "direction")})
        return study

    def _interrupted_trials(self) -> list[Trial]:
        """Returns the trials of this sweep that were running when it was stopped."""
        names = (sweep_name(self.folder), str(self.folder))  # older sweeps are known by their path
        storage = open_storage(self.storage)
        return [
            find_trial(self.study, storage, trial.number)
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.name == "RUNNING" and (trial.user_attrs.get("sweep") in names or not self.settings.storage)
        ]

    def _new_jobs(self) -> list[_Job]:
        missing = self.settings.trials - len(self.study.get_trials(deepcopy=False))
        return [self._job(self._new_trial()) for _ in range(min(self.at_once, missing))]

    def _new_trial(self) -> Trial:
        trial = self.study.ask()
        trial.set_user_attr("sweep", sweep_name(self.folder))
        return trial

    def _job(self, trial: Trial) -> _Job:
        # A seed for each number: a resumed search draws what it would have drawn, and no two processes draw the same.
        self.study.sampler = instantiate(self.settings.sampler)(seed=self.seed * 100_003 + trial.number)
        drawn = suggest(trial, self.space)
        name = f"trial_{trial.number:03d},{folder_name(','.join(drawn))}"
        of_search = [f"search.trial={trial.number}", f"search.storage={quoted(self.storage)}"]
        fixed = [word for word in self.fixed if not word.startswith("search.storage=")]
        return _Job(trial, [*fixed, *drawn, *of_search, f"hydra.sweep.subdir={quoted(name)}"], self.folder / name)

    def _report(self, job: _Job) -> bool:
        """Reports to Optuna how a job ended; returns True if the search can go on."""
        from optuna.trial import TrialState  # noqa: PLC0415

        run = read_run(job.folder)
        number = job.trial.number
        if run is None:
            job.folder.mkdir(exist_ok=True)
            save_failure(job.folder, job.overrides, RunError(), "its process ended before it began")
            return False
        if run.state == "finished":
            self.study.tell(number, self._value(number))
        elif run.state == "pruned":
            self.study.tell(number, state=TrialState.PRUNED)
        elif run.state == "failed":
            self.study.tell(number, state=TrialState.FAIL)
            return not run.reason.startswith("search.")  # an error that every trial would have
        return run.state in ("finished", "pruned")

    def _value(self, number: int) -> float:
        curve = self.study.get_trials(deepcopy=False)[number].intermediate_values.values()
        if not curve:
            raise RunError(f"search.metric={self.settings.metric}: trial {number} has ended without a validation")
        return float(max(curve) if self.settings.direction == "maximize" else min(curve))

    def _save_record(self) -> None:
        counts = Counter(trial.state.name.lower() for trial in self.study.get_trials(deepcopy=False))
        record = {"study": self.study.study_name, "storage": self.storage, "metric": self.settings.metric}
        best: dict[str, Any] | None = None
        if counts["complete"]:
            trial = self.study.best_trial
            words = [f"{key}={value}" for key, value in trial.params.items()]
            best = {"number": trial.number, "value": trial.value, "overrides": words}
        save_search(self.folder, record | {"trials": counts, "best": best})


def _at_once(hydra: DictConfig) -> int:
    """Returns the number of jobs that the launcher runs at once on this machine."""
    if hydra.runtime.choices["hydra/launcher"] == "basic":
        return 1
    return int(hydra.launcher.get("n_jobs") or jobs_at_once())


def _check_settings(settings: DictConfig) -> None:
    """Raises `RunError` for a wrong setting of the search."""
    for key in ("trials", "at_once"):
        number = settings[key]
        if not ((isinstance(number, int) and number >= 1) or (key == "at_once" and number is None)):
            raise RunError(f"search.{key}={number}: must be an integer, 1 or more")
    if settings.direction not in ("maximize", "minimize"):
        raise RunError(f"search.direction={settings.direction}: must be maximize or minimize")
    if not str(settings.metric).startswith("val/"):
        raise RunError(
            f"search.metric={settings.metric}: must be a metric of the validation, val/...; "
            "a test set that chose the trial could no longer measure it"
        )


def _check_same_search(study: Study, storage: str, search: dict[str, Any]) -> None:
    """Records in a new study what it searches.

    Raises:
        RunError: if an older study searches something else.
    """
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", search)
        return
    changed = [f"{key} was {before.get(key)}, is {search[key]}" for key in search if search[key] != before.get(key)]
    if changed:
        raise RunError(f"search.study={study.study_name}: is of another search ({'; '.join(changed)}) in {storage}")
