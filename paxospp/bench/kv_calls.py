"""The operations of the ``kv`` state machine that a benchmark calls. ``kv`` is a plug-in and is looked up by name."""

from __future__ import annotations

from typing import Any

from paxospp.plugins import PluginRegistry

MACHINE = "kv"

_KV: Any = type(PluginRegistry(()).machine(MACHINE)())

PUT: Any = _KV.put
GET: Any = _KV.get
DELETE: Any = _KV.delete
