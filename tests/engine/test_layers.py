"""The layers of the engine: rules do not know the output, handlers compose it, the replica is the interface.

``paxospp/engine/README.md`` states the order. Imports under ``TYPE_CHECKING`` count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import paxospp.engine

ENGINE = Path(paxospp.engine.__file__).parent
LAYERS = ["settings", "rules", "output", "handlers", "protocol", "replica"]


def engine_imports(file: Path) -> Iterator[str]:
    """Yield the modules of the engine that ``file`` imports, as paths below ``paxospp/engine``."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paxospp.engine."):
            yield "/".join(node.module.split(".")[2:])


def modules() -> dict[str, list[str]]:
    """Map every module of the engine to those it imports."""
    return {
        str(file.relative_to(ENGINE).with_suffix("")): sorted(set(engine_imports(file)))
        for file in sorted(ENGINE.rglob("*.py"))
        if file.name != "__init__.py"
    }


def layer_of(module: str) -> int:
    return LAYERS.index(module.partition("/")[0])


def test_every_module_belongs_to_a_layer_and_imports_no_higher_one() -> None:
    upward = [
        f"{module} imports {imported}"
        for module, imports in modules().items()
        for imported in imports
        if layer_of(imported) > layer_of(module)
    ]
    assert upward == []


@pytest.mark.parametrize("start", modules())
def test_no_module_takes_part_in_an_import_cycle(start: str) -> None:
    known = modules()
    reached: set[str] = set()
    waiting = list(known[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(known[module])
    assert start not in reached


def test_no_rule_names_the_output() -> None:
    """A rule returns values; only handlers and the protocol write into an output under construction."""
    names = [
        f"{file.name}: {node.id}"
        for file in (ENGINE / "rules").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id in ("Output", "OutputBuilder")
    ]
    assert names == []
