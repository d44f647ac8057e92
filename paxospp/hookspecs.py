"""The hooks: how a plug-in offers what it has, and how it hears what happens.

A plug-in is a module, or any object, with functions marked ``@paxospp.hookimpl`` and named
like the specifications below. It leaves out the hooks it has no use for, and of a hook's
arguments those it does not need. ``plugins.PluginRegistry`` loads and asks them.

Hooks run at start-up and for rare events, never once per command: they *find* objects, and
plain calls drive them. The shape (hooks that return typed records) is conda's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from paxospp.events import Event
    from paxospp.state_machine import MachineType
    from paxospp.storage.contract import StorageBackend

GROUP = "paxospp"
"""The entry-point group that plug-ins are found by; the value of an entry point names a module."""

hookspec = pluggy.HookspecMarker(GROUP)

hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function of a plug-in as the implementation of the hook it is named after."""


@hookspec
def paxospp_storages() -> Iterable[StorageBackend]:  # type: ignore[empty-body]
    """The ways to keep a log that this plug-in offers, one ``StorageBackend`` per scheme.

    Import the driver inside ``StorageBackend.open``, not at the top of the plug-in: a driver
    that is missing then costs an error only to whoever asks for that scheme.
    """


@hookspec
def paxospp_state_machines() -> Iterable[MachineType]:  # type: ignore[empty-body]
    """The state machines that ``paxospp serve --machine NAME`` may name, one ``MachineType`` each."""


@hookspec
def paxospp_event(event: Event) -> None:
    """Hear one event (see ``paxospp.events``), on the node's own loop: return at once.

    What this raises is logged and goes no further.
    """
