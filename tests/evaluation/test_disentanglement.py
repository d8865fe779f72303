"""Disentanglement scores of codes for which they are known: copies, noise, duplicates and rotations of the factors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FAST, Outcome
from vae_lab import pictures
from vae_lab.evaluate import main
from vae_lab.evaluation.disentanglement import (
    TEST_VOTES,
    _concentration,
    dci,
    disentanglement,
    factor_vae_score,
    mutual_information,
    mutual_information_gaps,
    sap,
)
from vae_lab.runs.loading import find_run, load_run

SCORES = ("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score")


def every_combination(*sizes: int, times: int) -> np.ndarray:
    """(times * prod(sizes), F): so no factor tells anything about another."""
    return np.tile(np.indices(sizes).reshape(len(sizes), -1).T, (times, 1))


def scores(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> dict[str, Any]:
    return disentanglement(codes.astype(float), factors, [f"factor {f}" for f in range(factors.shape[1])], seed)


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    return float(mutual_information_gaps(mutual_information(codes.astype(float), factors), factors).mean())


def test_copies_of_the_factors_have_every_perfect_score() -> None:
    factors = every_combination(3, 10, 2, times=20)
    found = scores(factors[:, [1, 2, 0]], factors)
    for name in SCORES:
        if name != "sap":
            assert found[name] == pytest.approx(1, abs=1e-9), name
    for name, dimension, size in (("factor 0", 2, 3), ("factor 1", 0, 10), ("factor 2", 1, 2)):
        best = found["mig_by_factor"][name]
        assert best["dimension"] == dimension
        assert best["mig"] == pytest.approx(1, abs=1e-9)
        assert best["mutual_information"] == pytest.approx(math.log(size), abs=1e-9)


def test_factors_of_a_single_value_each_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"each factor \(factor 0, factor 1\) has a single value") as raised:
        scores(np.zeros((50, 2)), np.ones((50, 2), np.int64))
    assert "\n" not in str(raised.value)


def test_the_best_sap_of_two_values_is_a_half() -> None:
    factors = every_combination(2, 2, 2, times=1000)
    error = 0.5 / math.sqrt(len(factors) / 2)
    assert sap(factors[:, [1, 2, 0]].astype(float), factors) == pytest.approx(0.5, abs=4 * error)


def test_codes_that_know_nothing_score_nothing() -> None:
    factors = every_combination(3, 2, 4, times=100)
    found = scores(np.random.default_rng(0).normal(size=(len(factors), 4)), factors)
    # A histogram of independent numbers tells (bins - 1)(values - 1) / 2N nats by chance, and a gap is less than that.
    assert 0 <= found["mig"] < 19 * 3 / (2 * len(factors)) / math.log(2)
    assert 0 <= found["sap"] < 4 * 0.5 / math.sqrt(len(factors) / 2)
    assert found["dci_disentanglement"] < 0.03
    assert found["dci_completeness"] < 0.03
    assert found["dci_informativeness"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3, abs=0.02)
    chance = 1 / 3
    error = math.sqrt(chance * (1 - chance) / TEST_VOTES)
    assert found["factor_vae_score"] == pytest.approx(chance, abs=4 * error)


def test_a_second_copy_of_a_factor_leaves_it_no_gap() -> None:
    factors = every_combination(2, 3, 2, times=50)
    found = scores(factors[:, [0, 1, 2, 0]], factors)
    assert [found["mig_by_factor"][f"factor {f}"]["mig"] for f in range(3)] == pytest.approx([0, 1, 1], abs=1e-9)
    assert found["mig"] == pytest.approx(2 / 3, abs=1e-9)
    assert found["dci_disentanglement"] == pytest.approx(1, abs=1e-6)
    # Trees share the factor between the two dimensions: at best 1, at worst 1 - log 2 / log 4, of one factor of three.
    assert 2 / 3 + 1 / 6 - 1e-6 <= found["dci_completeness"] < 0.95
    assert sap(factors[:, [0, 1, 2, 0]].astype(float), factors) < sap(factors.astype(float), factors) - 0.1


def test_a_rotated_pair_of_factors_is_entangled() -> None:
    factors = every_combination(2, 4, 4, times=20)
    turn = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    codes = np.column_stack((factors[:, :1], factors[:, 1:] @ turn))
    straight, turned = scores(factors, factors), scores(codes, factors)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness", "factor_vae_score"):
        assert turned[name] < straight[name] - 0.1, name
    # Each of the turned dimensions tells as much about either factor as the other one does.
    assert [turned["mig_by_factor"][f"factor {f}"]["mig"] for f in range(3)] == pytest.approx([1, 0, 0], abs=1e-9)


def noisy(factors: np.ndarray) -> np.ndarray:
    """Codes of every kind: one factor in a dimension, two in another, and noise."""
    noise = np.random.default_rng(1).normal(size=(len(factors), 4))
    mixture = np.array([[1.0, 0.0, 0.3, 0.0], [0.0, 1.0, 0.4, 0.0]])
    return factors @ mixture + 0.3 * noise


def test_order_scale_and_sign_of_the_dimensions_change_nothing() -> None:
    factors = every_combination(3, 4, times=50)
    codes = noisy(factors)
    order, scale = [2, 0, 3, 1], np.array([4.0, -0.5, 2.0, 1.0])
    found, again = scores(codes, factors), scores(codes[:, order] * scale, factors)
    for name in SCORES:
        assert again[name] == pytest.approx(found[name], abs=0.01 if name.startswith("dci") else 1e-9), name
    for name, best in found["mig_by_factor"].items():
        assert order[again["mig_by_factor"][name]["dimension"]] == best["dimension"]


def test_scores_follow_the_seed() -> None:
    factors = every_combination(3, 2, times=30)
    codes = np.random.default_rng(3).normal(size=(len(factors), 4))
    first, second = scores(codes, factors), scores(codes, factors, seed=1)
    assert scores(codes, factors) == first
    assert first["mig"] == second["mig"]
    assert all(first[name] != second[name] for name in ("sap", "dci_disentanglement", "factor_vae_score"))


def test_mutual_information_is_that_of_the_table_of_counts() -> None:
    # A channel that turns one bit in four.
    factor = np.repeat([0, 0, 1, 1], [30, 10, 10, 30])
    code = np.repeat([-1.5, 2.5, -1.5, 2.5], [30, 10, 10, 30])
    expected = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert mutual_information(code[:, None], factor[:, None]) == pytest.approx(expected, abs=1e-12)


def test_bins_are_twenty_and_of_one_width() -> None:
    codes = np.arange(40.0)[:, None]
    assert mutual_information(codes, np.arange(40)[:, None]) == pytest.approx(math.log(20), abs=1e-12)
    outlier = np.append(codes[:-1], 1e4)[:, None]
    assert mutual_information(outlier, np.arange(40)[:, None])[0, 0] < 0.2


def test_concentration_weighs_rows_by_their_sums() -> None:
    assert _concentration(np.array([[2.0, 2.0], [0.0, 1.0]])) == pytest.approx(0.2, abs=1e-9)
    assert _concentration(np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])) == pytest.approx(1, abs=1e-9)
    third = 1 - math.log(2) / math.log(3)
    assert _concentration(np.array([[1.0, 1.0, 0.0]])) == pytest.approx(third, abs=1e-9)
    assert _concentration(np.zeros((2, 3))) == pytest.approx(0, abs=1e-9)


def test_a_single_dimension_leads_by_all_that_it_tells() -> None:
    factors = every_combination(3, 2, times=50)
    assert mig(factors[:, :1], factors) == pytest.approx(1 / 2, abs=1e-9)
    assert dci(factors[:, :1].astype(float), factors).completeness == pytest.approx(1, abs=1e-9)


def test_collapsed_dimensions_do_not_vote() -> None:
    factors = every_combination(3, 4, times=100)
    noise = np.random.default_rng(2).normal(size=(len(factors), 3))
    copies = np.column_stack((noise, 0.01 * factors))
    assert factor_vae_score(copies, factors) < 0.6
    assert factor_vae_score(copies * [1, 1, 1, 10, 10], factors) == 1
    assert factor_vae_score(0.01 * noise, factors) == 0


def test_factors_of_one_value_are_left_out() -> None:
    factors = every_combination(3, 1, 2, times=30)
    found = scores(factors, factors)
    assert list(found["mig_by_factor"]) == ["factor 0", "factor 2"]
    assert found["mig"] == pytest.approx(1, abs=1e-9)


def test_too_few_codes_are_refused_in_one_line() -> None:
    factors = np.array([[0, 0], [0, 1], [0, 0], [1, 1]])
    with pytest.raises(ValueError, match="disentanglement_codes=4: too few"):
        scores(factors, factors)


# --- the command

TINY_SPRITES = (
    "data=sprites",
    "data.images.num_scales=2",
    "data.images.num_orientations=2",
    "data.images.num_positions=8",
    "data.image_size=16",
    "data.val_size=100",
)
QUICK = ("trainer=cpu", "trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "num_samples=4")


@pytest.fixture
def evaluate(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    return partial(command, main)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_on_sprites_is_scored_and_drawn(
    train: Callable[..., Outcome], evaluate: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(*FAST, *TINY_SPRITES, "model=mhvae", "model.latent_dims=[6,4,3]", f"hydra.run.dir={run}").code == 0
    outcome = evaluate(f"run={run}", *QUICK)
    assert outcome.code == 0, outcome.err
    found = json.loads((run / "evaluation.json").read_text())
    assert all(0 <= found[name] <= 1 for name in SCORES)
    assert list(found["mig_by_factor"]) == ["shape", "scale", "orientation", "x", "y"]
    assert all(0 <= best["dimension"] < 6 for best in found["mig_by_factor"].values())
    assert found["disentanglement_codes"] == 77  # a tenth of 3 * 2 * 2 * 8 * 8
    assert all(name in outcome.out for name in (*SCORES, "mig of orientation"))
    assert Image.open(run / "figures" / "traversals_by_factor.png").width > 13 * 64

    assert evaluate(f"run={run}", *QUICK, "disentanglement_level=3", "split=val", "disentanglement_codes=60").code == 0
    top = json.loads((run / "evaluation_val.json").read_text())
    assert top["disentanglement_codes"] == 60
    data = find_run(run).data()
    means = pictures.codes(load_run(run).model, data.examples(60, "val"))[2].mean.numpy()
    by_hand = mutual_information(means, data.factors(60, "val"))
    assert [best["dimension"] for best in top["mig_by_factor"].values()] == by_hand.argmax(0).tolist()
    assert top["mig_by_factor"]["x"]["mutual_information"] == pytest.approx(by_hand[:, 3].max(), abs=1e-6)
    assert (run / "figures" / "traversals_by_factor_val.png").is_file()

    assert evaluate(f"run={run}", *QUICK, "disentanglement=false").code == 0
    assert "mig" not in json.loads((run / "evaluation.json").read_text())

    (run / "evaluation.json").unlink()
    for words, message in (
        (["disentanglement_level=4"], "disentanglement_level=4: this model has levels 1 to 3"),
        (["disentanglement_codes=0"], "disentanglement_codes=0: must be at least 1"),
        (["disentanglement_codes=2"], "disentanglement_codes=2: too few"),
        (["disentanglement=yes_please"], "disentanglement=yes_please: must be"),
    ):
        outcome = evaluate(f"run={run}", *QUICK, *words)
        assert outcome.code == 1
        (line,) = outcome.error_lines
        assert message in line
    assert not (run / "evaluation.json").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_without_known_factors_are_not_scored(
    train: Callable[..., Outcome], evaluate: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(*FAST, f"hydra.run.dir={run}").code == 0
    outcome = evaluate(f"run={run}", *QUICK, "disentanglement=true")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert "disentanglement=true: the generative factors of mnist are not known" in line
    assert evaluate(f"run={run}", *QUICK).code == 0
    assert "mig" not in json.loads((run / "evaluation_100_examples.json").read_text())
    assert not (run / "figures").exists()
