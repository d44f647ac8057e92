"""Turns this process into a mutant: the mutant's modules are compiled from the patched source.

Call ``become`` before anything of paxospp is imported. The compiled code is not cached, so no other process
can load it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from tests.mutants.mutant import DoesNotApplyError, Mutant


class _PatchedLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        return compile(self._mutant.source_of(fullname, source), path, "exec", dont_inherit=True)


class _Patching(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._mutant.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise DoesNotApplyError(f"the module {fullname} does not exist")
        spec.loader = _PatchedLoader(fullname, spec.origin, self._mutant)
        return spec


def become(mutant: Mutant) -> None:
    """Let every later import in this process load the code of ``mutant``."""
    early = [module for module in mutant.modules if module in sys.modules]
    assert not early, f"{', '.join(early)} was imported before it was patched"
    sys.meta_path.insert(0, _Patching(mutant))
