"""A Markdown extension that writes formulas between dollar signs as MathML, which browsers draw without JavaScript."""

from __future__ import annotations

import re

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from math_core import LatexToMathML

_FORMULA = r"\$\$(.+?)\$\$|\$([^$]+?)\$"
_AFTER_CODE_BEFORE_ESCAPES = 185  # priorities of Python-Markdown: 190 and 180


class Formula(InlineProcessor):
    """Replaces `$...$` and `$$...$$`; a formula that cannot be read stops the build with math_core's error."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802 (Markdown's name)
        """Returns a placeholder of the MathML, and the range of the text that it replaces."""
        displayed = m[1] is not None
        mathml = LatexToMathML().convert_with_local_state(m[1] or m[2], displaystyle=displayed)
        html = f'<span class="formula">{mathml}</span>' if displayed else mathml
        return self.md.htmlStash.store(html), m.start(0), m.end(0)


class Formulas(Extension):
    """Adds `Formula` to a Markdown converter."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Markdown's name)
        """Registers the pattern."""
        md.inlinePatterns.register(Formula(_FORMULA, md), "formula", _AFTER_CODE_BEFORE_ESCAPES)


def makeExtension(**_: object) -> Formulas:  # noqa: N802 (Markdown's name)
    """Returns the extension; Markdown calls this function by its name."""
    return Formulas()
