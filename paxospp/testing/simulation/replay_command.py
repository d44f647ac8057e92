"""The command that replays a seed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paxospp.state_machine import StateMachine
from paxospp.testing.machine_checks.replaying import spec_of
from paxospp.testing.simulation.plan import Invariant, Overrides, Workload


@dataclass(frozen=True, slots=True)
class SimulatedMachine:
    """The machine that a simulation runs, with its workload and its invariant."""

    machine: Callable[[], StateMachine]
    workload: Workload
    invariant: Invariant | None = None
    given_workload: Workload | None = None
    """The user's workload; None if calls are drawn from the machine's annotations."""
    is_default: bool = False
    """Whether it is the default machine of the simulator."""

    def command(self, seed: int, overrides: Overrides) -> str:
        """Return the command that replays ``seed``; the Python call if something cannot be imported by name."""
        parts: list[str] = ["paxospp", "simulate"]
        things: list[tuple[str, Callable[..., Any] | None]] = []
        if not self.is_default:
            things = [
                ("--machine", self.machine),
                ("--workload", self.given_workload),
                ("--invariant", self.invariant),
            ]
        for option, thing in things:
            if thing is None:
                continue
            spec = spec_of(thing)
            if spec is None:
                return f"Simulation(...).run([{seed}])  # no command: {option[2:]} cannot be imported by name"
            parts += [option, spec]
        parts += ["--seed", str(seed), *overrides.options()]
        hash_seed = os.environ.get("PYTHONHASHSEED")
        prefix = f"PYTHONHASHSEED={hash_seed} " if hash_seed and not self.is_default else ""
        return prefix + shlex.join(parts)
