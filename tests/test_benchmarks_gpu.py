"""`python -m benchmarks.gpu` without a GPU: it ends in time, keeps what it has, and its checks can fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import bare, gpu, gpu_correctness, gpu_report, gpu_rows, gpu_speed, loops, pack, program, tables
from benchmarks.bench import Bench, Part
from vae_lab import noise
from vae_lab.data import ImageDataModule
from vae_lab.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def bench_of(limit: float = 60.0, tiny: bool = True) -> Bench:
    end = time.monotonic() + limit
    return Bench(CPU, tiny, lambda: end - time.monotonic())


# The driver.


def fails(bench: Bench) -> dict[str, Any]:
    raise ValueError("no\nluck")


def test_a_part_that_fails_is_recorded_and_the_next_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gpu.json"
    seen = []

    def looks(bench: Bench) -> dict[str, Any]:
        seen.append(json.loads(out.read_text())["parts"])  # what a run that is killed here leaves
        return {"holds": True}

    parts = [Part("broken", "speed", 1, fails), Part("leaves", "speed", 1, lambda _: sys.exit(3))]
    found = gpu.measure([*parts, Part("good", "speed", 1, looks)], bench_of(), out, 60, commit="abc-changed")
    assert list(seen[0]) == ["broken", "leaves"]
    assert seen[0]["broken"]["error"] == "ValueError: no luck"
    assert 'raise ValueError("no\\nluck")' in seen[0]["broken"]["traceback"]
    assert seen[0]["leaves"]["error"] == "SystemExit: 3"
    assert json.loads(out.read_text()) == found
    assert found["parts"]["good"]["status"] == "done"
    assert found["git"] == {"commit": "abc-changed", "changed": True}
    assert {"machine", "versions", "seconds", "device"} <= set(found)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert not gpu.went_well(found)


def test_it_ends_in_time(tmp_path: Path) -> None:
    def long(bench: Bench) -> dict[str, Any]:
        try:
            time.sleep(30)
        except Exception:  # as of a compiler that falls back
            time.sleep(30)
        return {}

    parts = [Part("late", "speed", -60, long), Part("none_left", "speed", 1, long)]  # -60: begins however late it is
    found = gpu.measure(parts, bench_of(1.2, tiny=False), tmp_path / "gpu.json", 1.2)["parts"]
    assert found["late"]["seconds"] < 30
    assert found["late"]["error"] == "the limit was reached within this part"
    assert found["none_left"]["status"] == "skipped"
    assert "needs about 1 s" in found["none_left"]["reason"]


def test_a_check_that_does_not_hold_is_no_success() -> None:
    for holds in (True, False):
        part = {"status": "done", "result": {"holds": holds}, "seconds": 1}
        assert gpu.went_well({"parts": {"golden": part}}) is holds
        assert ("DOES NOT HOLD" in gpu.summary(part)) is not holds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "rows", "gold"], "--only gold: no such part; choose from burda"),
        (["--device", "cuda"], "--device cuda: PyTorch sees no GPU"),
        (["--write", "nowhere.json"], "--write nowhere.json: "),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_mistakes_are_told_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        gpu.main(words)


def test_parts_are_chosen_by_name_and_group() -> None:
    assert [part.name for part in gpu.chosen(["rows", "golden"])] == ["golden", *(row.record for row in gpu_rows.ROWS)]
    assert len({part.name for part in gpu.PARTS}) == len(gpu.PARTS)
    assert {row.record for row in gpu_rows.ROWS} <= set(gpu_rows.published())


# The checks.


def test_losses_agree_and_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_correctness, "MODELS", {"vae": gpu_correctness.MODELS["vae"]})
    assert gpu_correctness.golden(bench_of())["holds"]
    seeds = iter((0, 1))
    from_host = noise.from_host
    monkeypatch.setattr(noise, "from_host", lambda _: from_host(next(seeds)))
    assert not gpu_correctness.golden(bench_of())["holds"]


@pytest.mark.filterwarnings("ignore")
def test_places_that_wait_for_the_device_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*bench_of().trainer(), *gpu_correctness.QUIET, "network.widths=[16]", "data.batch_size=20")
    words = (*words, "trainer.max_steps=12", "trainer.limit_val_batches=1")
    with gpu_correctness.watched_steps() as found:
        program.fitted(*words)
    assert found == {"steps": 12 - gpu_correctness.SETTLED, "waits": []}

    hook = ImageDataModule.on_after_batch_transfer

    def waits(*args: Any) -> Any:
        warnings.warn("does not yet detect all synchronizing operations", stacklevel=1)  # said by PyTorch at the start
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return hook(*args)

    monkeypatch.setattr(ImageDataModule, "on_after_batch_transfer", waits)
    with gpu_correctness.watched_steps() as found:
        program.fitted(*words)
    assert len(found["waits"]) == 12 - gpu_correctness.SETTLED
    assert found["waits"][0].startswith("test_benchmarks_gpu.py:")


def test_what_needs_a_gpu_says_so() -> None:
    for part in (gpu_correctness.waits, gpu_correctness.residence):
        assert "not_applicable" in part(bench_of())


def test_a_row_is_as_long_as_there_is_time() -> None:
    assert gpu_rows.Trial(batches=500, seconds=0.5).epochs(60) == 120
    assert gpu_rows.Trial(batches=500, seconds=100).epochs(60) == 1
    words = ("experiment=gated_vae",)  # a warm-up of 50,000 steps
    assert gpu_rows.length_words(words, 60, 500) == ("trainer.max_epochs=60", "warmup.steps=7500")
    assert gpu_rows.length_words(words, 2000, 500) == ("trainer.max_epochs=2000",)
    assert gpu_rows.length_words(("experiment=burda_vae",), 60, 500) == ("trainer.max_epochs=60",)


# The bare loops.


class FakeGraph:
    """A graph that does the captured work by hand."""

    work: Any = None

    def replay(self) -> None:
        FakeGraph.work()


@pytest.mark.parametrize("bf16", [False, True])
def test_a_graph_trains_as_the_eager_loop_does(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    class Stream:
        def wait_stream(self, other: object) -> None:
            pass

    @contextmanager
    def capture(graph: FakeGraph) -> Any:
        assert all(parameter.grad is None for parameter in network.parameters())
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    adam = torch.optim.Adam
    asked = {}

    def on_cpu(parameters: Any, capturable: bool = False, **options: Any) -> Any:  # which knows no capturable Adam
        asked.update(options, capturable=capturable)
        return adam(parameters, **options)

    monkeypatch.setattr(torch.optim, "Adam", on_cpu)
    images = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
    network = bare.NETWORKS["mlp"]()
    graphed = loops.Graphed(network, images, 8, bf16)
    assert asked == {"lr": 1e-3, "fused": True, "capturable": True}
    steps = []

    def replay() -> None:
        graphed.optimizer.zero_grad()
        graphed.step()
        steps.append(graphed.rows.clone())

    monkeypatch.setattr(FakeGraph, "work", replay)
    before = [parameter.clone() for parameter in network.parameters()]
    graphed(4)
    assert len(torch.cat(steps).unique()) == 4 * 8
    assert not any(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    steps.clear()
    graphed(100)
    assert len(steps) == 50 // 8


def test_passes_become_speeds_and_ratios() -> None:
    found = gpu_speed.of_passes([(2.0, 1.0, 4.0), (2.0, 2.0, 4.0), (2.0, 3.0, 4.0)], ["eager", "cuda_graph"], 128)
    assert found["images_per_second"] == {"vae_lab": 64, "eager": 64, "cuda_graph": 32}
    assert found["ratio_to"]["eager"][1] == 1
    assert found["ratio_to"]["cuda_graph"] == (2, 2, 2)


# The documents.


def measured() -> dict[str, Any]:
    """The JSON of a run on a GPU, with invented numbers."""
    trained = {
        "images_per_second": {"vae_lab": 9e5, "eager": 5e5, "cuda_graph": 1e6},
        "ratio_to": {"eager": [1.7, 1.8, 1.9], "cuda_graph": [0.8, 0.9, 1.0]},
        "peak_bytes": 3e7,
        "compile_seconds": 20.0,
    }
    training = {"name": "784-256-2, batch 128", "precision": "32-true", "compile": {"graph": trained, "false": trained}}
    errors = {"vae": {"first_loss": 1e-8, "losses": 2e-7, "gradient": 3e-6}}
    bounds = {"first_loss": 1e-6, "losses": 1e-5, "gradient": 1e-4}
    golden = {"holds": True, "bounds": bounds, "relative_errors": errors}
    record = json.loads((ROOT / "docs/results/burda_vae.json").read_text())
    row = {"record": record | {"nll": 85.0}, "epochs": 100, "published_epochs": 3280}

    def done(group: str, result: dict[str, Any]) -> dict[str, Any]:
        return {"group": group, "status": "done", "result": result, "seconds": 1.0}

    parts = {
        "golden": done("correctness", golden),
        "waits": done("correctness", {"holds": False, "settings": {"vae": {"steps": 3, "waits": ["a.py:1"]}}}),
        "fp16": {"group": "correctness", "status": "failed", "error": "ValueError: no luck", "seconds": 1.0},
        "mlp_128": done("speed", training),
        "conv": {"group": "speed", "status": "skipped", "reason": "needs about 45 s, 3 s are left", "seconds": 0.0},
        "burda_iwae_50": done("rows", row),
        "burda_vae": done("rows", row | {"record": record | {"nll": 99.0}}),  # worse than the one that is kept
    }
    of_run = {"device": "cuda", "tiny": False, "started": "2026-01-02T03:04:05", "seconds": 500.0, "parts": parts}
    return record | of_run | {"git": {"commit": "0123456789abcdef", "changed": False}}


@pytest.fixture
def documents(tmp_path: Path) -> tuple[Path, Path]:
    """Copies of docs/performance.md and docs/results."""
    page = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs/performance.md", page)
    shutil.copytree(ROOT / "docs/results", tmp_path / "results")
    return page, tmp_path / "results"


def write(found: dict[str, Any], folder: Path, documents: tuple[Path, Path]) -> None:
    path = folder / "gpu.json"
    path.write_text(json.dumps(found))
    gpu_report.write(path, *documents)


def test_measurements_go_into_the_documents(tmp_path: Path, documents: tuple[Path, Path], capsys: Any) -> None:
    page, results = documents
    before = page.read_text()
    write(measured(), tmp_path, documents)
    text = page.read_text()
    assert "Not measured" not in text.partition("## GPU")[2]
    assert text.partition("## GPU")[0] == before.partition("## GPU")[0]
    assert text.endswith(before.partition("## GPU")[2].partition("<!-- end of measured -->")[2])
    assert (
        "| 784-256-2, batch 128 | 32-true | 500,000 | 1,000,000 | 900,000 |  | 900,000 | 0.90 (0.80 to 1.00) |" in text
    )
    assert "| conv | not measured (skipped: needs about 45 s, 3 s are left) |" in text
    assert "| fp16 | not measured (failed: ValueError: no luck) |" in text
    assert "first loss | 1.0e-08 | 1e-06 | yes |" in text
    assert "| vae: a.py:1 |  | no |" in text
    assert "commit 0123456789ab; 2026-01-02" in text

    record = json.loads((results / "burda_iwae_50.json").read_text())
    assert (record["nll"], record["git"]["commit"]) == (85.0, "0123456789abcdef")
    assert json.loads((results / "burda_vae.json").read_text())["nll"] != 99.0
    assert "burda_iwae objective.num_samples=50` | 84.78" in results.with_suffix(".md").read_text()
    assert "burda_iwae_50: schedule: 100 epochs of 3280 (shortened)" in capsys.readouterr().out


def test_a_row_that_must_be_explained_leaves_the_results_alone(tmp_path: Path, documents: tuple[Path, Path]) -> None:
    found = measured()
    found["parts"]["burda_iwae_50"]["result"]["record"]["nll"] = 90.0
    with pytest.raises(RunError, match=r"burda_iwae_50: 5\.22 nats worse"):
        write(found, tmp_path, documents)
    assert not (documents[1] / "burda_iwae_50.json").exists()


@pytest.mark.parametrize("wrong", [{"tiny": True}, {"device": "cpu"}])
def test_what_measures_nothing_is_not_written(
    tmp_path: Path, documents: tuple[Path, Path], wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="not written into documents"):
        write(measured() | wrong, tmp_path, documents)
    assert documents[0].read_text() == (ROOT / "docs/performance.md").read_text()


def test_tables_that_were_not_measured_again_stay(documents: tuple[Path, Path]) -> None:
    page, _ = documents
    tables.write_sections("benchmarks.speed", [tables.Section("Start-up", ("command",), [("new",)])], "here", page)
    text = page.read_text()
    assert "| new |\n\nhere" in text
    assert "import torch, pytorch_lightning |" not in text
    assert "### A set that stays on disk" in text
    assert text.count("<!-- end of measured -->") == 2
    with pytest.raises(ValueError, match="has no line"):
        tables.write_sections("benchmarks.other", [], "here", page)


# What is carried.


def test_the_pack_follows_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [line.partition(">")[0] for line in pack.requirements()] == list(pack.LACKING)
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    for name in names:
        (raw / f"{name}-ubyte").write_bytes(b"content")
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(pack, "pip", lambda *words: said.append(words))
    folder = tmp_path / "packed"
    for _ in range(2):  # it is made anew
        pack.pack(folder, "3.12", str(tmp_path / "data"))
    assert sorted(path.name for path in folder.rglob("*.gz")) == sorted(f"{name}-ubyte.gz" for name in names)
    assert any("--python-version=3.12" in words and "pythae==0.1.2" in words for words in said)
    assert (folder / ".gitignore").read_text() == "*\n"
    assert "--only-binary=:all:" in said[1]

    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(SystemExit, match=r"was not made by benchmarks\.pack"):
        pack.pack(other, "3.12", "data")
    monkeypatch.setattr(pack, "LARGEST", 10)
    with pytest.raises(SystemExit, match="are too much"):
        pack.pack(folder, "3.12", str(tmp_path / "data"))


def test_the_page_shows_the_command_that_the_pack_prints() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    shown = next(line for line in page.splitlines() if line.startswith("python3 -m pip install"))
    printed = pack.command(".gpu")
    commit = printed.partition("--commit ")[2].partition(" ")[0]
    assert shown == printed.replace(commit, "COMMIT")


@pytest.mark.slow
def test_everything_runs_in_tiny_sizes(tmp_path: Path) -> None:
    words = (sys.executable, "-m", "benchmarks.gpu", "--tiny", "--device", "cpu", "--out", str(tmp_path / "gpu.json"))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == [part.name for part in gpu.PARTS]
    assert {part["status"] for part in parts.values()} <= {"done", "not applicable"}
    assert parts["burda_iwae_50"]["result"]["record"]["checkpoint"] == "last.ckpt"
