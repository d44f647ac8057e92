"""``python -m paxospp.testing.machine_checks FILE.py:Class``: the check without a test, and one seed of it again."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paxospp.errors import PaxosppError
from paxospp.plugins.loading import load_object
from paxospp.testing.machine_checks import CALLS, SEEDS, MachineCheckError, check_machine


def main() -> int:
    """Exit code 0: nothing found; 1: something was; 2: it could not be checked."""
    parser = argparse.ArgumentParser(prog="python -m paxospp.testing.machine_checks", description=__doc__)
    parser.add_argument("machine", help="FILE.py:Class or package.module:Class")
    parser.add_argument("--workload", metavar="FILE.py:function", help="draws the next call from a Random")
    parser.add_argument("--invariant", metavar="FILE.py:function", help="called with every replica after every slot")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds (%(default)s)")
    parser.add_argument("--calls", type=int, default=CALLS, help="how many calls per seed (%(default)s)")
    options = parser.parse_args()
    try:
        report = check_machine(
            _load(options.machine),
            workload=_load(options.workload),
            invariant=_load(options.invariant),
            seeds=range(options.seeds) if options.seed is None else [options.seed],
            calls=options.calls,
        )
    except MachineCheckError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except PaxosppError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(f"{report}\n")
    return 0


def _load(spec: str | None) -> Any:
    return None if spec is None else load_object(spec)


if __name__ == "__main__":
    sys.exit(main())
