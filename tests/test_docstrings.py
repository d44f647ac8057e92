"""Docstrings begin with a verb or with the name of the thing, so that the first word says what a reader gets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layers import ROOT, sources

FOLDERS = ["paxospp", "plugins", "examples", "tests"]
_INDIRECT = re.compile(r"(?:What|Whatever|Who|Whom|Whose|Whoever|That|Of)\b")


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those of fields and constants included."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_begins_with_an_indirect_question(folder: str) -> None:
    indirect = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for file in sources(folder)
        for line, text in docstrings(file)
        if _INDIRECT.match(text)
    ]
    assert indirect == []


def test_the_rule_itself(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""What a thing is."""\nX = 1\n"""The rest."""\n')

    assert [(line, bool(_INDIRECT.match(text))) for line, text in docstrings(file)] == [(1, True), (3, False)]
