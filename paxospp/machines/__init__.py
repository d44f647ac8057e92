"""The state machines that ship with paxospp, offered through the same hook as those of other plug-ins."""

from __future__ import annotations

from collections.abc import Iterable

from paxospp.hookspecs import hookimpl
from paxospp.machines.kv import KeyValue
from paxospp.state_machine import MachineType

__all__ = ["KeyValue", "paxospp_state_machines"]


@hookimpl
def paxospp_state_machines() -> Iterable[MachineType]:
    """Offer ``kv``, a key-value store."""
    return [MachineType("kv", KeyValue, "a key-value store: put, delete, cas; get, keys")]
