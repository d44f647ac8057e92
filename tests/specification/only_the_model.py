"""``python -m tests.specification.only_the_model MUTANT FIRST COUNT``: seeds judged by the model, and by nothing else.

The process becomes the mutant (``-`` for none). All that else looks at a simulated run goes on counting, and what it
would raise is passed over. Prints one line for each seed: the rule that was broken and what was seen, or nothing.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType
from typing import Any

OTHER = "something else:"
"""How a line begins that tells of a run which the model did not end."""


def _deaf(method: Callable[..., Any], broken: type[BaseException]) -> Callable[..., Any]:
    @functools.wraps(method)
    def heard(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except broken:
            return None

    return heard


def silence_all_but_the_model() -> None:
    """No invariant of the simulator ends a run any more."""
    from paxospp.testing import simulation
    from paxospp.testing.simulation.rule_broken import RuleBroken

    modules = [import_module(f"{simulation.__name__}.{it.name}") for it in iter_modules(simulation.__path__)]
    judges = {
        it
        for module in modules
        for it in vars(module).values()
        if isinstance(it, type) and (it.__name__ == "Invariants" or it.__name__.endswith("Rules"))
    }
    for judge in judges:
        for name, method in list(vars(judge).items()):
            if isinstance(method, FunctionType) and name.startswith(("on_", "check_", "after_", "_check", "_on_")):
                setattr(judge, name, _deaf(method, RuleBroken))


def verdict(seed: int) -> str:
    """What the model says of one run, or else what ended it; empty if it came to its end."""
    from paxospp.testing.simulation.machines import Ledger, ledger_calls
    from paxospp.testing.simulation.phases import SimulationRun
    from paxospp.testing.simulation.plan import Overrides, RunPlan
    from paxospp.testing.simulation.rule_broken import RuleBroken
    from paxospp.testing.simulation.validation.followed import RULE

    plan = RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=Overrides(validates=True))
    try:
        SimulationRun(plan).go()
    except RuleBroken as found:
        return found.text if found.rule == RULE else f"{OTHER} {found}"
    except Exception as error:
        return f"{OTHER} {type(error).__name__}: {error}"
    return ""


def main(arguments: Sequence[str]) -> None:
    mutant, first, count = arguments[0], int(arguments[1]), int(arguments[2])
    logging.disable(logging.CRITICAL)
    if mutant != "-":
        from tests.mutants.catalogue import MUTANTS
        from tests.mutants.patching import become

        become(MUTANTS[mutant])
    silence_all_but_the_model()
    for seed in range(first, first + count):
        said = verdict(seed)
        print(f"{seed}: {said}".partition("\n")[0], flush=True)
        if said and not said.startswith(OTHER):
            return


if __name__ == "__main__":
    main(sys.argv[1:])
