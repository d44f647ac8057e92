"""The modules of the simulator import each other in one direction."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIMULATION = ROOT / "paxospp/testing/simulation"


def imports() -> dict[str, set[str]]:
    """Return for each module the modules of the simulator that it imports, also under TYPE_CHECKING."""
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in SIMULATION.rglob("*.py")
    }
    return {
        name: {
            node.module
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module in modules
        }
        for name, file in modules.items()
    }


def test_no_module_is_imported_by_what_it_imports() -> None:
    assert len(imports()) > 60
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(f"modules of the simulator import each other in a circle: {error.args[1]}")


def test_judges_know_neither_hosts_nor_the_world() -> None:
    """Judges see the protocols of ``judges.observed``, disks and the clock."""
    allowed = {"disk", "virtual_time"}
    for name, targets in imports().items():
        if ".judges." in name:
            seen = {target.rpartition(".")[2] for target in targets if ".world." in target or ".clients." in target}
            assert seen <= allowed, name
