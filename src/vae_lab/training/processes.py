"""Prepares the process of a run, and gathers values of all processes that train it together."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import sys
import threading
import warnings
from typing import Any, TypeVar

import torch
from pytorch_lightning import seed_everything
from torch.distributed import DistError, all_gather_object, destroy_process_group, get_world_size, is_initialized

T = TypeVar("T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def gathered(own: T) -> list[T]:
    """Returns the values of all processes, in the order of their ranks; every process must call it."""
    if not is_initialized():
        return [own]
    found: list[Any] = [None] * get_world_size()
    all_gather_object(found, own)
    return found


def destroy_process_group_at_exit() -> None:
    """Ends the threads that communicate with other processes: one that wakes up at Python's end would abort it."""
    if is_initialized():
        destroy_process_group()


def lost_a_process(error: RuntimeError) -> bool:
    """True if the error says that another process of the run has ended."""
    return is_initialized() and (isinstance(error, DistError) or "gloo" in str(error))


def prepare_process(seed: int) -> None:
    """Seeds everything and silences warnings that a user cannot act on; call it before anything is built."""
    torch.set_flush_denormal(True)  # saturated pixels make denormals, which slow CPUs down
    _keep_freed_memory()
    # Lightning makes PyTorch look for an NVIDIA driver at every optimizer step.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # tips
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)  # in Lightning
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says when compiling that there is no GPU
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # says that it makes its file
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # checkpoints of a resumed run
    # `check_plan` prints a line of it, and `check_monitor` refuses a metric that is never logged.
    warnings.filterwarnings("ignore", message=r".*ModelCheckpoint\(monitor='val/.*could not find the monitored key.*")
    warnings.filterwarnings("ignore", message="You requested to overfit")  # the data repeat the order of an epoch
    warnings.filterwarnings("ignore", message=".*using the WeightAveraging callback.*")  # it shards nothing
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*WeightAveraging")
    threading.excepthook = _report_thread_error
    atexit.register(destroy_process_group_at_exit)
    seed_everything(seed, workers=True, verbose=False)


def _keep_freed_memory() -> None:
    """Has glibc keep the memory of large arrays, which every step frees and allocates again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, 2**30)


def _report_thread_error(error: threading.ExceptHookArgs) -> None:
    """Reports the error of a thread, except of TensorBoard's writer, whose next call raises it again."""
    if not type(error.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(error)
