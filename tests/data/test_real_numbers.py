"""Real numbers: their scaling, which the model applies and undoes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal
from torch.utils.data import DataLoader

from vae_lab.data import ArrayFiles, Arrays, DataSource, ImageDataModule, LoaderDataModule, Table
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.scaling import mean_example, scaling_of
from vae_lab.distributions import Gaussian
from vae_lab.distributions.rescaled import Rescaled, Standardisation
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Scaling

RNG = np.random.default_rng(0)
MEAN, SCALE = np.array([3.0, -200.0, 0.01]), np.array([2.0, 30.0, 0.001])


def source(shape: tuple[int, ...] = (3,), num: int = 200) -> Callable[..., DataSource]:
    """Normal numbers around MEAN, with SCALE, in each index of the first axis."""
    factor = (-1, *[1] * (len(shape) - 1))

    class Numbers(DataSource):
        name = "numbers"
        native_shape = shape
        num_classes = 0
        support = "real"
        columns = ("a", "b", "c")

        def read(self, train: bool) -> Arrays:
            u = np.random.default_rng(train).normal(size=(num, *shape))
            return Arrays((MEAN.reshape(factor) + SCALE.reshape(factor) * u).astype(np.float32))

    return Numbers


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 6), (3, 2, 3, 4)])
def test_the_scaling_is_that_of_the_training_split_for_each_index_of_the_first_axis(shape: tuple[int, ...]) -> None:
    data = ImageDataModule(source(shape), val_size=50)
    arrays, rows = data.split("train")
    assert len(rows) == 150
    train = arrays.x[rows].astype(np.float64)
    axes = (0, *range(2, train.ndim))
    scaling = data.spec.scaling
    assert scaling is not None
    np.testing.assert_allclose(scaling.mean, train.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(scaling.scale, train.std(axes), rtol=1e-6)
    np.testing.assert_allclose(mean_example(arrays, rows), train.mean(0), rtol=1e-6)
    assert data.spec.support == "real"
    assert data.spec.columns == ("a", "b", "c")
    assert DataSpec.from_plain(data.spec.plain()) == data.spec


def test_batches_are_the_numbers_themselves_in_float32() -> None:
    data = ImageDataModule(source(), val_size=50, batch_size=150)
    batch = next(iter(data.val_dataloader()))
    assert batch.x.dtype == torch.float32
    arrays, rows = data.split("val")
    assert torch.equal(data.transform(batch, training=False).x, torch.from_numpy(arrays.x[rows]))
    assert torch.equal(data.examples(1000, "val").x, torch.from_numpy(arrays.x[rows]))


def test_another_data_set_of_a_run_keeps_its_scaling() -> None:
    recorded = DataSpec((3,), support="real", scaling=Scaling((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    data = ImageDataModule(source(), val_size=50)
    assert data.spec.scaling != recorded.scaling
    data.keep_scaling(recorded)
    assert data.spec.scaling == recorded.scaling


def test_a_constant_column_is_named_and_gets_the_scale_1() -> None:
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    x[:, 1] = 7.3
    with pytest.warns(UserWarning, match="constant in the training split: height;"):
        scaling = scaling_of(Arrays(x), np.arange(20), ("width", "height"))
    assert scaling.scale[1] == 1.0


def test_numbers_that_float32_does_not_resolve_are_refused() -> None:
    x = (1.6e9 + 1000 * np.random.default_rng(0).normal(size=(50, 1))).astype(np.float32)
    with pytest.raises(ValueError, match=r"column time: values around 1\.6e\+09 .* subtract their mean"):
        scaling_of(Arrays(x), np.arange(50), ("time",))


def test_a_rescaled_density_is_that_of_the_rescaled_normal() -> None:
    loc, scale = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 40.0]).double()
    base = Independent(Normal(torch.randn(4, 2).double(), torch.rand(4, 2).double() + 0.1), 1)
    exact = Independent(Normal(loc + scale * base.mean, scale * base.base_dist.scale), 1)
    found, x = Rescaled(base, loc, scale), 10 * torch.randn(7, 4, 2).double()
    assert torch.allclose(found.log_prob(x), exact.log_prob(x), rtol=1e-12)
    assert torch.allclose(found.mean, exact.mean, rtol=1e-12)
    assert torch.allclose(found.variance, exact.variance, rtol=1e-12)
    torch.manual_seed(0)
    drawn = found.sample((3,))
    torch.manual_seed(0)
    assert torch.allclose(drawn, loc + scale * base.sample((3,)), rtol=1e-12)


def test_a_model_speaks_the_units_of_the_data() -> None:
    """A model of data standardised by hand differs by the constant sum log scale, and its outputs by the scaling."""
    scaling = Scaling(tuple(MEAN), tuple(SCALE))
    u = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    outputs = []
    for given in (None, scaling):
        torch.manual_seed(0)
        model = VAE(DataSpec((3,), support="real", scaling=given), 2, MlpArchitecture([8]), Gaussian).double()
        x = u if given is None else torch.tensor(MEAN) + torch.tensor(SCALE) * u
        model.eval()
        values = []
        for call in (
            lambda m=model, x=x: m.log_marginal(x, num_samples=20),
            lambda m=model, x=x: m(x, num_samples=3).elbo,
            lambda m=model, x=x: torch.cat(m.encode(x)),
            lambda m=model, x=x: m.reconstruct(x).mean,
            lambda m=model, x=x: m.generate(4).mean,
            lambda m=model, x=x: m.decode(m.encode(x)).mean,
        ):
            torch.manual_seed(1)
            values.append(call().detach())
        outputs.append(values)
    plain, scaled = outputs
    jacobian = torch.tensor(SCALE).log().sum()
    for number in (0, 1):
        assert torch.allclose(scaled[number], plain[number] - jacobian, atol=1e-5)
    assert torch.allclose(scaled[2], plain[2], atol=1e-5)
    for number in (3, 4, 5):
        rescaled = torch.tensor(MEAN) + torch.tensor(SCALE) * plain[number]
        assert torch.allclose(scaled[number], rescaled, rtol=1e-5, atol=1e-6)


def test_the_scaling_is_no_part_of_the_weights() -> None:
    spec = DataSpec((3,), support="real", scaling=Scaling(tuple(MEAN), tuple(SCALE)))
    scaled, plain = (VAE(s, 2, MlpArchitecture([8]), Gaussian) for s in (spec, DataSpec((3,), support="real")))
    assert scaled.state_dict().keys() == plain.state_dict().keys()


def test_a_decoder_that_starts_at_the_mean_of_the_data_starts_there_in_their_units() -> None:
    spec = DataSpec((3,), support="real", scaling=Scaling(tuple(MEAN), tuple(SCALE)))
    model = VAE(spec, 2, MlpArchitecture(()), Gaussian)
    model.start_at(torch.tensor(MEAN).float())
    at_zero = model.decode([torch.zeros(1, 2)]).mean[0]
    assert torch.allclose(at_zero, torch.tensor(MEAN).float(), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"binarization": "dynamic"}, "binarization=dynamic: for values in .0, 1., and these are real numbers"),
        ({"horizontal_flip": True}, r"horizontal_flip=true: mirrors pictures, and examples of shape \(3,\)"),
        ({"image_size": 8}, r"image_size=8: resizes pictures, and examples of shape \(3,\) are not pictures"),
    ],
)
def test_options_for_pictures_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = ImageDataModule(source(), val_size=50, **options).spec


@pytest.mark.parametrize("bad", [((1.0,), (0.0,)), ((1.0, 2.0), (1.0, 1.0)), ((float("nan"),), (1.0,))])
def test_a_scaling_that_cannot_be_undone_is_refused(bad: tuple) -> None:
    with pytest.raises(ValueError, match="scaling"):
        DataSpec((1, 4), scaling=Scaling(*bad))


def test_other_columns_do_not_fit_a_model() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = DataSpec((2,), support="real", columns=("a", "b"))
        trained.check_data(DataSpec((2,), support="real"))
    with pytest.raises(ValueError, match="trained for the columns a, b, but those of the data are b, a"):
        trained.check_data(DataSpec((2,), support="real", columns=("b", "a")))


def test_standardisation_of_float64_is_exact() -> None:
    standardise = Standardisation(Scaling((0.5,), (2.0,)), (1, 4)).double()
    x = torch.randn(3, 1, 4).double()
    assert torch.equal(standardise(x), (x - 0.5) / 2)


FAR = np.stack([1.7e9 + np.arange(40.0), RNG.normal(size=40)], axis=1)
"""A column that is constant in float32."""
HARDLY = np.stack([1.7e9 + 20 * np.arange(1000.0), RNG.normal(size=1000)], axis=1)
"""A column of a hundred different values in float32."""


def written_table(path: Path, x: np.ndarray) -> ImageDataModule:
    np.savetxt(path, x, delimiter=",", header="time,size", comments="", fmt="%.17g")
    return ImageDataModule(Table, root=str(path), val_size=5)


def loaders(x: np.ndarray) -> LoaderDataModule:
    module = LoaderDataModule()
    module.hold({"train": DataLoader([torch.from_numpy(row) for row in x], 10)})
    return module


@pytest.mark.parametrize("x", [FAR, HARDLY], ids=["same", "few"])
@pytest.mark.parametrize("kind", ["table", "array", "array as it is", "integers", "loader", "numbers"])
def test_numbers_that_float32_does_not_tell_apart_are_refused(x: np.ndarray, kind: str, tmp_path: Path) -> None:
    source = ArrayFiles()
    data: Any = ImageDataModule(lambda **_: source, val_size=5, standardize=False if "as it is" in kind else "auto")
    if kind == "table":
        data = written_table(tmp_path / "t.csv", x)
    elif kind == "loader":
        data = loaders(x)
    elif kind == "numbers":
        source.hold(ArraysInMemory((RNG.normal(size=(len(x), 3)), {"numbers": x.astype(np.int64)})))
    else:
        source.hold(ArraysInMemory((x.astype(np.int32 if kind == "integers" else np.float64), None)))
    name = {"table": "time", "numbers": "number_0"}.get(kind, "0")
    with pytest.raises(ValueError, match=rf"column {name}: values around 1\.7\d*e.09 that .* tell apart; subtract"):
        _ = data.spec


def test_numbers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    x = RNG.normal(size=(40, 2))
    x[7, 1] = -1e39
    with pytest.raises(ValueError, match=r"t\.csv: column size: -1e\+39, must be a finite number of 32 bits"):
        _ = written_table(tmp_path / "t.csv", x).spec
    with pytest.raises(ValueError, match="train: batch 0: x: example 7 has values that are not finite numbers of 32"):
        _ = loaders(x).spec


@pytest.mark.filterwarnings("ignore:constant in the training split")
def test_a_constant_column_of_a_loader_has_the_scale_1() -> None:
    scaling = loaders(np.stack([np.full(40, 1e6 + 0.1), RNG.normal(size=40)], axis=1)).spec.scaling
    assert scaling is not None
    assert scaling.scale[0] == 1
