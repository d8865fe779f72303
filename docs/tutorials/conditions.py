# %% [markdown]
# # Conditional VAEs: ask for what you want
#
# A conditional VAE (CVAE) is told something about each picture, its class or any numbers, and models the rest. Afterwards
# you can ask for a 7, for a thick 7, and change what is asked while all else stays. It takes about 20 seconds of one CPU
# core.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import vae_lab
from vae_lab.data import Mnist

train, test = Mnist().load(train=True), Mnist().load(train=False)
x, y = train.x[:20_000] > 127, train.y[:20_000]
x_test, y_test = test.x[:1000] > 127, test.y[:1000]
quick = ["trainer.max_epochs=15", "network.widths=[300]", "optimizer.lr=2e-3", "callbacks.pictures=null", "logger=none"]


def show(pictures, columns, labels=()):
    """Draws pictures row by row."""
    rows = [np.concatenate(list(pictures[i : i + columns, 0]), axis=1) for i in range(0, len(pictures), columns)]
    plt.figure(figsize=(7, 7 * len(rows) / columns))
    plt.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=1)
    plt.xticks(np.arange(len(labels)) * 28 + 14, labels)
    plt.yticks([])
    plt.show()


# %% [markdown]
# ## A class as the condition
#
# The labels go in beside the pictures. `prior=standard_normal` gives all classes the same prior, so that a code means the same
# under each; by default `cvae` learns a prior for each class, which has a better ELBO.

# %%
words = [*quick, "prior=standard_normal"]
run = vae_lab.fit((x, y), "cvae", 5, words, test=(x_test, y_test), folder="classes", verbose=False)
print(f"test ELBO {run.metrics['elbo']:.1f} nats, KL {run.metrics['kl']:.1f} nats")

# %% [markdown]
# Each row below has one latent code, each column asks for another class. With the same `seed` the code is the same.

# %%
asked = np.concatenate([run.sample(1, y=digit, seed=seed) for seed in range(4) for digit in range(10)])
show(asked, 10, range(10))

# %% [markdown]
# The code does not hold the class, because the class is given anyway and a nat costs a nat. What it holds is the *style*:
# slant, width, thickness. A small space helps with that: in a large one some of the class slips into the code. So we can read the style of a test digit, and write other digits in it.

# %%
some = [4, 9, 20]
(code,) = run.encode(x_test[some], y_test[some])
written = []
for example, mean in zip(x_test[some], code.mean, strict=True):
    written += [example[None], run.decode(np.tile(mean, (10, 1)), np.arange(10))]
show(np.concatenate(written), 11, ["given", *range(10)])

# %% [markdown]
# ## A classifier for free
#
# The model knows $p(x|y)$. If all classes are equally frequent, Bayes' rule says that the most probable class of a picture
# is the one under which the picture is most probable.

# %%
given = x_test[:200]
log_p = np.stack([run.log_prob(given, y=digit, num_samples=20) for digit in range(10)], axis=1)  # (200, 10)
print(f"{(log_p.argmax(1) == y_test[:200]).mean():.1%} of 200 test digits are recognised")

# %% [markdown]
# Nothing was trained to classify. A picture that is improbable under *every* class is one that the model has never seen,
# which a classifier cannot say.
#
# ## Numbers, and several conditions at once
#
# Let us add a number in its own unit: the share of white pixels. A data frame brings its name along. Labels,
# yes/no attributes and numbers may be given together.

# %%
ink = pd.DataFrame({"ink": x.mean((1, 2, 3)) * 100})
print(ink.describe().loc[["mean", "min", "max"]].round(1))

both = vae_lab.fit((x, {"labels": y, "numbers": ink}), "cvae", 5, words, folder="ink", verbose=False)
both.spec.context_names

# %% [markdown]
# Ask by name: `3+ink:15` is a 3 of which 15 % are white. We ask for 5 to 20 % and count what comes.

# %%
amounts = (5, 8, 11, 14, 17, 20)
asked = [both.sample(50, y=f"3+ink:{amount}", seed=0) for amount in amounts]
for amount, pictures in zip(amounts, asked, strict=True):
    print(f"asked for {amount:2} %, drawn {pictures.mean() * 100:4.1f} %")
show(
    np.concatenate([pictures[row : row + 1] for row in range(3) for pictures in asked]), 6, [f"{a} %" for a in amounts]
)

# %% [markdown]
# The rows differ in style, the columns in ink. A number outside its training range is answered with a warning.
#
# On the command line the same is
#
# ```sh
# python -m vae_lab.train model=cvae latent_dim=8
# python -m vae_lab.sample run=RUN y=3
# ```
#
# and [Conditions](../howto_conditions.md) has the formats of conditions on disk. Any model may have them
# (`model.conditional=true`). Next: [a hierarchy, level by level](hierarchy.md).
