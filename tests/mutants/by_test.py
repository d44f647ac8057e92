"""Mutants that no run of the simulator can show, and the tests that notice them.

``python -m tests.mutants.by_test NAME PATH...`` runs pytest in a process that is the mutant.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.mutants.mutant import Mutant
from tests.mutants.run import ROOT

_TESTS_FAILED = 1
"""pytest's exit code; others mean that it could not run them."""


def notices(mutant: Mutant) -> bool:
    """Whether the tests it names fail under ``mutant``; without it they are run like all others."""
    command = [sys.executable, "-m", "tests.mutants.by_test", mutant.name, *mutant.seen_by.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode not in (0, _TESTS_FAILED):
        raise RuntimeError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.returncode == _TESTS_FAILED


def main(arguments: Sequence[str]) -> int:
    from tests.mutants.catalogue import MUTANTS
    from tests.mutants.patching import become

    name, *paths = arguments
    become(MUTANTS[name])
    import pytest

    # pytest would compile paxospp itself, to rewrite its asserts, because it holds a plug-in for pytest.
    return pytest.main(["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", *paths])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
