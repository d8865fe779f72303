"""Searches with Optuna: asks it for jobs, runs them and returns their values to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig

from vae_lab.cli.overrides import without_keys
from vae_lab.errors import RunError
from vae_lab.runs.folder import save_failure
from vae_lab.runs.reading import read_run
from vae_lab.runs.search_record import DATABASE, save_search, sweep_name
from vae_lab.sweeps.jobs import folder_name
from vae_lab.sweeps.machine import jobs_at_once
from vae_lab.sweeps.search_space import search_space, suggest
from vae_lab.sweeps.study import check_installed, open_storage, whole_storage

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution


class Job(NamedTuple):
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
        launcher: launcher of the jobs.
        max_batch_size: number of jobs that the launcher gets at once, unless search.at_once sets it.
        overrides: overrides of the command line.

    Raises:
        RunError: if Optuna is not installed, or for a wrong setting of the search.
    """

    def __init__(
        self, config: DictConfig, launcher: Launcher, max_batch_size: int | None, overrides: Sequence[Override]
    ) -> None:
        check_installed()
        check_settings(config.search)
        self.settings, self.seed, self.launcher = config.search, config.seed, launcher
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.storage = whole_storage(config.search.storage or f"sqlite:///{self.folder / DATABASE}")
        self.at_once = config.search.at_once or max_batch_size or _at_once(config.hydra)
        self.space = search_space(overrides)
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self.of_jobs = without_keys(self.fixed, config.hydra.job.config.override_dirname.exclude_keys)

    def corners(self) -> list[list[str]]:
        """Returns overrides with each choice and each bound, to test that all of them can be composed."""
        found = []
        for key, distribution in self.space.items():
            values = getattr(distribution, "choices", None) or [distribution.low, distribution.high]  # type: ignore[attr-defined]
            found += [[*self.fixed, f"{key}={value}"] for value in values]
        return found

    def run(self) -> None:
        """Opens the study, finishes the interrupted trials of this sweep and runs new ones."""
        self.study = self._open_study()
        waiting = self._interrupted()
        going_on = True
        while going_on:
            batch = [self._job(trial) for trial in waiting[: self.at_once]] or self._asked()
            waiting = waiting[self.at_once :]
            if not batch:
                break
            self.launcher.launch([job.overrides for job in batch], initial_job_idx=batch[0].trial.number)
            told = [self._tell(job) for job in batch]
            going_on = all(told)
            self._save_record()

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
        search = _description(settings.metric, settings.direction, self.of_jobs, self.space)
        check_same_search(study, self.storage, search)
        return study

    def _interrupted(self) -> list[Trial]:
        """The trials of this sweep that were running when it was stopped."""
        import optuna  # noqa: PLC0415

        running = self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        names = (sweep_name(self.folder), str(self.folder))  # older sweeps went by their path
        own = [t for t in running if t.user_attrs.get("sweep") in names or not self.settings.storage]
        return [optuna.Trial(self.study, trial._trial_id) for trial in own]

    def _asked(self) -> list[Job]:
        missing = self.settings.trials - len(self.study.get_trials(deepcopy=False))
        return [self._ask() for _ in range(min(self.at_once, missing))]

    def _ask(self) -> Job:
        trial = self.study.ask()
        trial.set_user_attr("sweep", sweep_name(self.folder))
        return self._job(trial)

    def _job(self, trial: Trial) -> Job:
        # From the number, so that a search that was stopped goes on as it would have, and no two processes draw alike.
        self.study.sampler = instantiate(self.settings.sampler)(seed=self.seed * 100_003 + trial.number)
        drawn = suggest(trial, self.space)
        name = f"trial_{trial.number:03d},{folder_name(','.join(drawn))}"
        of_search = {"search.trial": trial.number, "search.storage": self.storage, "hydra.sweep.subdir": name}
        words = [f"{key}={_quoted(value)}" for key, value in of_search.items()]
        fixed = [word for word in self.fixed if not word.startswith("search.storage=")]
        return Job(trial, [*fixed, *drawn, *words], self.folder / name)

    def _tell(self, job: Job) -> bool:
        """Tells Optuna what came of a job; whether the search can go on."""
        import optuna  # noqa: PLC0415

        run = read_run(job.folder)
        number = job.trial.number
        if run is None:
            job.folder.mkdir(exist_ok=True)
            save_failure(job.folder, job.overrides, RunError(), "its process ended before it began")
            return False
        if run.state == "finished":
            self.study.tell(number, self._value(number))
        elif run.state == "pruned":
            self.study.tell(number, state=optuna.trial.TrialState.PRUNED)
        elif run.state == "failed":
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)
            return not run.reason.startswith("search.")  # which every trial would say
        return run.state in ("finished", "pruned", "failed")

    def _value(self, number: int) -> float:
        curve = self.study.get_trials(deepcopy=False)[number].intermediate_values.values()
        if not curve:
            raise RunError(f"search.metric={self.settings.metric}: trial {number} has ended without a validation")
        return float(max(curve) if self.settings.direction == "maximize" else min(curve))

    def _save_record(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
        best = self.study.best_trial if complete else None
        save_search(
            self.folder,
            {
                "study": self.study.study_name,
                "storage": self.storage,
                "metric": self.settings.metric,
                "trials": Counter(trial.state.name.lower() for trial in trials),
                "best": best
                and {
                    "number": best.number,
                    "value": best.value,
                    "overrides": [f"{key}={value}" for key, value in best.params.items()],
                },
            },
        )


def _at_once(hydra: DictConfig) -> int:
    """As many jobs as the launcher runs at once on this machine."""
    if hydra.runtime.choices["hydra/launcher"] == "basic":
        return 1
    return int(hydra.launcher.get("n_jobs") or jobs_at_once())


def check_settings(settings: DictConfig) -> None:
    """Raises `RunError` for a setting of the search that makes no sense."""
    for key in ("trials", "at_once"):
        number = settings[key]
        if not ((isinstance(number, int) and number >= 1) or (key == "at_once" and number is None)):
            raise RunError(f"search.{key}={number}: must be an integer, 1 or more")
    if settings.direction not in ("maximize", "minimize"):
        raise RunError(f"search.direction={settings.direction}: must be maximize or minimize")
    if not str(settings.metric).startswith("val/"):
        raise RunError(
            f"search.metric={settings.metric}: must be a metric of the validation, val/...; "
            "the test set would no longer measure what it has chosen"
        )


def check_same_search(study: Study, storage: str, search: Mapping[str, Any]) -> None:
    """Writes down what a new study searches.

    Raises:
        RunError: for one that searches something else.
    """
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", search)
        return
    changed = [f"{key} was {before.get(key)}, is {search[key]}" for key in search if search[key] != before.get(key)]
    if changed:
        raise RunError(f"search.study={study.study_name}: is of another search ({'; '.join(changed)}) in {storage}")


def _description(
    metric: str, direction: str, fixed: Sequence[str], space: Mapping[str, BaseDistribution]
) -> dict[str, Any]:
    from optuna.distributions import distribution_to_json  # noqa: PLC0415

    texts = {key: json.loads(distribution_to_json(distribution)) for key, distribution in sorted(space.items())}
    return {"space": texts, "fixed": sorted(fixed), "metric": metric, "direction": direction}


def _quoted(value: object) -> str:
    return QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else str(value)
