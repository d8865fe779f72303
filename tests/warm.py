"""Prepares what each fork of the server needs: imports, the digits unpacked, a config composed."""

import gc
import importlib

from hydra import compose, initialize_config_dir

from tests import quick_hydra
from vae_lab.cli.compose import config_dir
from vae_lab.data import Mnist

for name in (
    "pytest",
    "torchvision",
    "torch.utils.tensorboard",
    "tensorboard.backend.event_processing.event_accumulator",
    *(f"vae_lab.{name}" for name in ("train", "evaluate", "evaluation", "models", "objectives", "training")),
):
    importlib.import_module(name)
quick_hydra.remember()
with initialize_config_dir(str(config_dir()), version_base="1.3"):
    compose("train")
Mnist().load(train=True)
gc.collect()
gc.freeze()
