"""The report of a folder: its numbers are those of the runs, and nothing of anybody else's is touched."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.reports.folders import add_to_metrics, draw_samples, write_evaluation, write_failure, write_run
from vae_lab.report import main
from vae_lab.reports.comparison import compare
from vae_lab.reports.page import write_report
from vae_lab.reports.tables import setting_rows
from vae_lab.runs.reading import find_runs, read_run

Report = Callable[..., Outcome]


@pytest.fixture
def report(command: Callable[..., Outcome]) -> Report:
    """``report(folder)`` runs `python -m vae_lab.report folder`."""
    return partial(command, main)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two models, two sizes and two seeds, and a job that failed."""
    folder = tmp_path / "sweep"
    for i, model in enumerate(("vae", "cvae")):
        for dim in (2, 8):
            for seed in (0, 1):
                words = [f"latent_dim={dim}", f"model={model}", f"seed={seed}", "trainer=cpu"]
                kl, log_likelihood = dim + 0.5 * seed, -100.0 + dim - i
                metrics = {
                    "elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl, "active_units": dim - seed,
                }  # fmt: skip
                run = write_run(
                    folder / ",".join(words), words,
                    seed=seed, config={"latent_dim": dim}, choices={"model": model},
                    metrics=metrics, seconds=dim + seed,
                )  # fmt: skip
                draw_samples(run)
    write_failure(folder / "latent_dim=0", ["latent_dim=0", "model=vae", "seed=0", "trainer=cpu"], "no | never")
    return folder


PICTURES = {"elbo", "active_units", "training_seconds", "rate_distortion", "samples"}


def test_a_sweep_is_reported(grid: Path, report: Report) -> None:
    outcome = report(str(grid))
    assert outcome.code == 0
    assert "no | never" in outcome.out
    text = (grid / "report.md").read_text()
    assert "9 runs: 8 finished, 1 failed" in text
    assert "All with `trainer=cpu`" in text
    # ELBO at dim 2 of the VAE: -98 - 2 and -98 - 2.5; KL 2 and 2.5; 2 and 1 units; 2 and 3 s. Spread: 0.5 / 2^(1/2).
    assert "| 2 | vae | 2 | -100.25 ± 0.35 | -98.00 ± 0.00 | 2.25 ± 0.35 | 1.5 ± 0.7 | 2.5 ± 0.7 |" in text
    assert "| 8 | cvae | 2 | -101.25 ± 0.35 | -93.00 ± 0.00 | 8.25 ± 0.35 | 7.5 ± 0.7 | 8.5 ± 0.7 |" in text
    assert text.index("| 2 | cvae |") < text.index("| 8 | cvae |")
    assert "[latent_dim=0 model=vae seed=0](latent_dim%3D0)" in text
    assert "no \\| never" in text
    assert {path.stem for path in (grid / "report").iterdir()} == PICTURES
    for name in PICTURES:
        assert f"(report/{name}.png)" in text
        with Image.open(grid / "report" / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors(maxcolors=256) or []) > 3, "something is drawn"

    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(targets) == 8 + 1 + len(PICTURES)
    for target in targets:
        assert (grid / unquote(target)).exists(), f"{target} leads nowhere"

    with (grid / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row in rows:
        if row["state"] == "finished":
            record = json.loads((grid / row["folder"] / "metrics.json").read_text())
            assert float(row["elbo"]) == record["metrics"]["test/elbo"]
            assert f"latent_dim={row['latent_dim']},model={row['model']},seed={row['seed']}" in row["folder"]
    (failed,) = (row for row in rows if row["state"] == "failed")
    assert (failed["latent_dim"], failed["reason"], failed["elbo"]) == ("0", "no | never", "")


def test_bits_are_of_the_elbo_beside_an_nll(tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path / "run", metrics={"bits_per_dim": 0.7}), nll=90.0, bits_per_dim=0.6)
    titles, row = setting_rows(compare(find_runs(tmp_path)))
    assert dict(zip(titles, row, strict=True))["bits per dim (ELBO)"] == "0.700"


@pytest.mark.usefixtures("one_chart")
def test_the_likelihood_is_compared_once_every_run_has_it(grid: Path) -> None:
    runs = [run for run in find_runs(grid) if run.state == "finished"]
    for run in runs[:-1]:
        write_evaluation(run.folder, nll=90.0)
    assert write_report(grid).likelihood == "elbo"
    assert (grid / "report" / "elbo.png").exists()
    write_evaluation(runs[-1].folder, nll=91.0)
    comparison = write_report(grid)
    assert comparison.likelihood == "nll"
    assert (grid / "report" / "nll.png").exists()
    assert not (grid / "report" / "elbo.png").exists(), "a picture of an earlier report is taken away"
    assert {setting.mean("nll") for setting in comparison.settings} == {90.0, 90.5}


@pytest.mark.usefixtures("no_charts")
def test_says_of_how_many_runs_the_likelihood_is(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed), [f"seed={seed}"], seed=seed)
    write_evaluation(tmp_path / "1", 90.0)
    write_report(tmp_path)
    assert "- NLL of 1 of 2 runs, the others were not evaluated" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("no_charts")
def test_broken_files_are_listed_and_the_rest_is_reported(grid: Path, report: Report) -> None:
    finished = [run.folder for run in find_runs(grid) if run.state == "finished"]
    (finished[0] / "metrics.json").write_text('{"metrics": {"test/el')
    (finished[1] / "metrics.json").write_text("[]")
    (finished[2] / "config.yaml").write_text("model: [")
    (finished[3] / "config.yaml").unlink()
    (finished[4] / "evaluation.json").write_text("{")
    (finished[5] / "metrics.json").unlink()
    (finished[6] / "metrics.json").write_text('{"metrics": 3}')
    outcome = report(str(grid))
    assert outcome.code == 0
    states = {path: read_run(path).state for path in finished if read_run(path)}
    assert list(states.values()) == [
        "unreadable", "unreadable", "unreadable", "unreadable", "finished", "unfinished", "unreadable", "finished",
    ]  # fmt: skip
    lines = outcome.out.splitlines()
    for path in finished[:7]:
        assert len([line for line in lines if f" {path}: " in line]) == 1, "one line each"
    text = (grid / "report.md").read_text()
    assert "9 runs: 2 finished, 1 failed, 1 unfinished, 5 unreadable" in text
    assert "metrics.json: not readable" in text
    assert "evaluation.json: not readable" in text


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no runs there"),
        (lambda folder: folder.write_text("a file"), "no such folder"),
    ],
)
def test_one_line_for_a_folder_without_runs(
    report: Report, tmp_path: Path, prepare: Callable[[Path], None], named: str
) -> None:
    prepare(tmp_path / "runs")
    outcome = report("runs")
    assert outcome.code == 1
    assert outcome.error_lines == [outcome.err.strip()]
    assert named in outcome.err
    assert "runs" in outcome.err


@pytest.mark.parametrize("name", ["report.md", "report.csv", "report"])
def test_nothing_of_anybody_elses_is_written_over(report: Report, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "runs"
    write_failure(folder / "a", ["latent_dim=0"], "no")
    (folder / name).write_text("my thoughts")
    outcome = report(str(folder))
    assert outcome.code == 1
    assert f"{folder / name}: not written by vae_lab.report" in outcome.err
    assert (folder / name).read_text() == "my thoughts"
    assert {path.name for path in folder.iterdir()} == {"a", name}
    (folder / name).unlink()
    for _ in range(2):  # over its own, again and again
        assert report(str(folder)).code == 0
    assert (folder / "report.md").read_text().startswith("<!-- Written by python -m vae_lab.report")


def test_a_report_of_nothing_but_failures(tmp_path: Path) -> None:
    write_failure(tmp_path / "a", ["latent_dim=0"], "no")
    write_report(tmp_path)
    assert "1 run: 1 failed" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "report").exists()


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    """One setting only, with neither samples nor terms of the bound."""
    run = write_run(tmp_path / "a")
    (run / "metrics.json").write_text(json.dumps({"metrics": {"test/elbo": -1.0}}))
    comparison = write_report(tmp_path)
    assert comparison.axis is None
    assert not (tmp_path / "report").exists()
    assert "| 1 | -1.00 |" in (tmp_path / "report.md").read_text()


def test_runs_below_and_the_folder_itself(tmp_path: Path) -> None:
    for folder in (tmp_path / "x", tmp_path / "x" / "deep" / "y", tmp_path / "x" / ".hidden", tmp_path / "z"):
        write_run(folder)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.yaml").write_text("theme: dark\n")
    assert [run.folder.name for run in find_runs(tmp_path)] == ["x", "y", "z"]
    assert len(find_runs(tmp_path / "z")) == 1


def test_links_are_followed_once_and_only_those_to_other_folders(tmp_path: Path) -> None:
    for name in ("runs/a", "runs/figures", "runs/a/figures", "runs/checkpoints/b", "elsewhere/c"):
        write_run(tmp_path / name)
    for name, target in (("link", "elsewhere"), ("again", "elsewhere/c"), ("same", "runs/a"), ("up", "")):
        (tmp_path / "runs" / name).symlink_to(tmp_path / target)
    folder = tmp_path / "runs"
    found = [run.folder.relative_to(folder).as_posix() for run in find_runs(folder)]
    assert found == ["a", "checkpoints/b", "figures", "again"]


@pytest.mark.usefixtures("no_charts")
def test_says_which_settings_carry_no_information(tmp_path: Path) -> None:
    whole, empty = {"kl_level_1": 15.0, "kl_level_2": 5.0}, {"kl_level_1": 20.0, "kl_level_2": 0.003}
    config = {"objective": {"beta": 1.0, "warmup": {"_target_": "a.Constant"}, "free_bits": 0.0}}
    for seed in (0, 1):
        for model, metrics in (("mhvae", whole), ("ladder", empty)):
            words, choices = [f"model={model}", f"seed={seed}"], {"model": model}
            write_run(tmp_path / f"{model}{seed}", words, seed=seed, choices=choices, metrics=metrics, config=config)
    write_report(tmp_path)
    (line,) = (line for line in (tmp_path / "report.md").read_text().splitlines() if "no information" in line)
    assert line.startswith("- model=ladder in 2 of 2 runs: no information: level 2 (0.003 nats) under 0.1 nats of KL")
    assert "warmup=linear" in line


def test_says_which_runs_were_chosen_by_the_test_set(tmp_path: Path) -> None:
    for seed, chosen_by in enumerate(("test set", "validation set")):
        for dims in (2, 8):
            run = tmp_path / f"{dims}_{seed}"
            write_run(run, [f"latent_dim={dims}", f"seed={seed}"], seed=seed, config={"latent_dim": dims})
            record = json.loads((run / "metrics.json").read_text())
            chosen = "validation set" if dims == 8 else chosen_by
            (run / "metrics.json").write_text(json.dumps(record | {"selection": chosen}))
    write_report(tmp_path)
    (line,) = (line for line in (tmp_path / "report.md").read_text().splitlines() if "chosen by the test set" in line)
    assert line.startswith("- latent_dim=2 (1 of 2 runs): best.ckpt")


@pytest.mark.usefixtures("no_charts")
def test_says_what_the_figures_of_runs_are_of(tmp_path: Path) -> None:
    """Importance samples, labels, a part of the test set, another config before, and the code."""
    models = {"vae": {"model": {"conditional": False}}, "cvae": {"model": {"conditional": True}}}
    for name, config in models.items():
        for seed in (0, 1):
            changed = {"resume_changed": True, "trainer": {"limit_test_batches": 3}} if name == "vae" else {}
            words = [f"model={name}", f"seed={seed}"]
            run = write_run(
                tmp_path / f"{name}{seed}", words, seed=seed, config=config | changed, choices={"model": name}
            )
            write_evaluation(run, 90.0, num_samples=5000 if seed else 64)
            git = {"commit": f"{seed}" * 40, "changed": False} if name == "cvae" else None
            add_to_metrics(run, versions={"vae-lab": "0.1.0"}, git=git)
    write_report(tmp_path)
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("- ")]
    assert [line.removeprefix("- ").replace("\\", "")[:66] for line in lines] == [
        "NLL by 64 and 5000 importance samples per example; these differ be",
        "model=vae (2 of 2 runs): tested on a part of the test set (trainer",
        "model=vae (2 of 2 runs): went on with another config (resume_chang",
        "model=cvae (2 of 2 runs): conditional: its figures are of log p(x|",
        "model=cvae: by different code: 0.1.0 000000000000, 0.1.0 111111111",
    ]
    with (tmp_path / "report.csv").open() as file:
        assert [float(row["nll_samples"]) for row in csv.DictReader(file)] == [64, 5000, 64, 5000]


@pytest.mark.usefixtures("no_charts")
def test_copies_of_a_run_count_once_and_are_named(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ["seed=" + str(seed)], seed=seed) for name, seed in (("a", 0), ("b", 1))]
    shutil.copytree(runs[0], tmp_path / "copy")
    write_evaluation(tmp_path / "copy", 90.0)
    write_report(tmp_path)
    (setting,) = compare(find_runs(tmp_path)).settings
    assert [run.folder.name for run in setting.runs] == ["copy", "b"]
    assert (
        "a: has the seed (0) and the settings of copy, which alone counts in the means"
        in (tmp_path / "report.md").read_text()
    )


@pytest.mark.usefixtures("no_charts")
def test_pictures_of_the_user_stay_in_the_folder_of_the_report(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_report(tmp_path)
    (tmp_path / "report").mkdir(exist_ok=True)
    for name in ("mine", "elbo", "group_2_rate_distortion", "group_2_mine"):
        (tmp_path / "report" / f"{name}.png").touch()
    write_report(tmp_path)
    assert {path.stem for path in (tmp_path / "report").iterdir()} == {"mine", "group_2_mine"}


def test_a_run_without_one_of_many_settings_is_not_the_usual(tmp_path: Path) -> None:
    for i in range(5):
        config = {"a": i, "b": i, "c": i, "d": "x"} if i else {"a": 1, "b": 1, "c": 1}
        write_run(tmp_path / str(i), [f"{key}={value}" for key, value in config.items()], config=config)
    write_run(tmp_path / "other", ["a=1", "b=1", "c=1", "d=y"], config={"a": 1, "b": 1, "c": 1, "d": "y"})
    comparison = compare(find_runs(tmp_path))
    labels = [comparison.label(each.values) for each in comparison.settings]
    assert len(set(labels)) == len(labels) == 6
    assert {"the usual", "d=-", "d=y"} <= set(labels)


@pytest.mark.parametrize("value", ["many", float("nan"), True, None, [1]])
def test_a_metric_that_is_no_finite_number_is_named_with_its_file(tmp_path: Path, value: object) -> None:
    run = write_run(tmp_path / "a", [])
    (run / "evaluation.json").write_text(json.dumps({"nll": value, "nll_error": 0.5}))
    found = read_run(run)
    assert found is not None
    assert found.state == "finished"
    assert "nll" not in found.metrics
    assert found.reason.startswith("evaluation.json: nll is not a finite number")


@pytest.mark.parametrize(("evaluated", "tested"), [(100, 200), (200, 200), (None, 200), (100, None)])
def test_an_evaluation_of_earlier_weights_is_left_out(
    tmp_path: Path, evaluated: int | None, tested: int | None
) -> None:
    """Made while the run trained: metrics.json is of other weights by now. Older files do not say their step."""
    run = write_run(tmp_path / "a")
    add_to_metrics(run, step=tested)
    write_evaluation(run, 90.0, step=evaluated)
    found = read_run(run)
    assert found is not None
    stale = evaluated == 100 and tested == 200
    assert ("nll" not in found.metrics) == stale
    reason = "evaluation.json: left out, because it is of step 100, metrics.json of step 200; evaluate again"
    assert found.reason == reason * stale


def test_names_other_evaluations_and_shows_no_number_of_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_evaluation(run, 90.0)
    (run / "evaluation_val.json").write_text(json.dumps({"nll": 12345.0}))
    write_report(tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "- run: evaluated otherwise, too, which no table shows: evaluation" in page
    assert "val.json" in page
    assert "90.00" in page
    assert "12345" not in page + (tmp_path / "report.csv").read_text()


@pytest.mark.usefixtures("one_chart")
def test_settings_that_are_no_numbers(tmp_path: Path) -> None:
    names = [f"a model with quite a long name, the {i}th" for i in range(4)]
    for name in names:
        write_run(tmp_path / name, [f"model={name}"], choices={"model": name})
    comparison = write_report(tmp_path)
    assert comparison.values("model") == names
    assert (tmp_path / "report" / "elbo.png").exists()
