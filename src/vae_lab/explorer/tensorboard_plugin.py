"""The explorer as a tab of TensorBoard, over the runs in its logdir; loads no torch before a run is opened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tensorboard.plugins import base_plugin

from vae_lab.explorer.application import FILES, Explorer, OpenRuns
from vae_lab.explorer.guard import Guard
from vae_lab.runs.folder import CHECKPOINTS, FIGURES, SAMPLES, is_run
from vae_lab.settings import ExploreSettings

_LISTED_SECONDS = 10.0
"""Time for which a list of runs counts: TensorBoard asks at every reload, and a folder may hold thousands."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class ExplorePlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab Explore.

    Args:
        context: what TensorBoard gives its plugins: logdir and flags.
    """

    plugin_name = "vae_lab_explore"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._runs = _ListedRuns(_folders(context))
        flags, host = context.flags, getattr(context.flags, "host", None)
        local = not getattr(flags, "bind_all", False) and (not host or host in _LOCAL_HOSTS)  # this machine alone
        guard = Guard(token=None, framed=True, any_host=not local)
        self._explorer = Explorer(OpenRuns(self._runs, ExploreSettings()), guard, uploads=local)

    def get_plugin_apps(self) -> dict[str, Callable[..., Iterable[bytes]]]:
        """Returns the addresses that are served."""
        return {"/api/*": self._explorer, **{f"/{name}": self._explorer for name in FILES}}

    def is_active(self) -> bool:
        """True if there is a run with weights."""
        return bool(self._runs())

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Returns the name of the tab and the script that fills it."""
        return base_plugin.FrontendMetadata(es_module_path="/tab.js", tab_name="Explore", disable_reload=True)


class _ListedRuns:
    """The runs with weights below some folders, by their paths from there.

    Args:
        folders: folders by the name that precedes the paths; "" for none.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self._found: dict[str, Path] = {}
        self._listed = -_LISTED_SECONDS

    def __call__(self) -> Mapping[str, Path]:
        if time.monotonic() - self._listed > _LISTED_SECONDS:
            self._found = {
                "/".join(filter(None, (name, os.path.relpath(path, folder)))): path
                for name, folder in self.folders.items()
                for path in sorted(_runs_below(folder))
            }
            self._listed = time.monotonic()
        return self._found


def _runs_below(folder: Path) -> Iterator[Path]:
    for path, subfolders, _ in os.walk(folder):
        if is_run(Path(path)) and any((Path(path) / CHECKPOINTS).glob("*.ckpt")):
            yield Path(path)
        subfolders[:] = [n for n in subfolders if not n.startswith(".") and n not in (CHECKPOINTS, FIGURES, SAMPLES)]


def _folders(context: base_plugin.TBContext) -> dict[str, Path]:
    """Returns the folders that TensorBoard reads: its logdir, or those of --logdir_spec with their names."""
    spec = str(getattr(context.flags, "logdir_spec", "") or "")
    if not spec:
        return {"": Path(context.logdir).expanduser()} if context.logdir else {}
    named = [part.rpartition(":")[::2] for part in spec.split(",")]
    return {name: Path(path).expanduser() for name, path in named if path}
