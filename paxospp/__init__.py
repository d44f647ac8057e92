"""Replicate a plain Python class: Multi-Paxos over gRPC, with storage and state machines as plug-ins.

This module holds the public names. ``Node``, ``Client``, ``sync`` and ``testing``, which import gRPC or more, are
loaded on first access (PEP 562), so that plug-ins and state machines do not load network code.
"""

from typing import TYPE_CHECKING

from paxospp.calls import Calls, Decided, SyncCalls, bounded
from paxospp.config import NodeConfig
from paxospp.errors import (
    BackendUnavailableError,
    CallError,
    CommandError,
    ConfigError,
    CorruptedError,
    DuplicateBackendError,
    InvariantViolatedError,
    LockedError,
    OutcomeUnknownError,
    OverloadedError,
    PaxosppError,
    PluginError,
    RejectedError,
    ReplicaStoppedError,
    StorageError,
    TrimmedError,
    UnavailableError,
    UnknownBackendError,
)
from paxospp.events import (
    Diverged,
    Event,
    FaultFound,
    LeaderChanged,
    MembershipChanged,
    NodeStarted,
    NodeStopped,
    SnapshotInstalled,
    SnapshotTaken,
)
from paxospp.hookspecs import hookimpl
from paxospp.model import Ballot, Change, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.state_machine import Context, MachineType, StateMachine, command, query
from paxospp.storage.anchor import Anchor
from paxospp.storage.contract import (
    STORAGE_CONTRACT,
    DurableState,
    SnapshotReader,
    SnapshotWriter,
    Storage,
    StorageBackend,
    WriteBatch,
)
from paxospp.storage.directory_lock import lock_directory
from paxospp.storage.file_snapshots import FileSnapshots
from paxospp.storage.key_value import KeyValueStorage

if TYPE_CHECKING:
    from paxospp import sync, testing
    from paxospp.client import Client
    from paxospp.node import Node, NodeStatus

    __version__: str
else:
    # Hidden from type checkers: a ``__getattr__`` that they see turns every misspelt name into Any.
    _HOMES = {"Client": "paxospp.client", "Node": "paxospp.node", "NodeStatus": "paxospp.node"}

    def __getattr__(name):
        from importlib import import_module, metadata

        if name == "__version__":
            value = metadata.version("paxospp")
        elif name in ("sync", "testing"):
            value = import_module(f"paxospp.{name}")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "STORAGE_CONTRACT",
    "Anchor",
    "BackendUnavailableError",
    "Ballot",
    "CallError",
    "Calls",
    "Change",
    "Client",
    "CommandError",
    "ConfigError",
    "Context",
    "CorruptedError",
    "Decided",
    "Diverged",
    "DuplicateBackendError",
    "DurableState",
    "Entry",
    "Event",
    "FaultFound",
    "FileSnapshots",
    "InvariantViolatedError",
    "KeyValueStorage",
    "Kind",
    "LeaderChanged",
    "LockedError",
    "MachineType",
    "MembershipChanged",
    "Node",
    "NodeConfig",
    "NodeId",
    "NodeStarted",
    "NodeStatus",
    "NodeStopped",
    "OutcomeUnknownError",
    "OverloadedError",
    "PaxosppError",
    "PluginError",
    "RejectedError",
    "ReplicaStoppedError",
    "Slot",
    "SnapshotInstalled",
    "SnapshotMeta",
    "SnapshotReader",
    "SnapshotTaken",
    "SnapshotWriter",
    "StateMachine",
    "Storage",
    "StorageBackend",
    "StorageError",
    "SyncCalls",
    "TrimmedError",
    "UnavailableError",
    "UnknownBackendError",
    "WriteBatch",
    "__version__",
    "bounded",
    "command",
    "hookimpl",
    "lock_directory",
    "query",
    "sync",
    "testing",
]
