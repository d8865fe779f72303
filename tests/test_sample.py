"""Pictures and arrays of a trained run, as a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vae_lab
import vae_lab.train
from tests.conftest import FAST, Outcome, trained_run
from vae_lab.explorer.explored import ExploredRun
from vae_lab.pictures.latents import evaluation_mode, varied
from vae_lab.pictures.sheet import MAX_ROWS
from vae_lab.runs.loading import find_run
from vae_lab.sample import main
from vae_lab.settings import ExploreSettings

RUNS = {
    "vae": ("model=vae", "latent_dim=2"),
    "cvae": ("model=cvae", "latent_dim=3"),
    "mhvae": ("model=mhvae", "model.latent_dims=[5,4,3]"),
    "conditional mhvae": ("model=mhvae", "model.latent_dims=[4,2]", "model.conditional=true"),
    "rgb": ("model=cvae", "latent_dim=2", "data=array", "data.root=colours"),
}
LEVELS = {"vae": (2,), "cvae": (3,), "mhvae": (5, 4, 3), "conditional mhvae": (4, 2), "rgb": (2,)}
CONDITIONAL = ("cvae", "conditional mhvae", "rgb")
CLASSES = {"cvae": 10, "conditional mhvae": 10, "rgb": 3}
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, hardly trained; the data of `rgb` lie in ``colours`` beside them."""
    folder = tmp_path_factory.mktemp("runs")
    write_colours(folder / "colours")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in RUNS.items():
            trained_run(folder / name, *FAST, *words, "logger=none")
    return folder


def write_colours(folder: Path) -> None:
    """Colour pictures of 6 x 9 in 3 classes, of the last one none in the test set."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, classes in (("train", 3), ("test", 2)):
        np.save(folder / f"{split}_images.npy", rng.integers(0, 256, (60, 3, 6, 9), np.uint8))
        np.save(folder / f"{split}_labels.npy", np.arange(60) % classes)


@pytest.fixture
def sample(
    command: Callable[..., Outcome], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Arrays]]:
    """``sample("cvae", "y=3")`` runs `python -m vae_lab.sample run=.../cvae y=3 out=...`: the arrays, by name."""

    def run(name: str, *words: str) -> dict[str, Arrays]:
        monkeypatch.chdir(runs)
        outcome = command(main, f"run={runs / name}", f"out={tmp_path / 'out'}", *words)
        assert outcome.code == 0, outcome.err
        paths = list(map(Path, outcome.out.split()))
        assert paths == [path.with_suffix(end) for path in paths[::2] for end in (".png", ".npz")]
        assert sorted(paths) == sorted((tmp_path / "out").iterdir()), "no other files"
        written = {}
        for path in paths:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    written[path.stem] = dict(arrays)
        for path in paths:
            path.rename(tmp_path / path.name)
        return written

    return run


def grid(path: Path) -> tuple[int, int]:
    """Rows and columns of a picture of 28 x 28 images, which are shown twice as large; 58 with the line between.

    The line goes on along the right and the bottom edge of the images; the margins of the labels are white.
    """
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    return int((grey[:, -1] < 255).sum()) // 58, int((grey[-1] < 255).sum()) // 58


def shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def codes(name: str, num: int) -> dict[str, tuple[int, ...]]:
    return {f"z_{level}": (num, size) for level, size in enumerate(LEVELS[name], start=1)}


def image(name: str) -> tuple[int, int, int]:
    return (3, 6, 9) if name == "rgb" else (1, 28, 28)


# --- samples


@pytest.mark.parametrize("name", RUNS)
def test_samples_are_those_of_the_model(sample: Callable[..., dict[str, Arrays]], runs: Path, name: str) -> None:
    y = 1 if name in CONDITIONAL else None
    words = [] if y is None else [f"y={y}"]
    (stem, arrays), *none = sample(name, *words, "num=70", "temperature=0.5", "seed=4").items()
    assert not none
    assert stem == f"samples{'' if y is None else '_y1'}_num70_t0.5_seed4"
    labels = {} if y is None else {"y": (70,)}
    assert shapes(arrays) == {"images": (70, *image(name)), **codes(name, 70), **labels}

    model = vae_lab.load_run(runs / name).model
    given = None if y is None else torch.full((70,), y)
    with evaluation_mode(model, seed=4):
        expected = model.generate(70, given, temperature=0.5).mean
    assert np.allclose(arrays["images"], expected.numpy(), atol=1e-5)
    if y is not None:
        assert (arrays["y"] == y).all()


def test_all_classes_stand_side_by_side_with_the_same_noise(
    sample: Callable[..., dict[str, Arrays]], tmp_path: Path
) -> None:
    written = sample("cvae", "y=all")["samples_y_all"]
    assert shapes(written) == {"images": (80, 1, 28, 28), "z_1": (80, 3), "y": (80,)}
    assert written["y"].reshape(8, 10).tolist() == [list(range(10))] * 8
    assert grid(tmp_path / "samples_y_all.png") == (8, 10)
    alone = sample("cvae", "y=7", "num=8")["samples_y7_num8"]
    assert np.allclose(written["images"].reshape(8, 10, 1, 28, 28)[:, 7], alone["images"], atol=1e-6)
    some = sample("cvae", "y=[7,2]", "num=3")["samples_y7-2_num3"]
    assert some["y"].tolist() == [7, 2] * 3
    of_list = sample("cvae", "y=[7]", "num=8")["samples_y7_num8"]
    assert np.array_equal(of_list["images"], alone["images"])


def test_usual_numbers(sample: Callable[..., dict[str, Arrays]], tmp_path: Path) -> None:
    assert len(sample("vae")["samples"]["images"]) == 64
    assert grid(tmp_path / "samples.png") == (8, 8)
    assert len(sample("vae", "what=reconstructions")["reconstructions"]["images"]) == 32
    assert grid(tmp_path / "reconstructions.png")[0] == 12  # 32 in rows of 8, each in grey, binarized and reconstructed
    assert len(sample("vae", "what=manifold")["manifold"]["images"]) == 400
    assert sample("vae", "what=interpolations")["interpolations"]["originals"].shape == (8, 2, 1, 28, 28)


def test_many_samples_are_written_and_the_first_rows_shown(
    sample: Callable[..., dict[str, Arrays]], tmp_path: Path
) -> None:
    arrays = sample("vae", "num=10000")["samples_num10000"]
    assert len(arrays["images"]) == len(np.unique(arrays["z_1"], axis=0)) == 10_000
    assert grid(tmp_path / "samples_num10000.png") == (MAX_ROWS, MAX_ROWS)


def test_pixels_can_be_sampled(sample: Callable[..., dict[str, Arrays]]) -> None:
    means, drawn = sample("mhvae")["samples"], sample("mhvae", "draw=sample")["samples_draw_sample"]
    assert np.array_equal(means["z_1"], drawn["z_1"])
    assert set(np.unique(drawn["images"])) == {0.0, 1.0}
    assert len(np.unique(means["images"])) > 2


# --- what takes examples


def of_examples(name: str, *number: int) -> dict[str, tuple[int, ...]]:
    """The shapes of examples: digits are binarized, and grey beside it."""
    names = ["originals"] if name == "rgb" else ["originals", "grey"]
    return {key: (*number, *image(name)) for key in names}


@pytest.mark.parametrize("name", RUNS)
def test_reconstructions_are_those_of_the_split(
    sample: Callable[..., dict[str, Arrays]], runs: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    split = ["split=val"] if name == "vae" else []
    ((stem, arrays),) = sample(name, "what=reconstructions", "num=10", *split).items()
    assert stem == "reconstructions_num10" + ("_val" if split else "")
    of_image = (10, *image(name))
    assert shapes(arrays) == {"images": of_image, **of_examples(name, 10), **codes(name, 10), "y": (10,)}
    monkeypatch.chdir(runs)
    examples = find_run(runs / name).data().examples(1000, "val" if split else "test")
    shown = varied(examples)
    x, y = shown.x[:10], shown.y[:10]
    assert np.array_equal(arrays["originals"], x.numpy())
    assert np.array_equal(arrays["y"], y.numpy())
    model = vae_lab.load_run(runs / name).model
    with torch.no_grad():
        expected = model.reconstruct(x, y if name in CONDITIONAL else None).mean
    assert np.allclose(arrays["images"], expected.numpy(), atol=1e-5)


def test_examples_are_of_the_classes_asked_for(sample: Callable[..., dict[str, Arrays]], tmp_path: Path) -> None:
    arrays = sample("cvae", "what=reconstructions", "y=3", "num=300")["reconstructions_y3_num300"]
    assert arrays["y"].tolist() == [3] * 300
    assert len(np.unique(arrays["originals"], axis=0)) == 300
    arrays = sample("cvae", "what=reconstructions", "y=[3,4]")["reconstructions_y3-4"]
    assert set(arrays["y"]) == {3, 4}
    arrays = sample("conditional mhvae", "what=interpolations", "y=3", "num=2")["interpolations_y3_num2"]
    assert arrays["y"].tolist() == [[3, 3]] * 2
    arrays = sample("conditional mhvae", "what=interpolations", "y=all")["interpolations_y_all"]
    assert (arrays["y"][:, 0] == arrays["y"][:, 1]).all(), "from an image to one of its own class"
    assert len(set(arrays["y"][:, 0])) > 1
    assert grid(tmp_path / "interpolations_y_all.png") == (8, 13)


@pytest.mark.parametrize("name", RUNS)
def test_interpolations_have_both_ends(sample: Callable[..., dict[str, Arrays]], name: str) -> None:
    arrays = sample(name, "what=interpolations", "num=3")["interpolations_num3"]
    assert shapes(arrays) == {
        "images": (33, *image(name)),
        **{f"z_{level}": (33, size) for level, size in enumerate(LEVELS[name], start=1)},
        "steps": (11,),
        **of_examples(name, 3, 2),
        "y": (3, 2),
    }
    z = arrays["z_1"].reshape(3, 11, -1)
    assert np.allclose(z, z[:, :1] + arrays["steps"][:, None] * (z[:, -1:] - z[:, :1]), atol=1e-5)
    assert not np.array_equal(arrays["originals"][:, 0], arrays["originals"][:, 1])


@pytest.mark.parametrize("name", RUNS)
def test_traversals_of_every_level_and_class(
    sample: Callable[..., dict[str, Arrays]], tmp_path: Path, name: str
) -> None:
    several = len(LEVELS[name]) > 1
    classes = [0, 1] if name == "rgb" else range(CLASSES[name]) if name in CONDITIONAL else [None]
    written = sample(name, "what=traversals", *(["y=[0,1]"] if name == "rgb" else []))
    expected = {
        f"traversals{f'_level_{level}' if several else ''}{'' if y is None else f'_y{y}'}": (level, size, y)
        for level, size in enumerate(LEVELS[name], start=1)
        for y in classes
    }
    assert set(written) == set(expected)
    for stem, (level, size, y) in expected.items():
        arrays = written[stem]
        assert shapes(arrays) == {
            "images": (size * 13, *image(name)),
            **{f"z_{above}": (size * 13, LEVELS[name][above - 1]) for above in range(level, len(LEVELS[name]) + 1)},
            "dimensions": (size,),
            "kl": (size,),
            "steps": (13,),
            **of_examples(name, 1),
            "y": (1,),
        }
        assert sorted(arrays["dimensions"]) == list(range(size))
        assert (np.diff(arrays["kl"]) <= 0).all()
        if y is not None:
            assert arrays["y"] == y
        if name != "rgb":
            assert grid(tmp_path / f"{stem}.png")[0] == size


def test_one_level_and_class(sample: Callable[..., dict[str, Arrays]]) -> None:
    assert set(sample("mhvae", "what=traversals", "level=2", "num=3")) == {"traversals_level_2_num3"}
    assert set(sample("conditional mhvae", "what=traversals", "level=1", "y=3")) == {"traversals_level_1_y3"}


@pytest.mark.parametrize("name", ["vae", "conditional mhvae", "rgb"])
def test_manifolds_of_every_class(sample: Callable[..., dict[str, Arrays]], name: str) -> None:
    written = sample(name, "what=manifold", "num=4")
    classes = CLASSES.get(name, 0)
    assert set(written) == ({f"manifold_y{y}_num4" for y in range(classes)} or {"manifold_num4"})
    for arrays in written.values():
        labels = {"y": (1,)} if classes else {}
        top = {f"z_{len(LEVELS[name])}": (16, 2)}
        assert shapes(arrays) == {"images": (16, *image(name)), **top, "axis_0": (4,), "axis_1": (4,), **labels}
    if classes:
        assert not np.allclose(written["manifold_y0_num4"]["images"], written["manifold_y1_num4"]["images"])
        assert [int(written[f"manifold_y{y}_num4"]["y"][0]) for y in range(classes)] == list(range(classes))


# --- files


@pytest.fixture
def raw(command: Callable[..., Outcome], runs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """``raw("run=cvae", ...)`` in the folder of the runs."""
    monkeypatch.chdir(runs)
    return partial(command, main)


@pytest.mark.parametrize("words", [("run=mhvae",), ("run=cvae", "y=all"), ("run=mhvae", "what=traversals", "level=1")])
def test_the_same_command_writes_the_same_files(raw: Callable[..., Outcome], tmp_path: Path, words: tuple) -> None:
    written = []
    for _ in range(2):
        torch.manual_seed(torch.seed())
        assert raw(*words, f"out={tmp_path / 'out'}").code == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert written[0] == written[1]
    assert raw(*words, f"out={tmp_path / 'out'}", "seed=1").code == 0
    other = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*_seed1.*")}
    assert len(other) == 2
    assert not set(other.values()) & set(written[0].values())


def test_files_lie_in_the_run_and_name_other_weights(raw: Callable[..., Outcome], runs: Path) -> None:
    assert raw("run=vae", "num=2", "seed=3").out.split()[0] == "vae/samples/samples_num2_seed3.png"
    last = raw("run=vae/checkpoints/last.ckpt", "num=2", "seed=3")
    assert last.out.split()[0] == "vae/samples/samples_num2_seed3_last.png"
    assert len(list((runs / "vae" / "samples").iterdir())) == 4


def test_data_that_have_moved(raw: Callable[..., Outcome], runs: Path, tmp_path: Path) -> None:
    (runs / "colours").rename(tmp_path / "moved")
    try:
        words = ("run=rgb", f"out={tmp_path / 'out'}", "y=0")
        assert raw(*words).code == 0, "samples need no data"
        lost = raw(*words, "what=reconstructions")
        assert lost.code == 1
        assert "expected train.npy" in lost.error_lines[0]
        assert raw(*words, "what=reconstructions", f"data_root={tmp_path / 'moved'}").code == 0
        np.save(tmp_path / "moved" / "train_labels.npy", np.arange(60) % 4)
        other = raw(*words, "what=traversals", f"data_root={tmp_path / 'moved'}")
        assert "moved: the model was trained for num_classes=3" in other.error_lines[0]
        assert not list((tmp_path / "out").glob("traversals*"))
    finally:
        np.save(tmp_path / "moved" / "train_labels.npy", np.arange(60) % 3)
        (tmp_path / "moved").rename(runs / "colours")


def test_all_of_other_data_without_a_test_set_are_shown(
    sample: Callable[..., dict[str, Arrays]], runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    pictures = np.random.default_rng(1).integers(0, 256, (12, 3, 6, 9), np.uint8)
    np.save(tmp_path / "other" / "train_images.npy", pictures)
    np.save(tmp_path / "other" / "train_labels.npy", np.arange(12) % 3)
    root = f"data_root={tmp_path / 'other'}"
    written = next(iter(sample("rgb", "what=reconstructions", "num=12", root).values()))
    assert sorted(map(bytes, np.rint(written["originals"] * 255).astype(np.uint8))) == sorted(map(bytes, pictures))
    run = ExploredRun(runs / "rgb", ExploreSettings(data_root=str(tmp_path / "other"), num_examples=None))
    assert run.examples is not None, run.problem
    assert len(run.examples.x) == 12


MISTAKES = [
    ("cvae", [], "y: this model is conditional; give y=all or a class: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ("cvae", ["y=12"], "y=12: no such class; the classes are 0, 1, 2,"),
    ("cvae", ["y=-1"], "y=-1: no such class;"),
    ("cvae", ["y=[3,10]"], "y=10: no such class;"),
    ("cvae", ["y=[]"], "y=[]: name at least one class, or give y=all"),
    ("cvae", ["y=three"], "y=three: no such class; the classes are"),
    ("cvae", ["y=1.5"], "y=1.5: no such class;"),
    ("vae", ["y=3"], "y=3: this model is unconditional, it takes no labels"),
    ("vae", ["y=all", "what=reconstructions"], "y=all: this model is unconditional, it takes no labels"),
    ("vae", ["num=0"], "num=0: must be at least 1"),
    ("vae", ["num=many"], "num=many: must be an integer or null"),
    ("vae", ["temperature=-0.5"], "temperature=-0.5: must be 0 or more"),
    ("vae", ["temperature=nan"], "temperature=nan: must be a finite number"),
    ("vae", ["temperature=warm"], "temperature=warm: must be a number"),
    ("vae", ["what=pictures"], "what=pictures: must be one of samples, reconstructions, traversals"),
    ("vae", ["draw=mode"], "draw=mode: must be one of mean, sample"),
    ("vae", ["split=all", "what=reconstructions"], "split=all: must be one of train, val, test"),
    ("vae", ["level=1"], "level=1: does not apply to samples, only to traversals"),
    ("vae", ["what=manifold", "temperature=0.5"], "temperature=0.5: does not apply to manifold, only to samples"),
    ("vae", ["split=val"], "split=val: does not apply to samples, only to reconstructions, traversals, interpolations"),
    ("mhvae", ["what=traversals", "level=4"], "level=4: this model has levels 1 to 3"),
    ("mhvae", ["what=traversals", "level=0"], "level=0: this model has levels 1 to 3"),
    ("mhvae", ["what=manifold"], "what=manifold: the top level of this model does not have 2 dimensions"),
    ("vae", ["what=reconstructions", "num=10001"], "num=10001: takes 10001 examples, but the test split has 10000"),
    ("vae", ["what=interpolations", "num=6000"], "num=6000: takes 12000 examples, but the test split has 10000"),
    ("rgb", ["y=3"], "y=3: this model has classes 0 to 2"),
    ("rgb", ["y=cat"], "y=cat: this model has classes 0 to 2"),
    ("rgb", ["what=traversals", "y=2"], "y=2: the test split has no such example"),
    ("rgb", ["what=reconstructions", "y=2"], "y=2: the test split has no such example"),
    ("nowhere", [], "run=nowhere: no such file or folder"),
    (".", [], "run=.: no run there"),
    ("vae", ["samples=3"], "samples: no such key"),
    ("vae", ["out=vae/config.yaml"], "vae/config.yaml"),
]


@pytest.mark.parametrize(("name", "words", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes_are_named_in_one_line_and_nothing_is_written(
    raw: Callable[..., Outcome], runs: Path, name: str, words: list[str], message: str
) -> None:
    before = sorted(runs.rglob("*"))
    outcome = raw(f"run={name}", *words)
    assert outcome.code == 1
    assert outcome.out == ""
    assert len(outcome.error_lines) == 1, outcome.err
    assert message in outcome.error_lines[0]
    assert sorted(runs.rglob("*")) == before


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, atexit, vae_lab.sample as s; atexit.register(lambda: print('torch' in sys.modules)); s.main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "temperature: 1.0" in done.stdout
    assert done.stdout.split()[-1] == "False"
