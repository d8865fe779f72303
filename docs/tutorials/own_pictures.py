# %% [markdown]
# # Your own pictures
#
# A folder of pictures is enough. This tutorial makes one from two photographs, trains on it, looks at what comes out, and
# asks which pictures are unusual. It takes about 20 seconds of one CPU core.
#
# ## A folder of pictures
#
# scikit-learn brings two photographs, a temple and a flower. We cut them into squares of 32 pixels and save those as PNG:
# one folder for each class. Do the same with pictures of your own; sizes may differ, `data.image_size` makes them equal.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import vae_lab

for name in ("china", "flower"):
    Path("patches", name).mkdir(parents=True)
    photo = load_sample_image(f"{name}.jpg")
    corners = [(row, column) for row in range(0, 395, 16) for column in range(0, 608, 16)]
    for row, column in corners:
        patch = Image.fromarray(photo[row : row + 32, column : column + 32]).resize((16, 16))
        patch.save(f"patches/{name}/{row:03}_{column:03}.png")
print(len(corners), "squares of each photograph")

# %% [markdown]
# ## Train
#
# `data=image_folder` takes the folders as classes. For colours the pixels need another distribution than black and white
# have: `discretized_logistic` gives a probability to each of the 256 levels, so that the likelihood is a true
# probability of the file's pixels and can be told in bits. `network=conv` looks at neighbourhoods.

# %%
words = [
    "data.root=patches",
    "data.image_size=16",
    "likelihood=discretized_logistic",
    "network=conv",
    "data.batch_size=32",
    "trainer.max_epochs=15",
    "optimizer.lr=2e-3",
    "callbacks.pictures=null",
    "logger=none",
]
run = vae_lab.fit("image_folder", "cvae", 16, words, folder="run", verbose=False)
print(run.spec.class_names, run.spec.shape)
print(f"ELBO {run.metrics['elbo']:.0f} nats per picture, {run.metrics['bits_per_dim']:.2f} bits per number")

# %% [markdown]
# The ELBO of pictures of different sizes cannot be compared, bits per dimension can: a raw byte has 8 bits, and the model
# would need about this many, in the mean, to store one colour of one pixel.
#
# ## Look
#
# The first row has squares of each class, the second what comes back.


# %%
def read(name, num):
    """Returns the pictures of a class, evenly spread, as (N, 3, 16, 16) bytes."""
    files = sorted(Path("patches", name).glob("*.png"))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, num).astype(int)]
    return np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in chosen])


def show(rows):
    """Draws rows of pictures in [0, 1] side by side."""
    sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in rows], axis=1).transpose(1, 2, 0)
    plt.figure(figsize=(7, 7 * sheet.shape[0] / sheet.shape[1]))
    plt.imshow(sheet.clip(0, 1))
    plt.axis("off")
    plt.show()


x = np.concatenate([read("china", 6), read("flower", 6)])
y = ["china"] * 6 + ["flower"] * 6
show([x / 255, run.reconstruct(x, y)])

# %% [markdown]
# New squares, of the temple and of the flower. After so short a training they have the colours and the large shapes.

# %%
show([run.sample(12, y="china", seed=0), run.sample(12, y="flower", seed=0)])

# %% [markdown]
# ## Which pictures are unusual?
#
# Each picture has a probability. Squares whose probability is low are hard to describe: detail, edges, rare colours.
# Those with a high one are plain.

# %%
many = read("china", 200)
bits = -run.log_prob(many, "china", num_samples=20) / np.log(2) / many[0].size
order = np.argsort(bits)
print(f"plainest {bits[order[0]]:.2f} bits per number, most unusual {bits[order[-1]]:.2f}")
show([many[order[:12]] / 255, many[order[-12:]] / 255])

# %% [markdown]
# Mind that "unusual" here means "needs many bits", which is not the same as "from elsewhere": a plain blue square would
# have a high probability whether or not there is one in the data. To find foreign pictures, compare with what is
# usual for each class, as in [Conditions](conditions.md), or look at the reconstructions.
#
# ## When something is wrong
#
# It is said before training, in one line, with what to do.

# %%
for word in ("likelihood=bernouli", "data.image_size=0", "data.images.fit=squeeze"):
    try:
        vae_lab.fit("image_folder", overrides=["data.root=patches", word], verbose=False)
    except Exception as error:
        print(error)

# %% [markdown]
# From the command line:
#
# ```sh
# python -m vae_lab.train data=image_folder data.root=patches data.image_size=16 model=cvae likelihood=discretized_logistic network=conv
# ```
#
# [Own data](../commands.md#own-data) has folders with splits of their own, class lists and large sets. Next:
# [tables and signals](tables_and_signals.md).
