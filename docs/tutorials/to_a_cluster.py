# %% [markdown]
# # From a laptop to a cluster
#
# The command stays the same at every scale; only the launcher changes. This tutorial trains one run, stops and resumes
# it, tries several models at once, and shows the lines for several GPUs and for SLURM. It takes about 45 seconds of one CPU
# core.
#
# The commands below are what you would type into a terminal. This function types them, and prints what they answer.

# %%
import os
import shlex
import subprocess
import sys
from pathlib import Path


def terminal(command, last=12):
    """Runs a command of the terminal, and prints the last lines of its answer."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    plain = os.environ | {"FORCE_COLOR": ""}  # a notebook would ask for colours
    answer = subprocess.run(words, capture_output=True, text=True, check=False, env=plain)
    lines = (answer.stdout + answer.stderr).replace(f"{Path.cwd()}/", "").rstrip().splitlines()
    print("\n".join(lines[-last:]))


# %% [markdown]
# ## One run
#
# `trainer.limit_train_batches=100` shortens an epoch for this tutorial; leave it out for real.

# %%
short = "trainer.limit_train_batches=100 trainer.limit_val_batches=5 trainer.limit_test_batches=5"
quiet = "callbacks.pictures=null trainer.enable_progress_bar=false"
terminal(f"python -m vae_lab.train model=vae trainer.max_epochs=1 hydra.run.dir=outputs/one {short} {quiet}", last=16)

# %% [markdown]
# ## Longer, from where it stopped
#
# A run that was stopped, by Ctrl-C, by a cluster's time limit or by a power cut, goes on by `resume=`. So does one that
# is to go further than planned. On a CPU the result is the same to the last bit as that of a run that never stopped.

# %%
terminal("python -m vae_lab.train resume=outputs/one trainer.max_epochs=2", last=3)

# %% [markdown]
# A word that a run cannot take is refused before anything starts:

# %%
terminal("python -m vae_lab.train resume=outputs/one latent_dim=99")
terminal("python -m vae_lab.train model=vea")

# %% [markdown]
# ## Several runs
#
# With `-m`, commas mean "each of these": four runs here. `launcher=joblib` uses all of this machine, one job for each GPU,
# or for every two cores; without it, one job runs after the other.

# %%
sweep = "model=vae latent_dim=2,16 optimizer.lr=1e-3,1e-2 trainer.max_epochs=1 hydra.sweep.dir=outputs/sweep"
terminal(f"python -m vae_lab.train -m {sweep} launcher=joblib {short} {quiet}", last=9)

# %% [markdown]
# Each run has a folder of its own, named by what varies, and the sweep has a report. A sweep that was interrupted is
# completed by the same command with `sweep.resume=outputs/sweep`.

# %%
print("\n".join(sorted(str(path) for path in Path("outputs/sweep").glob("*"))))

# %% [markdown]
# ## Several GPUs
#
# One run on four GPUs of a machine, and on two machines with four each:
#
# ```sh
# python -m vae_lab.train model=vae trainer=ddp trainer.devices=4
# torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=node1:29400 \
#     -m vae_lab.train model=vae trainer=ddp trainer.devices=4 trainer.num_nodes=2 hydra.run.dir=outputs/mine resume=auto
# ```
#
# The batch is shared out among the GPUs. `data.batch_size` is that of all together, and the noise of an example does
# not depend on the number of GPUs, so the result is that of one, to rounding.
#
# ## SLURM
#
# The sweep from above as jobs of a cluster:
#
# ```sh
# python -m vae_lab.train -m model=vae latent_dim=2,16 optimizer.lr=1e-3,1e-2 launcher=submitit_slurm
# ```
#
# Before that, the same launcher can be tried on your own machine: `launcher=submitit_local`. A job that reaches its time
# limit saves itself and is queued again. [From a laptop to a cluster](../cluster.md) has the keys, Ray, and the search
# with Optuna, which drops bad trials early.
#
# ## What you take home
#
# A run folder can be moved and copied. What was trained on the cluster opens on the laptop:

# %%
import vae_lab

run = vae_lab.load_run("outputs/one")
print(type(run.model).__name__, run.sample(3, seed=0).shape)

# %% [markdown]
# This is the last of the eight tutorials. [Commands](../commands.md) explains every key, and
# [Theory](../theory.md) every equation.
