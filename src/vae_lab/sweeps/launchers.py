"""Launchers whose failure does not end a sweep."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vae_lab.cli.messages import wants_tracebacks


class FaultTolerantLauncher(Launcher):
    """Wraps a launcher so that its failure does not end the sweep: the reason is printed, and the report is written.

    A job that fails records why and returns. A launcher fails if the process of a job is killed or cannot be started.

    Args:
        launcher: launcher of a plugin, set up.
        name: name that the user chose.
    """

    def __init__(self, launcher: Launcher, name: str) -> None:
        self.launcher = launcher
        self.name = name

    def setup(self, **_: Any) -> None:
        """Does nothing, because the wrapped launcher is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            return self._launch(job_overrides, initial_job_idx)
        except HydraException:
            raise
        except Exception as error:
            _report_failure(self.name, error)
            return []

    def _launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.launcher.launch(job_overrides, initial_job_idx)


class _SubmititLauncher(FaultTolerantLauncher):
    """Submits jobs as the plugin's launcher does, but waits for all of them: the plugin stops at the first lost job."""

    launcher: Any

    def _launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from submitit.core.utils import FailedJobError, UncompletedJobError  # noqa: PLC0415

        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", state)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        finished = []
        for job in self._executor().map_array(self.launcher, *zip(*arguments, strict=True)):
            try:
                finished.append(job.results()[0])
            except (FailedJobError, UncompletedJobError) as error:
                _report_failure(self.name, error)
        return finished

    def _executor(self) -> Any:
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf  # noqa: PLC0415
        from submitit import AutoExecutor  # noqa: PLC0415

        cluster = self.name.removeprefix("submitit_")
        shared = {field.name for field in fields(BaseQueueConf)}
        params = {
            name if name in shared else f"{cluster}_{name}": value for name, value in self.launcher.params.items()
        }
        created = {name: params.pop(name) for name in (f"{cluster}_max_num_timeout",) if name in params}
        executor = AutoExecutor(params.pop("submitit_folder"), cluster, **created)
        executor.update_parameters(**params)
        return executor


def _report_failure(name: str, error: Exception) -> None:
    if wants_tracebacks():
        traceback.print_exception(error)
    lines = str(error).strip().splitlines() or [""]
    print(f"error: launcher={name}: {type(error).__name__}: {lines[0].strip()[:300]}", file=sys.stderr)


def fault_tolerant_launcher(context: HydraContext, task: TaskFunction, config: DictConfig) -> Launcher:
    """Returns the launcher of a sweep; Hydra's own, which runs jobs in this process, is not wrapped."""
    launcher = Plugins.instance().instantiate_launcher(context, task, config)
    name = config.hydra.runtime.choices["hydra/launcher"]
    if name == "basic":
        return launcher
    return _SubmititLauncher(launcher, name) if name.startswith("submitit_") else FaultTolerantLauncher(launcher, name)
