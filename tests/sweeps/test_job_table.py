"""The table at the end of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_lab.runs.reading import RunRecord
from vae_lab.sweeps.job_table import job_rows


@pytest.mark.parametrize("copy", ["0_copy", "zz_copy"])
def test_a_copy_that_did_not_finish_does_not_hide_the_job(copy: str) -> None:
    words = ("latent_dim=2", "seed=0")
    runs = [
        RunRecord(Path("job"), "finished", overrides=words, metrics={"elbo": -100.0}),
        RunRecord(Path(copy), "unfinished", overrides=words),
    ]
    (row,) = job_rows(sorted(runs, key=lambda run: run.folder), [words], set())
    assert (row.state, row.detail) == ("finished", "-100.000")
