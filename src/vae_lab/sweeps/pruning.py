"""Reports the validation curve of a trial to its Optuna study, which may stop the trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback, LightningModule, Trainer

from vae_lab.errors import PrunedError, RunError
from vae_lab.sweeps.study import check_installed, find_trial, open_storage

if TYPE_CHECKING:
    from optuna import Trial


class Pruning(Callback):
    """Reports a metric after each validation, and stops the run if the pruner says that other trials are better.

    The trial is found by its study and number, so that any process may run it, on any machine that sees the storage.
    The steps of the trial are the validations: 0, 1, 2, ...

    Args:
        storage: URL of Optuna's storage, or path of a journal file.
        metric: name of the metric, such as val/elbo.

    Raises:
        PrunedError: if the pruner stops the trial.
        RunError: if no validation logs the metric.
    """

    stops_by_validation = True

    def __init__(self, storage: str, study: str, trial: int, metric: str, pruner: Any) -> None:
        self.storage = storage
        self.study = study
        self.number = trial
        self.metric = metric
        self.pruner = pruner
        self._validations = 0
        self._trial: Trial | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._trial = self._find_trial()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        value = self._value(trainer)
        stops = self._trial is not None and self._is_stopped(self._trial, value)
        self._validations += 1
        if trainer.strategy.reduce_boolean_decision(stops, all=False):
            name = type(self.pruner).__name__
            raise PrunedError(f"{name}: {self.metric} {value:.3f} after {self._validations} validations")

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _find_trial(self) -> Trial:
        check_installed()
        import optuna  # noqa: PLC0415

        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=self.pruner)
        return find_trial(study, storage, self.number)

    def _value(self, trainer: Trainer) -> float:
        logged = trainer.callback_metrics
        if self.metric not in logged:
            known = ", ".join(sorted(name for name in logged if name.startswith("val/")))
            raise RunError(f"search.metric={self.metric}: no validation logs it; there are {known}")
        return float(logged[self.metric])

    def _is_stopped(self, trial: Trial, value: float) -> bool:
        known = trial.study.get_trials(deepcopy=False)[self.number].intermediate_values
        if self._validations not in known:  # a resumed run repeats the validations since its checkpoint
            trial.report(value, self._validations)
        return bool(trial.should_prune())
