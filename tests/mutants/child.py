"""The process that runs a mutant: ``python -m tests.mutants.child NAME FIRST COUNT``.

It runs the simulator under ``COUNT`` seeds from ``FIRST`` on and prints one line of JSON after each run, with
the rule that broke, if any. With ``-`` as NAME it runs the unpatched code.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from tests.mutants.catalogue import MUTANTS
from tests.mutants.patching import become

if TYPE_CHECKING:
    from paxospp.testing.simulation.plan import RunPlan

SEED_CPU_S = 60
"""A run that takes more processor time than this is taken for an endless loop."""
MEMORY_BYTES_MAX = 3 << 30


_BLUNDERS = (LookupError, TypeError, NameError, AttributeError)
"""Errors that show a mutant to be a broken program; they do not show that a check noticed the broken rule."""


class NoEndError(BaseException):
    """The run took more than ``SEED_CPU_S`` of processor time."""


def _on_alarm(signum: int, frame: FrameType | None) -> None:
    raise NoEndError


def plan_of(seed: int) -> RunPlan:
    """Return the plan that ``paxospp simulate`` draws from ``seed``."""
    from paxospp.testing.simulation.machines import Ledger, ledger_calls
    from paxospp.testing.simulation.plan import RunPlan

    return RunPlan.draw(seed, machine=Ledger, workload=ledger_calls)


def run(plan: RunPlan) -> tuple[str, str]:
    """Run ``plan`` and return the rule that broke and its text; both are empty if none broke."""
    from paxospp.testing.simulation.phases import SimulationRun
    from paxospp.testing.simulation.rule_broken import RuleBroken

    signal.setitimer(signal.ITIMER_PROF, SEED_CPU_S)
    try:
        SimulationRun(plan).go()
    except RuleBroken as broken:
        if isinstance(broken.__cause__, _BLUNDERS):
            return "crash", broken.text
        return broken.rule, broken.text
    except NoEndError:
        return "no end", f"after {SEED_CPU_S} s"
    except AssertionError as error:
        return "assertion", f"{_place(error)}: {error}"
    except Exception as error:
        # Neither the simulator's nor the engine's checks raised this: the mutant is a broken program.
        return "crash", f"{_place(error)}: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "", ""


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def main(arguments: Sequence[str]) -> None:
    name, first, count = arguments[0], int(arguments[1]), int(arguments[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    signal.signal(signal.SIGPROF, _on_alarm)
    logging.disable(logging.CRITICAL)
    if name != "-":
        become(MUTANTS[name])
    for seed in range(first, first + count):
        began = time.process_time()
        rule, text = run(plan_of(seed))
        told = {"seed": seed, "rule": rule, "text": text[:400], "seconds": round(time.process_time() - began, 2)}
        try:
            print(json.dumps(told), flush=True)
        except BrokenPipeError:
            os._exit(0)  # the parent has closed the pipe because it needs no more results


if __name__ == "__main__":
    main(sys.argv[1:])
