"""Classes by name in what a user types and sees."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from omegaconf import OmegaConf

import vae_lab.sample
from tests.conftest import DRAWN, Outcome
from tests.data.test_class_names import folder_of
from vae_lab.cli.overrides import quoted_names
from vae_lab.data import ArrayFiles, Table
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.distributions import Bernoulli
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.pictures import code_scatter, plane, requested, samples_by_class, traversals
from vae_lab.pictures.classes import class_label, class_of, class_tag
from vae_lab.runs.own_units import labels_as_read
from vae_lab.settings import Request
from vae_lab.types import Batch, DataSpec, NoExampleError

SHUFFLED = DataSpec((1,), 12, class_names=tuple(sorted(map(str, range(12)))))  # 0, 1, 10, 11, 2, ...
ODD = ("a b", "a/b", "a-b", "../x", ".", "_all", "$x_{$", "Ärger", "猫", "true", "1.5", "x" * 300, "CON.txt", "{}", "-")


def parsed(value: object) -> object:
    """The value that a command gets for a value of Hydra's grammar."""
    return OmegaConf.create({"y": value.text if isinstance(value, QuotedString) else value}).y


def named(*names: str) -> DataSpec:
    return DataSpec((1, 8, 8), len(names), "binary", names)


# What a user types


LIKE_VALUES = ("1e3", "1_000", "nan", "inf", "null", "None", "0x10", "007", "no", "~", "all", "1.0")
"""Names that YAML, or Python, would take for something else."""


def test_names_are_typed_as_they_are() -> None:
    parser = OverridesParser.create()
    quoted = ("it's", 'a"b', "a\\", "a\\'b", "\\'", "a#b", "f(x)", "a & b", "${x}")
    for name in (*ODD, *LIKE_VALUES, *quoted):
        typed = [parser.parse_override(quoted_names(word)).value() for word in (f"y={name}", f"y=[{name}, cat]")]
        values = [parsed(value) for value in (typed[0], *typed[1])]
        spec = named(name, "cat", *(["a b"] if name != "a b" else []))
        assert [class_of(spec, value) for value in values] == [0, 0, 1], name


@pytest.mark.parametrize("name", ["a,b", "[x]", "a, b", "[a,b]", ",", "['a']"])
def test_names_with_commas_and_brackets_stand_in_quotes_in_a_list(name: str) -> None:
    parser = OverridesParser.create()
    quotes = "'" if "'" not in name else '"'
    values = parser.parse_override(quoted_names(f"y=[cat, {quotes}{name}{quotes} ,cat]")).value()
    assert [parsed(value) for value in values] == ["cat", name, "cat"]
    alone = parser.parse_override(quoted_names(f"y={quotes}{name}{quotes}")).value()
    assert parsed(alone) == name
    if not name.startswith("["):
        assert parsed(parser.parse_override(quoted_names(f"y={name}")).value()) == name


@pytest.mark.parametrize("name", ["height (cm)", "a:b", "100%", "nan", "3", "it's", "x=1", "größe"])
def test_names_of_columns_are_typed_as_they_are(name: str) -> None:
    parser = OverridesParser.create()

    def read(word: str) -> object:
        return parser.parse_override(quoted_names(word)).value()

    assert [parsed(each) for each in read(f"data.images.columns=[{name}, weight]")] == [name, "weight"]
    assert parsed(read(f"data.images.label={name}")) == name
    for empty in ("null", "[]"):
        assert quoted_names(f"data.images.columns={empty}") == f"data.images.columns={empty}"


def test_a_name_wins_over_a_number_and_says_so() -> None:
    with pytest.warns(UserWarning, match="y=2: the class named 2, which has the number 4"):
        assert class_of(SHUFFLED, 2) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert class_of(SHUFFLED, "0") == class_of(SHUFFLED, 0) == 0
        assert class_of(named("cat", "dog"), 1) == 1
        assert class_of(named("10", "20"), 20) == 1
        assert class_of(named("1.5", "true"), 1.5) == 0
        assert class_of(named("1.5", "true"), True) == 1
        assert class_of(DataSpec((1,), 3), 2) == 2


@pytest.mark.parametrize(("names", "absent"), [(("0", "1", "3"), 2), (("1", "2"), 0)])
def test_a_number_that_no_class_is_named_by_is_refused(names: tuple[str, ...], absent: int) -> None:
    spec = named(*names)
    for label in (absent, str(absent)):
        with pytest.raises(ValueError, match=f"y={absent}: no such class; the classes are {', '.join(names)}"):
            class_of(spec, label)
    for given in (absent, [absent], np.array([absent]), torch.tensor([absent])):
        with pytest.raises(ValueError, match="no such class"):
            labels_as_read(given, spec, 1)
    assert labels_as_read(int(names[-1]), spec, 2).tolist() == [len(names) - 1] * 2


@pytest.mark.parametrize("names", [(), ("False", "True"), ("false", "true")])
def test_booleans_are_classes(names: tuple[str, ...]) -> None:
    spec = DataSpec((1,), 2, class_names=names)
    for y in (True, "true", "True", 1, np.array([True]), torch.tensor([True]), np.True_):
        assert labels_as_read(y, spec, 1).tolist() == [1]
    assert labels_as_read([True, False], spec, 2).tolist() == [1, 0]


def test_boolean_labels_are_named(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 3 == 0
    for labels, names in ((y, ("False", "True")), (y[:, None], ("False", "True")), (y.astype(int), ())):
        source = ArrayFiles()
        source.hold(ArraysInMemory((x, labels)))
        assert (source.num_classes, source.class_names) == (2, names)
    source.hold(ArraysInMemory((x, np.stack([~y, y], 1))))
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(f"{a[0]},{b}" for a, b in zip(x, y, strict=True)))
    assert Table(str(tmp_path / "t.csv"), label="y").class_names == ("False", "True")


def test_every_name_finds_its_class() -> None:
    assert [class_of(named(*ODD), name) for name in ODD] == list(range(len(ODD)))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Cat", "y=Cat: no such class (did you mean cat?); "),
        ("dgo", "y=dgo: no such class (did you mean dog?); "),
        ("elephant", "y=elephant: no such class; the classes are cat, dog"),
        (2, "y=2: no such class; the classes are cat, dog"),
        (-1, "y=-1: no such class"),
        (True, "y=true: no such class"),
        (1.0, "y=1.0: no such class"),
    ],
)
def test_other_labels_are_refused_with_the_classes(label: str | float, message: str) -> None:
    with pytest.raises(ValueError, match="no such class") as refused:
        class_of(named("cat", "dog"), label)
    assert str(refused.value).startswith(message)
    assert str(refused.value).endswith("cat, dog")


# File names


def test_tags_are_safe_and_different() -> None:
    names = (*ODD, "a_b", "0_a_b", "x" * 299)
    spec = named(*names)
    tags = [class_tag(spec, y) for y in range(len(names))]
    assert len(set(tags)) == len(names)
    for tag in tags:
        assert tag.replace("_", "a").isalnum()
        assert len(tag) < 50
    assert [class_tag(named("cat", "Ärger"), y) for y in (0, 1)] == ["cat", "Ärger"]
    assert class_tag(DataSpec((1,), 3), 2) == class_tag(None, 2) == "2"


# Figures


def model_of(*names: str) -> tuple[VAE, Batch]:
    torch.manual_seed(0)
    model = VAE(named(*names), 2, MlpArchitecture([8]), Bernoulli, conditional=True)
    return model, Batch(torch.rand(2 * len(names), 1, 8, 8).round(), torch.arange(2 * len(names)) % len(names))


def test_figures_show_names(monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = model_of(*ODD)
    assert class_label(model.spec, 0) == "a b"
    assert class_label(named("7"), 0) == "class 7"
    assert class_label(None, 3) == "class 3"
    assert samples_by_class(model, range(len(ODD))).column_labels == list(ODD)
    of_second = Batch(examples.x[1:2], examples.y[1:2])  # type: ignore[index]
    assert traversals(model, of_second).corner == "a/b"

    written: list[str] = []
    text = Figure.text

    def record(self: Figure, x: float, y: float, s: str, **options: object) -> object:
        written.append(s)
        return text(self, x, y, s, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "text", record)
    samples_by_class(model, range(len(ODD))).draw()
    assert [name for name in ODD if name in written] == [name for name in ODD if len(name) < 20]
    assert any(label.startswith("xxxx") and label.endswith("…") for label in written)
    assert code_scatter(model, examples).shape[0] == 3


def test_of_many_classes_a_scatter_names_some_at_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[tuple[list[int], list[str]]] = []
    monkeypatch.setattr(Colorbar, "set_ticks", lambda bar, places, labels: ticks.append((places, labels)))
    names = tuple(f"$kind {number}" for number in range(45))
    figure = Figure()
    y = torch.arange(45).repeat(2)
    plane._scatter(figure, figure.add_subplot(), torch.randn(90, 2), y, DataSpec((1, 2, 2), 45, "unit", names), "class")
    ((places, labels),) = ticks
    assert labels == [names[place] for place in places]
    assert places == list(range(0, 45, 3))


# A run


def test_a_run_shows_and_takes_names(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    root = folder_of(tmp_path / "pets", "cat", "red dog", "ünü")
    words = ("model=cvae", "latent_dim=2", "network=mlp", "data=image_folder", "data.image_size=8", f"data.root={root}")
    assert train(*DRAWN, *words, f"hydra.run.dir={run}").code == 0
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"traversals_class_cat", "traversals_class_1_red_dog", "manifold_class_ünü"} <= figures
    (metadata,) = run.rglob("metadata.tsv")
    assert set(metadata.read_text().splitlines()) <= {"cat", "red dog", "ünü"}

    sample = partial(command, vae_lab.sample.main, f"run={run}", f"out={tmp_path / 'out'}", "num=2")
    for words, stem, labels in (
        (["y=cat"], "samples_ycat_num2", [0, 0]),
        (["y=red dog"], "samples_y1_red_dog_num2", [1, 1]),
        (["y=2"], "samples_yünü_num2", [2, 2]),
        (["y=[ünü,cat]"], "samples_yünü-cat_num2", [2, 0, 2, 0]),
        (["y=all"], "samples_y_all_num2", [0, 1, 2, 0, 1, 2]),
        (["what=reconstructions", "y=red dog", "split=train"], "reconstructions_y1_red_dog_num2_train", [1, 1]),
    ):
        outcome = sample(*words)
        assert outcome.code == 0, outcome.err
        with np.load(tmp_path / "out" / f"{stem}.npz") as arrays:
            assert arrays["y"].tolist() == labels
    assert sample("y=null").error_lines == sample().error_lines != []
    wrong = sample("y=dog")
    assert wrong.error_lines == [
        "error: y=dog: no such class (did you mean red dog?); the classes are cat, red dog, ünü"
    ]


def test_classes_called_all_and_null_are_reached() -> None:
    model, _ = model_of("all", "cat", "null")

    def shown(y: object) -> list[int]:
        ((_, sheet),) = requested(Request(num=1, y=y), model, lambda *_: pytest.fail("no examples"))  # type: ignore[arg-type]
        return list(sheet.arrays["y"])

    with pytest.warns(UserWarning, match=r"y=\[all\] is the class of that name"):
        assert shown("all") == [0, 1, 2]
    assert shown(["all"]) == [0]
    assert shown("null") == shown(["null"]) == [2]


def test_a_class_without_examples_is_left_out_of_all_traversals_and_named() -> None:
    model, examples = model_of("cat", "dog")

    def of_dogs(num: int, classes: Sequence[int] | None) -> Batch:
        if classes == [0]:
            raise NoExampleError("cat", "test")
        return examples

    with pytest.warns(UserWarning, match="cat: the test split has no example, so no traversals of it"):
        sheets = [name for name, _ in requested(Request("traversals", num=1), model, of_dogs)]
    assert sheets == ["traversals_ydog_num1"]
    with pytest.raises(ValueError, match="y=cat: the test split has no such example"):
        list(requested(Request("traversals", num=1, y="cat"), model, of_dogs))
