"""Calls the hooks of one plug-in, and explains in one line what is wrong with them.

pluggy calls a hook of all plug-ins at once and stops at the first one that raises. Here each plug-in is
called by itself, so that a broken one does not affect the others.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pluggy

from paxospp import hookspecs
from paxospp.errors import PluginError
from paxospp.plugins.found import FoundPlugin, Record
from paxospp.state_machine import MachineType
from paxospp.storage.contract import StorageBackend
from paxospp.storage.url import SCHEME

KNOWN = tuple(sorted(name for name in vars(hookspecs) if name.startswith("paxospp_")))
"""The names of the hooks."""


def check_arguments(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Raise PluginError if a hook of ``plugin`` asks for an argument that this hook does not pass."""
    for hook in KNOWN:
        if manager.parse_hookimpl_opts(plugin, hook) is None:
            continue
        passed = list(inspect.signature(getattr(hookspecs, hook)).parameters)
        for argument in inspect.signature(getattr(plugin, hook)).parameters.values():
            needed = argument.kind is argument.POSITIONAL_OR_KEYWORD and argument.default is argument.empty
            if needed and argument.name not in passed:
                says = f"only {' and '.join(passed)}" if passed else "nothing"
                raise PluginError(
                    f"the plug-in {name!r}: its {hook} asks for {argument.name!r}, and that hook is passed {says}"
                )


def ask_plugin(manager: pluggy.PluginManager, plugin: object, found: FoundPlugin) -> FoundPlugin:
    """Return ``found`` with what ``plugin``, which is registered, offers.

    Raises:
        PluginError: the plug-in has no hook or an unknown one, or a hook returned something other than valid records.
    """
    _check_hooks(manager, plugin, found.name)
    hook = manager.hook
    found = replace(
        found,
        storages=_records(hook.paxospp_storages, plugin, found.name, StorageBackend),
        machines=_records(hook.paxospp_state_machines, plugin, found.name, MachineType),
        observes=any(implementation.plugin is plugin for implementation in hook.paxospp_event.get_hookimpls()),
    )
    for storage in found.storages:
        if not SCHEME.fullmatch(storage.scheme):
            raise PluginError(
                f"the plug-in {found.name!r} offers the scheme {storage.scheme!r}: use two characters or more of "
                "letters, digits, '+', '.' and '-', beginning with a letter"
            )
        if isinstance(storage.drivers, str):
            raise PluginError(
                f"the plug-in {found.name!r} says drivers={storage.drivers!r}: write a list, [{storage.drivers!r}]"
            )
    return found


def call_hook(implementation: pluggy.HookImpl, **arguments: object) -> Any:
    """Call one plug-in's function with those of ``arguments`` that it takes."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _check_hooks(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    callers = manager.get_hookcallers(plugin)
    if not callers:
        unmarked = [hook for hook in KNOWN if callable(getattr(plugin, hook, None))]
        what = f"its {' and '.join(unmarked)}" if unmarked else "its functions"
        raise PluginError(
            f"the plug-in {name!r} offers nothing: mark {what} with @paxospp.hookimpl; the hooks are {', '.join(KNOWN)}"
        )
    for caller in callers:
        mine = [implementation for implementation in caller.get_hookimpls() if implementation.plugin is plugin]
        if not caller.has_spec() and not all(implementation.optionalhook for implementation in mine):
            nearest = difflib.get_close_matches(caller.name, KNOWN, n=1)
            guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise PluginError(
                f"the plug-in {name!r} has an unknown hook {caller.name!r}.{guess} The hooks are {', '.join(KNOWN)}"
            )


def _records(caller: pluggy.HookCaller, plugin: object, name: str, kind: type[Record]) -> tuple[Record, ...]:
    records: list[Record] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        offered: Iterable[object] = call_hook(implementation)
        for record in offered:
            if not isinstance(record, kind):
                raise PluginError(
                    f"the plug-in {name!r}: {caller.name} returned {record!r}, which is not a paxospp.{kind.__name__}"
                )
            records.append(record)
    return tuple(records)
