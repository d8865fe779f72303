"""A report of broken, mixed and hostile runs: nothing ends it, and everything in it is shown as the text that it is."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Outcome
from tests.reports.folders import draw_samples, write_failure, write_run
from vae_lab.report import main
from vae_lab.reports import page as reporting
from vae_lab.reports.comparison import compare
from vae_lab.reports.page import write_report
from vae_lab.reports.sample_grid import sample_grid
from vae_lab.runs.reading import find_runs

DAMAGES: dict[str, Callable[[Path], object]] = {
    "a truncated picture": lambda run: cut(run / "figures" / "samples.png"),
    "no picture": lambda run: (run / "figures" / "samples.png").write_text("none"),
    "an empty picture": lambda run: (run / "figures" / "samples.png").write_bytes(b""),
    "a folder as picture": lambda run: replace_by(run / "figures" / "samples.png", os.mkdir),
    "a pipe as picture": lambda run: replace_by(run / "figures" / "samples.png", os.mkfifo),
    "a dangling picture": lambda run: replace_by(run / "figures" / "samples.png", lambda path: path.symlink_to("x")),
    "a folder as config": lambda run: replace_by(run / "config.yaml", os.mkdir),
    "a pipe as config": lambda run: replace_by(run / "config.yaml", os.mkfifo),
    "a folder as metrics": lambda run: replace_by(run / "metrics.json", os.mkdir),
    "a folder as evaluation": lambda run: (run / "evaluation.json").mkdir(),
    "an evaluation cut off": lambda run: (run / "evaluation.json").write_text('{"nll": 9'),
    "another encoding": lambda run: (run / "metrics.json").write_bytes(b"\xff\xfe{\x00}"),
    "overrides that are a number": lambda run: edit(run, overrides=17),
    "overrides that are a string": lambda run: edit(run, overrides="latent_dim=2"),
    "choices that are a list": lambda run: edit(run, choices=[1]),
    "a metric that is too large": lambda run: metrics(run, {"test/elbo": 10**400}),
    "metrics that are texts": lambda run: metrics(run, {"test/elbo": "<b>", "test/kl": None, "test/x": [1]}),
    "metrics at the end of the floats": lambda run: metrics(run, {"test/elbo": 1.7e308, "test/kl": -1.7e308}),
    "metrics that are not finite": lambda run: metrics(run, {"test/elbo": float("nan"), "test/kl": float("inf")}),
}
UNLISTED = ("choices that are a list", "metrics at the end of the floats")
LISTED = [kind for kind in DAMAGES if kind not in UNLISTED]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def edit(run: Path, **changes: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | changes))


def metrics(run: Path, values: dict[str, object]) -> None:
    (run / "metrics.json").write_text(json.dumps({"metrics": values, "training_seconds": 1.0, "seed": 0}))


@pytest.mark.parametrize("kind", DAMAGES)
def test_one_broken_run_does_not_end_the_report(
    tmp_path: Path, command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if not kind.startswith("metrics"):
        monkeypatch.setattr(reporting, "charts", lambda comparison: [])  # they take a second
    for i in (1, 2):
        draw_samples(write_run(tmp_path / "runs" / f"good{i}", [f"latent_dim={i}"], config={"latent_dim": i}))
    broken = write_run(tmp_path / "runs" / "broken", ["latent_dim=3"], config={"latent_dim": 3})
    draw_samples(broken)
    DAMAGES[kind](broken)
    outcome = command(main, "runs")
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "runs" / "report.md").read_text()
    assert "samples.png)" in text
    assert "good1" in text
    assert "good2" in text
    lines = [line for line in outcome.out.splitlines() if "runs/broken: " in line]
    assert len(lines) == (kind in LISTED), outcome.out


def test_a_reader_that_fails_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "worse")
    read = reporting.find_runs.__globals__["read_run"]

    def fail(folder: Path) -> object:
        if folder.name == "worse":
            raise KeyError("anything")
        return read(folder)

    monkeypatch.setitem(reporting.find_runs.__globals__, "read_run", fail)
    assert [(run.state, run.reason) for run in find_runs(tmp_path)] == [
        ("finished", ""),
        ("unreadable", "KeyError: 'anything'"),
    ]


@pytest.mark.usefixtures("one_chart")
@pytest.mark.parametrize("fails", ["page", "_png"])
def test_the_old_report_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    for i in (1, 2):
        write_run(tmp_path / f"run{i}", [f"latent_dim={i}"], config={"latent_dim": i})
    write_report(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("report*/*.png")} | {
        path: path.read_bytes() for path in tmp_path.glob("report.*")
    }
    write_run(tmp_path / "run3", ["latent_dim=3"], config={"latent_dim": 3})

    def fail(*args: object) -> bytes:
        raise OSError(28, "No space left on device")

    if fails == "page":
        monkeypatch.setattr(reporting, "page", fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.rglob(".*.part"))


def test_a_picture_that_cannot_be_drawn_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (1, 2):
        write_run(tmp_path / f"run{i}", [f"latent_dim={i}"], config={"latent_dim": i})

    def fail(*args: object) -> bytes:
        raise ValueError("no <b> axis")

    monkeypatch.setattr("vae_lab.reports.charts.rate_distortion", fail)
    write_report(tmp_path)
    assert "Not drawn: rate_distortion: ValueError no \\<b\\> axis." in (tmp_path / "report.md").read_text()
    assert {path.stem for path in (tmp_path / "report").iterdir()} == {"elbo", "active_units", "training_seconds"}


# What runs are called and what they say

NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "a | b | c",
    "`code` and ``more`` code",
    "one\ntwo\r\nthree",
    "$\\frac{1}$ and $x",
    "_hidden",
    "=HYPERLINK(\"http://evil.example\")",
    "+1+cmd",
    "-2+3",
    "@SUM(1)",
    "https://evil.example www.evil.example",
    "\x1b[31mred\x1b[0m\x07",
    "日本語 🙂 \u202e",
    "&lt;b&gt;",
]  # fmt: skip


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """Each text as the name of a run, a value that varies, and a reason."""
    for i, word in enumerate(NASTY):
        words = [f"+note={word}", "everywhere=<b>`x`|y"]
        draw_samples(write_run(tmp_path / "runs" / f"run{i}", words, config={"note": word, "everywhere": "<b>`x`|y"}))
        write_failure(tmp_path / "runs" / f"job{i}", words, f"reason: {word}")
    name = "<i>|&$x$"
    write_run(tmp_path / "runs" / name, ["+note=plain"], config={"note": "plain"})
    return tmp_path / "runs"


def test_markdown_shows_texts_as_they_are(nasty: Path, command: Callable[..., Outcome]) -> None:
    outcome = command(main, "runs")
    assert outcome.code == 0, outcome.err
    assert "\x1b[31m" not in outcome.out
    text = (nasty / "report.md").read_text()
    body = text.replace(reporting.MARK, "")
    unescaped = (
        body.replace("\\\\", "")
        .replace("\\]", "")
        .replace("\\<", "")
        .replace("\\[", "")
        .replace("\\!", "")
        .replace("\\|", "")
    )
    for harmful in ("<", "http://", "https://", "www.evil", "javascript:alert(1))]"):
        shown = [line for line in unescaped.splitlines() if harmful in line and not line.startswith("All with `")]
        assert not shown, harmful
    for target in [part.split(")")[0] for part in unescaped.split("](")[1:]]:
        assert "evil" not in target
        assert "javascript" not in target
    tables = [line for line in body.splitlines() if line.startswith("|")]
    widths = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in tables}
    assert widths == {4, 8, 9}, "each row has the cells of its title"
    assert len([line for line in tables if "run folder" not in line and "reason: " in line]) == len(NASTY)


@pytest.mark.usefixtures("no_charts")
def test_a_spreadsheet_takes_no_text_for_a_formula(nasty: Path) -> None:
    write_report(nasty)
    with (nasty / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(NASTY) + 1
    for row in rows:
        for key, cell in row.items():
            assert key[0] not in "=+-@"
            assert cell[:1] not in ("=", "+", "@", "\t", "\r")
            if cell.startswith("-"):
                float(cell)
    assert float(rows[-1]["elbo"]) == -100.0


def test_a_name_that_is_no_unicode(tmp_path: Path, command: Callable[..., Outcome]) -> None:
    write_run(tmp_path / os.fsdecode(b"runs/\xff\xfe"), ["latent_dim=2"])
    write_failure(tmp_path / os.fsdecode(b"runs/\xfd"), ["latent_dim=3"], "no")
    outcome = command(main, "runs")
    assert outcome.code == 0, outcome.err
    assert "(%FF%FE)" in (tmp_path / "runs" / "report.md").read_text()


# Mixed runs


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two data sets, two kinds of likelihood, many settings that differ."""
    folder = tmp_path / "mixed"
    for data, elbo in (("mnist", -100.0), ("cifar10", -9000.0)):
        for i in range(6):
            likelihood = "gaussian" if i == 5 else "bernoulli"
            rate = 10.0 ** -(2 + i % 2)
            numbers = {"latent_dim": 2 + i % 3, "a": i // 3, "b": i, "c": 2 * i}
            config, words = numbers | {"optimizer": {"lr": rate}}, [f"{key}={value}" for key, value in numbers.items()]
            run = write_run(
                folder / f"{data}{i}", [*words, f"data={data}", f"optimizer.lr={rate}"],
                config=config, choices={"data": data, "likelihood": likelihood}, metrics={"elbo": elbo - i},
            )  # fmt: skip
            draw_samples(run, 20 * i)
    return folder


def test_only_what_means_the_same_shares_an_axis(mixed: Path) -> None:
    comparison = write_report(mixed)
    groups = comparison.groups
    assert list(groups) == [
        "data=cifar10, likelihood=bernoulli",
        "data=cifar10, likelihood=gaussian",
        "data=mnist, likelihood=bernoulli",
        "data=mnist, likelihood=gaussian",
    ]
    for name, group in groups.items():
        for run in group.finished:
            assert f"data={run.config['choices']['data']}, likelihood={run.config['choices']['likelihood']}" == name
    text = (mixed / "report.md").read_text()
    for number in (1, 3):
        for picture in ("elbo", "rate_distortion", "samples"):
            assert f"(report/group_{number}_{picture}.png)" in text
            assert (mixed / "report" / f"group_{number}_{picture}.png").is_file()
    assert text.index("## data=cifar10, likelihood=bernoulli") < text.index("group_1_elbo.png")
    assert text.index("group_1_elbo.png") < text.index("## data=mnist, likelihood=bernoulli")
    with (mixed / "report.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12, "all runs are in one file of numbers"


def test_masses_over_the_same_levels_are_compared(tmp_path: Path) -> None:
    for likelihood in ("categorical", "discretized_logistic", "gaussian"):
        write_run(tmp_path / likelihood, [f"likelihood={likelihood}"], choices={"likelihood": likelihood})
    sizes = {name: len(group.finished) for name, group in compare(find_runs(tmp_path)).groups.items()}
    assert sizes == {"likelihood=256 levels": 2, "likelihood=gaussian": 1}


@pytest.mark.usefixtures("no_charts")
def test_tables_stay_narrow_and_say_what_is_unusual(mixed: Path) -> None:
    write_report(mixed)
    text = (mixed / "report.md").read_text()
    titles = [line for line, below in zip(text.splitlines(), text.splitlines()[1:], strict=False) if "| --- |" in below]
    assert titles
    assert max(line.count("|") - 1 for line in titles) <= 8
    assert "The usual: " in text
    labels = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ") and "=" in line]
    assert labels
    assert not [label for label in labels if "data=" in label], "the heading says it"


def test_legends_and_labels_fit(tmp_path: Path) -> None:
    """However many and long the labels are, the plot keeps its size and no more entries than fit are named."""
    from vae_lab.reports.charts import INCHES, MAX_LINES, rate_distortion

    for i in range(40):
        word = f"a rather long value that differs at its end only, which is not unusual at all, is it, {i}"
        write_run(
            tmp_path / f"long{i}",
            [f"+note={word}", f"model=m{i % 7}"],
            config={"note": word},
            choices={"model": f"m{i % 7}"},
        )
    figure = rate_distortion(compare(find_runs(tmp_path)))
    (legend,) = figure.legends
    assert len(legend.get_texts()) <= MAX_LINES + 1
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.width > 0.75 * INCHES[0] * figure.dpi
    assert box.height > 0.6 * INCHES[1] * figure.dpi
    frame = legend.get_window_extent()
    assert frame.x0 >= 0
    assert frame.x1 <= figure.bbox.width
    assert frame.y1 <= box.y0, "below the plot, not over it"


def test_samples_of_settings_that_make_no_grid_are_packed(tmp_path: Path) -> None:
    for i in range(6):
        model = {"model": f"m{i}"}
        draw_samples(write_run(tmp_path / f"run{i}", [f"latent_dim={i}"], config={"latent_dim": i}, choices=model))
    figure = sample_grid(compare(find_runs(tmp_path)))
    assert figure is not None
    (geometry,) = {axes.get_subplotspec().get_gridspec().get_geometry() for axes in figure.axes}  # type: ignore[union-attr]
    assert geometry == (1, 6)
