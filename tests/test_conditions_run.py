"""A whole run under attributes and numbers: trained, stopped, resumed, sampled and evaluated by the commands."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import FAST, Outcome
from tests.training.processes import outcome, run_forked
from tests.training.same_run import assert_same
from vae_lab import encode, evaluate, load_run, sample

SPRITES = (
    *(word for word in FAST if not word.startswith("debug")),
    *("model=cvae", "data=sprites", "data.images.condition=[shape,large,scale,x]", "data.image_size=16"),
    *("data.images.num_scales=2", "data.images.num_orientations=2", "data.images.num_positions=3", "data.val_size=12"),
)


def test_a_run_goes_on_is_sampled_and_evaluated(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(*SPRITES, "trainer.max_epochs=2", f"hydra.run.dir={reference}").code == 0
    first = train(*SPRITES, "trainer.max_epochs=1", f"hydra.run.dir={run}")
    assert "3 classes (square, ellipse, heart), 1 attribute (large), 2 numbers (scale, x)" in first.out
    assert train(f"resume={run}", "trainer.max_epochs=2").code == 0
    assert_same(run, reference)

    spec = yaml.safe_load((run / "config.yaml").read_text())["spec"]
    assert (spec["attributes"], spec["numbers"], spec["numbers_range"]) == (
        ["large"],
        ["scale", "x"],
        [[0.5, 1], [0, 1]],
    )
    assert load_run(run).spec.numbers_scaling.mean == tuple(spec["numbers_scaling"]["mean"])

    ask = partial(command, sample.main, f"run={run}", "num=2", f"out={tmp_path / 'out'}")
    assert ask("y=heart+large+scale:0.7+x:0.1").code == 0
    drawn = np.load(tmp_path / "out" / "samples_yheart-large-scale_0.7-x_0.1_num2.npz")
    assert drawn["y"].tolist() == np.float32([[0, 0, 1, 1, 0.7, 0.1]] * 2).tolist()
    assert ask("y={heart:1,scale:0.7,x:0.1}").code == 0
    assert ask().code == 0
    assert ask("what=conditions").code == 0
    assert len(list((tmp_path / "out").glob("conditions_*.png"))) == 3
    for word, message in (("y=[0.7,0.1]", "names no class; add one of"), ("y=hart+x:0", "did you mean heart?")):
        refused = ask(word)
        assert refused.code == 1
        assert len(refused.error_lines) == 1
        assert message in refused.error_lines[0]

    table = tmp_path / "codes.npz"
    assert command(encode.main, f"run={run}", f"out={table}", "trainer=cpu").code == 0
    columns = np.load(table)
    assert set(columns["label"]) == {"square", "ellipse", "heart"}
    assert set(columns["condition_x"]) == {0, 0.5, 1}

    assess = partial(command, evaluate.main, f"run={run}", "num_samples=5", "trainer=cpu", "disentanglement=false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert assess().code == 0
    assert np.isfinite(json.loads((run / "evaluation.json").read_text())["nll"])
    assert "the model's condition has large, scale, x as well" in assess("all_labels=true").error_lines[0]


@pytest.mark.slow
def test_the_loss_under_conditions_does_not_depend_on_the_number_of_processes(
    train: Callable[..., Outcome], forks: Any, tmp_path: Path
) -> None:
    kept = [word for word in SPRITES if not word.startswith(("callbacks.", "trainer=", "data.batch_size"))]
    words = (*kept, "data.batch_size=12", "data.drop_last=true", "trainer.max_epochs=2", "callbacks=none")
    assert train("trainer=cpu", *words, f"hydra.run.dir={tmp_path / 'one'}").code == 0
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    run_forked(forks, tmp_path, 2, *two, *words, f"hydra.run.dir={tmp_path / 'two'}")
    curves = [outcome(tmp_path / name)["curves"] for name in ("one", "two")]
    for tag in ("train/loss", "train/elbo", "val/elbo"):
        assert curves[1][tag] == pytest.approx(curves[0][tag], rel=1e-5), tag
