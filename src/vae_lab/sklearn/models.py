"""The estimators: VAE, conditional VAE, Markov hierarchy, ladder."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from vae_lab.sklearn.base import Estimator, Numbers, checked


class VAE(Estimator):
    """A variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114).

    Args:
        latent_dim: size of the latent space; of the top level in a hierarchy.
        epochs: number of passes over the training data.
        batch_size: number of examples in a batch.
        lr: learning rate.
        widths: widths of the hidden layers of encoder and decoder; None: those of the network, such as network=conv.
        levels: codes that `transform` returns: of the top level, or of all levels side by side, nearest the data first.
        num_samples: importance samples of `score_samples`.
        shape: shape of an example, channels first, such as (8, 8) or (3, 8, 8) for pictures; None: a row of a table.
        support: values that the data take: real, any numbers; unit, in [0, 1]; uint8, pixels of 0..255 divided by 255;
            binary, 0 and 1; or auto. Draws of unit data, from a Gaussian, also lie outside [0, 1], where the model
            gives no score.
        validation_fraction: part of the examples by whose ELBO the best epoch is chosen; None: all examples are trained
            on, and the last weights are kept.
        overrides: further words of the command line, such as ``("likelihood.scale=per_dimension",)``.
        folder: new run folder, or FOLDER_1, FOLDER_2, ... if it exists, as of a second fit; ``run_.folder`` is that of
            the last fit. None: nothing is kept on disk.
        random_state: seed of weights, noise, importance samples and draws.
        verbose: above 0: the run prints its course.

    Attributes:
        run_: the trained `Run`; ``run_.model`` is the torch module, in double precision.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, if they were those of a data frame.

    >>> import numpy as np
    >>> from vae_lab.sklearn import VAE
    >>> X = np.random.default_rng(0).normal(3, 2, (50, 4))
    >>> vae = VAE(2, epochs=2, widths=(8,), random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.score_samples(X).shape, vae.sample(3).shape
    ((50, 2), (50,), (3, 4))
    """

    _option = "vae"


class MHVAE(Estimator):
    """A Markov hierarchy of latents; parameters as of `VAE`."""

    _option = "mhvae"


class LadderVAE(Estimator):
    """A ladder VAE (Sonderby et al. 2016, arXiv:1602.02282); parameters as of `VAE`."""

    _option = "ladder"


class CVAE(Estimator):
    """A conditional VAE, p(x | y) for the class y; parameters as of `VAE`.

    Without labels `transform` takes the class of the largest p(x | y) p(y), and `score_samples` sums over the classes,
    with p(y) as in the training data.

    Attributes:
        classes_: distinct labels.
        class_log_prior_: logarithm of the part of each class in the training data.
    """

    _option = "cvae"

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on X, (n, columns), with the class of each example, (n,)."""
        X, y = checked(self, X, y, reset=True)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, places, counts = np.unique(y, return_inverse=True, return_counts=True)
        self._fit(X, places.astype(np.int64))
        self.classes_ = classes  # last: of a fit that fails nothing is kept
        self.class_log_prior_ = np.log(counts / counts.sum())
        return self

    def transform(self, X: Any, y: Any = None) -> Numbers:
        """Returns the posterior means for the classes y, (n, size); None: for the most likely class of each example."""
        check_is_fitted(self)
        X = checked(self, X)
        return self._codes(X, self._joint(X).argmax(1) if y is None else self._places(y, len(X)))

    def inverse_transform(self, Z: Any, y: Any = None) -> Numbers:
        """Returns the mean of p(x | z, y), (n, columns); y is one class for all, or one for each."""
        check_is_fitted(self)
        if y is None:
            raise ValueError("y=None: a conditional model needs the class, one for all codes or one for each")
        return self._decoded(Z, self._places(y, len(np.asarray(Z))))

    def score_samples(self, X: Any, y: Any = None) -> Numbers:
        """Returns log p(x | y), (n,), in nats; without y log p(x)."""
        check_is_fitted(self)
        X = checked(self, X)
        if y is not None:
            return self._log_prob(X, self._places(y, len(X)))
        joint = self._joint(X)
        most = joint.max(1)
        summed: Numbers = most + np.log(np.exp(joint - most[:, None]).sum(1))
        return summed

    def sample(self, n_samples: int = 1, random_state: Any = None, y: Any = None) -> Numbers:
        """Returns draws from p(x | y), (n_samples, columns); y is one class, or one for each; None: drawn from p(y)."""
        check_is_fitted(self)
        if y is None:
            state = check_random_state(self.random_state if random_state is None else random_state)
            places = state.choice(len(self.classes_), n_samples, p=np.exp(self.class_log_prior_))
        else:
            places = self._places(y, n_samples)
        return self._drawn(n_samples, places, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _joint(self, X: Numbers) -> Numbers:
        """Returns log p(x | y) + log p(y) for every class, (n, classes)."""
        return np.stack(
            [self._log_prob(X, np.full(len(X), place)) + prior for place, prior in enumerate(self.class_log_prior_)], 1
        )

    def _places(self, y: Any, number: int) -> NDArray[np.int64]:
        """Returns the place of each label among the classes, (number,)."""
        labels = np.broadcast_to(np.asarray(y), (number,)) if np.ndim(y) == 0 else column_or_1d(y)
        if len(labels) != number:
            raise ValueError(f"y: {len(labels)} labels for {number} examples")
        unknown = sorted(set(labels.tolist()) - set(self.classes_.tolist()), key=str)
        if unknown:
            raise ValueError(f"y: {unknown[0]!r} is not one of the classes {self.classes_.tolist()}")
        places: NDArray[np.int64] = np.searchsorted(self.classes_, labels)
        return places
