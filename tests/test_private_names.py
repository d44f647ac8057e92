"""No module of paxospp uses a private name of another module or class.

What a simulator replaces in a node is in its ``Environment``, and what watches a node is its ``NodeObserver``. Both are
passed in. Tests may use private names; the package may not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

import paxospp

PACKAGE = Path(paxospp.__file__).parent

ALLOWED = {
    "_asdict": "a public method of every NamedTuple",
    "_fields": "a public attribute of every NamedTuple",
    "_replace": "a public method of every NamedTuple",
    "_exit": "os._exit, documented: ends a process without its cleanup",
    "_getframe": "sys._getframe, documented: where a state machine's class is defined",
    "_asyncio_future_blocking": "asyncio's protocol between a future and what drives a coroutine, as a task does",
}
"""The private names of others that may be used, each with the reason."""


WORLD = {"os", "random", "secrets", "socket", "threading", "time"}
"""The modules through which Python reaches clocks, randomness, threads and the network."""

WORLDLY = {
    "environment.py": "makes the environment of real nodes",
    "worker.py": "the threads of real nodes",
    "writer.py": "measures how fast the disk is, which only an environment that owns its loop asks for",
    "progress.py": "how long work takes decides about log lines only",
    "snapshots/gc_pause.py": "a process has one garbage collector, and a lock guards it",
}
"""The modules of ``paxospp/node`` that may import these, each with the reason."""


def private_accesses(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each ``x._y`` where x is not the object itself and the module has no ``_y``."""
    tree = ast.parse(source)
    own = set(_names(tree))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and node.attr not in own
            and not _is_itself(node.value)
        ):
            yield node.lineno, ast.unparse(node)


def _is_itself(owner: ast.expr) -> bool:
    if isinstance(owner, ast.Call):
        return isinstance(owner.func, ast.Name) and owner.func.id == "super"
    return isinstance(owner, ast.Name) and owner.id in ("self", "cls")


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what the module defines: functions, classes, variables, fields and attributes of its own objects."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "_pb2" not in file.name)


@cache
def accesses() -> Sequence[tuple[str, str]]:
    """Return the place and the name of every private access in the package."""
    return [
        (f"{file.relative_to(PACKAGE)}:{line}: {text}", text.rpartition(".")[2])
        for file in MODULES
        for line, text in private_accesses(file.read_text("utf-8"))
    ]


def test_no_module_uses_a_private_name_of_another() -> None:
    assert [where for where, name in accesses() if name not in ALLOWED] == []


def test_nothing_is_patched_after_it_was_made() -> None:
    """Replacing a method of an object needs one of these marks, or mypy refuses it."""
    marks = ("ignore[method-assign", "mock.patch")
    found = [str(file) for file in MODULES if any(mark in file.read_text("utf-8") for mark in marks)]
    assert found == []


def test_every_allowed_name_is_used() -> None:
    assert {name for _, name in accesses()} == ALLOWED.keys()


def test_a_node_takes_clocks_randomness_and_threads_from_its_environment() -> None:
    """``from random import Random`` is for annotations: a generator comes from the environment too."""
    node = PACKAGE / "node"
    found = set()
    for file in node.rglob("*.py"):
        for statement in ast.walk(ast.parse(file.read_text("utf-8"))):
            match statement:
                case ast.Import(names=names):
                    modules = {alias.name for alias in names}
                case ast.ImportFrom(module=module, names=names):
                    modules = set() if {alias.name for alias in names} == {"Random"} else {module or ""}
                case _:
                    continue
            if modules & WORLD:
                found.add(file.relative_to(node).as_posix())
    assert found == WORLDLY.keys()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("other._y", ["other._y"]),
        ("self._a._b", ["self._a._b"]),
        ("class A:\n    def f(self):\n        self._y = 1\n\ndef g(a):\n    return a._y", []),
        ("super()._y()", []),
        ("other.__class__", []),
    ],
)
def test_which_accesses_count_as_private(source: str, found: list[str]) -> None:
    assert [text for _, text in private_accesses(source)] == found
