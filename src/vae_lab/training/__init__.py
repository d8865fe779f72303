"""Training with PyTorch Lightning."""

from vae_lab.training.averaging import WeightAverage
from vae_lab.training.fit import Record, fit
from vae_lab.training.logs.csv_logger import CsvLogger
from vae_lab.training.logs.loggers import set_loggers
from vae_lab.training.logs.monitors import check_monitor, check_searched
from vae_lab.training.logs.tensorboard import TensorBoard
from vae_lab.training.module import VariationalModule
from vae_lab.training.optimization import Optimization
from vae_lab.training.processes import prepare_process
from vae_lab.training.resume.atomic import AtomicCheckpointIO
from vae_lab.training.resume.initial_weights import take_weights
from vae_lab.training.trainer_checks import check_trainer, naming_the_key

__all__ = [
    "AtomicCheckpointIO",
    "CsvLogger",
    "Optimization",
    "Record",
    "TensorBoard",
    "VariationalModule",
    "WeightAverage",
    "check_monitor",
    "check_searched",
    "check_trainer",
    "fit",
    "naming_the_key",
    "prepare_process",
    "set_loggers",
    "take_weights",
]
