"""The layers of ARCHITECTURE.md: which package may import which, checked in every file.

A module imports only from lower layers, or from its own package. The test reads the sources
instead of importing them, so that an import inside a function or under TYPE_CHECKING counts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS: list[set[str]] = [
    {"model", "messages", "errors", "events", "markers"},  # F0: the vocabulary
    {"storage", "state_machine", "hookspecs", "calls"},  # F1: contracts, and what helps to keep them
    {"engine", "wire", "execution", "sessions"},  # F2: pure
    {"rpc", "plugins", "config", "process_setup"},  # F3: adapters
    {"node"},  # F4: the only layer that combines effects
    {"cli", "client", "sync", "testing", "bench", "__main__"},  # F5: what people use
]

PACKAGES = {name for layer in LAYERS for name in layer}

BESIDE = {
    # The packages of a layer are peers and do not import each other, except for these.
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
"""Package → the packages of its own layer that it may import."""

ACYCLIC = [
    "bench",
    "cli",
    "client",
    "engine",
    "execution",
    "node",
    "plugins",
    "rpc",
    "sessions",
    "state_machine",
    "storage",
    "testing",
    "wire",
]
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
            assert node.level == 0, f"{file}:{node.lineno}: import by the absolute name, which shows the layer"
            for alias in node.names:
                yield Import(file, node.lineno, node.module or "", alias.name)


def target_package(imported: Import) -> str:
    """Return the package that is imported, for ``from paxospp import node`` as well as ``import paxospp.node.x``."""
    parts = imported.module.split(".")
    if len(parts) > 1:
        return parts[1]
    return imported.name if imported.name in PACKAGES else ""


def layer_of(package: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if package in layer)


def own_imports(file: Path) -> Iterator[Import]:
    return (i for i in imports(file) if i.module.partition(".")[0] == "paxospp")


def files_of(package: str) -> list[Path]:
    single = ROOT / "paxospp" / f"{package}.py"
    return [single] if single.exists() else sources(f"paxospp/{package}")


def public_names(highest_layer: int) -> set[str]:
    """Return the names that ``paxospp/__init__.py`` takes from packages up to this layer."""
    found = {i.name: target_package(i) for i in own_imports(ROOT / "paxospp" / "__init__.py")}
    return {name for name, package in found.items() if package in PACKAGES and layer_of(package) <= highest_layer}


def test_every_module_has_its_layer() -> None:
    present = {p.stem for p in (ROOT / "paxospp").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}

    assert present - PACKAGES == {"__init__", "machines"}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_module_imports_only_from_lower_layers_or_from_its_own_package(package: str) -> None:
    wrong = []
    for file in files_of(package):
        for imported in own_imports(file):
            target = target_package(imported)
            if target == package or target in BESIDE.get(package, ()):
                continue
            if target == "" and package in LAYERS[-1]:
                continue  # ``paxospp`` itself, which exports names of every layer
            if target not in PACKAGES or layer_of(target) >= layer_of(package):
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


@pytest.mark.parametrize("package", ACYCLIC)
def test_no_import_cycles_among_the_modules_of_a_package(package: str) -> None:
    try:
        TopologicalSorter(imports_within(package)).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_has_no_clock_no_randomness_and_no_effects(package: str) -> None:
    """Time and randomness are arguments, so a seed replays a run exactly.

    ``from random import Random`` is allowed, for annotations and for generators seeded from the log. A ``Random()``
    without a seed is not, and neither is the module ``random``, whose functions share one generator.
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
        if "# type: ignore" not in lines[node.lineno - 1]:  # ignored: a typo on purpose, for a type checker to find
            yield node.lineno, node.attr


@pytest.mark.parametrize("folder", ["plugins", "paxospp/machines"])
def test_our_plug_ins_use_only_names_that_anybody_may_use(folder: str) -> None:
    """These are the public names of F0 and F1, from ``paxospp``, ``paxospp.storage`` or where they are defined."""
    allowed = public_names(highest_layer=1)
    for_storages = {i.name for i in own_imports(ROOT / "paxospp" / "storage" / "__init__.py")}
    wrong = []
    for file in sources(folder):
        for imported in own_imports(file):
            package = target_package(imported)
            own = folder == "paxospp/machines" and package == "machines"
            if own or imported == Import(file, imported.line, "paxospp", ""):
                continue
            if imported.module == "paxospp.storage" and imported.name in for_storages:
                continue
            if imported.name not in allowed or (package and layer_of(package) > 1):
                wrong.append(str(imported))
        wrong += [
            f"{file.relative_to(ROOT)}:{n}: paxospp.{a}" for n, a in attributes_of_paxospp(file) if a not in allowed
        ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["tests/public", "examples"])
def test_public_tests_and_examples_use_public_names_only(folder: str) -> None:
    for_storages = {i.name for i in own_imports(ROOT / "paxospp" / "storage" / "__init__.py")}
    allowed = public_names(highest_layer=len(LAYERS) - 1) | {"sync", "testing", "__all__", "__version__"}
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
