"""Remarks of a report: what its tables do not say of the runs that they average and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vae_lab.collapse import collapse_lines
from vae_lab.nested import value_at
from vae_lab.reports.comparison import Comparison
from vae_lab.reports.tables import relative
from vae_lab.runs.reading import RunRecord


def remarks(comparison: Comparison, folder: Path) -> list[str]:
    """Returns the remarks on runs that can be compared."""
    return [
        *_collapse(comparison),
        *_samples(comparison),
        *_of_settings(comparison),
        *_copies(comparison, folder),
        *_evaluations(comparison, folder),
    ]


def _collapse(comparison: Comparison) -> Iterator[str]:
    """Yields a remark per setting that has levels, or mostly dimensions, without KL: that of its first such run."""
    for of_setting in comparison.settings:
        lines = [line for run in of_setting.runs for line in collapse_lines(run.metrics, run.config)]
        name, runs = comparison.label(of_setting.values), len(of_setting.runs)
        where = f"{name} in {len(lines)} of {runs} runs" if runs > 1 else name
        yield from (f"{where}: {line}" if where else line for line in lines[:1])


def _samples(comparison: Comparison) -> Iterator[str]:
    """Yields a remark with the numbers of importance samples of the NLL, and one per setting evaluated in part."""
    numbers = sorted({int(run.metrics["nll_samples"]) for run in comparison.finished if "nll_samples" in run.metrics})
    if numbers:
        differ = "; these differ between runs, and fewer give a larger NLL" if len(numbers) > 1 else ""
        yield f"NLL by {' and '.join(map(str, numbers))} importance samples per example{differ}"
    for of_setting in comparison.settings:
        evaluated, runs = len(of_setting.numbers("nll")), len(of_setting.runs)
        if 0 < evaluated < runs:
            where = f"{comparison.label(of_setting.values)}: ".removeprefix(": ")
            yield f"{where}NLL of {evaluated} of {runs} runs, the others were not evaluated"


def _of_settings(comparison: Comparison) -> Iterator[str]:
    """Yields a remark per setting and peculiarity of its runs, as ``latent_dim=2 (1 of 2 runs): ...``, say."""
    peculiar = dict(_PECULIARITIES)
    if len({_is_conditional(run) for run in comparison.finished}) > 1:
        peculiar[_is_conditional] = (
            "conditional: its figures are of log p(x|y), beside those of log p(x) of other runs; evaluate "
            "all_labels=true gives its log p(x)"
        )
    for found, remark in peculiar.items():
        for of_setting in comparison.settings:
            if count := sum(map(found, of_setting.runs)):
                number = f"({count} of {len(of_setting.runs)} runs)"
                yield f"{' '.join(filter(None, (comparison.label(of_setting.values), number)))}: {remark}"
    for of_setting in comparison.settings:
        codes = dict.fromkeys(filter(None, map(_code, (*of_setting.runs, *of_setting.copies))))
        if len(codes) > 1:
            yield f"{comparison.label(of_setting.values) or 'runs'}: by different code: {', '.join(codes)}"


def _is_conditional(run: RunRecord) -> bool:
    return value_at(run.config, "model.conditional") is True


def _is_tested_in_part(run: RunRecord) -> bool:
    limit = value_at(run.config, "trainer.limit_test_batches")  # 1.0 is all of them, 1 is one batch
    return limit is not None and not (isinstance(limit, float) and limit == 1)


def _code(run: RunRecord) -> str:
    """Returns the version of the lab and the commit that a run was trained with; '' if it does not say."""
    version, commit = value_at(run.record, "versions.vae-lab"), value_at(run.record, "git.commit")
    return " ".join(str(part)[:12] for part in (version, commit) if part)


_PECULIARITIES: dict[Callable[[RunRecord], bool], str] = {
    lambda run: run.selection == "test set": (
        "best.ckpt was chosen by the test set (data.val_size=0), so that the figures are not independent of that choice"
    ),
    _is_tested_in_part: "tested on a part of the test set (trainer.limit_test_batches)",
    lambda run: run.config.get("resume_changed") is True: (
        "went on with another config (resume_changed=true); config.yaml has the last one alone"
    ),
}
"""Remarks on the settings that have such runs."""


def _copies(comparison: Comparison, folder: Path) -> Iterator[str]:
    """Yields a remark per run whose seed and settings another run has, too: the means count one of them."""
    for of_setting in comparison.settings:
        for copy in of_setting.copies:
            for run in of_setting.runs:
                if run.seed == copy.seed:
                    yield (
                        f"{relative(copy.folder, folder)}: has the seed ({copy.seed}) and the settings of "
                        f"{relative(run.folder, folder)}, which alone counts in the means"
                    )


def _evaluations(comparison: Comparison, folder: Path) -> Iterator[str]:
    """Yields a remark per run that was also evaluated on other data, splits or weights: the tables leave these out."""
    for run in comparison.finished:
        if run.other_evaluations:
            names = ", ".join(run.other_evaluations)
            yield f"{relative(run.folder, folder)}: evaluated otherwise, too, which no table shows: {names}"
