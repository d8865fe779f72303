"""Runs the tutorials and writes each as a page with its outputs: `make tutorials`, or `ARGS=first_vae` for one.

A tutorial is a script in jupytext's percent format, docs/tutorials/NAME.py; its page is NAME.md beside it, with the
pictures NAME_*.png. Pages are committed, because running all tutorials takes minutes; a test compares their text.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
_MAX_SECONDS = 600


def render(script: Path) -> None:
    """Runs a tutorial in an empty folder, and writes its page and pictures."""
    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as folder:
        ExecutePreprocessor(timeout=_MAX_SECONDS).preprocess(notebook, {"metadata": {"path": folder}})
    write_page(notebook, script)


def write_page(notebook: nbformat.NotebookNode, script: Path) -> None:
    """Writes the page of a notebook that has run, in place of the page and the pictures that there are."""
    for picture in script.parent.glob(f"{script.stem}_*.png"):
        picture.unlink()
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(notebook, {"unique_key": script.stem, "output_files_dir": ""})
    for name, picture in resources["outputs"].items():
        (script.parent / name).write_bytes(picture)
    text = text.replace("![png](", "![output of the code above](")
    source = f"\n\nThis page is the script [{script.name}]({script.name}) with its outputs.\n"
    script.with_suffix(".md").write_text(text.rstrip() + source, encoding="utf-8")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or sorted(path.stem for path in TUTORIALS.glob("*.py")):
        render(TUTORIALS / f"{chosen}.py")
