"""Processes that hold a part of each weight (FSDP) compute what one computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome

import vae_lab
from tests.training.processes import SIZES, outcome, run, run_forked, step_of, stopped_after
from tests.training.same_run import assert_same

SHARDED = ("trainer=fsdp", "trainer.accelerator=cpu")
NO_PICTURES = ("callbacks=default", "callbacks.pictures=null", "callbacks.projector=null")
TEST = ("trainer.limit_test_batches=2",)


@pytest.mark.slow
def test_the_loss_of_shards_is_that_of_whole_weights(train: Callable[..., Outcome], forks: Any, tmp_path: Path) -> None:
    words = (*SIZES, *NO_PICTURES, *TEST, "model=mhvae", "trainer.gradient_clip_val=20")
    assert train("trainer=cpu", *words, f"hydra.run.dir={tmp_path / 'one'}").code == 0
    run_forked(forks, tmp_path, 2, *SHARDED, *words, f"hydra.run.dir={tmp_path / 'two'}")
    one, two = outcome(tmp_path / "one"), outcome(tmp_path / "two")
    assert len(two["curves"]["train/loss"]) == 12
    for tag in ("train/loss", "train/elbo", "val/elbo", "val/kl_level_1", "val/iw_bound"):
        assert two["curves"][tag] == pytest.approx(one["curves"][tag], rel=1e-5), tag
    for tag in ("test/elbo", "test/kl"):
        assert two["metrics"][tag] == pytest.approx(one["metrics"][tag], rel=1e-5), tag

    whole, gathered = (vae_lab.load_run(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, weight in whole.items():
        torch.testing.assert_close(gathered[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells which process is whose")
def test_shards_that_were_stopped_end_with_all_their_pictures_as_if_they_never_had_been(tmp_path: Path) -> None:
    sizes = (word for word in SIZES if not word.startswith(("trainer.limit_train", "callbacks")))
    words = (*sizes, *TEST, *SHARDED, "trainer.limit_train_batches=100", "checkpoint.every_minutes=0.001")
    reference, folder = tmp_path / "reference", tmp_path / "run"
    run(reference, *words)
    stopped_after(folder, 5, *words)
    assert 5 < step_of(folder) < 200, "it was ended on its way"
    run(folder, f"resume={folder}")
    assert_same(folder, reference)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        path.name for path in (reference / "figures").iterdir()
    }
