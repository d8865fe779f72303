"""The WSGI application: the page, and answers to its questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug import Request, Response

from vae_lab.errors import RunError, one_line
from vae_lab.explorer.guard import MAX_UPLOAD_BYTES, Guard, RefusedError, bounded_body, json_body
from vae_lab.settings import ExploreSettings

if TYPE_CHECKING:
    from vae_lab.explorer.explored import ExploredRun

PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = tuple(sorted(path.name for path in PAGE.iterdir() if path.suffix in _TYPES))
_QUESTIONS = ("open", "decode", "example", "samples", "path", "map", "command")
_MAX_WATCHED = 8
_MAX_OPEN = 4
"""Runs that are kept in memory."""
_UPLOADS = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "application/octet-stream")


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
            raise RefusedError(410, one_line(error, 500)) from error
        if stamp is not None and stamp != found.stamp:
            raise RefusedError(409, "the run has a newer checkpoint")
        return found


class Explorer:
    """A WSGI application that serves the page and explores runs.

    Args:
        first: names of the runs that the page opens at once, one or two; none: the user chooses from a list.
        uploads: answer with the codes of pictures that are sent.
    """

    def __init__(self, runs: OpenRuns, guard: Guard, first: Sequence[str] = (), uploads: bool = True) -> None:
        self.runs = runs
        self.guard = guard
        self.first = tuple(first)
        self.uploads = uploads

    def problems(self) -> list[str]:
        """Returns why the runs that the page opens at once have no examples, a line each."""
        with self.runs.lock:
            found = {name: self.runs.open(name).problem for name in self.first}
        return [f"run={name}: no examples; {problem}" for name, problem in found.items() if problem]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            self.guard.check(request)
            response = self._answer(request)
        except RefusedError as refusal:
            response = _json({"error": refusal.reason}, refusal.status)
        except ValueError as error:  # of the model, for values that do not fit its data
            response = _json({"error": one_line(error, 300)}, 400)
        except Exception as error:  # a fault of ours is shown in one line, and the server goes on
            response = _json({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}, 500)
        return self.guard.secured(response)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2] or "page.html"
        if request.path.rstrip("/").endswith(f"/api/{name}"):
            return self._answer_question(request, name)
        if name not in FILES:
            raise RefusedError(404, "no such page")
        if request.method not in ("GET", "HEAD"):
            raise RefusedError(405, f"{request.method}: must be GET")
        return Response((PAGE / name).read_bytes(), mimetype=_TYPES[Path(name).suffix])

    def _answer_question(self, request: Request, name: str) -> Response:
        if request.method != "POST":
            raise RefusedError(405, f"{request.method}: must be POST")
        self.guard.check_token(request)
        if name == "runs":
            json_body(request)
            listed = list(self.runs.names())
            return _json({"runs": listed, "first": list(self.first), "uploads": self.uploads})
        if name == "status":
            return _json({"runs": _status(self.runs, json_body(request).get("runs"))})
        if name == "picture":
            return _json(self._picture(request))
        if name not in _QUESTIONS:
            raise RefusedError(404, "no such question")
        body = json_body(request)
        with self.runs.lock:
            run = self.runs.get(body.get("run"), None if name == "open" else body.get("stamp"))
            from vae_lab.explorer.answers import ANSWERS  # noqa: PLC0415  (which loads torch)

            return _json(ANSWERS[name](run, body))

    def _picture(self, request: Request) -> Mapping[str, Any]:
        if not self.uploads:
            raise RefusedError(403, "picture: not taken, because this server can be reached from other machines")
        content = bounded_body(request, MAX_UPLOAD_BYTES, _UPLOADS)
        try:
            y = json.loads(request.args.get("y", "null"))
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "y: not JSON") from error
        with self.runs.lock:
            run = self.runs.get(request.args.get("run"), request.args.get("stamp"))
            from vae_lab.explorer.answers import picture  # noqa: PLC0415

            return picture(run, content, request.args.get("inverted") == "1", y)


def _status(runs: OpenRuns, names: object) -> dict[str, dict[str, str]]:
    """Returns the stamp of each run's checkpoint, or why it has none, without waiting for a model."""
    if not isinstance(names, list) or len(names) > _MAX_WATCHED or not all(isinstance(name, str) for name in names):
        raise RefusedError(400, f"runs: must be at most {_MAX_WATCHED} names")
    found = {}
    for name in names:
        try:
            found[name] = {"stamp": runs.stamp(name)}
        except RunError as error:
            found[name] = {"gone": one_line(error, 500)}
    return found


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError as error:
        raise RefusedError(500, "the model gives numbers that are not finite; has its training diverged?") from error
    return Response(text, status, mimetype="application/json")
