"""`python -m vae_lab.encode`: one row for each example, the same numbers as from Python, in three formats."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Outcome, trained_run

from vae_lab import evaluate, noise, sample
from vae_lab.core.codes import code_of
from vae_lab.data.arrays import allocate
from vae_lab.encode import main
from vae_lab.evaluation.code_table import CodeTable, write_table
from vae_lab.runs.loading import find_run

LENGTH = ("trainer.limit_train_batches=2", "latent_dim=3")
BINARY = ("data.binarization=dynamic", "likelihood=bernoulli")
SPLITS = ("train", "val", "test")
QUIET = ("trainer=cpu", "trainer.enable_progress_bar=false")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, data = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    np.savez(
        data / "own.npz",
        train_images=rng.integers(0, 256, (60, 6, 6), dtype=np.uint8),
        train_labels=np.array(["cat", "a much longer name", "dog"])[np.arange(60) % 3],
    )
    words = (*FAST, *LENGTH, "logger=none", "data=array", f"data.root={data / 'own.npz'}")
    return {
        "cvae": trained_run(folder / "cvae", *words, "model=cvae", "likelihood=gaussian"),
        "mhvae": trained_run(folder / "mhvae", *words, "model=mhvae", "model.latent_dims=[4,3]", "likelihood=gaussian"),
        "dynamic": trained_run(
            folder / "dynamic", *words, "model=vae", "data.binarization=dynamic", "likelihood=bernoulli"
        ),
    }


def encoded(command: Callable[..., Outcome], *words: str) -> Outcome:
    outcome = command(main, *QUIET, *words)
    assert outcome.code == 0, outcome.err
    return outcome


def table(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:  # without pickle
        return {name: arrays[name] for name in arrays.files}


def test_every_column_is_what_the_model_gives(
    runs: dict[str, Path], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "codes.npz"
    outcome = encoded(command, f"run={runs['mhvae']}", f"out={out}", "num_samples=7", "batch_size=100")
    assert f"written to   {out}: 6 rows" in outcome.out
    found, run = table(out), find_run(runs["mhvae"])
    model, data = run.model(), run.data()
    (batch,) = (data.transform(batch, training=False) for batch in data.test_dataloader())
    with torch.no_grad(), noise.fixed_seed(0, torch.device("cpu")):
        log_prob = model.log_marginal(batch.x, None, 7)
    with torch.no_grad(), noise.fixed_seed(0, torch.device("cpu")):  # the codes of a table without log_prob
        terms = model(batch.x, None, 8)
    np.testing.assert_array_equal(found["log_prob"], log_prob)
    np.testing.assert_array_equal(found["elbo"], terms.elbo)
    np.testing.assert_allclose(
        found["elbo"] + sum(found[f"kl_{n}"] for n in (1, 2)), terms.log_likelihood.mean(0), rtol=1e-5
    )
    for number, level in enumerate(terms.levels, start=1):
        np.testing.assert_array_equal(found[f"mean_{number}"], code_of(level).mean)
        np.testing.assert_array_equal(found[f"scale_{number}"], code_of(level).scale)
    assert set(found) == {
        *("split", "row", "label", "log_prob", "elbo"),
        *(f"{kind}_{number}" for kind in ("kl", "mean", "scale") for number in (1, 2)),
    }


def test_all_rows_are_those_of_the_file(runs: dict[str, Path], command: Callable[..., Outcome], tmp_path: Path) -> None:
    out = tmp_path / "codes.npz"
    encoded(command, f"run={runs['cvae']}", "split=all", f"out={out}", "batch_size=7")
    found = table(out)
    assert sorted(found["row"]) == list(range(60))  # the test set was chosen from the same file
    names = np.array(["cat", "a much longer name", "dog"])
    assert (found["label"] == names[found["row"] % 3]).all()
    assert [int((found["split"] == split).sum()) for split in ("train", "val", "test")] == [49, 5, 6]


def test_rows_of_a_table_are_those_of_its_file(command: Callable[..., Outcome], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    values = np.random.default_rng(0).normal(size=(40, 2)).round(3)
    (tmp_path / "train.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in values))
    words = (*FAST, *LENGTH, "logger=none", "data=table", f"data.root={tmp_path / 'train.csv'}", "model=vae")
    run = trained_run(tmp_path / "run", *words)
    encoded(command, f"run={run}", "split=all")
    found, data = table(run / "codes" / "all.npz"), find_run(run).data()
    assert sorted(found["row"]) == list(range(40))
    original = np.concatenate([data.original(split).arrays.x[data.original(split).rows] for split in SPLITS])
    np.testing.assert_allclose(original, values[found["row"]], rtol=1e-6)


def test_held_out_rows_are_named_under_dynamic_binarization(
    runs: dict[str, Path], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    encoded(command, f"run={runs['dynamic']}", "split=all", f"out={tmp_path / 'all.npz'}")
    encoded(command, f"run={runs['dynamic']}", "split=val", f"out={tmp_path / 'val.npz'}")
    whole, val = table(tmp_path / "all.npz"), table(tmp_path / "val.npz")
    assert sorted(whole["row"]) == list(range(60))
    np.testing.assert_array_equal(whole["row"][whole["split"] == "val"], val["row"])
    np.testing.assert_array_equal(whole["mean_1"][whole["split"] == "val"], val["mean_1"])


def test_three_formats_hold_the_same(runs: dict[str, Path], command: Callable[..., Outcome], tmp_path: Path) -> None:
    pandas, anndata = pytest.importorskip("pandas"), pytest.importorskip("anndata")
    for ending in ("npz", "parquet", "h5ad"):
        outcome = encoded(command, f"run={runs['mhvae']}", f"out={tmp_path / 'new' / f'codes.{ending}'}")
        assert "storing" not in outcome.err, "anndata converts columns of strings with a line for each"
    plain = table(tmp_path / "new" / "codes.npz")
    frame = pandas.read_parquet(tmp_path / "new" / "codes.parquet")
    cells = anndata.read_h5ad(tmp_path / "new" / "codes.h5ad")
    assert sorted(frame.columns) == sorted(plain)
    for name, column in plain.items():
        whole = column.reshape(len(column), -1)
        np.testing.assert_array_equal(np.stack(frame[name].to_numpy()).reshape(whole.shape), whole)
        other = cells.obsm[name] if column.ndim > 1 else cells.obs[name].to_numpy()
        np.testing.assert_array_equal(np.asarray(other).reshape(whole.shape), whole)
    assert not list((tmp_path / "new").glob(".*"))


def test_pictures_have_their_file(command: Callable[..., Outcome], tmp_path: Path) -> None:
    from PIL import Image

    for split, sizes in {"train": 40, "test": 3}.items():
        for index in range(sizes):
            path = (
                tmp_path
                / "data"
                / split
                / ("cat" if index % 2 else "dog")
                / f"{index}{'x' * 30 * (split == 'test')}.png"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 255 - index).save(path)
    (tmp_path / "data" / "train" / "dog" / "0.png").write_bytes(b"no picture")  # is passed over
    words = (
        *FAST,
        *LENGTH,
        "logger=none",
        "data=image_folder",
        "network=mlp",
        "data.images.channels=1",
        "data.image_size=8",
    )
    with pytest.warns(UserWarning, match="cannot be read as pictures"):
        run = trained_run(tmp_path / "run", *words, f"data.root={tmp_path / 'data'}", "likelihood=gaussian")
    encoded(command, f"run={run}", "split=all")
    found = table(run / "codes" / "all.npz")
    assert len(found["file"]) == 42
    for file, label, split in zip(found["file"], found["label"], found["split"], strict=True):
        assert (tmp_path / "data" / file).is_file()
        assert file.startswith("test/" if split == "test" else "train/")
        assert file.split("/")[1] == label


def test_unlabelled_data_suit_an_unconditional_model(
    runs: dict[str, Path], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    np.save(
        tmp_path / "train_images.npy",
        np.zeros((20, 6, 6), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None] * 12,
    )
    words = (f"data_root={tmp_path}", f"out={tmp_path / 'codes.npz'}", "split=all")
    commands: list[tuple[Callable[[], None], tuple[str, ...]]] = [
        (main, (*QUIET, *words)),
        (evaluate.main, (*QUIET, words[0], "num_samples=2")),
        (sample.main, (words[0], "what=reconstructions", f"out={tmp_path / 'drawn'}")),
    ]
    for each, options in commands:
        taken = command(each, f"run={runs['mhvae']}", *options)
        assert taken.code == 0, taken.err
        refused = command(each, f"run={runs['cvae']}", *options)
        assert refused.code == 1
        assert "the model was trained for num_classes=3" in refused.err
    assert len(table(tmp_path / "codes.npz")["elbo"]) == 20


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("out=codes.csv",), "out=codes.csv: must end in .npz, .parquet, .h5ad"),
        (("out=.",), "out=.: must end in"),
        (("split=tets",), "split=tets: must be one of train, val, test or all"),
        (("num_samples=0",), "num_samples=0: must be at least 1"),
        (
            ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
            "trainer.devices=2: a table of codes is written by one process",
        ),
        (("trainer.limit_predict_batches=1",), "trainer.limit_predict_batches=1: a table has every example of a split"),
        (("run=nowhere",), "run=nowhere: no such file or folder"),
    ],
)
def test_a_mistake_ends_in_one_line(
    runs: dict[str, Path], command: Callable[..., Outcome], words: tuple[str, ...], line: str
) -> None:
    outcome = command(main, *QUIET, f"run={runs['mhvae']}", *words)
    assert outcome.code == 1
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_a_missing_package_names_its_extra(
    runs: dict[str, Path], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    outcome = command(main, *QUIET, f"run={runs['mhvae']}", "out=codes.h5ad")
    assert outcome.code == 1
    assert "out=codes.h5ad: needs anndata; pip install 'vae-lab[anndata]', or name a .npz file" in outcome.err


def test_columns_stay_on_disk(tmp_path: Path) -> None:
    (tmp_path / "columns").mkdir()
    whole = CodeTable(tmp_path / "columns", 5)
    for rows in (np.arange(6.0).reshape(2, 3), np.arange(9.0).reshape(3, 3)):
        whole.add({"mean": rows})
    assert isinstance(whole.columns["mean"], np.memmap)
    write_table(whole, tmp_path / "codes.npz")
    np.testing.assert_array_equal(table(tmp_path / "codes.npz")["mean"][3:], [[3, 4, 5], [6, 7, 8]])


def killed(run: Path) -> None:
    """The command, killed once every row is computed."""
    from vae_lab.evaluation import encoding

    encoding.write_table = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    sys.argv = ["encode", *QUIET, f"run={run}"]
    main()


def test_a_killed_command_leaves_nothing_to_the_next_one(
    runs: dict[str, Path], command: Callable[..., Outcome], forks: Any
) -> None:
    run = runs["cvae"]
    process = forks.Process(target=killed, args=(run,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((run / "codes").glob(".*"))) == 1
    encoded(command, f"run={run}")
    assert [path.name for path in (run / "codes").iterdir()] == ["test.npz"]


def test_splits_that_are_no_longer_those_of_the_training_are_named(
    command: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Nine more examples, and the test set is another choice by chance, of examples that were trained on."""
    x = np.random.default_rng(0).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    np.save(tmp_path / "train.npy", x)
    words = (*FAST, *LENGTH, "logger=none", "data=array", f"data.root={tmp_path}", "likelihood=gaussian")
    run, out = trained_run(tmp_path / "run", *words), f"out={tmp_path / 'codes.npz'}"
    for split in ("all", "test"):
        assert "data changed" not in encoded(command, f"run={run}", f"split={split}", out).out
    np.save(tmp_path / "train.npy", np.concatenate([x, x[:9]]))
    for split, named in (("all", "train, val, test"), ("test", "test"), ("train", "train")):
        line = f"data changed {named}: other examples than in the training, which may have had some of these"
        assert line in encoded(command, f"run={run}", f"split={split}", out).out
    other = (f"run={run}", f"data_root={tmp_path}", out)
    assert "data changed train, val, test:" in encoded(command, *other, "split=all").out
    assert "data changed" not in encoded(command, *other, "split=test").out  # all of other data are tested


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
def test_the_disk_is_reserved_before_a_column_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of a file with holes ends the process on a full disk, by SIGBUS."""
    table = CodeTable(tmp_path, 100_000)
    table.add({"elbo": np.zeros(3)})
    assert (tmp_path / "elbo.npy").stat().st_blocks * 512 >= 800_000

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"No space left on device: .*kl_1\.npy"):
        table.add({"kl_1": np.zeros(3)})
    with pytest.raises(OSError, match="No space left on device"):
        allocate((10,), 0)
