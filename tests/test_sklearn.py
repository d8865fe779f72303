"""The estimators keep scikit-learn's contract, and give what the run that they train gives."""

from __future__ import annotations

import doctest
import pickle
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import vae_lab
from vae_lab.sklearn import CVAE, MHVAE, VAE, LadderVAE, models

QUICK: dict[str, Any] = {"epochs": 1, "widths": (4,), "num_samples": 4, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal([3, -1, 0, 10], [2, 1, 0.5, 4], (80, 4))
Y = np.where(X[:, 0] > 3, "big", "small")
AT_ONCE = {"epochs": 80, "widths": (16,), "batch_size": 40, "lr": 1e-2, "random_state": 0}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.slow
@parametrize_with_checks([VAE(2, **QUICK), CVAE(2, **QUICK), MHVAE(2, levels="all", **QUICK), LadderVAE(2, **QUICK)])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::sklearn.exceptions.DataConversionWarning")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(models, raise_on_error=True).attempted == 5


def test_it_trains_what_fit_trains_and_leaves_no_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    vae = VAE(2, **{**QUICK, "epochs": 3}).fit(X)
    assert "".join(capfd.readouterr()) == ""
    assert not list(tmp_path.iterdir())
    assert vae.run_.folder is None
    words = ["network.widths=[4]", "trainer.max_epochs=3", f"seed={vae._seed}", "data.support=real", "trainer=cpu"]
    words += ["callbacks=none", "logger=none"]
    run = vae_lab.fit(X, "vae", 2, words, val=X[:2], test=X[:2], folder="run", verbose=False)
    assert np.allclose(vae.transform(X), run.encode(X)[0].mean, atol=1e-5)
    assert np.allclose(vae.inverse_transform(vae.transform(X)), run.decode(run.encode(X)), atol=1e-4)
    assert vae.transform(X).dtype == np.float64
    assert vae.transform(X.astype(np.float32)).dtype == np.float32


def test_the_density_is_one_of_the_data_and_integrates_to_one() -> None:
    x = RNG.normal(100, 20, (200, 1))
    vae = VAE(1, num_samples=200, **AT_ONCE).fit(x)
    grid = np.linspace(-100, 300, 801)[:, None]
    assert np.trapezoid(np.exp(vae.score_samples(grid)), dx=0.5) == pytest.approx(1, abs=0.02)
    best = -0.5 * np.log(2 * np.pi * np.e * x.var())
    assert vae.score(x) == pytest.approx(best, abs=0.1)
    draws = vae.sample(500, random_state=1)
    assert abs(draws.mean() - 100) < 5
    assert 0.7 < draws.std() / 20 < 1.3


def test_the_estimate_of_an_example_does_not_depend_on_others() -> None:
    for vae in (VAE(2, **QUICK).fit(X), MHVAE(2, **QUICK).fit(X)):
        for method in (vae.score_samples, vae.transform):
            whole = method(X)
            assert np.allclose(method(X[::-1])[::-1], whole, atol=1e-10)
            assert np.allclose(method(X[7:8]), whole[7:8], atol=1e-10)
            assert np.array_equal(method(X), whole), "the same at every call"


def test_codes_of_all_levels_stand_side_by_side() -> None:
    top = MHVAE(2, **QUICK).fit(X)
    every = clone(top).set_params(levels="all").fit(X)
    state = torch.get_rng_state()
    assert top.transform(X).shape == (80, 2)
    assert np.array_equal(every.transform(X)[:, -2:], top.transform(X))
    assert every.transform(X).shape == (80, len(every.get_feature_names_out()))
    assert np.allclose(every.inverse_transform(every.transform(X)), every.run_.decode(every.run_.encode(X)), atol=0.1)
    assert torch.equal(torch.get_rng_state(), state), "codes, names and means take no random numbers of the program"
    with pytest.raises(ValueError, match=r"Z: shape \(80, 2\), must be \(n, "):
        every.inverse_transform(top.transform(X))


def test_a_conditional_model_draws_scores_and_encodes_by_class() -> None:
    cvae = CVAE(2, num_samples=20, **AT_ONCE).fit(X, Y)
    assert cvae.classes_.tolist() == ["big", "small"]
    means = [cvae.sample(300, y=name)[:, 0].mean() for name in ("big", "small")]
    assert means[0] - means[1] > 1.5
    joint = [cvae.score_samples(X, name) + np.log((name == Y).mean()) for name in ("big", "small")]
    assert np.allclose(cvae.score_samples(X), np.logaddexp(*joint), atol=1e-10)
    likely = np.where(joint[0] > joint[1], "big", "small")
    assert (likely == Y).mean() > 0.9
    assert np.array_equal(cvae.transform(X), cvae.transform(X, likely))
    assert cvae.inverse_transform(cvae.transform(X, Y), Y).shape == X.shape
    assert cvae.sample(5).shape == (5, 4)


def test_a_fit_that_fails_leaves_the_classes_of_the_fit_before() -> None:
    cvae = CVAE(2, **QUICK).fit(X, Y)
    with pytest.raises(ValueError, match="levels='bottom'"):
        cvae.set_params(levels="bottom").fit(X, np.where(Y == "big", "whale", "ant"))
    assert cvae.classes_.tolist() == ["big", "small"]
    assert cvae.set_params(levels="top").transform(X, Y).shape == (80, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CVAE(**QUICK).fit(X), "requires y to be passed, but the target y is None"),
        (lambda: CVAE(**QUICK).fit(X, Y).transform(X, ["huge"] * 80), "y: 'huge' is not one of the classes"),
        (lambda: CVAE(**QUICK).fit(X, Y).sample(3, y=["big"]), "y: 1 labels for 3 examples"),
        (lambda: CVAE(2, **QUICK).fit(X, Y).inverse_transform(np.zeros((3, 2))), "y=None: a conditional model needs"),
        (lambda: VAE(0, **QUICK).fit(X), "latent_dim"),
        (lambda: VAE(2, levels="bottom", **QUICK).fit(X), "levels='bottom': choose top or all"),
        (lambda: VAE(2, shape=(3, 3), **QUICK).fit(X), r"shape=\(3, 3\): 9 numbers, but X has 4 columns"),
        (lambda: VAE(2, overrides=("latnt_dim=2",), **QUICK).fit(X), "latnt_dim: no such key; did you mean latent_dim"),
        (lambda: VAE(2, support="binary", **QUICK).fit(X), "support"),
    ],
)
def test_wrong_parameters_and_data_are_named_in_one_line(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_the_best_epoch_is_chosen_by_a_validation_set() -> None:
    vae = VAE(2, validation_fraction=0.25, **{**QUICK, "epochs": 3}).fit(X)
    assert vae.transform(X).shape == (80, 2)
    assert vae.run_.config["data"]["val_size"] == 0.25


def test_a_folder_is_that_of_a_run(tmp_path: Path) -> None:
    vae = VAE(2, folder=str(tmp_path / "run"), overrides=("callbacks.pictures=null",), **QUICK).fit(X)
    assert vae_lab.load_run(tmp_path / "run").spec == vae.run_.spec
    first = vae.run_.folder
    assert vae.fit(X).run_.folder == tmp_path / "run_1"
    assert first == tmp_path / "run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run_1"]


def test_pictures_go_through_convolutions() -> None:
    digits = load_digits().data[:40]
    vae = VAE(2, shape=(8, 8), overrides=("network=conv", "network.channels=[4]"), **{**QUICK, "widths": None})
    assert vae.fit(digits).run_.spec.shape == (1, 8, 8)
    assert vae.sample(3).shape == (3, 64)
    assert vae.inverse_transform(vae.transform(digits)).shape == digits.shape


@pytest.mark.parametrize("support", ["auto", "uint8"])
def test_pixels_are_never_rescaled(support: str) -> None:
    pixels = RNG.integers(0, 256, (40, 16)).astype(float)
    vae = VAE(2, shape=(4, 4), support=support, **QUICK)
    if support == "uint8":
        with pytest.raises(ValueError, match=r"support='uint8': X has values from 0 to 255, must lie in \[0, 1\]"):
            vae.fit(pixels)
        pixels /= 255
    assert np.isfinite(vae.fit(pixels).score(pixels))
    assert vae.run_.spec.support == {"auto": "real", "uint8": "uint8"}[support]
    decoded = vae.inverse_transform(vae.transform(pixels))
    assert abs(decoded.mean() / pixels.mean() - 1) < 0.2, "in the units of X"
    with pytest.raises(ValueError, match="x: values from"):
        VAE(2, support="unit", **QUICK).fit(pixels / pixels.max()).transform(100 * pixels / pixels.max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": ("data.binarization=static",), "support": "auto"}, "x: grey values, but this model"),
        ({"support": "uint8"}, "x: values between the 256 grey levels"),
    ],
)
def test_values_without_a_probability_get_no_score(options: dict[str, Any], message: str) -> None:
    grey = RNG.random((40, 6))
    vae = VAE(2, **options, **QUICK).fit(grey)
    for given in (grey, np.where(grey > 0.5, grey, 1.0)):
        with pytest.raises(ValueError, match=message):
            vae.score_samples(given)
    assert np.isfinite(vae.score_samples(grey.round())).all()


def test_clones_and_pickles_give_the_same() -> None:
    vae = VAE(2, **QUICK).fit(X)
    for other in (clone(vae).fit(X), pickle.loads(pickle.dumps(vae))):
        assert np.array_equal(other.score_samples(X), vae.score_samples(X))
    assert not np.array_equal(clone(vae).set_params(random_state=1).fit(X).transform(X), vae.transform(X))


def test_it_works_in_a_pipeline_and_in_a_grid_search() -> None:
    pipeline = make_pipeline(StandardScaler(), VAE(**QUICK), LogisticRegression())
    search = GridSearchCV(pipeline, {"vae__latent_dim": [1, 3]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_estimator_.predict(X).shape == (80,)
    by_density = GridSearchCV(VAE(**QUICK), {"latent_dim": [1, 3]}, cv=2, error_score="raise").fit(X)
    assert np.isfinite(by_density.cv_results_["mean_test_score"]).all()
    with joblib.parallel_backend("threading", n_jobs=2):
        in_threads = clone(by_density).fit(X)
    assert np.array_equal(in_threads.cv_results_["mean_test_score"], by_density.cv_results_["mean_test_score"])


@pytest.mark.slow
def test_a_real_search_over_the_size_of_the_latent_space_in_two_processes() -> None:
    cells, malignant = load_breast_cancer(return_X_y=True)
    vae = VAE(epochs=60, widths=(64,), random_state=0)
    search = GridSearchCV(vae, {"latent_dim": [1, 8]}, cv=3, n_jobs=2, error_score="raise").fit(cells)
    assert search.best_params_ == {"latent_dim": 8}
    reader = make_pipeline(search.best_estimator_, LogisticRegression()).fit(cells[::2], malignant[::2])
    assert reader.score(cells[1::2], malignant[1::2]) > 0.9
