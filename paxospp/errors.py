"""Every error that paxospp raises at its users, in one small tree.

::

    PaxosppError
    ├── ConfigError                            what was asked for cannot be; names the value and the way out
    ├── PluginError
    │   ├── UnknownBackendError
    │   ├── DuplicateBackendError
    │   └── BackendUnavailableError
    ├── StorageError                           raised by storage plug-ins: the outcome is unknown, the node stops
    │   ├── CorruptedError(slots)
    │   ├── TrimmedError(first)
    │   └── LockedError(holder)
    ├── CallError                              what a caller of execute() or query() may meet
    │   ├── RejectedError                      not applied and never will be: name, arguments, size
    │   ├── UnavailableError                   not applied; may be tried again
    │   ├── OverloadedError(retry_after)       not applied; may be tried again later
    │   ├── OutcomeUnknownError                may have been applied, or may yet be
    │   └── CommandError(type, message)        applied; the machine raised
    ├── ReplicaStoppedError(slot, position)    this replica cannot go on; its node ends
    └── InvariantViolatedError                 a bug of ours; never caught

They are grouped by whom they concern, carry data besides prose, and all of them pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COMMAND_MESSAGE_BYTES_MAX = 1024
"""How much of a raised exception's text travels to the caller, in UTF-8 bytes."""


class PaxosppError(Exception):
    """The root of the tree; catch it to catch everything paxospp raises on purpose."""


class ConfigError(PaxosppError):
    """A setting, name, address or directory does not fit; nothing was written."""


class PluginError(PaxosppError):
    """A plug-in cannot be used as it was asked for."""


class UnknownBackendError(PluginError):
    """No plug-in offers that scheme or name; the text lists those that are known."""


class DuplicateBackendError(PluginError):
    """Two plug-ins offer the same scheme or name; the text names both."""


class BackendUnavailableError(PluginError):
    """The plug-in is there but its driver is not; the text names the extra to install."""


class StorageError(PaxosppError):
    """A storage failed: the outcome is unknown and the handle takes no further batch."""


class CorruptedError(StorageError):
    """What is stored is damaged, and the store says so instead of guessing.

    ``slots`` are the damaged slots where they can be named; not fatal when raised by ``read``.
    """

    def __init__(self, message: str = "the stored bytes are damaged", slots: Sequence[range] = ()) -> None:
        super().__init__(message)
        self.slots = tuple(slots)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.slots)


class TrimmedError(StorageError):
    """The slots asked for were given back to the disk; the log now begins at ``first``."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the log begins at slot {first}; what is older stands in the snapshot")
        self.first = first

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.first,)


class LockedError(StorageError):
    """Somebody else holds the store open; ``holder`` says who, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"already in use by {holder}")
        self.holder = holder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.holder,)


class CallError(PaxosppError):
    """What ``execute`` and ``query`` raise; the class says whether the command took effect."""


class RejectedError(CallError):
    """Not applied, and never will be: the name, the arguments or the size do not fit."""


class UnavailableError(CallError):
    """Not applied, and no longer can be; trying again is safe."""


class OverloadedError(CallError):
    """Not applied: too much is waiting already. Try again after ``retry_after`` seconds."""

    def __init__(self, message: str = "too many calls are waiting", retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.retry_after)


class OutcomeUnknownError(CallError):
    """The command was sent and not answered: it may have been applied, or may yet be."""


class CommandError(CallError):
    """The command was applied and the state machine raised.

    ``type`` is the name of the exception's class, ``message`` its text, cut at 1 KiB.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return CommandError, (self.type, self.message)


class ReplicaStoppedError(PaxosppError):
    """This replica met something that other replicas may not meet, and stops before it differs.

    ``slot`` and ``position`` say at which command; the cause is chained. A slot is never
    skipped: start the node anew once the cause is mended.
    """

    def __init__(self, message: str, slot: int, position: int = 0) -> None:
        super().__init__(message)
        self.slot = slot
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.slot, self.position)


class InvariantViolatedError(PaxosppError):
    """A rule of the protocol does not hold: a bug of ours. It is never caught and stops the node."""
