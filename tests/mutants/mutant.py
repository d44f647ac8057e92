"""A mutant: its name, why it matters, and the patches of the source that make it."""

from __future__ import annotations

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
    """What goes wrong, in one sentence that begins with the numbers of the bugs, invariants or rules it is about."""
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
        """Raise unless every patch applies to the current source and the result compiles."""
        for module in self.modules:
            compile(self.source_of(module, source_file(module).read_text()), module, "exec")


def source_file(module: str) -> Path:
    """Return the path of the source of ``module``."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise DoesNotApplyError(f"the module {module} does not exist")
    return Path(spec.origin)
