"""`python -m benchmarks.against`: each side trains with the code of its own commit."""

from __future__ import annotations

import pytest

from benchmarks import against

TINY = ("model=vae", "network.widths=[4]", "trainer.limit_train_batches=2", "callbacks=none")


@pytest.mark.slow
def test_each_side_trains_with_its_own_code() -> None:
    with against.checkout("HEAD") as earlier:
        found = against.ratios(earlier, 2, TINY)
        (earlier / "src" / "vae_lab" / "training" / "module.py").write_text("raise SystemExit(3)")
        with pytest.raises(RuntimeError, match="exit code 3 before its last turn"):
            against.ratios(earlier, 2, TINY)
    assert len(found) == 2
    assert all(value > 0 for pair in found for value in pair)
