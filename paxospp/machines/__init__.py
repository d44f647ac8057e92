"""The state machines that ship with paxospp, offered through the same hook as anyone's."""

from __future__ import annotations

from collections.abc import Iterable

from paxospp.hookspecs import hookimpl
from paxospp.machines.kv import KeyValue
from paxospp.state_machine import MachineType

__all__ = ["KeyValue", "paxospp_state_machines"]


@hookimpl
def paxospp_state_machines() -> Iterable[MachineType]:
    """``kv``: values under string keys."""
    return [MachineType("kv", KeyValue, "a key-value store: put, delete, cas; get, keys")]
