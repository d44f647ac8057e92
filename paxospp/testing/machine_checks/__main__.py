"""``python -m paxospp.testing.machine_checks FILE.py:Class``: check a state machine without a test file."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from paxospp.errors import PaxosppError
from paxospp.plugins.loading import load_object
from paxospp.testing.machine_checks import CALLS, SEEDS, MachineCheckError, check_machine


def main() -> int:
    """Return 0 if nothing was found, 1 if something was, and 2 if the machine could not be checked."""
    parser = argparse.ArgumentParser(
        prog="python -m paxospp.testing.machine_checks", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("machine", help="FILE.py:Class or package.module:Class")
    parser.add_argument("--workload", metavar="FILE.py:function", help="draws the next call from a Random")
    parser.add_argument("--invariant", metavar="FILE.py:function", help="called with every replica after every slot")
    parser.add_argument("--seed", type=int, help="check only this seed; a failure names its seed")
    parser.add_argument("--seeds", type=_positive, default=SEEDS, help="how many seeds to check (default: %(default)s)")
    parser.add_argument("--calls", type=_positive, default=CALLS, help="how many calls per seed (default: %(default)s)")
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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _load(spec: str | None) -> Any:
    return None if spec is None else load_object(spec)


if __name__ == "__main__":
    sys.exit(main())
