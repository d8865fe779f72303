"""Scores of how well single latent dimensions match known generative factors: MIG, SAP, DCI, FactorVAE score.

Shapes: N examples, D latent dimensions, F factors. Codes are posterior means, (N, D); factors are indices of values,
(N, F). The papers leave the estimators free, or choose them for other data. Bins, classifiers, numbers of votes and
collapsed dimensions are those of F. Locatello et al. 2019, arXiv:1811.12359, so that figures compare with theirs; each
function says where that differs from its paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from vae_lab.data.arrays import Indices
from vae_lab.types import listed

Floats = NDArray[np.float64]

_BINS = 20
_VOTES, TEST_VOTES, _EXAMPLES_PER_VOTE = 10_000, 5_000, 64
COLLAPSED = 0.05
"""A dimension whose codes have a standard deviation below this does not vote."""
TINY = 1e-12


class Dci(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1, higher being better."""

    disentanglement: float
    completeness: float
    informativeness: float


def disentanglement(codes: Floats, factors: Indices, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Returns every score of the codes; the same for the same seed.

    Args:
        codes: posterior means, (N, D).
        factors: indices of values, (N, F); factors with a single value are left out.
        seed: seed of the halves that classifiers are fitted to and tested on, and of the votes.

    Returns:
        ``mig``, ``sap``, ``dci_disentanglement``, ``dci_completeness``, ``dci_informativeness``, ``factor_vae_score``,
        and ``mig_by_factor``: for each name its own gap ``mig`` and, of the ``dimension`` that says most about it,
        the ``mutual_information`` in nats.

    Raises:
        ValueError: for too few codes, or if no factor varies.
    """
    varies = (factors != factors[:1]).any(0)
    if not varies.any():
        raise ValueError(
            f"disentanglement_codes={len(codes)}: each factor ({listed(names)}) has a single value in these examples;"
            " take more of a larger split, or disentanglement=false"
        )
    factors, names = factors[:, varies], [name for name, kept in zip(names, varies, strict=True) if kept]
    information = mutual_information(codes, factors)
    gaps = mutual_information_gaps(information, factors)
    columns = zip(names, gaps, information.argmax(0), information.max(0), strict=True)
    scores = dci(codes, factors, seed)
    return {
        "mig": float(gaps.mean()),
        "sap": sap(codes, factors, seed),
        **{f"dci_{name}": score for name, score in scores._asdict().items()},
        "factor_vae_score": factor_vae_score(codes, factors, seed),
        "mig_by_factor": {
            name: {"mig": float(gap), "dimension": int(dimension), "mutual_information": float(nats)}
            for name, gap, dimension, nats in columns
        },
    }


def mutual_information(codes: Floats, factors: Indices) -> Floats:
    """Returns I(z_d; v_f) = sum p(z_d, v_f) log p(z_d, v_f) / (p(z_d) p(v_f)) in nats, (D, F).

    Each dimension is cut into 20 equal bins from its least to its greatest code. Counts overestimate: independent codes
    seem to have about 19 (values - 1) / 2N nats.
    """
    binned = [np.digitize(code, np.histogram_bin_edges(code, _BINS)[1:-1]) for code in codes.T]
    return np.array([[mutual_info_score(factor, code) for factor in factors.T] for code in binned])


def mutual_information_gaps(information: Floats, factors: Indices) -> Floats:
    """Returns (I(z_a; v_f) - I(z_b; v_f)) / H(v_f) of the two dimensions a, b that say most about each factor, (F,).

    Their mean over factors is the MIG (Chen et al. 2018, arXiv:1802.04942, equation 6). Chen integrate over q(z|x)
    without bins; bins of posterior means are Locatello's. A single dimension leads by all that it says.

    Args:
        information: result of `mutual_information`, (D, F).
        factors: indices of values, (N, F), each with two values or more.
    """
    entropies = np.array([mutual_info_score(factor, factor) for factor in factors.T])
    gaps: Floats = _lead_of_the_best(information) / entropies
    return gaps


def sap(codes: Floats, factors: Indices, seed: int = 0) -> float:
    """Returns by how much the best dimension predicts a factor better than the second best, averaged over factors.

    Separated attribute predictability (Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848): accuracies of linear
    support vector machines that see one dimension, fitted to one half of the examples and tested on the other. The
    codes are standardised first, as a penalty on weights would depend on their scale. The best of n equally frequent
    values leave at most 1 - 1/n.

    Kumar et al. cut the dimension at thresholds that fit the tested examples best, average the accuracy over values,
    and score a dimension that never varies 0. Machines are Locatello's: with one for each value against the others,
    only the outermost of many values are told apart (of 10, even by copies of the factor, one in five), and a dimension
    that never varies is as accurate as a constant guess. A second dimension that does not exist has the accuracy 0.

    Raises:
        ValueError: for too few codes.
    """
    fitted, tested, fitted_factors, tested_factors = _halves(StandardScaler().fit_transform(codes), factors, seed)
    accuracies = np.empty((codes.shape[1], factors.shape[1]))
    for d, f in np.ndindex(accuracies.shape):
        classifier = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(fitted[:, [d]], fitted_factors[:, f])
        accuracies[d, f] = classifier.score(tested[:, [d]], tested_factors[:, f])
    return float(_lead_of_the_best(accuracies).mean())


def dci(codes: Floats, factors: Indices, seed: int = 0) -> Dci:
    """Returns how few factors a dimension serves, how few dimensions a factor needs, and how well they predict it.

    C. Eastwood and C. Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations" (ICLR
    2018). With R_df the importance of dimension d to gradient-boosted trees that predict factor f, disentanglement is
    the mean of 1 - H(R_d. / sum_f R_df) / log F over dimensions, each weighted by its share of all importance;
    completeness is the same over factors, with log D; there all factors weigh the same, because their importances sum
    to 1. Informativeness is the accuracy on the half of the examples that the trees have not seen. Theirs is an error,
    and their importances are those of a lasso and of random forests.

    Raises:
        ValueError: for too few codes.
    """
    fitted, tested, fitted_factors, tested_factors = _halves(codes, factors, seed)
    classifiers = [GradientBoostingClassifier(random_state=seed).fit(fitted, factor) for factor in fitted_factors.T]
    accuracies = [
        classifier.score(tested, factor) for classifier, factor in zip(classifiers, tested_factors.T, strict=True)
    ]
    importance = np.stack([classifier.feature_importances_ for classifier in classifiers], axis=1)
    return Dci(_concentration(importance), _concentration(importance.T), float(np.mean(accuracies)))


def factor_vae_score(codes: Floats, factors: Indices, seed: int = 0) -> float:
    """Returns how often the dimension that varies least reveals which factor was held fixed.

    H. Kim and A. Mnih, "Disentangling by Factorising" (2018), arXiv:1802.05983: examples that share the value of one
    factor vote for the dimension whose codes, divided by their standard deviation over all examples, vary least. Each
    dimension stands for the factor with most of its votes; the score is how often that is right for new votes, 1/F
    being chance. Collapsed dimensions are left out: nearly constant, they would win by noise. If all are, the score is
    0. Kim and Mnih count the votes that the dimensions were named by, and generate examples, so that the other factors
    vary freely; here they vary as in the given examples, of which 64 are drawn with replacement.
    """
    scale = codes.std(0)
    active = scale >= COLLAPSED
    if not active.any():
        return 0.0
    standardised, rng = codes[:, active] / scale[active], np.random.default_rng(seed)
    votes, test_votes = (_votes(standardised, factors, num // factors.shape[1], rng) for num in (_VOTES, TEST_VOTES))
    right = test_votes[votes.argmax(0), np.arange(votes.shape[1])].sum()
    return float(right / test_votes.sum())


def _votes(codes: Floats, factors: Indices, num: int, rng: np.random.Generator) -> Indices:
    """Returns how often each dimension varies least in ``num`` draws for each fixed factor, (F, D)."""
    least = (_least_varying(codes, factor, num, rng) for factor in factors.T)
    return np.stack([np.bincount(dimensions, minlength=codes.shape[1]) for dimensions in least])


def _least_varying(codes: Floats, factor: Indices, num: int, rng: np.random.Generator) -> Indices:
    """Returns the dimension of least variance among examples with one value of ``factor``, in each of ``num`` draws."""
    order = factor.argsort(kind="stable")
    values, first, count = np.unique(factor[order], return_index=True, return_counts=True)
    chosen = rng.integers(len(values), size=(num, 1))
    rows = order[first[chosen] + rng.integers(count[chosen], size=(num, _EXAMPLES_PER_VOTE))]
    least: Indices = codes[rows].var(1).argmin(1)
    return least


def _halves(codes: Floats, factors: Indices, seed: int) -> tuple[Floats, Floats, Indices, Indices]:
    """Returns codes to fit and to test, factors to fit and to test."""
    fitted, tested, fitted_factors, tested_factors = train_test_split(codes, factors, test_size=0.5, random_state=seed)
    if not (fitted_factors != fitted_factors[:1]).any(0).all():
        raise ValueError(
            f"disentanglement_codes={len(codes)}: too few, half of them hold a single value of some factor; "
            "take more of a larger split, or disentanglement=false"
        )
    return fitted, tested, fitted_factors, tested_factors


def _lead_of_the_best(scores: Floats) -> Floats:
    """Returns the largest less the second largest of each column, or less 0 if there is no second, (F,)."""
    second, best = np.sort(np.pad(scores, ((1, 0), (0, 0))), axis=0)[-2:]
    lead: Floats = best - second
    return lead


def _concentration(importance: Floats) -> float:
    """Returns 1 - H(row) / log(columns), averaged over rows weighted by their sums: 1 for rows of one entry."""
    shares = importance + TINY  # a row of zeros is as spread out as can be, and weighs nothing
    spread = entropy(shares, axis=1) / np.log(max(shares.shape[1], 2))
    return float(np.average(1 - spread, weights=shares.sum(1)))
