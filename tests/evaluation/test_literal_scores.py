"""The disentanglement scores beside second versions, written from the papers' formulas without the lab's helpers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.ensemble import GradientBoostingClassifier

from vae_lab.evaluation.disentanglement import (
    TEST_VOTES,
    dci,
    factor_vae_score,
    mutual_information,
    mutual_information_gaps,
    sap,
)

SIZES = (3, 2, 4)
FACTORS = np.tile(np.indices(SIZES).reshape(len(SIZES), -1).T, (6, 1))
"""Every combination of three factors, (144, 3)."""


def perfect(rng: np.random.Generator) -> np.ndarray:
    return FACTORS + 0.0


def permuted(rng: np.random.Generator) -> np.ndarray:
    """In another order, turned round and stretched: as good as the factors themselves."""
    return FACTORS[:, [2, 0, 1]] * [-3.0, 0.5, 1.0] + [7.0, 0.0, -1.0]


def rotated(rng: np.random.Generator) -> np.ndarray:
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return FACTORS @ turn


def noisy(rng: np.random.Generator) -> np.ndarray:
    """A factor in each of two dimensions, all of them in a third, and noise."""
    mixture = np.array([[1.0, 0.0, 0.3, 0.0], [0.0, 2.0, 0.4, 0.0], [0.0, 0.0, 0.5, 0.0]])
    return FACTORS @ mixture + 0.3 * rng.normal(size=(len(FACTORS), 4))


def random(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(len(FACTORS), 5))


def constant(rng: np.random.Generator) -> np.ndarray:
    """Two dimensions that never vary, which a collapsed model has, beside noisy copies of two factors."""
    copies = FACTORS[:, :2] + 0.2 * rng.normal(size=(len(FACTORS), 2))
    return np.column_stack((np.zeros(len(FACTORS)), copies, np.full(len(FACTORS), 3.0)))


def few(rng: np.random.Generator) -> np.ndarray:
    """Fewer dimensions than factors."""
    return (FACTORS[:, :2] + 0.2 * rng.normal(size=(len(FACTORS), 2))) @ np.array([[1.0, 0.2], [0.0, 1.0]])


def single(rng: np.random.Generator) -> np.ndarray:
    return FACTORS[:, 2:] + 0.2 * rng.normal(size=(len(FACTORS), 1))


CODES = (perfect, permuted, rotated, noisy, random, constant, few, single)
codes_of_every_kind = pytest.mark.parametrize("kind", CODES, ids=[kind.__name__ for kind in CODES])


def made(kind: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    return kind(np.random.default_rng(0))


def literal_mig(codes: np.ndarray) -> float:
    """Returns 1/F sum_f (I(z_j; v_f) - max_{j' != j} I(z_j'; v_f)) / H(v_f) (Chen et al. 2018, equation 6)."""
    gaps = []
    for factor in FACTORS.T.tolist():
        share = {value: count / len(factor) for value, count in Counter(factor).items()}
        entropy = -sum(p * math.log(p) for p in share.values())
        told = []
        for code in codes.T.tolist():
            low, width = min(code), (max(code) - min(code)) / 20
            bins = [min(19, math.floor((z - low) / width)) if width else 0 for z in code]
            of_bins = {b: count / len(bins) for b, count in Counter(bins).items()}
            joint = {pair: count / len(bins) for pair, count in Counter(zip(bins, factor, strict=True)).items()}
            told.append(sum(p * math.log(p / (of_bins[b] * share[v])) for (b, v), p in joint.items()))
        first, second = sorted([*told, 0.0], reverse=True)[:2]
        gaps.append((first - second) / entropy)
    return sum(gaps) / len(gaps)


@codes_of_every_kind
def test_mig_is_that_of_chens_formula(kind: Callable[[np.random.Generator], np.ndarray]) -> None:
    codes = made(kind)
    found = float(mutual_information_gaps(mutual_information(codes, FACTORS), FACTORS).mean())
    assert found == pytest.approx(literal_mig(codes), abs=1e-9)


def literal_sap(codes: np.ndarray, seed: int) -> float:
    """Returns the mean gap of the two best rows of S_df, the accuracy of factor f from dimension d alone.

    The classifier of each entry is a linear support vector machine for every value against the others, with squared
    hinges, whose two numbers a general minimiser finds.
    """
    first, second = split(len(codes), seed)
    gaps = []
    for factor in FACTORS.T:
        values = np.unique(factor[first])
        accuracies = [0.0]
        for code in ((code - code.mean()) / (code.std() or 1.0) for code in codes.T):
            planes = [separating(code[first], factor[first] == value, len(values)) for value in values]
            if len(values) == 2:  # one plane, here that of the second value, decides
                guessed = values[(planes[1][0] * code[second] + planes[1][1] > 0).astype(int)]
            else:
                guessed = values[np.argmax([w * code[second] + b for w, b in planes], axis=0)]
            accuracies.append(float(np.mean(guessed == factor[second])))
        best = sorted(accuracies, reverse=True)
        gaps.append(best[0] - best[1])
    return sum(gaps) / len(gaps)


def separating(code: np.ndarray, is_value: np.ndarray, num_values: int) -> tuple[float, float]:
    """Returns the w and b that minimise (w^2 + b^2) / 2 + sum_i C_i max(0, 1 - y_i (w x_i + b))^2.

    "balanced" weights are N / (num_values N_v), and liblinear gives them to the one value, 1 to the others, if there
    are more than two values.
    """
    weights = 0.01 * len(code) / (num_values * np.where(is_value, is_value.sum(), (~is_value).sum()))
    if num_values > 2:
        weights[~is_value] = 0.01
    sign = np.where(is_value, 1.0, -1.0)

    def loss(plane: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = plane
        short = np.maximum(0, 1 - sign * (w * code + b))
        slope = -2 * weights * short * sign
        value = (w**2 + b**2) / 2 + float(np.sum(weights * short**2))
        return value, np.array([w + np.sum(slope * code), b + np.sum(slope)])

    w, b = minimize(loss, np.zeros(2), jac=True, options={"gtol": 1e-9}).x
    return float(w), float(b)


def split(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that are fitted and those that are tested, as scikit-learn shuffles them."""
    order = np.random.RandomState(seed).permutation(num)
    return order[(num + 1) // 2 :], order[: (num + 1) // 2]


@codes_of_every_kind
def test_sap_is_that_of_a_second_machine(kind: Callable[[np.random.Generator], np.ndarray]) -> None:
    codes = made(kind)
    codes = codes + 0.05 * np.random.default_rng(1).normal(
        size=codes.shape
    )  # copies leave ties, which rounding decides
    assert sap(codes, FACTORS, seed=3) == pytest.approx(literal_sap(codes, seed=3), abs=0.01)


def literal_dci(codes: np.ndarray, seed: int) -> tuple[float, float]:
    """Returns sum_d rho_d (1 - H_F(P_d)), with rho_d = sum_f R_df / sum R, and the mean of 1 - H_D(P_f) over factors.

    P_d are the shares of a row of the importance matrix R, P_f those of a column, and the index of H is the base of
    its logarithm (Eastwood and Williams 2018, section 2). A row without importance has no weight.
    """
    first, _ = split(len(codes), seed)
    trees = [GradientBoostingClassifier(random_state=seed).fit(codes[first], factor[first]) for factor in FACTORS.T]
    relative = np.array([tree.feature_importances_ for tree in trees]).T

    def concentration(row: np.ndarray) -> float:
        shares = [r / row.sum() for r in row.tolist() if r > 0]
        return 1 - sum(-p * math.log(p, len(row)) for p in shares) if len(row) > 1 else 1.0

    disentangled = sum(row.sum() / relative.sum() * concentration(row) for row in relative if row.sum() > 0)
    return disentangled, float(np.mean([concentration(column) for column in relative.T]))


@pytest.mark.parametrize(
    "kind",
    [
        rotated,
        constant,
        single,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in (perfect, noisy, random, few)),
    ],
)
def test_dci_is_that_of_eastwoods_formulas(kind: Callable[[np.random.Generator], np.ndarray]) -> None:
    codes = made(kind)
    found, (disentangled, complete) = dci(codes, FACTORS, seed=3), literal_dci(codes, seed=3)
    assert found.disentanglement == pytest.approx(disentangled, abs=1e-6)
    assert found.completeness == pytest.approx(complete, abs=1e-6)


def literal_factor_vae_score(codes: np.ndarray, rng: np.random.Generator) -> float:
    """Returns the accuracy of the majority vote over d = argmin_d Var_l(z_l,d / s_d), l having one value of a factor.

    Kim and Mnih 2018, section 4: a factor and a value of it are drawn, then examples with this value.
    """
    deviations = [np.std(code) for code in codes.T]
    alive = [d for d, deviation in enumerate(deviations) if deviation >= 0.05]

    def vote() -> tuple[int, int]:
        factor = int(rng.integers(FACTORS.shape[1]))
        value = rng.choice(np.unique(FACTORS[:, factor]))
        fixed = rng.choice(np.flatnonzero(FACTORS[:, factor] == value), size=64)
        return min(alive, key=lambda d: np.var(codes[fixed, d] / deviations[d], ddof=1)), factor

    table = Counter(vote() for _ in range(1500))
    majority = {d: max(range(FACTORS.shape[1]), key=lambda f: table[d, f]) for d in alive}
    votes = [vote() for _ in range(1500)]
    return sum(majority[d] == factor for d, factor in votes) / len(votes)


@codes_of_every_kind
def test_the_factor_vae_score_is_that_of_kims_votes(kind: Callable[[np.random.Generator], np.ndarray]) -> None:
    codes = made(kind)
    found, literal = factor_vae_score(codes, FACTORS), literal_factor_vae_score(codes, np.random.default_rng(1))
    error = math.sqrt(0.25 / TEST_VOTES + 0.25 / 1500)
    assert found == pytest.approx(literal, abs=4 * error if 0 < literal < 1 else 0.005)


def test_codes_of_known_structure_have_the_scores_that_they_must() -> None:
    codes = made(permuted)
    assert literal_mig(codes) == pytest.approx(1)
    assert dci(codes, FACTORS) == pytest.approx((1, 1, 1), abs=1e-6)
    assert factor_vae_score(codes, FACTORS) == 1
    one = made(single)
    assert factor_vae_score(one, FACTORS) == pytest.approx(1 / 3, abs=1e-3)
    assert dci(one, FACTORS).completeness == 1
    with_constants = made(constant)
    without = with_constants[:, 1:3]
    assert factor_vae_score(with_constants, FACTORS) == factor_vae_score(without, FACTORS)
    assert literal_mig(with_constants) == pytest.approx(literal_mig(without), abs=1e-9)
    # Trees try the dimensions in an order that is drawn.
    assert dci(with_constants, FACTORS).disentanglement == pytest.approx(dci(without, FACTORS)[0], abs=0.01)
