# %% [markdown]
# # Tables and signals, in scikit-learn
#
# A VAE is not only for pictures. This tutorial models a table with scikit-learn's own tools, pipelines and grid searches,
# finds outliers, and then does the same for signals. It takes about 30 seconds of one CPU core.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vae_lab.sklearn import CVAE, VAE

# %% [markdown]
# ## A table
#
# 178 wines, 13 measurements each, from three growers. Columns are standardised inside the model, so that the units do not
# matter, and everything comes out in the units of the table.

# %%
wine = load_wine()
X, X_test, y, y_test = train_test_split(wine.data, wine.target, test_size=0.3, random_state=0)
small = {"epochs": 200, "widths": (32,), "random_state": 0}
vae = VAE(latent_dim=2, **small).fit(X)

codes = vae.transform(X_test)
plt.figure(figsize=(5, 4))
for grower in range(3):
    plt.scatter(*codes[y_test == grower].T, label=wine.target_names[grower])
plt.legend()
plt.title("wines that were held out")
plt.show()

# %% [markdown]
# The model has not seen the growers, and yet they fall apart: it has found what varies together. Codes are features like
# any others. Here a classifier reads only two of them:

# %%
reader = make_pipeline(VAE(latent_dim=2, **small), LogisticRegression())
print(f"accuracy from two codes: {cross_val_score(reader, X, y, cv=3).mean():.1%}")

# %% [markdown]
# ## How many dimensions?
#
# `score` is the mean of log p(x), estimated by importance sampling, so that a grid search chooses by the probability of
# held-out wines. Factor analysis is the same model with straight lines instead of networks, a fair opponent on so few rows.

# %%
search = GridSearchCV(VAE(**small), {"latent_dim": [1, 2, 4]}, cv=3).fit(X)
for size, score in zip((1, 2, 4), search.cv_results_["mean_test_score"], strict=True):
    linear = make_pipeline(StandardScaler(), FactorAnalysis(size))
    shift = np.log(X.std(0)).sum()  # from the density of standardised columns to that of the table's
    other = np.mean(cross_val_score(linear, X, cv=3)) - shift
    print(f"latent_dim={size}: VAE {score:6.2f}, factor analysis {other:6.2f} nats per wine")

# %% [markdown]
# On so few wines the networks are a little better, and one or two dimensions are enough: a larger model has too little to
# learn from, and the search says so. More rows pay for more dimensions; the
# [how-to](../howto_sklearn.md) has a set where they do.
#
# ## New rows of one kind
#
# A conditional model draws wines of the grower asked for.

# %%
cvae = CVAE(latent_dim=2, **small).fit(X, y)
for grower in range(3):
    drawn, seen = cvae.sample(500, y=grower), X[y == grower]
    print(f"grower {grower}: alcohol drawn {drawn[:, 0].mean():5.2f}, seen {seen[:, 0].mean():5.2f}; "
          f"proline drawn {drawn[:, 12].mean():5.0f}, seen {seen[:, 12].mean():5.0f}")  # fmt: skip

# %% [markdown]
# ## Outliers
#
# We spoil ten wines by exchanging two columns for those of other wines: each value is usual, the row is not.

# %%
rng = np.random.default_rng(0)
spoilt = X_test[:10].copy()
spoilt[:, [0, 6]] = X_test[::-1][:10][:, [0, 6]]
print("as they are", vae.score_samples(X_test).mean().round(1), " spoilt", vae.score_samples(spoilt).mean().round(1))

# %% [markdown]
# ## Signals
#
# Beats of two kinds, 64 points each, made here: a bump, and a bump with an echo. `fit` of the lab takes arrays of any
# shape; (N, channels, length) is a signal.

# %%
import vae_lab

t = np.linspace(0, 1, 64)


def beats(num, echo):
    """Returns noisy bumps at random places and of random widths, with an echo or without."""
    place, width = rng.uniform(0.25, 0.45, (num, 1)), rng.uniform(0.03, 0.08, (num, 1))
    bump = np.exp(-(((t - place) / width) ** 2))
    late = 0.6 * np.exp(-(((t - place - 0.35) / width) ** 2))
    return (bump + echo * late + 0.05 * rng.normal(size=(num, 64)))[:, None].astype(np.float32)


signals = np.concatenate([beats(1000, 0), beats(1000, 1)])
kinds = np.repeat(["plain", "echo"], 1000)
words = ["network=conv", "trainer.max_epochs=20", "callbacks.pictures=null", "logger=none"]
run = vae_lab.fit((signals, kinds), "cvae", 4, words, folder="signals", verbose=False)
print(run.spec.shape, f"ELBO {run.metrics['elbo']:.1f} nats per signal")

_, axes = plt.subplots(1, 3, figsize=(9, 2.5), sharey=True)
axes[0].plot(t, signals[[0, 1, -2, -1], 0].T)
axes[1].plot(t, run.sample(4, y="plain", seed=0)[:, 0].T)
axes[2].plot(t, run.sample(4, y="echo", seed=0)[:, 0].T)
for axis, title in zip(axes, ("data", "drawn: plain", "drawn: echo"), strict=True):
    axis.set_title(title)
plt.show()

# %% [markdown]
# And a question to the model: which kind is a new signal? The one under which it is more probable.

# %%
fresh = np.concatenate([beats(50, 0), beats(50, 1)])
plain, echo = (run.log_prob(fresh, y=kind, num_samples=50) for kind in ("plain", "echo"))
print(f"{((echo > plain) == np.repeat([False, True], 50)).mean():.0%} of 100 new signals are read right")

# %% [markdown]
# [Tables](../howto_tables.md) has missing values and categories, [arrays](../howto_arrays.md) all the shapes.
# Next: [from a laptop to a cluster](to_a_cluster.md).
