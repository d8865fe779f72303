"""Conditions of attributes and numbers, as a user types them and as pictures show them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from vae_lab.data.conditions import chosen_places
from vae_lab.distributions import Bernoulli, LabelConditional
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.pictures import Album, code_scatter, condition_sheets, requested
from vae_lab.pictures.conditions import condition_of, conditions_of, example_of, row_label
from vae_lab.settings import Request
from vae_lab.types import Batch, DataSpec, NoExampleError, Scaling

SHAPE, NET = (1, 6, 5), MlpArchitecture([8])
NUMBERS = {
    "numbers": ("x", "size"),
    "numbers_scaling": Scaling((0.5, 3.0), (0.25, 2.0)),
    "numbers_range": ((0.0, 1.0), (1.0, 5.0)),
}
ALL = DataSpec(SHAPE, 3, "binary", ("square", "heart", "3"), ("smiling", "hat:on"), **NUMBERS)
FLAGS = DataSpec(SHAPE, 0, "binary", attributes=("smiling", "glasses", "a+b"))
TWO = DataSpec(SHAPE, 0, "binary", **NUMBERS)

TYPED: list[tuple[DataSpec, Any, list[float]]] = [
    (ALL, "heart+smiling+x:0.3+size:2", [0, 1, 0, 1, 0, 0.3, 2]),
    (ALL, "size:2+x:3e-1+heart", [0, 1, 0, 0, 0, 0.3, 2]),
    (ALL, "2+hat:on+x:0+size:1", [0, 0, 1, 0, 1, 0, 1]),  # a class by number, a name with a colon
    (ALL, "3+smiling:0+hat:on:1+x:0+size:1", [0, 0, 1, 0, 1, 0, 1]),
    (ALL, {"square": 1, "smiling": True, "x": 0.25, "size": 3}, [1, 0, 0, 1, 0, 0.25, 3]),
    (FLAGS, "smiling+glasses", [1, 1, 0]),
    (FLAGS, "a+b", [0, 0, 1]),
    (FLAGS, {"a+b": 1, "smiling": "yes"}, [1, 0, 1]),
    (TWO, [0.3, 1.2], [0.3, 1.2]),
    (TWO, [1, 2], [1, 2]),
    (TWO, ["0.3", "1.2"], [0.3, 1.2]),  # as the command line gives them
    (TWO, "x:0.3+size:1.5", [0.3, 1.5]),
]


@pytest.mark.parametrize(("spec", "typed", "row"), TYPED)
def test_a_condition_is_typed_by_name_or_by_number(spec: DataSpec, typed: Any, row: list[float]) -> None:
    assert condition_of(spec, typed).row().tolist() == pytest.approx(row)


def test_one_number_alone_and_the_example_of_a_message() -> None:
    one = DataSpec(SHAPE, numbers=("x",), numbers_scaling=Scaling((0.5,), (1.0,)))
    assert condition_of(one, 0.25).row().tolist() == [0.25]
    assert example_of(ALL) == "y=square+smiling+x:0.5+size:3"
    assert condition_of(ALL, example_of(ALL)[2:]).row().tolist() == [1, 0, 0, 1, 0, 0.5, 3]


REFUSED: list[tuple[DataSpec, Any, str]] = [
    (ALL, "hart+smiling", "y=hart+smiling: hart is not in this model's condition (did you mean heart?): square"),
    (ALL, "smiling+x:0+size:2", "y=smiling+x:0+size:2: names no class; add one of square, heart, 3"),
    (ALL, "heart+square+x:0+size:2", "an example has one class; to see several give a list"),
    (ALL, "heart+x+size:2", "x is a number; give its value, x:0.5"),
    (ALL, "heart+x:abc", "x is a number, and abc is not"),
    (ALL, "heart+x:nan", "x must be a finite number"),
    (ALL, "heart+smiling:2", "smiling is yes or no; leave its value out, or give 0 or 1"),
    (ALL, "heart+x:0+x:1", "x is given twice"),
    (ALL, "heart++x:1", "y=heart++x:1:  is not in"),
    (TWO, [0.3], "y=0.3: a list gives all numbers of the condition in order, which are x, size; for example y=x:0.5"),
    (TWO, [0.3, 1.2, 3.0], "which are x, size"),
    (TWO, [], "y=[]: name at least one condition"),
    (FLAGS, [0, 1], "y=0: a list gives all numbers of the condition in order, which are none; for example y=smiling"),
    (ALL, ["0.3", "1.2"], "y=x:0.3+size:1.2: names no class; add one of square, heart, 3"),
    (FLAGS, "all", "y=all: all is not in this model's condition"),
    (FLAGS, 3, "y=3: a list gives all numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "typed", "message"), REFUSED)
def test_what_is_wrong_with_a_condition_is_said_in_a_line(spec: DataSpec, typed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        [condition.row() for condition in conditions_of(spec, typed)]
    assert "\n" not in str(caught.value)


def test_numbers_outside_the_training_range_and_numbers_left_out_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"y=size:9: training had 1 to 5; the model extrapolates"):
        condition_of(TWO, [0.3, 9.0])
    with pytest.warns(UserWarning, match=r"y=heart: without x, size; the means in training are taken: x:0.5, size:3"):
        assert condition_of(ALL, "heart").row().tolist() == [0, 1, 0, 0, 0, 0.5, 3]


def test_labels_are_short_and_say_what_is_on() -> None:
    assert row_label(ALL, torch.tensor([0, 1, 0, 1, 0, 0.3, 2.0])) == "heart, smiling, x 0.3, size 2"
    assert row_label(FLAGS, torch.zeros(3)) == "none"
    many = DataSpec(SHAPE, attributes=tuple(f"attribute_{i}" for i in range(40)))
    assert len(row_label(many, torch.ones(40))) == 40


def rows(spec: DataSpec, num: int) -> torch.Tensor:
    torch.manual_seed(1)
    classes = torch.eye(max(spec.num_classes, 1))[torch.arange(num) % max(spec.num_classes, 1), : spec.num_classes]
    numbers = torch.rand(num, 2) * torch.tensor([1.0, 4.0]) + torch.tensor([0.0, 1.0])
    return torch.cat((classes, torch.rand(num, len(spec.attributes)).round(), numbers[:, : len(spec.numbers)]), 1)


def model_and_examples(spec: DataSpec, latent_dim: int = 2, prior: Any = LabelConditional) -> tuple[VAE, Batch]:
    torch.manual_seed(0)
    model = VAE(spec, latent_dim, NET, Bernoulli, prior, conditional=True).eval()
    return model, Batch(torch.rand(60, *SHAPE).round(), rows(spec, 60))


def test_only_one_part_of_the_condition_changes_in_a_row() -> None:
    model, examples = model_and_examples(ALL)
    start = examples.y[:3]
    sheets = condition_sheets(model, start, examples.y)
    assert list(sheets) == ["classes", "attributes", "numbers"]
    changed = {"classes": [range(3)], "attributes": [[3], [4]], "numbers": [[5], [6]]}
    for part, sheet in sheets.items():
        y = sheet.arrays["y"].reshape(len(changed[part]), 3, -1, 7)  # (entry, latent, value, C)
        for entry, columns in enumerate(changed[part]):
            others = [column for column in range(7) if column not in columns]
            assert torch.equal(y[entry][..., others], start[:, None, others].expand(-1, y.shape[2], -1))
            assert len(y[entry, 0].unique(dim=0)) == y.shape[2]
        assert len(sheet.tiles) % sheet.columns == 0
        assert len(sheet.column_labels) == sheet.columns
    numbers = sheets["numbers"].arrays["y"].reshape(2, 3, 7, 7)[0, 0, :, 5]
    expected = torch.quantile(examples.y[:, 5], torch.tensor([0.05, 0.95]))
    assert torch.allclose(numbers[[0, -1]], expected)
    assert torch.allclose(numbers.diff(), numbers.diff()[:1].expand(6))
    assert sheets["attributes"].row_labels == ["smiling", "hat:on"]
    few = condition_sheets(model, start, examples.y, max_classes=2, max_rows=1)
    assert [len(sheet.tiles) for sheet in few.values()] == [2 * 3, 2 * 3, 7 * 3]
    assert few["numbers"].row_labels[0].startswith("x: ")
    assert sheets["classes"].column_labels == ["square", "heart", "class 3"]


def test_the_latents_keep_their_noise_wherever_they_are_drawn() -> None:
    model, examples = model_and_examples(ALL)
    sheet = condition_sheets(model, examples.y[:2], examples.y)["numbers"]
    z, y = sheet.arrays["z_1"], sheet.arrays["y"]
    with torch.no_grad():
        prior = model.prior.links[0](None, model.context(y))
    noise = ((z - prior.mean) / prior.stddev).reshape(2, 2, 7, 2)  # (number, latent, value, D)
    assert torch.allclose(noise, noise[:1, :, :1].expand_as(noise), atol=1e-5)
    assert not torch.allclose(noise[0, 0, 0], noise[0, 1, 0])


def kinds(model: Any, examples: Batch, request: Request) -> dict[str, Any]:
    return dict(requested(request, model, lambda num, where: examples))


def test_sheets_on_demand_under_conditions() -> None:
    model, examples = model_and_examples(ALL)
    one = "heart+smiling+x:0.3+size:2"
    row = torch.tensor([0, 1, 0, 1, 0, 0.3, 2])
    ((name, sheet),) = kinds(model, examples, Request(y=one, num=5)).items()
    assert name == "samples_yheart-smiling-x_0.3-size_2_num5"
    assert torch.equal(sheet.arrays["y"], row.expand(5, 7))
    assert sheet.row_labels[0] == "heart, smiling, x 0.3, size 2"
    ((name, sheet),) = kinds(model, examples, Request(y=[one, "square+x:0.3+size:2"], num=2)).items()
    assert name.startswith("samples_yheart-smiling-x_0.3-size_2-and-square")
    assert sheet.columns == 2
    ((name, sheet),) = kinds(model, examples, Request(num=70)).items()
    assert name == "samples_num70"
    known = {tuple(each) for each in examples.y.tolist()}
    assert {tuple(each) for each in sheet.arrays["y"].tolist()} == known, "conditions of real examples"
    sheets = kinds(model, examples, Request("conditions", y=one, num=2))
    assert list(sheets) == [f"conditions_{part}_y{'heart-smiling-x_0.3-size_2'}_num2" for part in PARTS]
    assert list(kinds(model, examples, Request("conditions"))) == [f"conditions_{part}" for part in PARTS]
    assert list(kinds(model, examples, Request("manifold", y=one, num=3))) == [
        f"manifold_y{'heart-smiling-x_0.3-size_2'}_num3"
    ]
    for what in ("reconstructions", "interpolations", "traversals"):
        assert len(kinds(model, examples, Request(what))) == 1
        assert len(kinds(model, examples, Request(what, y="heart+smiling"))) == 1


PARTS = ("classes", "attributes", "numbers")


def test_examples_are_chosen_by_class_and_attributes() -> None:
    model, examples = model_and_examples(ALL)
    asked = []

    def source(num: int, where: Sequence[Any] | None) -> Batch:
        asked.append(where)
        return examples

    list(requested(Request("reconstructions", y="heart+smiling:0"), model, source))
    list(requested(Request("reconstructions", y=["heart", "square"]), model, source))
    assert asked == [[{1: 1.0, 3: 0.0}], [{1: 1.0}, {0: 1.0}]]
    with pytest.raises(ValueError, match=r"examples are chosen by class and attributes, not by numbers \(x\)"):
        list(requested(Request("reconstructions", y="heart+x:0.3"), model, source))
    with pytest.raises(ValueError, match="manifold needs a condition; give it, such as y=square"):
        list(requested(Request("manifold"), model, source))


def test_a_model_of_classes_alone_shows_them_as_conditions() -> None:
    torch.manual_seed(0)
    spec = DataSpec(SHAPE, 3, "binary", ("a", "b", "c"))
    model = VAE(spec, 2, NET, Bernoulli, conditional=True).eval()
    ((name, sheet),) = kinds(model, Batch(torch.zeros(0)), Request("conditions")).items()
    assert (name, sheet.columns, len(sheet.tiles)) == ("conditions_classes", 3, 12)
    unconditional = VAE(spec, 2, NET, Bernoulli).eval()
    with pytest.raises(ValueError, match="what=conditions: this model is unconditional"):
        kinds(unconditional, Batch(torch.zeros(0)), Request("conditions"))
    with pytest.raises(ValueError, match="this model's condition is one class"):
        kinds(model, Batch(torch.zeros(0)), Request(y={"a": 1}))


@pytest.mark.parametrize("spec", [ALL, FLAGS, TWO], ids=["all", "attributes", "numbers"])
def test_the_album_of_a_training_has_every_picture(spec: DataSpec) -> None:
    model, examples = model_and_examples(spec)
    tags = [tag for tag, picture in Album(examples, spec.num_classes).full(model) if picture.isfinite().all()]
    parts = [
        part for part, there in zip(PARTS, (spec.num_classes, spec.attributes, spec.numbers), strict=True) if there
    ]
    shown = [f"conditions/{part}" for part in parts]
    assert tags == ["samples", "reconstructions", *shown, "traversals", "interpolations", "codes", "manifold"]
    assert code_scatter(model, examples).isfinite().all()


def test_a_hierarchy_under_conditions_has_its_pictures() -> None:
    torch.manual_seed(0)
    model = MHVAE(ALL, [3, 2], NET, NET, Bernoulli, conditional=True).eval()
    examples = Batch(torch.rand(60, *SHAPE).round(), rows(ALL, 60))
    tags = [tag for tag, _ in Album(examples, 3).full(model)]
    assert {"levels", "progressive", "kl_by_level", "traversals/level_1", "conditions/numbers"} <= set(tags)


def test_no_such_example_is_said_by_name() -> None:
    y = rows(ALL, 6).numpy()
    y[:, 3] = 0
    assert chosen_places(ALL, y, [1, {0: 1.0, 3: 0.0}], "test").tolist() == [0, 1, 3, 4]
    with pytest.raises(NoExampleError, match=r"y=heart\+smiling: the test split has no such example"):
        chosen_places(ALL, y, [{1: 1.0, 3: 1.0}], "test")
