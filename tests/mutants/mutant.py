"""What a mutant is: a name, why it matters, and where the source is replaced by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class DoesNotApplyError(Exception):
    """The source is not what a mutant was made for: it has to be made anew."""


@dataclass(frozen=True, slots=True)
class Patch:
    """In the source of ``module`` stands ``old``, exactly once; there ``new`` takes its place."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """The source with the replacement made; raises DoesNotApplyError."""
        found = source.count(self.old)
        if found != 1:
            raise DoesNotApplyError(f"{self.module} holds this {found} times, not once:\n{self.old}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken rule.

    ``seen_by`` names the test that notices, for what no run of the simulator can show: then that test has to
    fail under the mutant, and pass without it. ``open`` is a finding about the simulator that nobody has mended:
    what it lacks to show this one, which survives until then.
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
        """``source``, which is that of ``module``, with this mutant's replacements made."""
        for patch in self.patches:
            if patch.module == module:
                source = patch.apply(source)
        return source

    def check(self) -> None:
        """Raise unless it applies to the source as it stands, and what comes of it is Python."""
        for module in self.modules:
            compile(self.source_of(module, source_file(module).read_text()), module, "exec")


def source_file(module: str) -> Path:
    """Where the source of ``module`` is."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise DoesNotApplyError(f"there is no module {module}")
    return Path(spec.origin)
