"""The ladder: which package may import which. The table below is checked against every file.

A module imports only from lower floors, or from its own package. The sources are read, not
imported, so that an import inside a function or under TYPE_CHECKING counts like any other:
what a module names, it knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS: list[set[str]] = [
    {"model", "messages", "errors", "events", "markers"},  # F0: words
    {"storage", "state_machine", "hookspecs", "calls"},  # F1: contracts, and what helps to keep them
    {"engine", "wire", "execution", "sessions"},  # F2: pure
    {"rpc", "plugins", "config", "process_setup"},  # F3: adapters
    {"node"},  # F4: the one room with effects
    {"cli", "client", "sync", "testing", "bench", "__main__"},  # F5: what people touch
]

ROOMS = {name for floor in FLOORS for name in floor}

BESIDE = {
    # A floor is a set of peers. These know a neighbour, and never the other way round.
    "model": {"errors"},
    "messages": {"model"},
    "events": {"model"},
    "execution": {"sessions"},
    "hookspecs": {"storage", "state_machine"},
    "calls": {"state_machine"},
    "sync": {"client"},
    "testing": {"client", "sync"},
    "bench": {"client", "testing"},
    "cli": {"client", "testing", "bench"},
    "__main__": {"cli"},
}
"""Room → the rooms of its own floor that it may import."""

ACYCLIC = ["bench", "cli", "client", "engine", "execution", "node", "plugins", "rpc", "sessions", "storage", "wire"]
"""Packages whose modules do not import each other in a circle."""

PURE = ["engine", "execution", "sessions"]
EFFECTS = {
    "asyncio", "concurrent", "datetime", "grpc", "io", "multiprocessing", "os", "pathlib", "secrets", "select",
    "selectors", "signal", "socket", "subprocess", "tempfile", "threading", "time", "uuid",
}  # fmt: skip


class Import(NamedTuple):
    """One name that a file takes from a module; ``name`` is "" for ``import module``."""

    file: Path
    line: int
    module: str
    name: str

    def __str__(self) -> str:
        what = f"from {self.module} import {self.name}" if self.name else f"import {self.module}"
        return f"{self.file.relative_to(ROOT)}:{self.line}: {what}"


def sources(folder: str) -> list[Path]:
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in p.name and ".venv" not in p.parts]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports(file: Path) -> Iterator[Import]:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative imports hide the floor"
            for alias in node.names:
                yield Import(file, node.lineno, node.module or "", alias.name)


def target_room(imported: Import) -> str:
    """The room an import reaches: ``from paxospp import node`` as much as ``import paxospp.node.x``."""
    parts = imported.module.split(".")
    if len(parts) > 1:
        return parts[1]
    return imported.name if imported.name in ROOMS else ""


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def own_imports(file: Path) -> Iterator[Import]:
    return (i for i in imports(file) if i.module.partition(".")[0] == "paxospp")


def files_of(room: str) -> list[Path]:
    single = ROOT / "paxospp" / f"{room}.py"
    return [single] if single.exists() else sources(f"paxospp/{room}")


def public_names(highest_floor: int) -> set[str]:
    """The names that ``paxospp/__init__.py`` takes from rooms up to this floor."""
    found = {i.name: target_room(i) for i in own_imports(ROOT / "paxospp" / "__init__.py")}
    return {name for name, room in found.items() if room in ROOMS and floor_of(room) <= highest_floor}


def test_every_module_has_its_floor() -> None:
    present = {p.stem for p in (ROOT / "paxospp").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}

    assert present - ROOMS == {"__init__", "machines"}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_module_imports_only_from_lower_floors_or_from_its_own_package(room: str) -> None:
    wrong = []
    for file in files_of(room):
        for imported in own_imports(file):
            target = target_room(imported)
            if target == room or target in BESIDE.get(room, ()):
                continue
            if target == "" and room in FLOORS[-1]:
                continue  # the public face, which names every floor
            if target not in ROOMS or floor_of(target) >= floor_of(room):
                wrong.append(str(imported))
    assert wrong == []


def imports_within(package: str) -> dict[str, set[str]]:
    """Return for each module of ``paxospp.<package>`` the modules of the same package that it imports."""
    prefix = f"paxospp.{package}"
    modules = {module_name(file): file for file in sources(f"paxospp/{package}")}
    found: dict[str, set[str]] = {}
    for name, file in modules.items():
        targets = set()
        for imported in own_imports(file):
            below = f"{imported.module}.{imported.name}"  # ``from paxospp.bench import sweep`` names a module
            targets.add(below if below in modules else imported.module)
        found[name] = {target for target in targets if target in modules and target.startswith(prefix)}
    return found


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def cyclic(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of ``graph`` that lie on a cycle or between two cycles; none if it has no cycle."""
    left = {node: set(targets) for node, targets in graph.items()}
    while removable := {
        node
        for node, targets in left.items()
        if not targets & left.keys() or not any(node in others for others in left.values())
    }:
        for node in removable:
            del left[node]
    return sorted(left)


@pytest.mark.parametrize("package", ACYCLIC)
def test_no_import_cycles_among_the_modules_of_a_package(package: str) -> None:
    assert cyclic(imports_within(package)) == []


@pytest.mark.parametrize("package", PURE)
def test_what_is_pure_has_no_clock_no_chance_and_no_world(package: str) -> None:
    """Time and chance are arguments, so a seed replays a run exactly.

    ``from random import Random`` is allowed, for annotations and for generators seeded from the
    log; a ``Random()`` without a seed is not, and neither is the module with its shared one.
    """
    wrong = []
    for file in sources(f"paxospp/{package}"):
        for imported in imports(file):
            top = imported.module.partition(".")[0]
            if top in EFFECTS or (top == "random" and imported.name != "Random"):
                wrong.append(str(imported))
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                unseeded = node.func.id == "Random" and not node.args and not node.keywords
                if unseeded or node.func.id in {"open", "print", "input"}:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.func.id}(…)")
    assert wrong == []


def attributes_of_paxospp(file: Path) -> Iterator[tuple[int, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree_of(file)):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "paxospp"):
            continue
        if "# type: ignore" not in lines[node.lineno - 1]:  # else it is a typo on purpose, for a type checker to find
            yield node.lineno, node.attr


@pytest.mark.parametrize("folder", ["plugins", "paxospp/machines"])
def test_what_ships_as_a_plug_in_uses_what_a_stranger_may_use(folder: str) -> None:
    """The public names of F0 and F1: from ``paxospp``, from where they are defined, or from ``paxospp.storage``."""
    allowed = public_names(highest_floor=1)
    for_storages = {i.name for i in own_imports(ROOT / "paxospp" / "storage" / "__init__.py")}
    wrong = []
    for file in sources(folder):
        for imported in own_imports(file):
            room = target_room(imported)
            own = folder == "paxospp/machines" and room == "machines"
            if own or imported == Import(file, imported.line, "paxospp", ""):
                continue
            if imported.module == "paxospp.storage" and imported.name in for_storages:
                continue
            if imported.name not in allowed or (room and floor_of(room) > 1):
                wrong.append(str(imported))
        wrong += [
            f"{file.relative_to(ROOT)}:{n}: paxospp.{a}" for n, a in attributes_of_paxospp(file) if a not in allowed
        ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["tests/public", "examples"])
def test_public_tests_and_examples_use_public_names_only(folder: str) -> None:
    for_storages = {i.name for i in own_imports(ROOT / "paxospp" / "storage" / "__init__.py")}
    allowed = public_names(highest_floor=len(FLOORS) - 1) | {"sync", "testing", "__all__", "__version__"}
    wrong = []
    for file in sources(folder):
        for imported in own_imports(file):
            below = imported.module in {"paxospp.sync", "paxospp.testing"} and not imported.name.startswith("_")
            below |= imported.module == "paxospp.storage" and imported.name in for_storages
            plain = imported.module == "paxospp" and (not imported.name or imported.name in allowed)
            if not (below or plain):
                wrong.append(str(imported))
        wrong += [
            f"{file.relative_to(ROOT)}:{n}: paxospp.{a}" for n, a in attributes_of_paxospp(file) if a not in allowed
        ]
    assert wrong == []
