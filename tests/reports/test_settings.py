"""Only runs that differ by nothing but their seed are averaged, and settings are named by what tells them apart."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.reports.folders import add_to_metrics, write_failure, write_run
from vae_lab.reports.comparison import compare
from vae_lab.reports.varied import order
from vae_lab.runs.reading import find_runs


def test_mean_and_spread_are_those_of_the_seeds(tmp_path: Path) -> None:
    elbos = {2: [-110.0, -111.0, -115.0], 16: [-99.0]}
    for dim, values in elbos.items():
        for seed, value in enumerate(values):
            words = [f"latent_dim={dim}", f"seed={seed}"]
            write_run(tmp_path / ",".join(words), words, seed=seed, config={"latent_dim": dim}, metrics={"elbo": value})
    comparison = compare(find_runs(tmp_path))
    assert comparison.keys == ["latent_dim"]
    two, sixteen = comparison.settings
    labels = [comparison.label(each.values) for each in (two, sixteen)]
    assert labels == ["latent_dim=2", "latent_dim=16"], "sorted as numbers"
    assert len(two.runs) == 3
    assert two.mean("elbo") == pytest.approx(-112.0)
    assert two.spread("elbo") == pytest.approx(7**0.5)  # ((2^2 + 1^2 + 3^2) / 2)^(1/2)
    assert two.spread("elbo") == pytest.approx(statistics.stdev(elbos[2]))
    assert sixteen.mean("elbo") == -99.0
    assert sixteen.spread("elbo") is None


def test_a_diverged_run_does_not_spoil_the_mean(tmp_path: Path) -> None:
    for seed, value in enumerate([-100.0, float("nan")]):
        write_run(tmp_path / str(seed), [f"seed={seed}"], seed=seed, metrics={"elbo": value})
    (setting,) = compare(find_runs(tmp_path)).settings
    assert setting.mean("elbo") == -100.0


def test_a_setting_that_only_some_runs_name_is_looked_up_for_the_others(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["data=mnist"])
    write_run(tmp_path / "b", ["model=cvae", "latent_dim=4"], config={"latent_dim": 4}, choices={"model": "cvae"})
    write_failure(tmp_path / "c", ["latent_dim=0"], "no")
    comparison = compare(find_runs(tmp_path))
    assert comparison.keys == ["model", "latent_dim"]
    assert [setting.values for setting in comparison.settings] == [
        {"model": "cvae", "latent_dim": "4"},
        {"model": "vae", "latent_dim": "10"},
    ]


def test_the_same_value_written_otherwise_is_the_same(tmp_path: Path) -> None:
    config = {"optimizer": {"lr": 0.001}, "compile": False}
    write_run(tmp_path / "a", ["optimizer.lr=0.001", "compile=false"], config=config)
    write_failure(tmp_path / "b", ["optimizer.lr=1e-3", "compile=False"], "no")
    write_run(tmp_path / "c", ["optimizer.lr=0.001"], config=config, seed=1)
    comparison = compare(find_runs(tmp_path))
    assert comparison.keys == []
    assert [len(setting.runs) for setting in comparison.settings] == [2]


def test_runs_with_other_configs_are_never_averaged(tmp_path: Path) -> None:
    """None of these was set on the command line: the configs distinguish them, with as few keys as possible."""
    for i, (rate, units) in enumerate([(0.1, 5), (0.1, 5), (0.2, 7), (0.2, 9)]):
        write_run(
            tmp_path / str(i), seed=i, config={"optimizer": {"lr": rate, "also": rate}, "network": {"width": units}}
        )
    comparison = compare(find_runs(tmp_path))
    assert [len(setting.runs) for setting in comparison.settings] == [2, 1, 1]
    assert comparison.keys == ["network.width"], "it tells all of them apart"


def test_the_folder_and_the_seed_are_no_settings(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", seed=seed)
    assert compare(find_runs(tmp_path)).keys == []


def test_how_a_run_was_started_and_what_its_data_showed_are_no_settings(tmp_path: Path) -> None:
    """One that went on, a job of a sweep, and one that saves more often; the scaling is that of a training split."""
    for seed, started in enumerate(
        (
            {"resume": None, "sweep": {"resume": None}},
            {"resume": "rs/b", "resume_changed": True},
            {"resume": "auto", "checkpoint": {"every_minutes": 1}, "trainer": {"enable_progress_bar": False}},
        )
    ):
        words = [f"seed={seed}", *(["checkpoint.every_minutes=1"] if seed == 2 else [])]
        config = {**started, "spec": {"scaling": {"mean": [0.5 + seed]}}}
        write_run(tmp_path / str(seed), words, seed=seed, config=config)
    comparison = compare(find_runs(tmp_path))
    assert comparison.keys == []
    assert [len(setting.runs) for setting in comparison.settings] == [3]


def test_the_seed_of_the_data_is_a_setting_where_it_is_not_that_of_the_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"both{seed}", [f"seed={seed}"], seed=seed)
        words = [f"seed={seed}", "data.seed=7"]
        write_run(tmp_path / f"data{seed}", words, seed=seed, config={"data": {"seed": 7, "batch_size": 128}})
    comparison = compare(find_runs(tmp_path))
    assert comparison.keys == ["data.seed"]
    assert [(each.values["data.seed"], len(each.runs), each.copies) for each in comparison.settings] == [
        ("7", 2, ()),
        ("", 2, ()),
    ]
    write_run(tmp_path / "once", ["data.seed=0"], config={"data": {"seed": 0, "batch_size": 128}})
    assert [len(each.runs) for each in compare(find_runs(tmp_path)).settings] == [1, 2, 2]


@pytest.mark.parametrize(
    ("varied", "axis"),
    [
        (["model=vae", "latent_dim=2", "beta=3"], "latent_dim"),
        (["model=vae", "beta=3"], "beta"),
        (["model=vae"], "model"),
        ([], None),
    ],
)
def test_what_is_drawn_against(tmp_path: Path, varied: list[str], axis: str | None) -> None:
    write_run(tmp_path / "a", varied, config={"beta": 3, "latent_dim": 2})
    others = [f"{word}0" if word != "model=vae" else "model=cvae" for word in varied]
    set_now = dict(word.split("=") for word in others)
    config = {"beta": int(set_now.get("beta", 3)), "latent_dim": int(set_now.get("latent_dim", 2))}
    write_run(tmp_path / "b", others, config=config, choices={"model": set_now.get("model", "vae")})
    comparison = compare(find_runs(tmp_path))
    assert comparison.axis == axis
    assert sorted(comparison.keys) == sorted(word.split("=")[0] for word in varied)


def test_lines_are_of_the_settings_besides_the_axis(tmp_path: Path) -> None:
    for model in ("vae", "cvae"):
        for dim in (2, 10):
            words = [f"model={model}", f"latent_dim={dim}"]
            write_run(tmp_path / ",".join(words), words, config={"latent_dim": dim}, choices={"model": model})
    lines = compare(find_runs(tmp_path)).lines()
    assert {label: [setting.values["latent_dim"] for setting in line] for label, line in lines.items()} == {
        "model=cvae": ["2", "10"],
        "model=vae": ["2", "10"],
    }


def test_numbers_are_sorted_by_size_and_before_texts() -> None:
    assert sorted(["10", "b", "2", "a", "-1", "1e-3"], key=order) == ["-1", "1e-3", "2", "10", "a", "b"]


def on_data(folder: Path, digest: str | None, choices: dict[str, str] | None = None, **config: object) -> None:
    """A run on the user's own table with this digest of the test set; older runs have none."""
    options = {"likelihood": config.pop("likelihood", {"_target_": "vae_lab.distributions.Bernoulli"})}
    choices = {"data": "table", "likelihood": "bernoulli"} | (choices or {})
    write_run(folder, config={"data": {"root": "t.csv", **config}, **options}, choices=choices)
    if digest:
        add_to_metrics(folder, fingerprints={"test": digest})


def groups_of(folder: Path) -> dict[str, list[str]]:
    return {
        name: [run.folder.name for run in group.finished] for name, group in compare(find_runs(folder)).groups.items()
    }


def test_only_runs_on_the_same_test_set_are_compared(tmp_path: Path) -> None:
    for name, digest, columns in (("a", "1" * 32, ["a"]), ("b", "2" * 32, ["a", "b"]), ("c", "1" * 32, ["a"])):
        on_data(tmp_path / name, digest, images={"columns": columns, "split_seed": 0}, seed=len(columns))
    assert groups_of(tmp_path) == {"data.images.columns=[a,b]": ["b"], "data.images.columns=[a]": ["a", "c"]}
    write_run(tmp_path / "other")  # without such an option
    assert list(groups_of(tmp_path)) == [
        "data=mnist",
        "data=table, data.images.columns=[a,b]",
        "data=table, data.images.columns=[a]",
    ]


def test_files_that_were_replaced_are_other_data_and_a_copy_is_the_same(tmp_path: Path) -> None:
    on_data(tmp_path / "a", "1" * 32)
    on_data(tmp_path / "copy", "1" * 32, root="elsewhere.csv")
    on_data(tmp_path / "replaced", "2" * 32)
    assert groups_of(tmp_path) == {"test set=11111111": ["a", "copy"], "test set=22222222": ["replaced"]}


def test_runs_without_a_digest_are_told_by_their_folder(tmp_path: Path) -> None:
    on_data(tmp_path / "old", None)
    on_data(tmp_path / "new", "1" * 32)
    assert groups_of(tmp_path) == {"": ["new", "old"]}
    on_data(tmp_path / "other", None, root="t2.csv")
    assert groups_of(tmp_path) == {"data.root=t.csv": ["new", "old"], "data.root=t2.csv": ["other"]}
    on_data(tmp_path / "changed", "2" * 32)
    assert sorted(map(sorted, groups_of(tmp_path).values())) == [["changed"], ["new"], ["old"], ["other"]]
    on_data(tmp_path / "copy", "2" * 32, root="t3.csv")
    assert len(groups_of(tmp_path)) == 4, "each has a name of its own, though the folder does not tell them apart"


def test_masses_are_compared_by_their_number_of_levels(tmp_path: Path) -> None:
    for name, levels in (("categorical", 16), ("logistic_mixture", 256), ("discretized_logistic", None)):
        likelihood = {"levels": levels} if levels else {}
        on_data(tmp_path / name, "1" * 32, {"likelihood": name}, likelihood=likelihood)
    assert groups_of(tmp_path) == {
        "likelihood=16 levels": ["categorical"],
        "likelihood=256 levels": ["discretized_logistic", "logistic_mixture"],
    }
