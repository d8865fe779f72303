"""Serves the explorer of one or two runs on this machine alone."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from vae_lab.errors import RunError
from vae_lab.explorer.application import Explorer, OpenRuns
from vae_lab.explorer.guard import Guard
from vae_lab.settings import ExploreSettings

_HOST = "127.0.0.1"


class _QuietHandler(WSGIRequestHandler):
    """Answers requests without a line for each, and without the versions of the server."""

    server_version, sys_version = "vae_lab", ""

    def log(self, type: str, message: str, *args: object) -> None:
        if type == "error":
            logging.getLogger(__name__).error(message, *args)


def explorer_of(paths: Sequence[Path], settings: ExploreSettings) -> tuple[Explorer, str]:
    """Returns the application of one or two runs, opened already, and its token.

    Raises:
        RunError, ValueError: for a run that cannot be opened.
    """
    token = secrets.token_urlsafe(24)
    names = _named(paths)
    runs = OpenRuns(lambda: names, settings)
    for name in names:
        runs.open(name)
    return Explorer(runs, Guard(token), list(names)), token


def make_explorer_server(explorer: Explorer, port: int) -> BaseWSGIServer:
    """Returns a server on 127.0.0.1 that answers nothing yet.

    Raises:
        RunError: for a port that is in use.
    """
    try:
        # Bound here, because werkzeug would print its own lines and exit.
        bound = socket.create_server((_HOST, port))
    except (OSError, OverflowError) as error:
        raise RunError(f"port={port}: cannot be used ({error}); port=0 takes a free one") from error
    with bound:
        return make_server(_HOST, bound.getsockname()[1], explorer, True, 1, _QuietHandler, fd=bound.fileno())


def address_of(server: BaseWSGIServer, token: str) -> str:
    """Returns the address to open, with the token behind #, which browsers do not send."""
    return f"http://{_HOST}:{server.port}/#token={token}"


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Returns the paths by their last two parts, which tell runs of one name apart, or else by the whole."""
    names = {"/".join(path.absolute().parts[-2:]): path for path in paths}
    return names if len(names) == len(paths) else {str(path): path for path in paths}
