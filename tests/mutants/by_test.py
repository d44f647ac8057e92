"""Runs the tests that notice a mutant which no run of the simulator can show.

``python -m tests.mutants.by_test NAME PATH...`` runs pytest in a process whose code is the mutant's.
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
    """Return whether the tests that ``mutant`` names fail under it; a plain pytest shows that they pass without it."""
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

    # To rewrite asserts, pytest would compile paxospp itself, because paxospp contains a plug-in for pytest.
    return pytest.main(["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", *paths])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
