"""The runs that are open: loaded when they are first asked for, and again when their checkpoint has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vae_lab.errors import RunError
from vae_lab.explorer.guard import RefusedError
from vae_lab.settings import ExploreSettings

if TYPE_CHECKING:
    from vae_lab.explorer.explored import ExploredRun

_MAX_OPEN = 4
"""Runs that are kept in memory."""


class OpenRuns:
    """The runs that may be explored, by name; one request at a time is answered, because a model has one state.

    Args:
        names: returns the folders of the runs by name, at each call as they are now.
        settings: weights and examples that are read.
    """

    def __init__(self, names: Callable[[], Mapping[str, Path]], settings: ExploreSettings) -> None:
        self.names = names
        self.lock = threading.RLock()
        self.settings = settings
        self._open: dict[str, ExploredRun] = {}

    def open(self, name: str) -> ExploredRun:
        """Returns a run, read again if its checkpoint has changed.

        Raises:
            RunError, TypeError, ValueError, OSError: for a run that is gone or cannot be opened.
        """
        from vae_lab.explorer.explored import ExploredRun  # noqa: PLC0415

        found = self._open.pop(name, None)
        if found is None or found.stamp != self.stamp(name):
            found = ExploredRun(self.names()[name], self.settings)
        self._open[name] = found  # the newest last
        while len(self._open) > _MAX_OPEN:
            self._open.pop(next(iter(self._open)))
        return found

    def stamp(self, name: str) -> str:
        """Returns the stamp of a run's checkpoint as it is now, which is not read.

        Raises:
            RunError: for a run that is gone.
        """
        from vae_lab.explorer.explored import stamp_of  # noqa: PLC0415

        path = self.names().get(name)
        if path is None:
            raise RunError(f"run={name[:200]}: no such run")
        return stamp_of(path)

    def get(self, name: object, stamp: object = None) -> ExploredRun:
        """Returns a run that the page asks for, with the lock held by the caller.

        Args:
            name: name of the run.
            stamp: stamp of the run that the page has shown; None: any.

        Raises:
            RefusedError: for an unknown name, a run that is gone or cannot be opened, or one with newer weights than
                those that the page has shown.
        """
        if not isinstance(name, str) or name not in self.names():
            raise RefusedError(410, f"run={str(name)[:200]}: no such run")
        try:
            found = self.open(name)
        except (RunError, ValueError, TypeError, OSError) as error:
            raise RefusedError(410, " ".join(str(error).split())[:500]) from error
        if stamp is not None and stamp != found.stamp:
            raise RefusedError(409, "the run has a newer checkpoint")
        return found
