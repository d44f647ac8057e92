"""The layers of the engine: rules do not know the output, handlers compose it, the replica is the interface.

``paxospp/engine/README.md`` states the order. ``tests/test_layers.py`` checks that no modules import each other in a
circle, in the engine as in every package.
"""

from __future__ import annotations

import ast
from pathlib import Path

import paxospp.engine
from tests.test_layers import imports_within

ENGINE = Path(paxospp.engine.__file__).parent
LAYERS = ["settings", "rules", "output", "handlers", "protocol", "replica"]


def layer_of(module: str) -> int:
    return LAYERS.index(module.split(".")[2])


def test_every_module_belongs_to_a_layer_and_imports_no_higher_one() -> None:
    graph = {module: targets for module, targets in imports_within("engine").items() if module != "paxospp.engine"}
    assert {layer_of(module) for module in graph} == set(range(len(LAYERS)))
    upward = [
        f"{module} imports {imported}"
        for module, targets in graph.items()
        for imported in sorted(targets)
        if layer_of(imported) > layer_of(module)
    ]
    assert upward == []


def test_no_rule_names_the_output() -> None:
    """A rule returns values; only handlers and the protocol write into an output under construction."""
    names = [
        f"{file.name}: {node.id}"
        for file in (ENGINE / "rules").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id in ("Output", "OutputBuilder")
    ]
    assert names == []
