"""search=optuna: a sweeper of Hydra that asks Optuna for jobs, has them run and tells Optuna their values.

Hydra's own plugin for Optuna pins version 2.10, whose SQLite storage fails with today's SQLAlchemy.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vae_lab.errors import RunError
from vae_lab.runs.reading import read_run
from vae_lab.runs.search_record import DATABASE, save_search, sweep_name
from vae_lab.sweeps.jobs import folder_name, save_failure, without_keys
from vae_lab.sweeps.launchers import enduring, jobs_at_once
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


class OptunaSearch(Sweeper):
    """Runs trials in batches until the study has as many as were asked for.

    A trial that is killed stays running in the study; whoever resumes the sweep takes it up again with its own
    parameters, and its run goes on from the last checkpoint.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        check_installed()
        check_settings(config.search)
        self.hydra_context, self.config = hydra_context, config
        self.settings, self.seed = config.search, config.seed
        self.no_settings_of_jobs = config.hydra.job.config.override_dirname.exclude_keys
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.storage = whole_storage(config.search.storage or f"sqlite:///{self.folder / DATABASE}")
        self.at_once = config.search.at_once or self.max_batch_size or _at_once(config.hydra)
        launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        self.launcher: Launcher = enduring(launcher, config)

    def sweep(self, arguments: list[str]) -> None:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        overrides = list({override.key_or_group: override for override in parser.parse_overrides(words)}.values())
        self.space = search_space(overrides)
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self.validate_batch_is_legal(_corners(self.fixed, self.space))
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        self.study = self._open_study()
        self._search()

    def _search(self) -> None:
        going_on = True
        waiting = self._interrupted()
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
        of_jobs = without_keys(self.fixed, self.no_settings_of_jobs)
        check_same_search(study, self.storage, _description(settings.metric, settings.direction, of_jobs, self.space))
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


def _corners(fixed: Sequence[str], space: Mapping[str, BaseDistribution]) -> list[list[str]]:
    """Overrides in which each choice and each bound comes up, to see that all can be composed."""
    found = []
    for key, distribution in space.items():
        values = getattr(distribution, "choices", None) or [distribution.low, distribution.high]  # type: ignore[attr-defined]
        found += [[*fixed, f"{key}={value}"] for value in values]
    return found


def _quoted(value: object) -> str:
    return QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else str(value)
