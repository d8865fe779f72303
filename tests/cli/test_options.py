"""Every option of every group composes, passes the check and builds the objects it names."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

import vae_lab
from vae_lab.cli import compose
from vae_lab.cli.check import check_config
from vae_lab.cli.compose import config_dir
from vae_lab.cli.messages import EXTRAS

NEEDS = {
    "model=vq_vae": ["objective=vq"],
    "objective=vq": ["model=vq_vae"],
    "network=none": ["model=deep"],
    "prior=label_conditional": ["model=cvae"],
    "likelihood=gaussian": ["data.binarization=none"],
    "likelihood=categorical": ["data.binarization=none"],
    "likelihood=discretized_logistic": ["data.binarization=none"],
    "likelihood=logistic_mixture": ["data.binarization=none"],
    "trainer=gpu": ["trainer.accelerator=cpu"],
    "trainer=gpu_fp16": ["trainer.accelerator=cpu"],
    "trainer=ddp": ["trainer.accelerator=cpu"],
    "search=optuna": ["search.trial=0", "search.storage=optuna.log"],
}
"""Overrides that an option is chosen together with."""


def options() -> list[str]:
    groups = (folder for folder in sorted(config_dir().iterdir()) if folder.is_dir())
    return [f"{group.name}={file.stem}" for group in groups for file in sorted(group.glob("*.yaml"))]


def skip_without_extra(option: str) -> None:
    """Skips an option of a library that is an extra, where that is not installed."""
    group, _, name = option.partition("=")
    if group == "launcher":
        pytest.importorskip(f"hydra_plugins.hydra_{EXTRAS[name][0]}_launcher")
    if group == "search":
        pytest.importorskip(name)


def composed(tmp_path: Path, *overrides: str) -> DictConfig:
    with compose.composed("name=test", *overrides) as composition:
        composition.cfg.run_dir = str(tmp_path)
    return composition.cfg


BUILT = [option for option in options() if option not in ("data=default", "data=loader")]


@pytest.mark.parametrize(
    "option",
    [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("experiment=") else []) for name in BUILT],
)
def test_builds(option: str, tmp_path: Path, own_files: Path) -> None:
    skip_without_extra(option)
    own = {"image_folder": own_files, "array": own_files, "table": own_files, "huggingface": own_files / "huggingface"}
    root = own.get(option.split("=")[1])
    extra = [] if root is None else [f"data.root={root}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on devices that this machine has not
        words = [option, *NEEDS.get(option, []), *extra]
        if option.startswith(("launcher=", "sweep=")):  # which a job of a sweep has, but not a program
            with compose.composed("name=test", *words) as composition:
                check_config(composition.cfg)
                composition.cfg.run_dir = str(tmp_path)
                _, module, _ = compose.assemble(composition)
        else:
            module = vae_lab.compose(f"hydra.run.dir={tmp_path}", *words).module
    assert sum(parameter.numel() for parameter in module.parameters()) > 0


@pytest.fixture(scope="session")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest folder that the user's own data may be, with another one inside for `huggingface`."""
    import numpy as np
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("own")
    for name in ("cats", "dogs"):
        (folder / name).mkdir()
        for i in range(4):
            Image.fromarray(np.full((20, 30, 3), 10 * i, np.uint8)).save(folder / name / f"{i}.png")
    np.save(folder / "train_images.npy", np.zeros((10, 1, 8, 8), np.uint8))
    (folder / "huggingface").mkdir()
    parquet.write_table(pa.table({"a": [1.0, 2.0, 3.0]}), folder / "huggingface" / "train.parquet")
    (folder / "train.csv").write_text("a,b\n" + "1,2\n3,5\n" * 5)
    return folder


def test_every_group_is_in_the_primary_config(tmp_path: Path) -> None:
    groups = {folder.name for folder in config_dir().iterdir() if folder.is_dir()}
    defaults = OmegaConf.load(config_dir() / "train.yaml").defaults
    named = {str(key) for entry in defaults if OmegaConf.is_dict(entry) for key in entry}
    assert groups <= named


def test_every_experiment_names_its_source() -> None:
    for file in (config_dir() / "experiment").glob("*.yaml"):
        comment = [line for line in file.read_text().splitlines() if line.startswith("#")]
        assert len(comment) > 1, file.name
        assert "xpected figure" in "".join(comment) or "Published" in "".join(comment), file.name


def test_the_levels_of_a_hierarchy_obey_latent_dim(tmp_path: Path) -> None:
    for model in ("mhvae", "ladder"):
        assert composed(tmp_path, f"model={model}", "latent_dim=7").model.latent_dims[-1] == 7
