"""Reports with fewer charts, for tests of something else: each chart takes a quarter of a second."""

from __future__ import annotations

from itertools import islice

import pytest

from vae_lab.reports import page as reporting


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves all charts out of a report; the samples stay."""
    monkeypatch.setattr(reporting, "charts", lambda comparison: [])


@pytest.fixture
def one_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves all charts but the first of each comparison out of a report."""
    charts = reporting.charts
    monkeypatch.setattr(reporting, "charts", lambda comparison: islice(charts(comparison), 1))
