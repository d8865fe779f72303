"""A model refuses data that are not those that it was built for, in one line, whatever is asked of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab import load_run
from vae_lab.distributions import Bernoulli, DiscretizedLogistic, Gaussian
from vae_lab.models import MHVAE, VAE, Deep, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Support

B, SHAPE = 4, (1, 2, 3)
NET = MlpArchitecture([8])
LIKELIHOODS = {"binary": Bernoulli, "unit": Gaussian, "uint8": DiscretizedLogistic, "real": Gaussian}


def vae(support: Support = "binary", conditional: bool = False) -> VAE:
    return VAE(DataSpec(SHAPE, 3, support, ("cat", "dog", "3")), 2, NET, LIKELIHOODS[support], conditional=conditional)


def pixels() -> torch.Tensor:
    return torch.rand(B, *SHAPE).round()


ASKED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "forward": lambda model, x, y: model(x, y),
    "encode": lambda model, x, y: model.encode(x, y),
    "reconstruct": lambda model, x, y: model.reconstruct(x, y),
    "log_marginal": lambda model, x, y: model.log_marginal(x, y, num_samples=2),
    "importance_estimate": lambda model, x, y: model.importance_estimate(x, y, num_samples=2),
}
asked = pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)

BAD_X: list[tuple[Support, Any, str]] = [
    ("binary", 255 * torch.ones(B, *SHAPE), "x: values from 255 to 255, must lie in [0, 1]"),
    ("unit", 255 * torch.ones(B, *SHAPE), "x / 255 scales pixels of 0..255"),
    ("uint8", -torch.ones(B, *SHAPE), "x: values from -1 to -1, must lie in [0, 1]"),
    ("binary", torch.full((B, *SHAPE), float("nan")), "x: has values that are not finite"),
    ("real", torch.full((B, *SHAPE), float("inf")), "x: has values that are not finite"),
    (
        "binary",
        torch.ones(B, *SHAPE, dtype=torch.uint8),
        "x: dtype uint8, must be floating-point numbers; x.float() / 255",
    ),
    ("binary", torch.ones(B, *SHAPE).double(), "x: dtype float64, but the model computes in float32"),
    ("binary", torch.ones(B, 6), "x: shape (4, 6), must be (B, 1, 2, 3) with B of 1 or more; x.reshape(-1, 1, 2, 3)"),
    ("binary", torch.ones(2, 3), "x: shape (2, 3), must be (B, 1, 2, 3) with B of 1 or more; x.reshape(-1, 1, 2, 3) m"),
    ("binary", torch.ones(6), "x: shape (6,), must be (B, 1, 2, 3) with B of 1 or more; x.reshape(-1, 1, 2, 3) makes"),
    ("binary", torch.ones(*SHAPE), "x: shape (1, 2, 3) has no batch axis, must be (B, 1, 2, 3); x[None] adds it"),
    ("binary", torch.ones(0, *SHAPE), "x: shape (0, 1, 2, 3), must be (B, 1, 2, 3) with B of 1 or more"),
    ("binary", torch.ones(B, 3, 2, 3), "x: shape (4, 3, 2, 3), must be"),
    ("binary", torch.ones(B, 2, 3, 1), "x: shape (4, 2, 3, 1), must be (B, 1, 2, 3) with B of 1 or more; x.permute("),
    ("binary", torch.ones(B, *SHAPE).bool(), "x: dtype bool, must be floating-point numbers; x.float() makes them"),
    ("binary", torch.tensor(1.0), "x: shape (), must be"),
    ("binary", torch.ones(B, *SHAPE, device="meta"), "x: on meta, but the model is on cpu"),
    ("binary", torch.ones(B, *SHAPE).to_sparse(), "x: a sparse tensor, must be a dense one; x.to_dense()"),
    ("binary", np.ones((B, *SHAPE), np.float32), "x: a ndarray, must be a torch.Tensor"),
    ("binary", [[0.0]], "x: a list, must be a torch.Tensor"),
    ("binary", None, "x: a NoneType, must be a torch.Tensor"),
]
BAD_Y: list[tuple[Any, str]] = [
    (None, "y: this model is conditional, it needs labels y; classes are 0 to 2 (cat, dog, 3)"),
    (torch.zeros(B, 1, dtype=torch.long), "y: shape (4, 1), must be (4,); y.flatten()"),
    (torch.zeros(B, 3), "y: shape (4, 3), must be (4,); for one-hot rows, y.argmax(1)"),
    (torch.zeros(B, 3, dtype=torch.long), "y: shape (4, 3), must be (4,); for one-hot rows, y.argmax(1)"),
    (torch.tensor(1), "y: shape (), must be (4,)"),
    (torch.zeros(B - 1, dtype=torch.long), "y: 4 examples with 3 labels; give one label for each"),
    (torch.zeros(B), "y: dtype float32, must be class numbers in int64"),
    (torch.zeros(B, dtype=torch.bool), "y: dtype bool, must be"),
    (torch.tensor([0, 1, 2, 3]), "y: class 3 does not exist; classes are 0 to 2 (cat, dog, 3)"),
    (torch.tensor([0, -1, 2, 2]), "y: class -1 does not exist"),
    (torch.zeros(B, dtype=torch.long, device="meta"), "y: on meta, but the model is on cpu"),
    (torch.zeros(B, dtype=torch.long).to_sparse(), "y: a sparse tensor, must be a dense one; y.to_dense()"),
    (np.zeros(B, np.int64), "y: a ndarray, must be a torch.Tensor of class numbers"),
    ("cat", "y: a str, must be a torch.Tensor of class numbers; classes are 0 to 2 (cat, dog, 3)"),
    (["cat"] * B, "y: a list, must be"),
    (1, "y: a int, must be"),
]


def refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


@asked
def test_other_data_are_refused(ask: Callable[[Any, Any, Any], Any]) -> None:
    for support, x, message in BAD_X:
        refused(lambda: ask(vae(support), x, None), message)  # noqa: B023


@asked
def test_other_labels_are_refused(ask: Callable[[Any, Any, Any], Any]) -> None:
    model = vae(conditional=True)
    for y, message in BAD_Y:
        refused(lambda: ask(model, pixels(), y), message)  # noqa: B023
    refused(lambda: ask(vae(), pixels(), torch.zeros(B, dtype=torch.long)), "y: this model is unconditional")


def test_generation_checks_its_labels_and_numbers() -> None:
    model = vae(conditional=True)
    for y, message in BAD_Y:
        refused(lambda: model.generate(B, y), message)  # noqa: B023
    y = torch.zeros(B, dtype=torch.long)
    refused(lambda: model.generate(B - 1, y), "y: 3 examples with 4 labels")
    refused(lambda: vae().generate(0), "num=0: must be at least 1")
    refused(lambda: vae().generate(2.0), "num=2.0: a float, must be an integer")  # type: ignore[arg-type]
    for temperature in (-1.0, float("nan"), float("inf")):
        refused(lambda: vae().generate(2, temperature=temperature), f"temperature={temperature}")  # noqa: B023
    for temperature in ("hot", None):
        refused(lambda: vae().generate(2, temperature=temperature), f"temperature={temperature}: a ")  # type: ignore[arg-type]  # noqa: B023
    assert model.generate(B, y).mean.shape == (B, *SHAPE)


def test_a_context_asked_for_by_hand_checks_its_labels() -> None:
    model = vae(conditional=True)
    for y, message in BAD_Y:
        refused(lambda: model.context(y, B), message)  # noqa: B023
    refused(lambda: model.context(torch.tensor([5])), "y: class 5 does not exist")
    refused(lambda: model.context(torch.tensor(1)), "y: shape (), must be (1,)")
    refused(lambda: vae().context(torch.tensor([0])), "y: this model is unconditional")
    context = model.context(torch.tensor([1, 2]))
    assert context is not None
    assert context.argmax(1).tolist() == [1, 2]


@pytest.mark.parametrize("temperature", [torch.ones(2), np.ones(2)], ids=["tensor", "array"])
def test_a_temperature_is_one_number(temperature: Any) -> None:
    refused(lambda: vae().generate(2, temperature=temperature), "of several numbers, must be one number")
    assert vae().generate(2, temperature=temperature[:1]).mean.shape == (2, *SHAPE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((784,), "shape=784: a int, must be integers, such as (1, 28, 28)"),
        (("784",), "shape='784': a str"),
        (({1, 2},), "shape={1, 2}: a set"),
        (((1, 28.0, 28),), "shape=(1, 28.0, 28): size=28.0: a float, must be an integer"),
        (((1, "28", 28),), "size='28': a str, must be an integer"),
        (((1, True),), "size=True: a bool, must be an integer"),
        ((SHAPE, 2.0), "num_classes=2.0: a float, must be an integer"),
        ((SHAPE, None), "num_classes=None: a NoneType, must be an integer"),
        ((SHAPE, 2, "unit", "ab"), "class_names='ab': a str, must be strings"),
        ((SHAPE, 2, "unit", [1, 2]), "class_names: 1 is a int, must be a string"),
    ],
)
def test_a_spec_of_other_types_is_refused(words: tuple[Any, ...], message: str) -> None:
    refused(lambda: DataSpec(*words), message)


def test_a_spec_keeps_plain_integers() -> None:
    spec = DataSpec(np.array(SHAPE), np.int64(3))  # type: ignore[arg-type]
    assert [type(size) for size in (*spec.shape, spec.num_classes)] == [int] * 4
    assert spec == DataSpec(SHAPE, 3)


@pytest.mark.parametrize("size", [2.0, None, "2", True, [2]])
def test_a_latent_size_is_an_integer(size: Any) -> None:
    refused(lambda: VAE(DataSpec(SHAPE), size, NET, Bernoulli), f"latent_dim={size!r}: a ")
    refused(lambda: MHVAE(DataSpec(SHAPE), [3, size], NET, NET, Bernoulli), f"latent_dim={size!r}: a ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"path": None}, "run=None: must be the path"),
        ({"path": 5}, "run=5: must be the path"),
        ({"path": ""}, "run='': must be the path"),
        ({"path": "x", "device": "gpu"}, "device='gpu': not a device of this machine"),
        ({"path": "x", "device": ""}, "device='': not a device of this machine"),
        ({"path": "x", "packages": None}, "packages=None: must be names of packages"),
        ({"path": "x", "packages": [5]}, "packages=[5]: must be names of packages"),
    ],
)
def test_a_run_is_loaded_by_path_package_and_device(words: dict[str, Any], message: str) -> None:
    refused(lambda: load_run(**words), message)


def test_numbers_of_numpy_are_numbers() -> None:
    assert vae().generate(np.int64(3), temperature=np.float32(0.5)).mean.shape == (3, *SHAPE)  # type: ignore[arg-type]
    assert vae().log_marginal(pixels(), num_samples=np.int32(4), chunk=np.int64(2)).shape == (B,)  # type: ignore[arg-type]


def test_a_remedy_never_mixes_up_pixels() -> None:
    model = VAE(DataSpec((3, 4, 5)), 2, NET, Gaussian)
    x = torch.rand(B, 3, 4, 5)
    for wrong in (x.permute(0, 2, 3, 1), x.flatten(1), x.permute(0, 3, 2, 1), x.flatten(0, 1)):
        with pytest.raises(ValueError, match="x: shape") as caught:
            model(wrong)
        _, _, remedy = str(caught.value).partition("; ")
        if remedy:
            torch.testing.assert_close(eval(remedy.split(") ")[0] + ")", {"x": wrong}), x)


def test_a_spec_takes_lists_for_tuples() -> None:
    spec = DataSpec([1, 2, 3], 2, "binary", ["cat", "dog"])  # type: ignore[arg-type]
    assert spec == DataSpec((1, 2, 3), 2, "binary", ("cat", "dog"))
    assert VAE(spec, 2, NET, Bernoulli)(pixels()).elbo.shape == (B,)


@pytest.mark.parametrize("num_samples", [0, -1, 1.5, True, None])
def test_numbers_of_samples_are_whole(num_samples: Any) -> None:
    refused(lambda: vae()(pixels(), num_samples=num_samples), f"num_samples={num_samples}")
    refused(lambda: vae().log_marginal(pixels(), num_samples=num_samples), f"num_samples={num_samples}")


@asked
@pytest.mark.parametrize("support", LIKELIHOODS)
@pytest.mark.filterwarnings("ignore:.*no density")
def test_what_fits_is_taken(ask: Callable[[Any, Any, Any], Any], support: Support) -> None:
    model, y = vae(support, conditional=True), torch.tensor([0, 1, 2, 0])
    x = 7 * torch.randn(B, *SHAPE) if support == "real" else pixels()
    ask(model, x, y)
    ask(model, x, y.int())
    ask(model.double(), x.double(), y)
    with torch.autocast("cpu", torch.bfloat16):
        ask(model.float(), x, y)


def test_every_model_knows_its_spec() -> None:
    spec = DataSpec(SHAPE, 0, "binary")
    models = [
        VAE(spec, 2, NET, Bernoulli),
        MHVAE(spec, [3, 2], NET, NET, Bernoulli),
        Ladder(spec, [3, 2], [8, 8], NET, NET, Bernoulli),
    ]
    for model in models:
        assert model.spec == spec
        refused(lambda: model(255 * pixels()), "must lie in [0, 1]")  # noqa: B023


def test_nothing_is_read_of_a_call_without_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "aminmax", None)
    model = vae(conditional=True)
    model(pixels(), torch.zeros(B, dtype=torch.long), check=False)
    with pytest.raises(TypeError):
        model(pixels(), torch.zeros(B, dtype=torch.long))


def test_gradients_of_functions_of_a_model_are_taken() -> None:
    model = vae("unit")
    state = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        elbo: torch.Tensor = torch.func.functional_call(model, parameters, (x[None],)).elbo
        return elbo.sum()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0), randomness="different")(state, pixels())
    assert all(gradient.shape[0] == B for gradient in gradients.values())


@asked
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_16_bits_are_refused(ask: Callable[[Any, Any, Any], Any], dtype: torch.dtype) -> None:
    model = vae(conditional=True).to(dtype)
    refused(
        lambda: ask(model, pixels().to(dtype), torch.zeros(B, dtype=torch.long)), "too coarse for densities; model."
    )


@pytest.mark.parametrize("num", [10**14, 10**20])
def test_more_samples_than_memory_holds_are_refused(num: int) -> None:
    refused(lambda: vae().generate(num), f"num={num}: must be at most 2147483647")
    refused(lambda: vae()(pixels(), num_samples=num), f"num_samples={num}: must be at most 2147483647")


SPEC = DataSpec(SHAPE)
WRONG_PARTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: MlpArchitecture(5), "widths=5: must be a list of integers"),  # type: ignore[arg-type]
    (lambda: MlpArchitecture("64"), "widths='64': must be a list of integers"),  # type: ignore[arg-type]
    (lambda: MlpArchitecture([8.0]), "widths=[8.0]: must be a list of integers"),  # type: ignore[list-item]
    (lambda: MHVAE(SPEC, 5, NET, NET, Bernoulli), "latent_dims=5: a int, must be a list of integers"),  # type: ignore[arg-type]
    (lambda: VAE(SHAPE, 2, NET, Bernoulli), "spec=(1, 2, 3): a tuple, must be a DataSpec"),  # type: ignore[arg-type]
    (lambda: Ladder(None, [2], [8], NET, NET, Bernoulli), "spec=None: a NoneType, must be a DataSpec"),  # type: ignore[arg-type]
    (lambda: Deep(SHAPE, 2, Bernoulli), "spec=(1, 2, 3): a tuple, must be a DataSpec"),  # type: ignore[call-arg, arg-type]
    (lambda: VAE(SPEC, 2, 8, Bernoulli), "network=8: must be an architecture"),  # type: ignore[arg-type]
    (lambda: MHVAE(SPEC, [2], NET, MlpArchitecture, Bernoulli), "must be an architecture"),  # type: ignore[arg-type]
    (lambda: VAE(SPEC, 2, NET, "bernoulli"), "likelihood='bernoulli': must be a class"),  # type: ignore[arg-type]
    (lambda: VAE(SPEC, 2, NET, Bernoulli(SHAPE)), "likelihood=Bernoulli(): must be a class"),  # type: ignore[arg-type]
    (lambda: VAE(SPEC, 2, NET, Bernoulli, "vamp"), "prior='vamp': must be a class"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), WRONG_PARTS, ids=lambda value: value if isinstance(value, str) else "")
def test_parts_of_another_kind_are_refused(make: Callable[[], Any], message: str) -> None:
    refused(make, message)
