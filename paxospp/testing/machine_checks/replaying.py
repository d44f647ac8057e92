"""The line that repeats a failed check: a shell command if everything can be imported, else a Python call."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import Any


def replay_line(
    machine: Callable[..., Any],
    workload: Callable[..., Any] | None,
    invariant: Callable[..., Any] | None,
    seed: int,
    calls: int,
) -> str:
    """Return ``python -m paxospp.testing.machine_checks bank.py:Bank --seed 3``, or a call of ``check_machine``."""
    specs = [spec_of(thing) if thing is not None else "" for thing in (machine, workload, invariant)]
    if None not in specs:
        parts = ["python", "-m", "paxospp.testing.machine_checks", str(specs[0])]
        for option, spec in (("--workload", specs[1]), ("--invariant", specs[2])):
            parts += [option, spec] if spec else []
        return shlex.join([*parts, "--seed", str(seed), "--calls", str(calls)])
    names = [_name(thing) for thing in (machine, workload, invariant) if thing is not None]
    keywords = [key for key, thing in (("workload", workload), ("invariant", invariant)) if thing is not None]
    arguments = [names[0], *(f"{key}={name}" for key, name in zip(keywords, names[1:], strict=True))]
    return f"check_machine({', '.join(arguments)}, seeds=[{seed}], calls={calls})"


def spec_of(thing: Callable[..., Any]) -> str | None:
    """Return ``FILE.py:Name`` or ``package.module:Name``; None if ``thing`` cannot be imported by a name."""
    name, module_name = getattr(thing, "__qualname__", ""), getattr(thing, "__module__", "")
    module = sys.modules.get(module_name)
    if not name or not name.isidentifier() or getattr(module, name, None) is not thing:
        return None
    if module_name.startswith("paxospp."):
        return f"{module_name}:{name}"
    file = getattr(module, "__file__", None)
    if not file:
        return None
    relative = os.path.relpath(file)
    return f"{file if relative.startswith('..') else relative}:{name}"


def _name(thing: Callable[..., Any]) -> str:
    name: str = getattr(thing, "__qualname__", repr(thing))
    return name.rpartition("<locals>.")[2]
