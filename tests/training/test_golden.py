"""The first 20 losses of four models, recorded before the work on speed (commit 4b47f5f): numbers do not move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Outcome

LOSSES: dict[str, list[float]] = json.loads((Path(__file__).parent / "golden_losses.json").read_text())
"""train/loss in nats an example, by run; torch 2.15 on x86-64."""

RUNS = {
    "vae": ("model=vae",),
    "cvae": ("model=cvae",),
    "mhvae": ("model=mhvae", "warmup=none"),
    "ladder": ("model=ladder", "warmup=none", "network=mlp"),
    "iwae": ("model=vae", "objective=iwae"),
}
SHORT = (
    "trainer=cpu",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=20",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.log_every_n_steps=1",
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_old(train: Callable[..., Outcome], tmp_path: Path, name: str) -> None:
    assert train(*SHORT, *RUNS[name], f"hydra.run.dir={tmp_path}").code == 0
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    # Importance weights of five samples amplify rounding from step to step; sums of terms do not.
    assert losses == pytest.approx(LOSSES[name], rel=1e-4 if name == "iwae" else 1e-6)
