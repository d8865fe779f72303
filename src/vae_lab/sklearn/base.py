"""Base class of the estimators: training, codes, likelihoods and draws, with arrays as scikit-learn has them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

import vae_lab
from vae_lab.runs.folder import make_unique_folder, remove_if_empty

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.runs.run import Run

Numbers = NDArray[np.floating[Any]]

_NO_FILES = ("logger=none", "compile=false", "trainer.limit_test_batches=0")
_NO_VALIDATION = ("callbacks=none", "trainer.limit_val_batches=0")
_BEST_ALONE = tuple(f"callbacks.{name}=null" for name in ("last_checkpoint", "pictures", "projector"))
"""Words of a training that keeps nothing but the model."""
_KINDS: dict[int, tuple[str, ...]] = {
    2: ("data.images.kind=pictures",),
    3: ("data.images.kind=pictures", "data.images.layout=channels_first"),
    4: ("data.images.kind=volumes", "data.images.layout=channels_first"),
}
"""Words for examples of so many axes."""
_ROWS = 1024
"""Examples that are computed at once."""


class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """All that the estimators share; for the parameters see `vae_lab.sklearn.VAE`."""

    _option: ClassVar[str]

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        epochs: int = 100,
        batch_size: int = 128,
        lr: float = 1e-3,
        widths: Sequence[int] | None = (128, 128),
        levels: Literal["top", "all"] = "top",
        num_samples: int = 100,
        shape: Sequence[int] | None = None,
        support: str = "real",
        validation_fraction: float | None = None,
        overrides: Sequence[str] = (),
        folder: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.widths = widths
        self.levels = levels
        self.num_samples = num_samples
        self.shape = shape
        self.support = support
        self.validation_fraction = validation_fraction
        self.overrides = overrides
        self.folder = folder
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on X, (n, columns); y is not used.

        Raises:
            ValueError: for data, or values of parameters, that are wrong.
        """
        return self._fit(checked(self, X, reset=True), None)

    def transform(self, X: Any) -> Numbers:
        """Returns the posterior means of the levels that ``levels`` says, (n, size)."""
        check_is_fitted(self)
        X = checked(self, X)
        return self._codes(X, None)

    def inverse_transform(self, Z: Any) -> Numbers:
        """Returns the mean of p(x | z) for codes such as `transform` returns, (n, columns)."""
        check_is_fitted(self)
        return self._decoded(Z, None)

    def score_samples(self, X: Any) -> Numbers:
        """Returns log p(x) by importance sampling, (n,), in nats; a density in the units of the data."""
        check_is_fitted(self)
        X = checked(self, X)
        return self._log_prob(X, None)

    def score(self, X: Any, y: Any = None) -> float:
        """Returns the mean of log p(x), in nats per example; y is not used."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Numbers:
        """Returns draws from the model, (n_samples, columns).

        Args:
            n_samples: number of draws.
            random_state: seed of the draws; None: that of the estimator.
        """
        check_is_fitted(self)
        return self._drawn(n_samples, None, random_state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return sum(map(math.prod, self._code_shapes()))

    def _fit(self, X: Numbers, y: Any) -> Self:
        if self.levels not in ("top", "all"):
            raise ValueError(f"levels={self.levels!r}: choose top or all")
        in_unit = X.min() >= 0 and X.max() <= 1
        if self.support in ("unit", "uint8", "binary") and not in_unit:
            values = f"values from {X.min():g} to {X.max():g}, must lie in [0, 1]; pixels of 0..255 divided by 255 do"
            raise ValueError(f"support={self.support!r}: X has {values}, and support='real' takes any")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        shaped = self._shaped(X)
        few = (shaped[:2], None if y is None else y[:2])
        words = [
            f"trainer.max_epochs={self.epochs}",
            f"data.batch_size={self.batch_size}",
            f"data.support={'real' if self.support == 'auto' and not in_unit else self.support}",
            "data.images.max_value=1",  # nothing is rescaled: codes and densities are those of the numbers in X
            f"optimizer.lr={self.lr}",
            f"seed={seed}",
        ]
        words += [] if self.shape is None else _KINDS.get(len(tuple(self.shape)), ())
        words += [] if self.widths is None else [f"network.widths=[{','.join(map(str, self.widths))}]"]
        if self.validation_fraction is not None:
            words += [f"data.val_size={float(self.validation_fraction)}"]
        if self.folder is None:
            words += [*_NO_FILES, *(_NO_VALIDATION if self.validation_fraction is None else _BEST_ALONE)]
        with self._run_folder() as folder:
            run = vae_lab.fit(
                shaped if y is None else (shaped, y),
                self._option,
                self.latent_dim,
                [*words, *self.overrides],
                val=few if self.validation_fraction is None else None,
                test=few,
                folder=folder,
                verbose=bool(self.verbose),
            )
        if self.folder is None:
            run.folder = None
        run.model.double()
        self.run_: Run = run
        self._seed = seed
        return self

    @contextmanager
    def _run_folder(self) -> Iterator[Path]:
        """Context manager with the folder of a fit: temporary, or a new one, because an estimator is fitted again."""
        if self.folder is None:
            with tempfile.TemporaryDirectory() as temporary:
                yield Path(temporary, "run")
            return
        folder = make_unique_folder(Path(self.folder).expanduser())
        try:
            yield folder
        finally:
            remove_if_empty(folder)  # if the fit was refused

    def _shaped(self, X: Numbers) -> Numbers:
        if self.shape is None:
            return X
        shape = tuple(self.shape)
        if math.prod(shape) != X.shape[1]:
            raise ValueError(f"shape={shape}: {math.prod(shape)} numbers, but X has {X.shape[1]} columns")
        return X.reshape(len(X), *shape)

    def _codes(self, X: Numbers, y: Any) -> Numbers:
        from vae_lab.core.codes import posterior_codes  # noqa: PLC0415

        def means(x: Tensor, y: Tensor | None) -> Tensor:
            import torch  # noqa: PLC0415

            codes = [code.mean.flatten(1) for code in posterior_codes(self.run_.model, x, y)]
            return codes[-1] if self.levels == "top" else torch.cat(codes, 1)

        return self._computed(means, X, y).astype(X.dtype, copy=False)

    def _log_prob(self, X: Numbers, y: Any) -> Numbers:
        def log_marginal(x: Tensor, y: Tensor | None) -> Tensor:
            self.run_.refuse_improbable(x)
            return self.run_.model.log_marginal(x, y, self.num_samples)

        return self._computed(log_marginal, X, y)

    def _computed(self, function: Callable[[Tensor, Tensor | None], Tensor], X: Numbers, y: Any) -> Numbers:
        """Returns a function of each example, with the same noise for all of them, so that none depends on others."""
        import torch  # noqa: PLC0415

        from vae_lab import noise  # noqa: PLC0415
        from vae_lab.core.inputs import check_examples  # noqa: PLC0415
        from vae_lab.runs.own_units import Pixels  # noqa: PLC0415

        x = torch.from_numpy(np.array(self._shaped(X), np.float64)).reshape(len(X), *self.run_.spec.shape)
        check_examples(self.run_.model, x)
        x = Pixels.of(self.run_.config).binarized(x)
        labels = None if y is None else torch.from_numpy(np.asarray(y, np.int64))
        parts = []
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            with torch.no_grad(), noise.fixed_seed(self._seed, x.device), noise.shared_by_examples():
                parts.append(function(x[rows], None if labels is None else labels[rows]))
        computed: Numbers = torch.cat(parts).numpy()
        return computed

    def _code_shapes(self) -> list[tuple[int, ...]]:
        from vae_lab.core.codes import latent_shapes  # noqa: PLC0415

        shapes = latent_shapes(self.run_.model)
        return shapes[-1:] if self.levels == "top" else shapes

    def _decoded(self, Z: Any, y: Any) -> Numbers:
        Z, shapes = np.asarray(Z), self._code_shapes()
        sizes = [math.prod(shape) for shape in shapes]
        if Z.ndim != 2 or Z.shape[1] != sum(sizes):
            raise ValueError(f"Z: shape {Z.shape}, must be (n, {sum(sizes)})")
        parts = np.split(Z.astype(np.float64), np.cumsum(sizes)[:-1], axis=1)
        levels = [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        decoded: Numbers = self.run_.decode(levels, y).reshape(len(Z), -1)
        return decoded.astype(Z.dtype if Z.dtype.kind == "f" else np.float64)

    def _drawn(self, number: int, y: Any, random_state: Any) -> Numbers:
        state = self.random_state if random_state is None else random_state
        seed = int(check_random_state(state).randint(2**31 - 1))
        drawn: Numbers = self.run_.sample(number, y, seed=seed, draw="sample")
        return drawn.reshape(number, -1)


def checked(estimator: Any, X: Any, *y: Any, reset: bool = False) -> Any:
    """Returns X, and y if it is given, as scikit-learn checks them for an estimator."""
    types = [np.float64, np.float32]
    return validate_data(estimator, X, *y, dtype=types, reset=reset, ensure_min_samples=2 if reset else 1)
