"""Questions to the explorer by the WSGI client."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from werkzeug.test import Client, TestResponse

from vae_lab.explorer.guard import TOKEN_HEADER
from vae_lab.explorer.server import explorer_of
from vae_lab.settings import ExploreSettings


class Page:
    """Questions of a browser to one or two runs."""

    def __init__(self, *paths: Path, **settings: Any) -> None:
        self.explorer, self.token = explorer_of(paths, ExploreSettings(num_examples=60, **settings))
        self.client = Client(self.explorer)
        self.headers = {"Host": "127.0.0.1:8765", TOKEN_HEADER: self.token}
        self.name = self.explorer.first[0]

    def respond(self, question: str, **body: Any) -> TestResponse:
        return self.client.post(f"/api/{question}", json={"run": self.name, **body}, headers=self.headers)

    def ask(self, question: str, **body: Any) -> dict[str, Any]:
        response = self.respond(question, **body)
        assert response.status_code == 200, response.text
        return response.get_json()

    def refusal(self, question: str, **body: Any) -> str:
        response = self.respond(question, **body)
        assert response.status_code >= 400
        return f"{response.status_code} {response.get_json()['error']}"


def pixels(example: dict[str, Any]) -> np.ndarray:
    """The bytes of an answer, (C, H, W)."""
    shape = (example["height"], example["width"], example["channels"])
    return np.frombuffer(base64.b64decode(example["data"]), np.uint8).reshape(shape).transpose(2, 0, 1)


def as_bytes(picture: torch.Tensor) -> np.ndarray:
    return picture.mul(255).add(0.5).clamp(0, 255).to(torch.uint8).numpy()
