"""Decides which requests are answered: by host, origin, token, method and size."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from werkzeug import Request, Response

TOKEN_HEADER = "X-Explore-Token"
MAX_JSON_BYTES = 4 * 2**20
MAX_UPLOAD_BYTES = 20 * 2**20
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request that is not answered, with its HTTP status and the reason in one line, which the user sees."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Guard:
    """Rules that every request must fulfil.

    Attributes:
        token: secret that requests for data must bring; None: any value of the header will do, which pages of other
            origins cannot send either.
        framed: True if the page may stand in a frame of the same origin.
        any_host: True if the server is meant to be reached under any name.
    """

    token: str | None
    framed: bool = False
    any_host: bool = False

    def check(self, request: Request) -> None:
        """Raises `RefusedError` for a request under a foreign name, or from a page of another origin."""
        host = urlsplit(f"//{request.headers.get('Host', '')}")
        if not self.any_host and host.hostname not in _LOCAL_NAMES:
            raise RefusedError(403, "Host: not this machine; open the printed address")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host.netloc:
            raise RefusedError(403, "Origin: a page of another site; open the printed address")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise RefusedError(403, "Sec-Fetch-Site: a page of another site; open the printed address")

    def check_token(self, request: Request) -> None:
        """Raises `RefusedError` for a request for data without the token."""
        given = request.headers.get(TOKEN_HEADER)
        if not given or (self.token is not None and not hmac.compare_digest(given.encode(), self.token.encode())):
            raise RefusedError(401, "token: missing or wrong; open the address that the command has printed")

    def secured(self, response: Response) -> Response:
        """Returns a response with the headers that keep the page to itself."""
        frame = "'self'" if self.framed else "'none'"
        policy = "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'"
        response.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors {frame}"
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response


def json_body(request: Request) -> dict[str, Any]:
    """Returns the JSON object that a request brings.

    Raises:
        RefusedError: for anything else, and for more than `MAX_JSON_BYTES`.
    """
    body = bounded_body(request, MAX_JSON_BYTES, ("application/json",))
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "body: not JSON") from error
    if not isinstance(found, dict):
        raise RefusedError(400, "body: must be a JSON object")
    return found


def bounded_body(request: Request, limit: int, types: Collection[str]) -> bytes:
    """Returns the body of a request.

    Raises:
        RefusedError: for another type, no length, or too many bytes.
    """
    if request.mimetype not in types:
        raise RefusedError(415, f"Content-Type: must be {' or '.join(types)}")
    length = request.content_length
    if length is None:
        raise RefusedError(411, "Content-Length: missing")
    if length > limit:
        raise RefusedError(413, f"body: {length} bytes, more than the {limit} that are read")
    return request.stream.read(limit)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}: not JSON")
