"""The programs under examples/ run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples import vae
from vae_lab.data import Arrays, ImageSet


class Bright(ImageSet):
    """Pictures whose pixels are all lit with probability 0.9: the best log p(x) is 784 (0.9 log 0.9 + 0.1 log 0.1)."""

    reads_root = False
    name = "bright"
    native_shape = (1, 28, 28)
    num_classes = 2

    def read(self, train: bool) -> Arrays:
        size = 5256 if train else 100
        return Arrays(np.full((size, 1, 28, 28), 230, np.uint8), np.arange(size) % 2)


def test_the_vae_on_one_page_approaches_the_best_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vae.DATA_SETS, "mnist", Bright)
    with torch.random.fork_rng():
        vae.main(epochs=40)
    numbers = [float(found) for found in re.findall(r"-\d+\.\d+", capsys.readouterr().out)]
    entropy = 784 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    *elbos, log_p = numbers
    assert len(elbos) == 40
    assert elbos[0] < elbos[-1] < log_p + 1 < 0
    assert abs(elbos[-1] - entropy) < 0.05 * abs(entropy)
    with Image.open(tmp_path / "samples.png") as sheet:
        assert sheet.size == (8 * 30 + 2, 8 * 30 + 2)
        assert abs(np.asarray(sheet)[2:30, 2:30].mean() - 230) < 12
