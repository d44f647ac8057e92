"""The operations of ``kv`` that a bench calls, typed; the machine is a plug-in and found as one."""

from __future__ import annotations

from typing import Any

from paxospp.plugins import PluginRegistry

MACHINE = "kv"

_KV: Any = type(PluginRegistry(()).machine(MACHINE)())

PUT: Any = _KV.put
GET: Any = _KV.get
DELETE: Any = _KV.delete
