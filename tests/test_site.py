"""Tests the site: links lead to pages and formulas become MathML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from website.pages import ROOT, documents, write_pages


def written(root: Path, **pages: str) -> Path:
    """Writes a small repository and its pages: the folder of the pages."""
    texts = dict.fromkeys(("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"), "")
    texts |= {
        "src/code.py": "x = 1  # [no](link.py)\n",
        "configs/a.yaml": "a: 1\n",
        "docs/a.png": "",
    }
    for name, text in (texts | {name.replace("__", "/") + ".md": text for name, text in pages.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    write_pages(root, root / "build" / "pages")
    return root / "build" / "pages"


@pytest.mark.parametrize(
    ("link", "on_the_site"),
    [
        ("[`x`](../src/code.py)", "[`x`](../src/code.py.md)"),
        ("[x](../src/code.py#L1)", "[x](../src/code.py.md#L1)"),
        ("[all](../configs)", "[all](../configs/index.md)"),
        ("[up](../CHANGELOG.md#b)", "[up](../CHANGELOG.md#b)"),
        ("[home](../README.md#install)", "[home](../index.md#install)"),
        (
            "![a](a.png) [out](https://example.org/x.py) [here](#x)",
            "![a](a.png) [out](https://example.org/x.py) [here](#x)",
        ),
        ("[broken](../src/none.py)", "[broken](../src/none.py)"),
        ("```\n[code](../src/code.py)\n```", "```\n[code](../src/code.py)\n```"),
    ],
)
def test_links_lead_to_pages(tmp_path: Path, link: str, on_the_site: str) -> None:
    pages = written(tmp_path, docs__page=f"# Page\n\n{link}\n")
    assert (pages / "docs" / "page.md").read_text() == f"# Page\n\n{on_the_site}\n"


def test_a_page_shows_the_file_that_is_linked_to(tmp_path: Path) -> None:
    pages = written(tmp_path, README="[code](src/code.py), [configs](configs)\n")
    assert 'linenums="1"\nx = 1  # [no](link.py)\n````' in (pages / "src" / "code.py.md").read_text()
    assert (pages / "configs" / "index.md").read_text() == "# configs\n\n- [a.yaml](a.yaml.md)\n"
    assert (pages / "index.md").read_text() == "[code](src/code.py.md), [configs](configs/index.md)\n"


def test_formulas_become_mathml() -> None:
    pytest.importorskip("math_core")
    from markdown import Markdown

    convert = Markdown(extensions=["website.mathematics", "tables"]).convert
    assert "<msub><mi>z</mi><mn>1</mn></msub>" in convert("The level $z_1$ and `$x$`.")
    assert "<code>$x$</code>" in convert("The level $z_1$ and `$x$`.")
    assert '<span class="formula"><math display="block">' in convert("so\n\n$$ a\n= b_1 . $$\n")
    with pytest.raises(Exception, match="nosuch"):
        convert(r"$\nosuch{a}$")


def test_every_document_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/.]+\.md", json.dumps(config["nav"]))) | {"README.md", "docs/results/notes.md"}
    assert {str(path.relative_to(ROOT)) for path in documents(ROOT)} == listed - {"index.md"}
