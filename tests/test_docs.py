"""Tests the documents: links lead somewhere, the code that they name exists, and the code that they show runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import itertools
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import FAST, trained_run
from omegaconf import DictConfig

import vae_lab
from vae_lab.cli import compose
from vae_lab.cli.check import check_config

ROOT = Path(__file__).resolve().parents[1]
THEORY, COMMANDS = ROOT / "docs" / "theory.md", ROOT / "docs" / "commands.md"
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCUMENTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks/README.md", README, CONTRIBUTING]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
SOURCE = re.compile(r"""<(?:img|a)\b[^>]*?\b(?:src|href)=["']([^"']+)["']""")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
MATH = re.compile(r"\$\$.+?\$\$|\$[^$]+?\$", re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language, their indentation taken off."""
    return [inspect.cleandoc(body) + "\n" for _, name, body in FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    return FENCE.sub("", text)


# Links.


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defines(body: list[ast.stmt], names: list[str]) -> bool:
    """True if the body of a module or a class has the dotted name: functions, classes and attributes alike."""
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        is_value = any(isinstance(target, ast.Name) and target.id == names[0] for target in targets)
        if len(names) == 1 and (is_value or getattr(node, "name", None) == names[0]):
            return True
        if len(names) > 1 and isinstance(node, ast.ClassDef) and node.name == names[0]:
            return defines(node.body, names[1:])
    return False


def named_objects(label: str, target: str) -> list[str]:
    """The dotted names in backticks in a link's text; a file's own name is none."""
    codes = [re.sub(r"\(.*\)$", "", code) for code in re.findall(r"`([^`]+)`", label)]
    return [code for code in codes if IDENTIFIER.fullmatch(code) and not target.endswith(code)]


def broken_links(path: Path) -> Iterator[str]:
    """Yields what is wrong with the links and pictures of a page."""
    text = prose(path.read_text(encoding="utf-8"))
    links = [*LINK.findall(text), *(("", source) for source in SOURCE.findall(text))]
    for label, url in links:
        if re.match(r"[a-z]+:", url):
            continue
        relative, _, anchor = url.partition("#")
        target = path.parent / relative if relative else path
        if not target.exists():
            yield f"{url}: no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{url}: no such heading"
        elif target.suffix == ".py":
            body = ast.parse(target.read_text(encoding="utf-8")).body
            yield from (f"{url}: no {name}" for name in named_objects(label, url) if not defines(body, name.split(".")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_headings_and_objects(path: Path) -> None:
    assert list(broken_links(path)) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[`LatentLevel.kl`](elbo.py) [`Plain`](elbo.py) [`LIMIT`](elbo.py) [`LatentLevel.z`](elbo.py)", []),
        ("[`elbo.py`](elbo.py) [words](elbo.py) [out](https://example.org/x.py)", []),
        ("[here](#a-heading-kl-1)\n\n# A heading: KL 1\n", []),
        ("[`LatentLevel.lk`](elbo.py)", ["elbo.py: no LatentLevel.lk"]),
        ("[`LatentLevels.kl`](elbo.py)", ["elbo.py: no LatentLevels.kl"]),
        ("[`kl`](elbo.py)", ["elbo.py: no kl"]),
        ("[`LatentLevel.kl()` and `Other`](elbo.py)", ["elbo.py: no Other"]),
        ("[`LatentLevel`](core/elbo.py)", ["core/elbo.py: no such file"]),
        ("![a picture](a.png) <img width=3 src='b.png'>", ["a.png: no such file", "b.png: no such file"]),
        ("[x](#nowhere)", ["#nowhere: no such heading"]),
        (r"$\log w [a](b)$", ["b: no such file"]),
        ("```python\n[`kl`](elbo.py)\n# nowhere\n```\n", []),
    ],
)
def test_the_check_of_links_sees(tmp_path: Path, text: str, wrong: list[str]) -> None:
    (tmp_path / "elbo.py").write_text(
        "LIMIT = 1\nclass LatentLevel:\n    z: int\n    def kl(self): ...\ndef Plain(): ...\n"
    )
    page = tmp_path / "page.md"
    page.write_text(text)
    assert list(broken_links(page)) == wrong


def test_the_theory_names_its_code() -> None:
    links = LINK.findall(prose(THEORY.read_text(encoding="utf-8")))
    named = [name for label, url in links if url.endswith(".py") for name in named_objects(label, url)]
    essential = {"LatentLevel.kl", "ElboTerms.log_weight", "precision_merge", "Elbo.loss", "LevelsLogistic.log_prob"}
    assert essential <= set(named)
    sections = re.split(r"^## ", THEORY.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for section in sections[:18]:
        assert "src/vae_lab/" in section or "tests/" in section, section.splitlines()[0]


# Mathematics.


def unsafe_mathematics(text: str) -> list[str]:
    """Formulas that Markdown mangles: it eats a backslash before punctuation, and makes a list of lines with a sign."""
    return [formula for formula in MATH.findall(prose(text)) if re.search(r"\\[^A-Za-z]|\*|\n *[-+>#] ", formula)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_formulas_survive_markdown(path: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", prose(path.read_text(encoding="utf-8")))
    assert text.count("$") % 2 == 0
    assert unsafe_mathematics(text) == []


@pytest.mark.parametrize("formula", [r"$\{a\}$", r"$$a \\ b$$", r"$a\,b$", "$x^*$", "$$a\n+ b$$", "$$a\n  - b$$"])
def test_the_check_of_formulas_sees(formula: str) -> None:
    assert unsafe_mathematics(rf"Well: $\frac{{a}}{{b}}$ and {formula}.") == [formula]


def test_braces_of_formulas_match() -> None:
    formulas = MATH.findall(prose(THEORY.read_text(encoding="utf-8")))
    assert len(formulas) > 200
    for formula in formulas:
        assert formula.count("{") == formula.count("}"), formula
        assert formula.count(r"\left") - formula.count(r"\leftarrow") == formula.count(r"\right"), formula


# Python and commands.


@pytest.mark.parametrize("path", [THEORY, CONTRIBUTING], ids=lambda path: path.name)
def test_python_compiles(path: Path) -> None:
    found = blocks(path.read_text(encoding="utf-8"), "python")
    assert len(found) >= 4
    for block in found:
        examples = doctest.DocTestParser().get_examples(block)
        for source in [example.source for example in examples] or [block]:
            compile(source, path.name, "exec")


def run_examples(text: str) -> tuple[int, int]:
    """Runs the `>>>` examples of a page in order, in one namespace: how many failed, of how many."""
    page = "\n".join(blocks(text, "python"))
    test = doctest.DocTestParser().get_doctest(page, {}, "theory", None, 0)
    result = doctest.DocTestRunner(verbose=False).run(test)
    return result.failed, result.attempted


def test_the_examples_of_the_theory_hold() -> None:
    failed, attempted = run_examples(THEORY.read_text(encoding="utf-8"))
    assert attempted > 20
    assert failed == 0


@pytest.mark.parametrize(("right", "wrong"), [("2 / 3, 2 / 3", "2 / 3, 2 / 4"), ("evidence + 0.08", "evidence + 0.1")])
def test_a_wrong_example_is_seen(right: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = THEORY.read_text(encoding="utf-8")
    assert text.count(right) == 1
    assert run_examples(text.replace(right, wrong))[0] > 0


def commands(text: str) -> list[list[str]]:
    """The words after `python -m vae_lab.train`, of each line of each shell block; a sweep's values one by one."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines() if "python -m vae_lab.train" in line]
    found: list[list[str]] = []
    for line in lines:
        words = shlex.split(line, comments=True)[3:]
        if "-m" not in words:
            found.append(words)
            continue
        swept = [values(word) for word in words if word != "-m"]
        found += [list(choice) for choice in itertools.product(*swept)]
    return found


def values(word: str) -> list[str]:
    """`key=1,2` as `key=1` and `key=2`; a list is one value."""
    key, _, value = word.partition("=")
    return [word] if value.startswith("[") else [f"{key}={one}" for one in value.split(",")]


def composed(*overrides: str) -> DictConfig:
    with compose.composed("name=test", *overrides) as composition:
        return composition.cfg


def test_the_exercises_are_valid_commands() -> None:
    found = commands(THEORY.read_text(encoding="utf-8"))
    assert len(found) > 20
    for words in found:
        check_config(composed(*words))


def test_a_sweep_is_read_value_by_value() -> None:
    text = "```bash\npython -m vae_lab.train -m a=1,2 b=[3,4]  # why\npython -m vae_lab.train c=5,6\n```\n"
    assert commands(text) == [["a=1", "b=[3,4]"], ["a=2", "b=[3,4]"], ["c=5,6"]]


# docs/commands.md and README.md.


def sections(text: str) -> dict[str, str]:
    """The second-level sections of a page by title."""
    parts = re.split(r"^## +(.+)$", prose(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def key_table(text: str) -> dict[str, str]:
    """Each key that a table lists with its default, as they are typed."""
    return dict(re.findall(r"^\| `([\w.]+)` \| (?:`([^`]*)`)? *\| ", text, re.MULTILINE))


def own_keys(command: str) -> dict[str, Any]:
    """The keys of a command's YAML that belong to no group, dotted, with their defaults."""
    tree = yaml.safe_load((ROOT / "configs" / f"{command}.yaml").read_text(encoding="utf-8"))
    nested = {key: value for key, value in tree.items() if key not in ("defaults", "hydra")}
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
    return found


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "encode", "explore", "export", "reproduce"])
def test_every_key_of_a_command_is_explained_with_its_default(command: str) -> None:
    documented = key_table(sections(COMMANDS.read_text(encoding="utf-8"))[command.capitalize()])
    keys = own_keys(command)
    assert set(keys) <= set(documented)
    for key, default in keys.items():
        if not isinstance(default, str) or default.isidentifier():  # neither ??? nor ${...}
            assert yaml.safe_load(documented[key]) == default, key


def test_every_group_is_explained_with_its_options() -> None:
    text = sections(COMMANDS.read_text(encoding="utf-8"))["Train"]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))
    for folder in (path for path in (ROOT / "configs").iterdir() if path.is_dir()):
        options = {file.stem for file in folder.glob("*.yaml")}
        assert options <= set(re.findall(r"`(\w+)`", rows[folder.name])), folder.name


@pytest.mark.parametrize("page", [README, COMMANDS], ids=lambda path: path.name)
def test_the_shown_commands_are_valid(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.sub(r"^\|.*?`(python -m [^`]+)`.*$", r"```bash\n\1\n```", text, flags=re.MULTILINE).replace(
        "```sh", "```bash"
    )
    shown = "\n".join(line for line in shown.splitlines() if "search=" not in line)
    found = [[word for word in words if not word.startswith("launcher=")] for words in commands(shown)]
    assert len(found) > 10
    for words in found:
        check_config(composed(*words))


def test_the_notebook_lines_of_the_readme_run(train: Callable[..., Any]) -> None:
    (block,) = blocks(README.read_text(encoding="utf-8"), "python")
    (run,) = re.findall(r'load_run\("(.+?)"\)', block)
    assert train(*FAST, "model=cvae", f"hydra.run.dir={run}").code == 0
    names: dict[str, Any] = {}
    exec(compile(block, README.name, "exec"), names)  # the code that a reader pastes
    assert names["x"].shape == (20, 1, 28, 28)
    assert names["code"].mean.shape == names["code"].scale.shape == (20, 10)


# The worked examples of CONTRIBUTING.md: as if somebody had followed it.


def example_files() -> dict[str, str]:
    """Path -> text of every block that begins with its own path in a comment."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    found = blocks(text, "python") + blocks(text, "yaml")
    return {block.splitlines()[0].removeprefix("# "): block for block in found}


EXAMPLES = {
    "laplace": ["likelihood=laplace", "data.binarization=none"],
    "renyi": ["objective=renyi"],
    "geco": ["objective=geco"],
    "linear": ["model=linear", "likelihood=gaussian", "data.binarization=none"],
    "mean_field": ["model=mean_field", "model.latent_dims=[32,8]"],
    "bars": ["data=bars"],
}


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the example files, where `import vae_lab.<package>.<example>` finds them."""
    for name, text in example_files().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    before = set(sys.modules)
    for folder in (tmp_path / "src" / "vae_lab").iterdir():
        package = importlib.import_module(f"{vae_lab.__name__}.{folder.name}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("vae_lab.") and name.rpartition(".")[2] in EXAMPLES:
            package_name, _, attribute = name.rpartition(".")
            delattr(sys.modules[package_name], attribute)
            del sys.modules[name]


def test_each_example_is_a_file_a_yaml_and_a_test() -> None:
    files = example_files()
    assert len(files) == 3 * len(EXAMPLES)
    for name in EXAMPLES:
        of_example = sorted(file.split("/")[0] for file in files if name in file)
        assert of_example == ["configs", "src", "tests"], name
    assert not [file for file in files if (ROOT / file).exists()], "an example may not be named as a file of the lab"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_test_of_an_example_passes(followed: Path, name: str) -> None:
    (file,) = (followed / "tests").rglob(f"test_{name}*.py")
    spec = importlib.util.spec_from_file_location(f"example_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    assert tests
    for test in tests:
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        if not marks:
            test()
        for mark in marks:
            argument, values = mark.args
            for value in values:
                test(**{argument: value})


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_built_from_the_command_line(followed: Path, name: str) -> None:
    searched = f"hydra.searchpath=[file://{followed / 'configs'}]"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is not a density.*")
        run = vae_lab.compose(searched, "trainer=cpu", *EXAMPLES[name])
    target = yaml.safe_load(next((followed / "configs").rglob(f"{name}.yaml")).read_text())
    path = str(target.get("_target_") or target["images"]["_target_"])
    owner = {
        "laplace": run.module.model.likelihood.head,
        "renyi": run.module.objective,
        "geco": run.module.objective,
        "linear": run.module.model,
        "mean_field": run.module.model,
        "bars": run.data.images,
    }[name]
    assert f"{type(owner).__module__}.{type(owner).__name__}" == path


def test_the_commands_of_the_examples_are_valid(followed: Path) -> None:
    found = commands(CONTRIBUTING.read_text(encoding="utf-8"))
    assert len(found) == len(EXAMPLES)
    for words in found:
        check_config(composed(f"hydra.searchpath=[file://{followed / 'configs'}]", *words))


# How-tos for Python.


def test_the_how_to_for_python_runs(tmp_path: Path) -> None:
    folder = trained_run(tmp_path / "run", *FAST, "model=cvae")
    page = "\n".join(blocks((ROOT / "docs" / "howto_python.md").read_text(encoding="utf-8"), "python"))
    names = {"folder": str(folder), "new_folder": str(tmp_path / "new")}
    test = doctest.DocTestParser().get_doctest(page, names, "howto_python", None, 0)
    result = doctest.DocTestRunner(verbose=False).run(test)
    assert (result.failed, result.attempted > 8) == (0, True)


def test_the_how_to_for_conditions_runs(tmp_path: Path) -> None:
    page = "\n".join(blocks((ROOT / "docs" / "howto_conditions.md").read_text(encoding="utf-8"), "python"))
    test = doctest.DocTestParser().get_doctest(page, {"new_folder": str(tmp_path / "new")}, "howto_conditions", None, 0)
    result = doctest.DocTestRunner(verbose=False).run(test)
    assert (result.failed, result.attempted) == (0, 9)


def test_the_how_to_for_cells_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    assert run_examples((ROOT / "docs" / "howto_tables.md").read_text(encoding="utf-8")) == (0, 7)


def test_the_how_to_for_lightning_runs() -> None:
    text = (ROOT / "docs" / "howto_lightning.md").read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning's, on workers
        assert run_examples(text) == (0, 20)


def test_the_how_to_for_scikit_learn_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, attempted = run_examples((ROOT / "docs" / "howto_sklearn.md").read_text(encoding="utf-8"))
    assert (failed, attempted) == (0, 16)
    assert not list(tmp_path.iterdir())
