"""A mutant: its name, why it matters, and the patches of the source that make it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class DoesNotApplyError(Exception):
    """The source has changed since a patch was written: write the patch again."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Replaces ``old``, which occurs exactly once in the source of ``module``, with ``new``."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """Return ``source`` with the replacement made, or raise DoesNotApplyError."""
        found = source.count(self.old)
        if found != 1:
            raise DoesNotApplyError(f"{self.module} contains this {found} times instead of once:\n{self.old}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken rule.

    ``seen_by`` names the tests that notice a mutant which no run of the simulator can show: they fail under the
    mutant and pass without it. ``open`` says what the simulator lacks to show this mutant; until that is added,
    the mutant is expected to survive.
    """

    name: str
    why: str
    """The consequence, in one sentence that begins with the numbers of the bugs, invariants or rules it is about."""
    patches: tuple[Patch, ...]
    seen_by: str = ""
    open: str = ""

    @property
    def modules(self) -> Sequence[str]:
        return list(dict.fromkeys(patch.module for patch in self.patches))

    def source_of(self, module: str, source: str) -> str:
        """Return ``source``, the source of ``module``, with this mutant's patches applied."""
        for patch in self.patches:
            if patch.module == module:
                source = patch.apply(source)
        return source

    def check(self) -> None:
        """Raise unless every patch applies to the current source, and the result compiles and knows all its names.

        A name that a renaming left behind would end runs with a NameError or an AttributeError, and the rule would
        not be judged.
        """
        for module in self.modules:
            source = source_file(module).read_text()
            tree = ast.parse(self.source_of(module, source), module)
            compile(tree, module, "exec")
            if unknown := sorted(_loaded(tree) - _bound(tree) - set(dir(builtins))):
                raise DoesNotApplyError(f"{module} uses names that it does not define: {', '.join(unknown)}")
            private = {name for name in _attributes(tree) - _attributes(ast.parse(source)) if name.startswith("_")}
            if private and (unknown := sorted(private - _members(tree).union(*map(_members, _imported(tree))))):
                raise DoesNotApplyError(f"{module} uses attributes that nothing it imports has: {', '.join(unknown)}")


def _loaded(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _bound(tree: ast.Module) -> set[str]:
    """Return every name that any scope of the module binds, which is more than each place may use."""
    names = {"__file__", "__name__"}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if not isinstance(node.ctx, ast.Load):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.alias(name=name, asname=asname):
                names.add(asname or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
    return names


def _attributes(tree: ast.Module) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _members(tree: ast.Module) -> set[str]:
    """Return what a module binds, and the attributes that it assigns."""
    assigned = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and type(node.ctx) is ast.Store}
    return _bound(tree) | assigned


def _imported(tree: ast.Module) -> list[ast.Module]:
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return [ast.parse(source_file(name).read_text()) for name in sorted(names) if name.startswith("paxospp.")]


def source_file(module: str) -> Path:
    """Return the path of the source of ``module``."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise DoesNotApplyError(f"the module {module} does not exist")
    return Path(spec.origin)
