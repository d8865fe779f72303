# %% [markdown]
# # Reading the curves
#
# A training run draws curves. This tutorial says what they mean, what a healthy run looks like, and how to see two
# faults: training for too long, and a step size that is too large. It takes about 20 seconds of one CPU core.
#
# We keep the curves in a file, `logger=csv`, so that we can draw them here; TensorBoard shows the same ones while a
# run trains.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import vae_lab
from vae_lab.data import Mnist

digits = Mnist().load(train=True)
quick = ["logger=csv", "callbacks.pictures=null", "network.widths=[200]"]


def train(name, num, *words):
    """Trains on the first `num` digits, validates on 2,000 others: the run and its curves."""
    x, rest = digits.x[:num] > 127, digits.x[-2000:] > 127
    run = vae_lab.fit(x, val=rest, test=rest, overrides=[*quick, *words], folder=name, verbose=False)
    return run, pd.read_csv(f"{name}/metrics.csv").groupby("step").first()


# %% [markdown]
# ## A healthy run
#
# 10,000 digits, 12 epochs. `elbo` is higher-is-better and in nats per example, whatever was minimised.

# %%
run, curves = train("healthy", 10_000, "trainer.max_epochs=12")


def draw(curves, *names):
    """Draws curves of the training and the validation set."""
    _, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        for part, style in (("train", "--"), ("val", "-")):
            curves[f"{part}/{name}"].dropna().plot(ax=axis, style=style, label=part)
        axis.set(title=name, xlabel="step")
        axis.legend()
    plt.show()


draw(curves, "elbo", "log_likelihood", "kl")

# %% [markdown]
# Read them from left to right.
#
# - **`elbo`** rises fast, then slowly, and training and validation stay together: what is learned holds for new digits.
# - **`log_likelihood`** does most of it: the round trip gets better.
# - **`kl`** grows: the codes come to hold more about their pictures. This is not a fault. A KL that falls to zero would
#   be one, the subject of the [next tutorial](collapse.md).
#
# The last values, and two more. `iw_bound` is a tighter bound, from two samples instead of one; the distance to `elbo` says
# how far the encoder's Gaussian is from the true posterior. `bits_per_dim` is the ELBO per pixel, in bits, turned around so
# that lower is better; it compares pictures of different sizes.

# %%
names = ["val/elbo", "val/iw_bound", "val/bits_per_dim", "val/units_with_kl"]
print(curves[names].dropna().tail(3).round(3).to_string())

# %% [markdown]
# ## Training for too long
#
# The same model on 500 digits. It can learn those by heart.

# %%
few, curves = train("few", 500, "data.batch_size=50", "trainer.max_epochs=150", "trainer.check_val_every_n_epoch=5")
draw(curves[curves.index > 200], "elbo", "log_likelihood", "kl")

# %% [markdown]
# The training ELBO goes on rising, while the validation ELBO turns and falls. From the turn on the model learns the 500
# digits, not digits. The gap is in the log-likelihood: known digits come back well, new ones do not.
#
# The lab keeps the weights that are best by `val/elbo`, and it is those that `run` has and that are tested:

# %%
val = curves["val/elbo"].dropna()
print(f"best    {val.max():8.1f} at step {val.idxmax()}")
print(f"last    {val.iloc[-1]:8.1f} at step {val.index[-1]}")
print(f"tested  {few.metrics['elbo']:8.1f}")

# %% [markdown]
# More data help most: 10,000 digits reached a better ELBO in fewer steps. Otherwise stop early
# (`callbacks=early_stopping`), or make the model smaller.
#
# ## Steps that are too large
#
# The learning rate is the size of a step. Too small is slow; too large jumps about, or stops learning.

# %%
plt.figure(figsize=(6, 3.5))
for rate in (1e-4, 1e-3, 3e-2):
    _, curves = train(f"rate_{rate}", 10_000, "trainer.max_epochs=4", f"optimizer.lr={rate}")
    curves["val/elbo"].dropna().plot(label=f"optimizer.lr={rate:g}", marker="o")
plt.ylabel("val/elbo")
plt.legend()
plt.show()

# %% [markdown]
# When a curve surprises you, ask in this order: is it `elbo` or `loss` (the loss has warm-up and weights in it)? Is it
# training or validation? Which of the two parts moved? [Curves](../commands.md#curves) lists all of them.
