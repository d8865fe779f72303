"""Writes the pages of the site to build/pages: the repository's Markdown, and a page for each file that it links to.

The folder has the layout of the repository, so that relative links work on GitHub and on the site. Only links to files
that are neither pages nor pictures change: they lead to a page that shows the file.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
PICTURES = (".png", ".svg", ".jpg")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "sh"}

_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")


def documents(root: Path) -> list[Path]:
    """Returns the Markdown files of the repository that are pages."""
    others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]
    return [root / name for name in others] + sorted((root / "docs").rglob("*.md"))


def write_pages(root: Path = ROOT, pages: Path = PAGES) -> None:
    """Writes all pages anew, with the pictures that they show and the files that they link to."""
    shutil.rmtree(pages, ignore_errors=True)
    for document in documents(root):
        text, linked = rewrite_links(document, root)
        _write(pages / document.relative_to(root), text)
        for path in linked:
            _show(path, root, pages)
    (pages / "README.md").rename(pages / "index.md")
    shutil.copyfile(Path(__file__).with_name("site.css"), pages / "site.css")


def rewrite_links(document: Path, root: Path) -> tuple[str, list[Path]]:
    """Returns the text of a page with the links of the site, and the files beside the pages that it links to."""
    linked: list[Path] = []

    def rewritten(match: re.Match[str]) -> str:
        relative, _, anchor = match[1].partition("#")
        target = (document.parent / relative).resolve()
        if re.match(r"[a-z]+:", relative) or not relative or not target.exists():
            return match[1]  # a broken link stays broken, which `mkdocs build --strict` reports
        if target == root / "README.md":
            return match[1].replace("README.md", "index.md")
        if target.suffix == ".md":
            return match[1]
        linked.append(target)
        if target.suffix in PICTURES:
            return match[1]
        return (f"{relative}/index.md" if target.is_dir() else f"{relative}.md") + (f"#{anchor}" if anchor else "")

    text = document.read_text(encoding="utf-8")
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(rewritten, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(rewritten, text[end:])]), linked


def _show(path: Path, root: Path, pages: Path) -> None:
    """Copies a picture, or writes a page that shows a file or lists a folder."""
    name = path.relative_to(root)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file()]
        rows = [f"- [{file.name}]({file.name if file.suffix == '.md' else file.name + '.md'})" for file in files]
        _write(pages / name / "index.md", f"# {name}\n\n" + "\n".join(rows) + "\n")
        for file in files:
            if file.suffix != ".md":
                _show(file, root, pages)
    elif path.suffix in PICTURES:
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, pages / name)
    else:
        code = path.read_text(encoding="utf-8").rstrip()
        language = LANGUAGES.get(path.suffix, "text")
        _write(pages / f"{name}.md", f'# {name}\n\n````{language} linenums="1"\n{code}\n````\n')


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages()
