# %% [markdown]
# # Collapse: when latents say nothing
#
# A latent dimension that equals the prior for every picture costs nothing and says nothing: it has *collapsed*. This
# tutorial shows how to see that, why it happens, and what helps. It takes about 25 seconds of one CPU core.
#
# The ELBO is the log-likelihood less the KL. The KL is a price: a dimension is used only while it raises the
# log-likelihood by more than it costs. `objective.beta` multiplies the price.

# %%
import matplotlib.pyplot as plt
import numpy as np

import vae_lab
from vae_lab.data import Mnist

digits = Mnist().load(train=True)
x, rest = digits.x[:10_000] > 127, digits.x[-2000:] > 127
quick = ["trainer.max_epochs=8", "network.widths=[200]", "callbacks.pictures=null", "logger=none"]


def train(name, *words, model="vae"):
    """Trains on 10,000 digits and tests on 2,000 others."""
    return vae_lab.fit(x, model, val=rest, test=rest, overrides=[*quick, *words], folder=name, verbose=False)


# %% [markdown]
# ## One level: count the dimensions
#
# 20 dimensions, and the price of a nat once at 1 (the true ELBO), at 4 and at 8.

# %%
runs = {beta: train(f"beta_{beta}", "latent_dim=20", f"objective.beta={beta}") for beta in (1, 4, 8)}

for beta, run in runs.items():
    print(f"beta {beta}: ELBO {run.metrics['elbo']:7.1f}, KL {run.metrics['kl']:5.1f} nats")

# %% [markdown]
# The KL of a dimension is easy to compute from its codes: between $\mathcal{N}(m, s^2)$ and $\mathcal{N}(0, 1)$ it is
# $\frac{1}{2} (m^2 + s^2 - 1) - \log s$. We average over the test pictures and sort.

# %%
plt.figure(figsize=(7, 3.5))
for (beta, run), shift in zip(runs.items(), (-0.25, 0, 0.25), strict=True):
    (code,) = run.encode(rest)
    kl = ((code.mean**2 + code.scale**2 - 1) / 2 - np.log(code.scale)).mean(0)
    print(f"beta {beta}: {(kl > 0.1).sum()} of 20 dimensions have more than 0.1 nats")
    plt.bar(np.arange(1, 21) + shift, np.sort(kl)[::-1], width=0.25, label=f"objective.beta={beta}")
plt.xlabel("dimension, by its KL")
plt.ylabel("KL, nats per example")
plt.legend()
plt.show()

# %% [markdown]
# (`units_with_kl`, in the table at the end of a run, counts from 0.01 nats on.) At a higher price fewer dimensions pay, and those that are left share the pixels out among them: this is why a
# beta-VAE gives codes that are easier to read, and worse pictures. The `elbo` above is that of beta = 1 for all three
# runs, so it can be compared.
#
# What a collapsed dimension does to pictures: nothing. We move the first, the second and the last dimension of `beta=8`.

# %%
run = runs[8]
(code,) = run.encode(rest)
kl = ((code.mean**2 + code.scale**2 - 1) / 2 - np.log(code.scale)).mean(0)
order = np.argsort(kl)[::-1]
rows = []
for dimension in (order[0], order[1], order[-1]):
    z = np.tile(code.mean[0], (11, 1))
    z[:, dimension] = np.linspace(-3, 3, 11)
    rows.append(np.concatenate(list(run.decode(z)[:, 0]), axis=1))
plt.figure(figsize=(7, 2))
plt.imshow(np.concatenate(rows), cmap="gray")
plt.axis("off")
plt.title("largest KL, second, smallest", fontsize=9)
plt.show()

# %% [markdown]
# ## Two levels: the upper one collapses first
#
# In a hierarchy, level 2 tells level 1 what to expect. Early in training level 1 has nothing to say yet, so that nothing
# pays for level 2: it falls to the prior, and once level 1 is good there is little left for it to explain. We switch
# off the warm-up that `model=mhvae` has by default, to see it.

# %%
levels = "model.latent_dims=[20,10]"
hierarchies = {
    "no warm-up": train("none", levels, "warmup=none", model="mhvae"),
    "warm-up": train("warm", levels, model="mhvae"),
    "free bits": train("free", levels, "warmup=none", "objective.free_bits=3", model="mhvae"),
}
for name, run in hierarchies.items():
    m = run.metrics
    print(
        f"{name:10}  ELBO {m['elbo']:7.2f}   KL of level 1 {m['kl_level_1']:5.2f}, of level 2 {m['kl_level_2']:5.2f} nats"
    )

# %% [markdown]
# Two remedies, and both raise the true ELBO as well:
#
# - **Warm-up**: the price begins at 0 and rises to 1 over the first part of the run. Both levels learn to be of use
#   while codes are free. This is the default of `model=mhvae` and `model=ladder` (`warmup=auto`).
# - **Free bits**: the first 3 nats of each level are free, so that falling below saves nothing.
#
# A level under 0.1 nats, or a model most of whose dimensions are empty, is reported at the end of every run, with what may
# help. Two more that are worth a try: `model=ladder`, whose posterior reads the data at every level, and a smaller decoder.
#
# Collapse is not always a fault. If `latent_dim=50` leaves 30 dimensions empty, the data have no use for them at this
# size of network, and a smaller number would do as well. Next: [conditions](conditions.md).
