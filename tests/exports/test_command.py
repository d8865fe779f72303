"""`python -m vae_lab.export`: files that other programs read, a folder that opens as a run, and a card."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import vae_lab
from tests.conftest import FAST, Outcome, trained_run
from vae_lab.errors import RunError
from vae_lab.export import main
from vae_lab.exports import Export, formats, push, writing
from vae_lab.exports.card import _metric_name
from vae_lab.files import remove_unfinished
from vae_lab.runs.reading import find_runs

WITHOUT = "import sys; sys.modules.update(dict.fromkeys({names!r})); exec(open(sys.argv[1]).read())"
"""Runs a program where some packages cannot be imported."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run whose averaged weights differ from the others."""
    words = ("model=cvae", "latent_dim=2", "average=0.5", "logger=none")
    folder = trained_run(tmp_path_factory.mktemp("runs") / "run", *FAST, *words)
    result = {"nll": 95.5, "nll_error": 0.25, "elbo": -97.0, "active_units": 2, "num_samples": 100, "num_examples": 50}
    (folder / "evaluation.json").write_text(json.dumps({**result, "data_root": "/home/me/data", "data": {}}))
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def export(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    return lambda *words, main=main: command(main, *words)


def same_weights(one: Path, other: Path, weights: Any = "average") -> bool:
    states = [vae_lab.load_run(one).state_dict(), vae_lab.load_run(other, weights=weights).state_dict()]
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_exported_run_opens_as_the_run_wherever_it_lies(run: Path, export: Callable[..., Outcome]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["root"] = "/home/me/secret/pictures"
    config["init_from"] = "/home/me/other"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = export("run=run", "format=safetensors")
    assert outcome.code == 0, outcome.err
    folder = run / "export"
    assert "written to   run/export" in outcome.out
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.yaml", "evaluation.json", "metrics.json"),
        *("model.safetensors", "parity.json", "samples.png"),
    }
    record = json.loads((folder / "parity.json").read_text())
    assert record["errors"] == {key: {"safetensors": 0.0} for key in ("encode", "decode", "sample", "elbo")}
    assert "/home/me" not in "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".yaml", ".json"))

    # As the Hub stores a snapshot: links into a folder of blobs.
    snapshot = run.parent / "snapshot"
    snapshot.mkdir()
    for path in folder.iterdir():
        blob = Path(shutil.copy(path, run.parent / f"blob_{path.name}"))
        (snapshot / path.name).symlink_to(blob)
    assert same_weights(snapshot, run)
    assert same_weights(snapshot / "model.safetensors", run)
    opened, before = vae_lab.load_run(snapshot), vae_lab.load_run(run)
    assert opened.spec == before.spec
    assert opened.metrics == before.metrics
    assert opened.sample(3, y=1, seed=0).tolist() == before.sample(3, y=1, seed=0).tolist()
    assert [found.folder for found in find_runs(run)] == [run], "an export is a copy, which reports do not count"
    assert export("run=run", "format=safetensors").out.endswith("run/export_1\n")


def test_the_raw_weights_are_exported_without_the_numbers_of_the_others(
    run: Path, export: Callable[..., Outcome]
) -> None:
    assert export("run=run", "format=safetensors", "weights=raw", "out=raw").code == 0
    assert same_weights(run.parent / "raw", run, "raw")
    assert not same_weights(run.parent / "raw", run)
    assert not list((run.parent / "raw").glob("[me]*.json"))
    assert "Not evaluated" in (run.parent / "raw" / "README.md").read_text()


def test_an_export_is_neither_resumed_nor_reproduced(run: Path, export: Callable[..., Outcome]) -> None:
    from vae_lab.reproduce import main as reproduce
    from vae_lab.train import main as train

    assert export("run=run", "format=safetensors", "out=copy").code == 0
    for command, word in ((train, "resume=copy"), (reproduce, "run=copy")):
        outcome = export(word, main=command)
        assert outcome.code == 1
        (line,) = outcome.error_lines
        assert "copy: an exported run, which has no optimizer and no command line; init_from=" in line


def test_the_card_says_which_bound_bits_are_of() -> None:
    at_end = {"metrics.json": {"metrics": {"test/bits_per_dim": 0.7}}}
    assert _metric_name("bits_per_dim", at_end) == "bits per dimension, of the evidence lower bound"
    evaluated = at_end | {"evaluation.json": {"nll": 43.0, "bits_per_dim": 0.6}}
    assert _metric_name("bits_per_dim", evaluated) == "bits per dimension, of the negative log-likelihood"


@pytest.mark.slow
def test_the_card_is_one_of_the_hub(run: Path, export: Callable[..., Outcome]) -> None:
    from huggingface_hub import ModelCard

    assert export("run=run", "format=torch_export").code == 0
    text = (run / "export" / "README.md").read_text()
    data = ModelCard(text).data
    (name,) = {result.dataset_name for result in data.eval_results}
    assert name == "mnist"
    metrics = {result.metric_type: result.metric_value for result in data.eval_results}
    assert metrics["nll"] == 95.5
    assert {result.task_type for result in data.eval_results} == {"other"}, "a conditional model"
    assert "of log p(x|y)" in text
    assert metrics["active_units"] == 2
    assert "95.500 ± 0.250" in text
    assert "CC BY-SA 3.0" in text
    assert text.count("![Samples](samples.png)") == 1
    assert len(program_of(text, "torch.export").splitlines()) <= 6
    sizes = "| sample | `eps_level_1` | (B, 2) float32 |"
    assert sizes in text
    assert not (run / "export" / "model.safetensors").exists()
    assert_nothing_of_this_machine(run / "export")
    sizes = {path.stem: path.stat().st_size for path in (run / "export" / "torch_export").iterdir()}
    assert sizes["decode"] < sizes["elbo"] / 1.4, "a decoder without the weights of the encoder"


def assert_nothing_of_this_machine(folder: Path) -> None:
    places = [str(Path(place)).encode() for place in (vae_lab.__path__[0], torch.__path__[0], Path.home(), Path.cwd())]
    for path in filter(Path.is_file, folder.rglob("*")):
        assert not [place for place in places if place in path.read_bytes()], path


def program_of(card: str, word: str) -> str:
    (program,) = [block for block in re.findall(r"```python\n(.+?)```", card, re.DOTALL) if word in block]
    return program


@pytest.mark.slow
def test_the_programs_of_the_card_run_without_vae_lab(
    run: Path, export: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = export("run=run")
    assert outcome.code == 0, outcome.err
    assert_nothing_of_this_machine(run / "export")
    card = (run / "export" / "README.md").read_text()
    blocked = {
        "onnxruntime": ["vae_lab", "torch"],
        "torch.export": ["vae_lab"],
        "safetensors": ["vae_lab", "torch"],
    }
    for word, names in blocked.items():
        (tmp_path / "program.py").write_text(program_of(card, word))
        words = [sys.executable, "-c", WITHOUT.format(names=names), str(tmp_path / "program.py")]
        done = subprocess.run(words, cwd=run / "export", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "likelihood" in done.stdout if word == "safetensors" else done.stdout == "(4, 1, 28, 28)\n"


def test_what_a_format_cannot_express_is_named_and_the_rest_is_written(
    run: Path, export: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(program: Any, graph: Any, path: Path) -> None:
        raise RuntimeError(f"no such operator\n  in {graph.name}")

    broken = formats.FORMATS["onnx"]._replace(write=fails)
    monkeypatch.setitem(formats.FORMATS, "onnx", broken)  # type: ignore[arg-type]
    monkeypatch.setattr("vae_lab.exports.writing.GRAPHS", ("sample",))
    outcome = export("run=run", "out=all")
    assert outcome.code == 0, outcome.err
    assert "not written  sample as onnx: no such operator in sample\n" in outcome.out
    record = json.loads((run.parent / "all" / "parity.json").read_text())
    assert record["errors"]["sample"].keys() == {"safetensors", "torch_export"}
    assert record["refused"] == ["sample as onnx: no such operator in sample"]
    outcome = export("run=run", "out=onnx", "format=onnx")
    assert outcome.code == 1
    assert outcome.error_lines == ["error: format=onnx: not all graphs can be written, for the reasons above"]


def test_a_file_that_differs_from_the_run_is_an_error_and_is_not_uploaded(
    run: Path, export: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = formats.FORMATS["torch_export"].open

    def other(path: Path) -> Any:
        compute = opens(path)
        return lambda inputs: {name: 1.001 * value for name, value in compute(inputs).items()}

    monkeypatch.setitem(formats.FORMATS, "torch_export", formats.FORMATS["torch_export"]._replace(open=other))  # type: ignore[arg-type]
    monkeypatch.setattr("vae_lab.exports.writing.GRAPHS", ("decode",))
    hub = stub(monkeypatch)
    outcome = export("run=run", "format=torch_export", "push=me/model")
    assert outcome.code == 1
    assert outcome.error_lines == ["error: run/export: differs from the run by 1.0e-03, more than 0.0001"]
    assert hub.calls == []


class Hub(SimpleNamespace):
    """Stands for huggingface_hub: copies what is uploaded."""

    def __init__(self, folder: Path, token: str | None = "token", offline: bool = False) -> None:
        super().__init__(calls=[], constants=SimpleNamespace(HF_HUB_OFFLINE=offline), get_token=lambda: token)
        self.folder = folder

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> SimpleNamespace:
        shutil.copytree(folder_path, self.folder / repo_id)
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")


def stub(monkeypatch: pytest.MonkeyPatch, folder: Path = Path("hub"), **options: Any) -> Hub:
    hub = Hub(folder, **options)
    monkeypatch.setattr(push, "_hub", lambda repository: hub)
    return hub


def test_a_folder_makes_a_round_trip_through_a_hub(
    run: Path, export: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = stub(monkeypatch)
    outcome = export("run=run", "format=safetensors", "push=me/my-model", "private=false")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("uploaded to  hub/me/my-model/commit/1\n")
    assert hub.calls == [("me/my-model", {"private": False, "exist_ok": True})]
    downloaded = run.parent / "hub" / "me" / "my-model"
    assert (downloaded / "README.md").read_text().count("# my-model\n") == 1
    shutil.rmtree(run / "export")
    assert same_weights(downloaded, run)
    assert export(f"run={downloaded}", "format=safetensors", "out=again").code == 0
    assert same_weights(run.parent / "again", run)
    assert vae_lab.load_run("again").metrics == vae_lab.load_run(run).metrics


def test_mistakes_are_one_line_before_any_work(
    run: Path, export: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*words: str) -> str:
        outcome = export("run=run", *words)
        assert outcome.code == 1
        assert not (run / "export").exists()
        (line,) = outcome.error_lines
        return line.removeprefix("error: ")

    assert error("push=model") == "push=model: must be USER/NAME, a repository of the Hugging Face Hub"
    assert "format=tflite" in error("format=tflite")
    assert "out=run: exists already" in error("out=run")
    stub(monkeypatch, token=None)
    assert error("push=me/model").startswith("push=me/model: not logged in; hf auth login")
    stub(monkeypatch, offline=True)
    assert error("push=me/model").startswith("push=me/model: HF_HUB_OFFLINE is set")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert error("format=onnx") == "format=onnx needs onnxruntime; pip install 'vae-lab[export]'"


def test_an_export_is_there_only_once_it_is_whole(
    run: Path, export: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is killed leaves no half export, and a run that goes on deletes what it leaves."""
    whole, seen = writing.write_card, []

    def write_card(export: Export, *args: Any) -> None:
        whole(export, *args)
        seen.append((run / "export").exists())
        shutil.copytree(export.folder, run / ".export.99999.part")  # as a kill would leave it

    monkeypatch.setattr(writing, "write_card", write_card)
    outcome = export("run=run", "format=safetensors")
    assert outcome.code == 0, outcome.err
    assert seen == [False]
    assert (run / "export" / "README.md").is_file()
    assert f"written to   {Path('run') / 'export'}" in outcome.out
    remove_unfinished(run)
    assert not list(run.rglob(".*"))


def test_a_broken_file_of_weights_is_reported_in_one_line(run: Path, export: Callable[..., Outcome]) -> None:
    assert export("run=run", "format=safetensors", "out=copy").code == 0
    path = run.parent / "copy" / "model.safetensors"
    whole = path.read_bytes()
    for broken in (b"", whole[:100], whole[:-4], b"\xff" * 200):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="truncated, corrupt or no checkpoint"):
            vae_lab.load_run(path.parent)
    path.unlink()
    with pytest.raises(RunError, match="no checkpoint in"):
        vae_lab.load_run(path.parent)


def test_the_real_library_is_asked_for_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(RunError, match=r"push=user/name: (not logged in|HF_HUB_OFFLINE)"):
        push.check_push("user/name")
