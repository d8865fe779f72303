"""Sweepers of `python -m vae_lab.train -m`, as plugins of Hydra.

Every Hydra program imports all modules below hydra_plugins when it starts: imports inside the methods keep that fast.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class _LabSweeper(Sweeper):
    """Prepares a sweep, with a launcher whose failure does not end it.

    Args:
        max_batch_size: number of jobs that the launcher gets at once.
        params: values of further keys, as on the command line.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"hydra.sweeper.max_batch_size={max_batch_size}: must be an integer, 1 or more")
        self.max_batch_size = max_batch_size
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vae_lab.sweeps.launchers import fault_tolerant_launcher  # noqa: PLC0415

        self.hydra_context, self.config = hydra_context, config
        self.launcher = fault_tolerant_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        from vae_lab.sweeps.grid import parsed_overrides  # noqa: PLC0415

        self._run(parsed_overrides(self.params, arguments))

    @abstractmethod
    def _run(self, overrides: list[Override]) -> None:
        """Runs the jobs of a sweep that is written as overrides."""

    def _save_config(self) -> None:
        from vae_lab.runs.sweep_folder import MULTIRUN  # noqa: PLC0415

        assert self.config is not None
        OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir) / MULTIRUN)


class GridSweeper(_LabSweeper):
    """Runs a job for each combination of the values of all keys."""

    def _run(self, overrides: list[Override]) -> None:
        from vae_lab.sweeps.grid import grid_jobs  # noqa: PLC0415

        assert self.launcher is not None
        jobs = grid_jobs(overrides)
        size = self.max_batch_size or len(jobs)
        self.validate_batch_is_legal(jobs)  # before the first file: a refused sweep leaves no folder
        self._save_config()
        for start in range(0, len(jobs), size):
            for result in self.launcher.launch(jobs[start : start + size], initial_job_idx=start):
                _ = result.return_value  # raises the error of a job


class OptunaSweeper(_LabSweeper):
    """Runs the trials of an Optuna study.

    Hydra's own plugin for Optuna pins version 2.10, whose SQLite storage fails with today's SQLAlchemy.
    """

    def _run(self, overrides: list[Override]) -> None:
        from vae_lab.sweeps.search import OptunaSearch  # noqa: PLC0415

        assert self.config is not None
        assert self.launcher is not None
        search = OptunaSearch(self.config, self.launcher, self.max_batch_size, overrides)
        self.validate_batch_is_legal(search.corners())
        self._save_config()
        search.run()
