"""Every marker in the code under test, read from its source, so that a marker that is never reached is listed too.

A marker is a literal at the place where it is reported (see ``paxospp.engine.rules.observer``). It may be chosen by a
conditional expression, or looked up in a dictionary of the same module; anything else would hide it and is an error.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import paxospp

WATCHED = ("engine", "execution", "sessions", "node")
"""The packages that report markers."""


class HiddenMarkerError(ValueError):
    """A call of ``reached`` whose markers cannot be read from the source."""


@cache
def known_markers() -> frozenset[str]:
    """Return every marker that the watched packages can report. Raises HiddenMarkerError."""
    root = Path(paxospp.__file__).parent
    files = (file for package in WATCHED for file in sorted((root / package).rglob("*.py")))
    return frozenset(marker for file in files for marker in markers_in(file.read_text("utf-8"), file.name))


def markers_in(source: str, name: str) -> Iterator[str]:
    """Yield the markers that one module reports; ``name`` is for errors. Raises HiddenMarkerError."""
    tree = ast.parse(source)
    tables = dict(_tables(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _reports(node.func):
            for argument in node.args:
                yield from _literals(argument, tables, f"{name}:{node.lineno}")


def _reports(function: ast.expr) -> bool:
    """Return whether this is a call of ``observer.reached`` or ``self._observer.reached``."""
    if not isinstance(function, ast.Attribute) or function.attr != "reached":
        return False
    owner = function.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return name.lstrip("_") == "observer"


def _tables(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr]]]:
    """Yield the module's dictionaries by name, with their values."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value.values


def _literals(argument: ast.expr, tables: Mapping[str, list[ast.expr]], place: str) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(marker)):
            yield marker
        case ast.IfExp(body=body, orelse=orelse):
            yield from _literals(body, tables, place)
            yield from _literals(orelse, tables, place)
        case ast.Subscript(value=ast.Name(id=name)) if name in tables:
            for value in tables[name]:
                yield from _literals(value, tables, place)
        case _:
            raise HiddenMarkerError(f"{place}: write the marker as a literal, not as {ast.unparse(argument)}")
