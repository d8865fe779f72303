"""What the processes of a run tell each other."""

from __future__ import annotations

from typing import Any, TypeVar

from torch.distributed import DistError, all_gather_object, destroy_process_group, get_world_size, is_initialized

T = TypeVar("T")


def gathered(own: T) -> list[T]:
    """What every process has, in the order of their ranks; every process must call it."""
    if not is_initialized():
        return [own]
    found: list[Any] = [None] * get_world_size()
    all_gather_object(found, own)
    return found


def disband() -> None:
    """Ends the threads that talk to other processes: one that wakes up while Python ends would abort the process."""
    if is_initialized():
        destroy_process_group()


def lost_a_process(error: RuntimeError) -> bool:
    """Whether the error says that another process of the run has gone."""
    return is_initialized() and (isinstance(error, DistError) or "gloo" in str(error))
