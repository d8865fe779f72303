# %% [markdown]
# # A first variational autoencoder
#
# We train a VAE on handwritten digits and look at everything that it has learned. You need Python, a little NumPy, and
# about 15 seconds of one CPU core. Nothing else is assumed: where a word is new, it is explained.
#
# A VAE has two networks. The **encoder** reads a picture and answers with a small cloud of points, a Gaussian, in a space
# of few dimensions: the *latent space*. The **decoder** goes back, from a point to a picture. They are trained together, so
# that a picture survives the round trip, while the clouds of all pictures together fill the space like one round
# Gaussian, the *prior*. That is the trick: afterwards any point drawn from the prior decodes to a new picture.

# %%
import matplotlib.pyplot as plt
import numpy as np

import vae_lab
from vae_lab.data import Mnist

# %% [markdown]
# ## Train
#
# MNIST comes with the package. A latent space of two dimensions is too small for the best pictures, but we can draw it.

# %%
run = vae_lab.fit("mnist", model="vae", latent_dim=2, overrides=["trainer.max_epochs=3"], folder="first", verbose=False)
print(run.spec)

# %% [markdown]
# The **ELBO** is what training maximises: a lower bound on the logarithm of the probability that the model gives to a
# picture, here averaged over 10,000 test pictures that it has never seen. It has two parts.

# %%
for name in ("elbo", "log_likelihood", "kl"):
    print(f"{name:15} {run.metrics[name]:9.2f} nats per picture")

# %% [markdown]
# `log_likelihood` says how well pictures survive the round trip, and `kl` how many nats (a nat is 1.44 bits) the code holds
# about its picture; the ELBO is the first less the second. About 5 nats are enough to tell apart $e^5 = 148$ kinds of
# digits, which is not much. With `latent_dim=10` the same training reaches -112.8 nats.
#
# ## The round trip
#
# The first row has test digits, the second what comes back.

# %%
test = Mnist().load(train=False)
x, y = test.x[:10] > 127, test.y  # black and white, as the model has seen them


def show(rows, title=""):
    """Draws rows of pictures side by side."""
    sheet = np.concatenate([np.concatenate(list(row[:, 0]), axis=1) for row in rows])
    plt.figure(figsize=(7, 7 * sheet.shape[0] / sheet.shape[1]))
    plt.imshow(sheet, cmap="gray", vmin=0, vmax=1)
    plt.axis("off")
    plt.title(title)
    plt.show()


show([x, run.reconstruct(x)])

# %% [markdown]
# Blurry, because a code of two numbers cannot say everything. Where the code does not say what a pixel is, the decoder
# answers with its probability, which is grey.
#
# ## The latent space
#
# `encode` gives one code for each level of latents (this model has one), with the mean and the width of each cloud.
# The model has never seen a label. Still, equal digits lie together, because one code is then good for all of them.

# %%
(code,) = run.encode(test.x[:3000] > 127)
plt.figure(figsize=(6, 5))
plt.scatter(*code.mean.T, c=y[:3000], cmap="tab10", s=5)
plt.colorbar(label="digit")
plt.xlabel("first dimension")
plt.ylabel("second dimension")
plt.show()
print("mean width of a cloud:", code.scale.mean(0).round(2), " width of the prior: 1")

# %% [markdown]
# ## A map of digits
#
# We decode a regular grid of points. Neighbours look alike, and between two kinds of digits there are some that are a bit of both.

# %%
line = np.linspace(-2, 2, 12)
grid = np.array([[(a, b) for a in line] for b in line[::-1]], dtype=np.float32)
show([run.decode(row) for row in grid], "the square from -2 to 2")

# %% [markdown]
# ## New digits
#
# Draw from the prior and decode: that is all of `sample`. Not every sample is a digit, because some points fall between
# the kinds.

# %%
show(run.sample(20, seed=0).reshape(2, 10, 1, 28, 28))

# %% [markdown]
# ## How probable is a picture?
#
# `log_prob` estimates the probability itself, not only a bound, by importance sampling. Noise has a far lower one than
# digits: the model knows what it has not seen.

# %%
noise = np.random.default_rng(0).random((10, 1, 28, 28)) < x.mean()
print("digits", run.log_prob(x, num_samples=200).mean().round(1), "nats")
print("noise ", run.log_prob(noise, num_samples=200).mean().round(1), "nats")

# %% [markdown]
# ## The same from the command line
#
# ```sh
# python -m vae_lab.train model=vae latent_dim=2 trainer.max_epochs=3
# ```
#
# trains the same model, number for number. Either way a run folder holds everything, and `vae_lab.load_run` opens it:

# %%
again = vae_lab.load_run("first")
print(np.array_equal(again.decode(grid[0]), run.decode(grid[0])))

# %% [markdown]
# **Try**: `latent_dim=10`; `trainer.max_epochs=20`; `fit("fashion_mnist", ...)` if you have the files. The next tutorial,
# [Reading the curves](reading_the_curves.md), is about when to stop.
