"""Requests that the explorer refuses, and the headers that keep the page to itself."""

from __future__ import annotations

import io
import json
import logging
import urllib.request
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image
from werkzeug.test import Client

from tests.conftest import FAST, trained_run
from vae_lab.errors import RunError
from vae_lab.explorer import guard, own_picture
from vae_lab.explorer.application import FILES, Explorer
from vae_lab.explorer.guard import TOKEN_HEADER
from vae_lab.explorer.server import address_of, explorer_of, make_explorer_server
from vae_lab.settings import ExploreSettings

LOCAL = {"Host": "127.0.0.1:8765"}


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explorer, str]:
    folder = tmp_path_factory.mktemp("runs")
    run = trained_run(folder / "cvae", *FAST, "model=cvae", "latent_dim=3", "logger=none")
    return explorer_of([run], ExploreSettings(num_examples=30))


@pytest.fixture(scope="module")
def client(explored: tuple[Explorer, str]) -> Client:
    return Client(explored[0])


def ask(explored: tuple[Explorer, str], question: str, body: Any, **headers: str) -> tuple[int, str]:
    """Status and error of a question."""
    sent = {**LOCAL, TOKEN_HEADER: explored[1], **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = body if isinstance(body, bytes) else json.dumps({"run": explored[0].first[0], **body}).encode()
    sent.setdefault("Content-Type", "application/json")
    response = Client(explored[0]).post(f"/api/{question}", data=data, headers=sent)
    return response.status_code, (response.get_json() or {}).get("error", "")


def test_the_page_is_served_without_a_token_and_keeps_to_itself(client: Client) -> None:
    for name in ("", *FILES):
        response = client.get(f"/{name}", headers=LOCAL)
        assert response.status_code == 200
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in response.headers


def test_no_file_of_the_page_names_another_host() -> None:
    for name in FILES:
        text = (Path(guard.__file__).parent / "page" / name).read_text(encoding="utf-8")
        assert "https:" not in text
        assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
        assert " style=" not in text, "the policy forbids it"


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"Host": "evil.example"}, 403, "Host"),
        ({"Host": "127.0.0.1.evil.example:8765"}, 403, "Host"),
        ({"Host": ""}, 403, "Host"),
        ({"Origin": "http://evil.example"}, 403, "Origin"),
        ({"Origin": "null"}, 403, "Origin"),
        ({"Origin": "http://127.0.0.1:9999"}, 403, "Origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "Sec-Fetch-Site"),
        ({TOKEN_HEADER: "wrong"}, 401, "token"),
        ({TOKEN_HEADER: ""}, 401, "token"),
        ({TOKEN_HEADER: "wröng"}, 401, "token"),
        ({"Content-Type": "text/plain"}, 415, "Content-Type"),
    ],
)
def test_foreign_requests_are_refused(
    explored: tuple[Explorer, str], headers: dict[str, str], status: int, said: str
) -> None:
    found = ask(explored, "open", {}, **headers)
    assert found[0] == status
    assert found[1].startswith(said)
    assert ask(explored, "open", {}, Origin="http://127.0.0.1:8765")[0] == 200


Z = [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("question", "body", "status", "said"),
    [
        ("open", b"{", 400, "body"),
        ("open", b"[" * 100_000, 400, "body"),
        ("open", b"[1]", 400, "body"),
        ("open", b'{"run": NaN}', 400, "body"),
        ("open", {"run": "../../etc"}, 410, "run="),
        ("open", {"run": ["x"]}, 410, "run="),
        ("nothing", {}, 404, "no such"),
        ("decode", {}, 400, "z:"),
        ("decode", {"z": []}, 400, "z:"),
        ("decode", {"z": [[0.0]], "y": 0}, 400, "z: 1 numbers for level 1, which has 3"),
        ("decode", {"z": [[0, 0, 1e999]], "y": 0}, 400, "body"),
        ("decode", {"z": [[0, 0, 10**400]], "y": 0}, 400, "z:"),
        ("decode", {"z": [[0, 0, "1"]], "y": 0}, 400, "z:"),
        ("decode", {"z": [[0, 0, True]], "y": 0}, 400, "z:"),
        ("decode", {"z": Z * 2, "y": 0}, 400, "z:"),
        ("decode", {"z": Z}, 400, "y:"),
        ("decode", {"z": Z, "y": 10}, 400, "y: must be a class from 0 to 9"),
        ("decode", {"z": Z, "y": [1]}, 400, "y:"),
        ("example", {"example": 30}, 400, "example:"),
        ("example", {"example": -1}, 400, "example:"),
        ("samples", {"num": 101, "seed": 0, "y": 0}, 400, "num:"),
        ("samples", {"num": 4, "seed": -1, "y": 0}, 400, "seed:"),
        ("samples", {"num": 4, "seed": 0, "y": 0, "temperature": [1, 1]}, 400, "temperature:"),
        ("samples", {"num": 4, "seed": 0, "y": 0, "temperature": -1}, 400, "temperature:"),
        ("samples", {"num": 4, "seed": 0, "y": 0, "take": 4}, 400, "take:"),
        ("path", {"start": 1, "end": 2}, 400, "path:"),
        ("path", {"start": {"z": Z, "y": 0}, "end": {"z": Z, "y": 1}, "steps": 1000}, 400, "steps:"),
        ("map", {"level": 1, "view": "pca"}, 400, "level:"),
        ("map", {"level": 0, "view": "tsne"}, 400, "view:"),
    ],
)
def test_wrong_questions_are_refused_in_one_line(
    explored: tuple[Explorer, str], question: str, body: Any, status: int, said: str
) -> None:
    found = ask(explored, question, body)
    assert (found[0], found[1][: len(said)]) == (status, said)
    assert "\n" not in found[1]


def test_methods_and_paths(client: Client, explored: tuple[Explorer, str]) -> None:
    headers = {**LOCAL, TOKEN_HEADER: explored[1]}
    assert client.get("/api/open", headers=headers).status_code == 405
    assert client.options("/api/open", headers=headers).status_code == 405
    assert client.post("/page.html", headers=headers).status_code == 405
    for path in ("/../guard.py", "/..%2fguard.py", "/page/page.html/x", "/__init__.py", "/api"):
        assert client.get(path, headers=headers).status_code == 404


def test_large_bodies_are_refused_before_they_are_read(
    explored: tuple[Explorer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(explored, "open", b" " * (guard.MAX_JSON_BYTES + 1))[0] == 413
    upload = b" " * (guard.MAX_UPLOAD_BYTES + 1)
    assert ask(explored, "picture", upload, Content_Type="image/png")[0] == 413


def picture_refusal(explored: tuple[Explorer, str], content: bytes, kind: str = "image/png") -> tuple[int, str]:
    response = Client(explored[0]).post(
        "/api/picture", query_string={"run": explored[0].first[0], "y": "0"}, data=content, content_type=kind,
        headers={**LOCAL, TOKEN_HEADER: explored[1]},
    )  # fmt: skip
    return response.status_code, response.get_json().get("error", "")


def test_pictures_that_are_none_or_too_large_are_refused(
    explored: tuple[Explorer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert picture_refusal(explored, b"not a picture") == (
        400, "picture: cannot be read as one of PNG, JPEG, WEBP, BMP, GIF",
    )  # fmt: skip
    assert picture_refusal(explored, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")[0] == 400
    assert picture_refusal(explored, b"<svg/>", "image/svg+xml")[0] == 415
    file = io.BytesIO()
    Image.new("L", (40, 40)).save(file, "PNG")
    assert picture_refusal(explored, file.getvalue())[0] == 200
    monkeypatch.setattr(own_picture, "MAX_PIXELS", 1599)
    assert picture_refusal(explored, file.getvalue()) == (413, "picture: 40 x 40, more than 1599 pixels")
    explored[0].uploads = False
    try:
        assert picture_refusal(explored, file.getvalue())[0] == 403
    finally:
        explored[0].uploads = True


def test_a_fault_is_one_line_and_the_server_goes_on(
    explored: tuple[Explorer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = explored[0].runs.open(explored[0].first[0])
    with monkeypatch.context() as patch:
        patch.setattr(type(run), "decode", lambda *_: 1 / 0)
        assert ask(explored, "decode", {"z": Z, "y": 0}) == (500, "ZeroDivisionError: division by zero")
    with monkeypatch.context() as patch:
        patch.setattr(run, "measured", lambda _: {"elbo": float("nan")})
        assert ask(explored, "example", {"example": 0})[0] == 500
    assert ask(explored, "decode", {"z": Z, "y": 0})[0] == 200


def test_the_server_listens_on_this_machine_and_logs_no_token(
    explored: tuple[Explorer, str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    explorer, token = explored
    caplog.set_level(logging.DEBUG)
    server = make_explorer_server(explorer, 0)
    assert server.server_address[0] == "127.0.0.1"
    address = address_of(server, token)
    assert address == f"http://127.0.0.1:{server.port}/#token={token}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/api/runs", b"{}",
            {TOKEN_HEADER: token, "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as response:
            assert json.load(response)["first"] == list(explorer.first)
            assert "Python" not in response.headers["Server"]
        with pytest.raises(RunError, match=f"port={server.port}: cannot be used .*port=0 takes a free one"):
            make_explorer_server(explorer, server.port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    out, err = capfd.readouterr()
    assert token not in out + err + caplog.text
    assert (out, err) == ("", "")
