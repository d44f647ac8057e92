"""The hooks: how a plug-in offers storages and state machines, and receives events.

A plug-in is a module, or any object, with functions that are marked ``@paxospp.hookimpl`` and have
the names below. It may leave out any hook, and any argument of a hook. ``plugins.PluginRegistry``
loads plug-ins and calls their hooks.

Hooks run at start-up and for rare events, never once per command: they return objects, which are
then called directly. The idea that hooks return typed records comes from conda.
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
"""The entry-point group of plug-ins; the value of an entry point is the name of a module."""

hookspec = pluggy.HookspecMarker(GROUP)

hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function of a plug-in as the hook of the same name."""


@hookspec
def paxospp_storages() -> Iterable[StorageBackend]:  # type: ignore[empty-body]
    """Return one ``StorageBackend`` for each storage scheme that this plug-in offers.

    Import the driver inside ``StorageBackend.open``, not at the top of the plug-in, and name it in
    ``StorageBackend.drivers``. If it is not installed, only users of that scheme get an error.
    """


@hookspec
def paxospp_state_machines() -> Iterable[MachineType]:  # type: ignore[empty-body]
    """Return one ``MachineType`` for each state machine that ``paxospp serve --machine NAME`` may name."""


@hookspec
def paxospp_event(event: Event) -> None:
    """Handle one event (see ``paxospp.events``). Runs on the node's event loop, so return at once.

    An exception is logged and otherwise ignored.
    """
