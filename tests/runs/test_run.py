"""A run in Python gives what its model gives, with the arrays and labels that users hold."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from linear_gaussian import random_model
from torch.distributions import Independent, Normal

import vae_lab
from tests.conftest import FAST, trained_run
from vae_lab import noise
from vae_lab.core import LatentLevel
from vae_lab.core.codes import Code, code_of, posterior_codes
from vae_lab.distributions import Bernoulli, Categorical, DiscretizedLogistic, Gaussian, LogisticMixture
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.runs.own_units import Pixels, examples_as_read, labels_as_read
from vae_lab.runs.run import Run
from vae_lab.types import DataSpec, Scaling

NAMES = ("cat", "dog", "eel")
COLOURS = DataSpec((3, 2, 4), 3, "uint8", NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional hierarchy, hardly trained."""
    words = ("model=mhvae", "model.conditional=true", "model.latent_dims=[4,2]", "network.widths=[8]")
    return trained_run(tmp_path_factory.mktemp("trained") / "run", *FAST, *words)


def colours(conditional: bool = True) -> Run:
    torch.manual_seed(0)
    model = VAE(COLOURS, 2, likelihood=DiscretizedLogistic, network=MlpArchitecture([8]), conditional=conditional)
    return Run(model.eval(), {"choices": {"data": "animals"}})


def pictures(num: int = 5) -> Any:
    return np.random.default_rng(0).integers(0, 256, (num, 3, 2, 4), np.uint8)


def test_a_loaded_run_knows_itself_and_gives_what_its_model_gives(folder: Path) -> None:
    run = vae_lab.load_run(folder)
    assert (run.folder, run.spec.num_classes, run.config["choices"]["model"]) == (folder, 10, "mhvae")
    assert run.metrics["elbo"] < 0
    assert f"{run.metrics['elbo']:.3f} nats per example" in repr(run)
    assert "MHVAE of 2 levels on mnist (1 x 28 x 28, 10 classes)" in repr(run)

    x, y = torch.rand(4, 1, 28, 28).round(), torch.tensor([3, 1, 4, 1])
    assert torch.equal(run.log_prob(x, y, 20, seed=5), seeded(5, lambda: run.model.log_marginal(x, y, 20)))
    assert torch.equal(run.sample(4, y=y, seed=5), seeded(5, lambda: run.model.generate(4, y).mean))
    assert torch.equal(run.reconstruct(x, y, seed=5), seeded(5, lambda: run.model.reconstruct(x, y).mean))
    lower, top = run.encode(x, y)
    assert (lower.mean.shape, top.scale.shape) == ((4, 4), (4, 2))
    assert torch.equal(run.decode([lower, top], y), run.model.decode([lower.mean, top.mean], y).mean.detach())
    assert torch.equal(run.decode(top.mean, y), run.model.decode([top.mean], y).mean.detach())


def seeded(seed: int, function: Any) -> Any:
    with torch.no_grad(), noise.fixed_seed(seed, torch.device("cpu")):
        return function()


def test_what_worked_on_the_model_works_on_the_run(folder: Path) -> None:
    run = vae_lab.load_run(folder)
    x, y = torch.rand(2, 1, 28, 28).round(), torch.tensor([3, 1])
    assert run.generate(2, y).mean.shape == (2, 1, 28, 28)
    assert run(x, y, num_samples=3).elbo.shape == (2,)
    assert run.log_marginal(x, y, num_samples=3).shape == (2,)
    assert run.eval() is run.model
    assert list(run.state_dict()) == list(run.model.state_dict())
    with pytest.raises(AttributeError, match="nothing_like_it"):
        run.nothing_like_it  # noqa: B018


def test_a_run_is_copied_and_pickled(folder: Path) -> None:
    run = vae_lab.load_run(folder)
    for other in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert repr(other) == repr(run)
        assert np.array_equal(other.sample(2, y=3, seed=0), run.sample(2, y=3, seed=0))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x / np.float32(255),
        lambda x: (x / 255).astype(np.float64),
        lambda x: x.transpose(0, 2, 3, 1),
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.tolist(),
        torch.from_numpy,
        lambda x: x.astype(np.int64),
        lambda x: x.astype(">u2"),
    ],
    ids=["float32", "float64", "channels last", "reversed strides", "lists", "tensor", "int64", "uint16"],
)
def test_pictures_go_in_as_people_hold_them(form: Any) -> None:
    run, x = colours(conditional=False), pictures()
    given = form(x)
    expected = run.model.encode(torch.from_numpy(x).float() / 255)[0]
    (code,) = run.encode(given)
    assert isinstance(code.mean, torch.Tensor if isinstance(given, torch.Tensor) else np.ndarray)
    assert np.allclose(code.mean, expected, atol=1e-6)
    assert np.allclose(run.reconstruct(given), run.decode(code), atol=1e-6)


def test_grey_pictures_may_lack_the_channel_axis_and_masks_are_0_and_1() -> None:
    model = VAE(DataSpec((1, 2, 3), 0, "binary"), 2, likelihood=Bernoulli, network=MlpArchitecture([8])).eval()
    run, x = Run(model, {}), np.random.default_rng(0).integers(0, 2, (6, 2, 3))
    expected = run.log_prob(torch.from_numpy(x)[:, None].float(), num_samples=5).numpy()
    for given in (x, x.astype(bool), x.reshape(6, 6), (255 * x).astype(np.uint8), x[:, None].astype(float)):
        assert np.allclose(run.log_prob(given, num_samples=5), expected)
    with pytest.raises(ValueError, match=r"x: grey values, but .* give x > 0\.5"):
        run.log_prob(x * 0.5)
    assert run.encode(x * 0.5)[0].mean.shape == (6, 2)


@pytest.mark.parametrize("likelihood", [DiscretizedLogistic, Categorical, LogisticMixture])
def test_only_grey_levels_have_a_probability(likelihood: Any) -> None:
    model = VAE(COLOURS, 2, likelihood=likelihood, network=MlpArchitecture([8])).eval()
    run, x = Run(model, {}), pictures()
    expected = run.log_prob(x, num_samples=5)
    for given in (x / 255, (x / 255).astype(np.float16)):
        assert np.allclose(run.log_prob(given, num_samples=5), expected, rtol=0.01)
    with pytest.raises(ValueError, match=r"x: values between the 256 grey levels, .* \(x \* 255\)\.round\(\) / 255"):
        run.log_prob(x / 300)
    density = VAE(COLOURS, 2, likelihood=Gaussian, network=MlpArchitecture([8])).eval()
    assert np.isfinite(Run(density, {}).log_prob(x / 300, num_samples=5)).all()


def test_the_value_of_white_that_a_run_has_found_is_used() -> None:
    run, x = colours(conditional=False), pictures() // 16
    run.config = {"data": {"images": {"max_value": 15}}}
    assert np.allclose(run.encode(x)[0].mean, colours(conditional=False).encode(17 * x)[0].mean)
    with pytest.raises(ValueError, match=r"x: value 16 where 15 is white; give pixels of 0\.\.15"):
        run.encode(x + np.uint8(1))


def test_bytes_beside_deeper_pictures_have_their_own_white() -> None:
    run, x = colours(conditional=False), pictures()
    expected = run.encode(x)[0].mean
    for white in (4095, {"integers": 4095, "floats": 1.0}):
        run.config = {"data": {"images": {"max_value": white}}}
        assert np.array_equal(run.encode(x)[0].mean, expected)
        assert np.allclose(run.encode(np.uint16(x * (4095 / 255) + 0.5))[0].mean, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"x: value 18446744073709551615, beyond integers of 64 bits"):
        run.encode(np.full(x.shape, 2**64 - 1, np.uint64))


def grey_run(values: Any, **data: Any) -> Run:
    torch.manual_seed(0)
    head = Bernoulli if values == "binary" else Gaussian
    model = VAE(DataSpec((1, 2, 3), 0, values), 2, likelihood=head, network=MlpArchitecture([8])).eval()
    return Run(model, {"data": data})


def test_pixels_of_real_data_are_divided_as_in_training() -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 2, 3), np.uint8)
    folder = grey_run("real", support="real", images={"_target_": "vae_lab.data.ImageFolder"})
    assert np.allclose(folder.encode(x)[0].mean, folder.encode(x / 255)[0].mean, atol=1e-6)
    arrays = grey_run("real", support="real", images={"_target_": "vae_lab.data.ArrayFiles"})
    assert np.array_equal(arrays.encode(x)[0].mean, arrays.encode(x.astype(float))[0].mean)


def test_thresholded_data_are_thresholded_as_in_training() -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 2, 3), np.uint8)
    run = grey_run("binary", binarization="threshold")
    black_and_white = x > 127
    for given in (x, x / 255, (x / 255).astype(np.float32)):
        assert np.array_equal(run.encode(given)[0].mean, run.encode(black_and_white)[0].mean)
        assert np.array_equal(run.log_prob(given, num_samples=5), run.log_prob(black_and_white, num_samples=5))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        run.encode(x.astype(float))
    dynamic = grey_run("binary", binarization="dynamic")
    assert not np.array_equal(dynamic.encode(x)[0].mean, run.encode(x)[0].mean)


@pytest.mark.parametrize(
    "y",
    [
        [1, 1, 1, 1, 1],
        1,
        "dog",
        ["dog"] * 5,
        np.array(["dog"] * 5, object),
        np.full(5, 1, np.uint8),
        np.full((5, 1), 1.0),
        np.eye(3)[[1] * 5],
        torch.full((5,), 1),
        torch.tensor(1),
    ],
    ids=str,
)
def test_labels_are_given_by_name_and_by_number(y: Any) -> None:
    run, x = colours(), pictures()
    expected = run.model.encode(torch.from_numpy(x).float() / 255, torch.full((5,), 1))[0]
    assert np.allclose(run.encode(x, y)[0].mean, expected, atol=1e-6)
    assert np.array_equal(run.sample(5, y, seed=1), run.sample(5, "dog", seed=1))
    assert len(run.sample(y=y)) == (5 if np.ndim(y) else 64)


def test_labels_that_are_names_are_never_taken_for_numbers() -> None:
    """A set of threes, fives and sevens: its classes 0, 1 and 2 have these names."""
    spec = DataSpec((3,), 3, "real", ("3", "5", "7"))
    model = VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval()
    run = Run(model, {})
    expected = run.sample(3, torch.tensor([0, 2, 1]).new_tensor([3, 7, 5]), seed=0)
    assert np.array_equal(run.sample(3, [3, 7, 5], seed=0), expected)
    assert np.array_equal(seeded(0, lambda: model.generate(3, torch.tensor([0, 2, 1])).mean), expected)
    with pytest.raises(ValueError, match="y=4: no such class; the classes are 3, 5, 7"):
        run.sample(2, [3, 4])


@pytest.mark.parametrize(
    "y", [np.eye(3)[[1, 2]], torch.eye(3)[[1, 2]], pd.DataFrame(np.eye(3), columns=list("123"))[1:]]
)
def test_one_hot_rows_are_classes_by_place_also_where_names_are_numbers(y: Any) -> None:
    """Labels that begin with 1: the class of place 1 has the name 2."""
    spec = DataSpec((3,), 3, "real", ("1", "2", "3"))
    run = Run(VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval(), {})
    expected = seeded(0, lambda: run.model.generate(2, torch.tensor([1, 2])).mean)
    assert np.array_equal(run.sample(2, y, seed=0), expected)
    assert np.array_equal(labels_as_read(y, spec, 2), [1, 2])


def test_words_of_a_refusal_name_the_classes_and_the_missing_labels() -> None:
    spec = DataSpec((3,), 3, "real", ("1", "2", "3"))
    run = Run(VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval(), {})
    with pytest.raises(ValueError, match=r"it needs labels y; classes are 0 to 2 \(1, 2, 3\)"):
        run.encode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="y: 1 of 2 labels are missing; leave such examples out"):
        run.encode(np.zeros((2, 3)), [1.0, np.nan])


def test_pixels_of_16_bits_in_a_tensor_are_those_of_an_array() -> None:
    x, spec = np.arange(16, dtype=np.uint16).reshape(2, 1, 2, 4) * 273, DataSpec((1, 2, 4), support="unit")
    read = examples_as_read(torch.from_numpy(x), spec, Pixels(white=4095))
    assert np.array_equal(read, examples_as_read(x, spec, Pixels(white=4095)))
    assert float(read.max()) == 1


@pytest.mark.parametrize("support", ["unit", "uint8"])
def test_integers_0_and_1_are_warned_of_where_255_is_white(support: Any) -> None:
    """A mask of 0 and 1 was encoded as a black picture."""
    spec, mask = DataSpec((1, 2, 2), 0, support), np.eye(2, dtype=np.uint8)[None]
    with pytest.warns(UserWarning, match=r"x: 0 and 1, read as pixels of 0\.\.255, nearly black; give floats"):
        assert examples_as_read(mask, spec, Pixels()).max() == pytest.approx(1 / 255)


def test_a_row_of_a_data_frame_is_a_condition_by_its_names() -> None:
    """Its values were taken in the order in which they stood."""
    spec = DataSpec((3,), 0, "real", numbers=("size", "age"))
    row = pd.DataFrame({"name": ["ann"], "age": [30], "size": [1.5]}).iloc[0]
    assert labels_as_read(row[["age", "size"]], spec, 2).tolist() == [[1.5, 30.0]] * 2
    with pytest.raises(ValueError, match="size"):
        labels_as_read(pd.Series({"age": 30.0, "height": 1.5}), spec, 2)
    assert labels_as_read(pd.Series([1.5, 30.0]), spec, 1).tolist() == [[1.5, 30.0]]


@pytest.mark.parametrize(("numbers", "y"), [(("size", "age"), [1.0, 30.0]), (("size",), 3.0), (("size",), [3.0] * 4)])
def test_a_condition_of_numbers_is_one_row_for_all_or_one_for_each(numbers: tuple[str, ...], y: Any) -> None:
    spec = DataSpec((3,), 0, "real", numbers=numbers)
    model = VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval()
    each = torch.tensor(y).reshape(-1, len(numbers)).expand(4, -1)
    expected = seeded(0, lambda: model.generate(4, each).mean)
    assert np.allclose(Run(model, {}).sample(4, y, seed=0), expected)
    with pytest.raises(ValueError, match=r"y: (shape .*; its columns are size|4 examples with 3 labels)"):
        Run(model, {}).sample(4, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("attributes", [("smiling",), ("smiling", "glasses", "hat")])
def test_whole_numbers_in_a_tensor_are_rows_of_a_condition_as_in_an_array(attributes: tuple[str, ...]) -> None:
    """Also as many as there are examples, which look like a class number for each."""
    spec = DataSpec((3,), 0, "real", attributes=attributes)
    run = Run(VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval(), {})
    y = np.array([1, 0, 1])
    for num in (1, 3) if len(attributes) > 1 else (3,):
        assert np.array_equal(run.sample(num, torch.from_numpy(y), seed=0), run.sample(num, y, seed=0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(pictures()), r"y: this model is conditional, it needs labels y; .*cat, dog, eel"),
        (lambda run: run.encode(pictures(), "dgo"), r"y=dgo: no such class \(did you mean dog\?\)"),
        (lambda run: run.encode(pictures(), [0, 1]), r"y: 5 examples with 2 labels; give one label for each, or one"),
        (lambda run: run.encode(pictures(), [0, 1, 2, 3, 0]), r"y: class 3 does not exist"),
        (lambda run: run.encode(pictures(), np.zeros((5, 2))), r"y: shape \(5, 2\), must be one class"),
        (lambda run: run.encode(pictures()[0], 0), r"x: shape \(3, 2, 4\) has no batch axis.*x\[None\] adds it"),
        (
            lambda run: run.encode(pictures().reshape(5, 24), 0),
            r"x: shape \(5, 24\), must .*; x\.reshape\(-1, 3, 2, 4\) makes it if the channels come first",
        ),
        (lambda run: run.encode(pictures()[:0], 0), r"x: shape \(0, 3, 2, 4\), must be \(B, 3, 2, 4\) with B of 1"),
        (lambda run: run.encode(1.0, 0), r"x: shape"),
        (lambda run: run.encode("cat", 0), r"x: <U3 values, must be numbers"),
        (lambda run: run.encode(pictures().astype(float), 0), r"x: values from .*; x / 255 scales pixels"),
        (lambda run: run.encode(np.full((2, 3, 2, 4), np.nan), 0), r"x: has values that are not finite"),
        (lambda run: run.sample(0, 0), r"num=0: must be at least 1"),
        (lambda run: run.sample(2, 0, temperature=-1), r"temperature=-1: must be a finite number of 0 or more"),
        (lambda run: run.sample(2, 0, draw="mode"), r"draw=mode: choose mean or sample"),
        (lambda run: run.sample(2, 0, seed=-1), r"seed=-1: must be an integer from 0 to 2\^64 - 1, or None"),
        (lambda run: run.decode([], 0), r"z: holds no codes"),
        (lambda run: run.decode(np.float32([[1, 2], [0, np.nan]]), 0), r"z: row 1 has values that are not finite"),
        (lambda run: run.decode([np.zeros((2, 2))] * 2, 0), r"z: codes of 2 levels"),
        (lambda run: run.log_prob(pictures(), 0, num_samples=0), r"num_samples=0: must be at least 1"),
        (lambda run: run.to("nowhere"), r"device='nowhere': not a device of this machine"),
        (lambda _: colours(conditional=False).sample(2, y="cat"), r"y: this model is unconditional"),
    ],
)
def test_wrong_input_is_named_in_one_line(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        call(colours())
    assert "\n" not in str(raised.value)


def test_the_value_that_is_not_finite_is_found_before_any_work() -> None:
    run, x = colours(), pictures(3000) / 255
    x[-1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        run.log_prob(x, 0, num_samples=10**6)


def test_a_call_is_reproducible_and_leaves_the_random_numbers_alone() -> None:
    run, x = colours(), pictures(300)
    state = torch.get_rng_state()
    calls = [lambda: run.log_prob(x, 0, 5), lambda: run.sample(600, 0, seed=3), lambda: run.reconstruct(x, 0)]
    for call in calls:
        assert np.array_equal(call(), call())
    assert torch.equal(torch.get_rng_state(), state)
    assert not np.array_equal(run.sample(3, 0), run.sample(3, 0)), "new draws at each call without a seed"
    torch.manual_seed(1)
    first = run.sample(3, 0)
    torch.manual_seed(1)
    assert np.array_equal(run.sample(3, 0), first)


def test_batches_of_one_call_and_of_another_seed_have_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_lab.runs.run._MAX_BATCH", 4)
    run = colours()
    monkeypatch.setattr(Run._slices, "__defaults__", (4,))
    draws = np.concatenate([run.sample(12, 0, seed=seed).reshape(12, -1) for seed in range(3)])
    assert len(np.unique(draws, axis=0)) == 36


def test_memory_is_bounded_by_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    run, sizes = colours(), list[int]()
    original = run.model.posterior.forward
    monkeypatch.setattr(run.model.posterior, "forward", lambda x, *args: (sizes.append(len(x)), original(x, *args))[1])
    assert run.encode(pictures(3000), 0)[0].mean.shape == (3000, 2)
    assert sum(sizes) == 3000
    assert max(sizes) <= 1024


def test_codes_of_an_exact_posterior_are_its_mean_and_scale() -> None:
    """In a linear-Gaussian chain the posterior of every level is known, also of those that depend on others."""
    numbers = random_model(seed=0, levels=2)
    model = numbers.model()
    x, y = numbers.data(3)
    codes = posterior_codes(model, x, y, num_samples=200_000)
    exact = exact_moments(model, x, y)
    for code, (mean, scale) in zip(codes, exact, strict=True):
        assert torch.allclose(code.mean, mean, atol=5 * scale.max().item() / math.sqrt(200_000))
        assert torch.allclose(code.scale, scale.expand_as(code.scale), rtol=0.02)


def exact_moments(model: Any, x: Any, y: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Means and scales by propagating a Gaussian through the affine encoders: q(z_1 | x), then q(z_2 | z_1)."""
    first, second = model.posterior(x, model.context(y), model.prior, 1)
    mean, scale = first.q.mean.expand(first.z.shape)[0], first.q.stddev.expand(first.z.shape)[0]
    size = mean.shape[-1]
    steps = torch.eye(size, dtype=mean.dtype)
    chain = model.posterior.chain.links[1] if hasattr(model.posterior, "chain") else None
    assert chain is not None
    context = model.context(y)
    base = chain(mean, context).mean
    slopes = torch.stack([chain(mean + step, context).mean - base for step in steps], -1)
    variance = (slopes.square() * scale.square()[:, None]).sum(-1) + second.q.variance.expand(second.z.shape)[0]
    return [(mean, scale), (base, variance.sqrt())]


def test_the_code_of_a_single_level_is_exact() -> None:
    run, x = colours(conditional=False), torch.from_numpy(pictures()).float() / 255
    (level,) = run.model.posterior(x, None, run.model.prior, 1)
    (code,) = run.encode(x)
    assert isinstance(code, Code)
    assert torch.allclose(code.mean, level.q.mean, atol=1e-7)
    assert torch.allclose(code.scale, level.q.stddev, atol=1e-6)


def test_a_hierarchy_in_double_precision_keeps_its_precision() -> None:
    network = MlpArchitecture([8])
    model = MHVAE(DataSpec((4,), 0, "real"), [3, 2], network, network, Gaussian).double().eval()
    assert Run(model, {}).encode(np.ones((2, 4), np.float32))[1].mean.dtype == np.float64


def test_conditions_are_given_by_name_by_mapping_or_as_rows() -> None:
    torch.manual_seed(0)
    scaling = {"numbers_scaling": Scaling((0.5, 3.0), (0.25, 2.0))}
    spec = DataSpec((4,), 2, "real", ("cat", "dog"), ("smiling",), ("x", "size"), **scaling)
    run = Run(VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval(), {})
    row = [0, 1, 1, 0.25, 2]
    ways = ("dog+smiling+x:0.25+size:2", {"dog": 1, "smiling": 1, "x": 0.25, "size": 2}, row, torch.tensor(row), [row])
    draws = [run.sample(y=y, seed=1) for y in ways]
    assert all(draw.shape == (64, 4) for draw in draws)
    assert all(np.array_equal(np.asarray(draw), draws[0]) for draw in draws)
    each = ["dog+x:0.25+size:2", "cat+smiling+x:0+size:1"]
    assert run.sample(y=each).shape == (2, 4)
    x = np.zeros((2, 4), np.float32)
    rows = [[0, 1, 0, 0.25, 2], [1, 0, 1, 0, 1]]
    assert np.array_equal(run.log_prob(x, each, 5), run.log_prob(x, np.array(rows), 5))
    with pytest.raises(ValueError, match="y: 2 in row 0, column smiling: must be 0 or 1"):
        run.sample(y=[0, 1, 2, 0.25, 2])
    with pytest.raises(ValueError, match="hat is not in this model's condition"):
        run.sample(y="dog+hat+x:0+size:1")


def test_a_condition_is_given_as_to_fit() -> None:
    spec = DataSpec(
        (4,), 2, "real", ("cat", "dog"), ("smiling", "hat"), ("x",), numbers_scaling=Scaling((0.5,), (2.0,))
    )
    run = Run(VAE(spec, 2, likelihood=Gaussian, network=MlpArchitecture([8]), conditional=True).eval(), {})
    hats = pd.DataFrame({"hat": [1, 0, 0], "smiling": [0, 0, 1]})  # by name, in any order
    y = {"labels": np.array(["dog", "cat", "dog"]), "attributes": hats, "numbers": torch.tensor([0.25, 2.0, 1.0])}
    rows = [[0, 1, 0, 1, 0.25], [1, 0, 0, 0, 2], [0, 1, 1, 0, 1]]
    expected = run.sample(y=rows, seed=0)
    assert expected.shape == (3, 4)
    for labels in (y["labels"], [1, 0, 1], np.eye(2)[[1, 0, 1]]):
        assert np.array_equal(run.sample(y={**y, "labels": labels}, seed=0), expected)
    assert np.array_equal(run.reconstruct(np.ones((3, 4)), y), run.reconstruct(np.ones((3, 4)), rows))
    with pytest.raises(ValueError, match=r"y: holds labels, must hold labels, attributes, numbers, as the model's"):
        run.sample(y={"labels": ["dog"]})
    with pytest.raises(ValueError, match=r"y: parts of 1, 3, 3 examples, must be equally many"):
        run.sample(y={**y, "labels": ["dog"]})
    with pytest.raises(ValueError, match=r"y=dgo: no such class"):
        run.sample(y={**y, "labels": ["dgo"] * 3})


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True])
def test_a_seed_beyond_the_generators_is_refused(seed: Any) -> None:
    model = VAE(DataSpec((3,), 0, "real"), 2, likelihood=Gaussian, network=MlpArchitecture([8])).eval()
    with pytest.raises(ValueError, match=rf"seed={seed}: must be an integer from 0 to 2\^64 - 1, or None"):
        Run(model, {}).sample(2, seed=seed)
    assert Run(model, {}).log_prob(np.ones((2, 3)), num_samples=2, seed=2**64 - 1).shape == (2,)


class Unmeasured(Independent):
    """Gaussians without a variance in closed form."""

    @property
    def variance(self) -> torch.Tensor:
        raise NotImplementedError


def test_the_scale_of_a_level_without_a_variance_is_that_of_its_samples() -> None:
    """The spread of the means is in it already: sqrt(4 + 1), not sqrt(4 + 5)."""
    torch.manual_seed(0)
    mean = 2 * torch.randn(100_000, 3, 2)
    q = Unmeasured(Normal(mean, torch.ones_like(mean)), 1)
    code = code_of(LatentLevel(q.rsample(), q, q, analytic_kl=False))
    assert torch.allclose(code.scale, torch.full((3, 2), math.sqrt(5)), rtol=0.02)
