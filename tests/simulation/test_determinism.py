"""The same seed gives the same run: in one interpreter, in another one, and for another PYTHONHASHSEED."""

from __future__ import annotations

import os
import subprocess
import sys

from paxospp.testing import Simulation
from paxospp.testing.simulation.machines import Ledger

_PRINT_HASHES = """
from paxospp.testing import Simulation
from paxospp.testing.simulation.machines import Ledger
for seed in (11, 23):
    print(seed, Simulation(Ledger).run([seed]).hashes[seed])
"""


def test_the_event_hash_does_not_depend_on_the_interpreter_or_its_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_HASHES],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "4242")
    }

    assert len(outputs) == 1
    report = Simulation(Ledger).run([12, 11])
    assert f"11 {report.hashes[11]}\n" in outputs.pop()


def test_different_seeds_give_different_runs() -> None:
    assert len(set(Simulation(Ledger).run((1, 5, 12, 13)).hashes.values())) == 4
