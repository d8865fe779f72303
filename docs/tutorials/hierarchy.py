# %% [markdown]
# # A hierarchy, level by level
#
# A hierarchical VAE has several levels of latents. Level 2 is drawn first; it tells level 1 what to expect, and level 1
# tells the picture: $p(x|z_1) p(z_1|z_2) p(z_2)$. We train two such models, look at what each level holds, and change one
# level while the other stays. It takes about 30 seconds of one CPU core.

# %%
import matplotlib.pyplot as plt
import numpy as np

import vae_lab
from vae_lab.data import Mnist

digits = Mnist().load(train=True)
x, rest = digits.x[:20_000] > 127, digits.x[-2000:] > 127
words = ["model.latent_dims=[20,5]", "trainer.max_epochs=12", "network.widths=[300]", "optimizer.lr=2e-3"]
quick = [*words, "callbacks.pictures=null", "logger=none"]


def show(rows):
    """Draws rows of pictures side by side."""
    sheet = np.concatenate([np.concatenate(list(row[:, 0]), axis=1) for row in rows])
    plt.figure(figsize=(7, 7 * sheet.shape[0] / sheet.shape[1]))
    plt.imshow(sheet, cmap="gray", vmin=0, vmax=1)
    plt.axis("off")
    plt.show()


# %% [markdown]
# ## Two ways to the posterior
#
# Both models below have the same prior and differ in how they infer the latents. `mhvae` goes *up*: level 1 from the
# picture, level 2 from level 1. `ladder` goes up and then *down* again: it infers level 2 first, and then level 1 from the
# picture and from what level 2 expects, as the prior does.

# %%
widths = {"mhvae": [], "ladder": ["model.features=[300,100]"]}  # of the ladder's way up, level by level
runs = {}
for name, more in widths.items():
    runs[name] = vae_lab.fit(x, name, val=rest, test=rest, overrides=[*quick, *more], folder=name, verbose=False)
for name, run in runs.items():
    m = run.metrics
    print(f"{name:7} ELBO {m['elbo']:7.2f}   KL: level 1 {m['kl_level_1']:5.2f}, level 2 {m['kl_level_2']:5.2f} nats")

# %% [markdown]
# ## What does each level hold?
#
# `encode` gives one code for each level, nearest the data first. `decode` takes the codes of the *top* levels, and puts the
# levels below at what those expect. So we can decode level 2 alone, and then both. Rows: the pictures, from level 2
# alone, from both levels.

# %%
run = runs["ladder"]
some = rest[:12]
lower, upper = run.encode(some)
print("level 1:", lower.mean.shape, " level 2:", upper.mean.shape)
show([some, run.decode(upper.mean), run.decode([lower.mean, upper.mean])])

# %% [markdown]
# Level 2 has the gist, in most cases which digit it is and how it leans. Level 1 adds what distinguishes this digit
# from others of its kind. The same question for `mhvae`:

# %%
lower, upper = runs["mhvae"].encode(some)
show([some, runs["mhvae"].decode(upper.mean), runs["mhvae"].decode([lower.mean, upper.mean])])

# %% [markdown]
# ## Change one level, keep the other
#
# Each row has one code of level 2, drawn from the prior, and ten different codes of level 1, drawn given that one. The
# rows differ in kind, the columns in detail. This uses the plain torch module: `run.model.prior` is the chain of the levels.

# %%
import torch

torch.manual_seed(0)
model = run.model
with torch.no_grad():
    rows = []
    for _ in range(5):
        upper = model.sample_prior(1)[-1].expand(10, -1)
        rows.append(model.decode([upper], temperature=1.0).mean.numpy())
show(rows)

# %% [markdown]
# ## A temperature for each level
#
# A temperature below 1 draws nearer to the middle of the prior. Lowering it at level 1 alone keeps the variety of kinds
# and takes away the odd details; lowering it at level 2 alone does the opposite.

# %%
for temperature in (1.0, [0.3, 1.0], [1.0, 0.3]):  # for level 1 and level 2
    print("temperature", temperature)
    show([run.sample(12, temperature=temperature, seed=1)])

# %% [markdown]
# ## How deep?
#
# `model.latent_dims=[32,16,8]` makes three levels, and `model=deep` dozens, on grids, for pictures. A level that holds
# less than 0.1 nats is reported at the end of a run, with what may help ([Collapse](collapse.md)). The pictures of a run,
# `figures/levels.png`, `progressive.png` and `traversals/level_2.png`, show what we drew here, and
#
# ```sh
# python -m vae_lab.sample run=RUN what=levels
# ```
#
# draws them again. Why only the top level of `mhvae` may use the KL in closed form, and every level of `ladder`, is in
# [Theory](../theory.md#8-top-down-posteriors-the-ladder). Next: [your own pictures](own_pictures.md).
