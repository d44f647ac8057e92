"""Every error that paxospp raises on purpose, in one small tree.

::

    PaxosppError
    ├── ConfigError                            a setting is not valid; the text names the value and what to write
    ├── PluginError
    │   ├── UnknownBackendError
    │   ├── DuplicateBackendError
    │   └── BackendUnavailableError
    ├── StorageError                           raised by storage plug-ins: the outcome is unknown and the node stops
    │   ├── CorruptedError(slots)
    │   ├── TrimmedError(first)
    │   └── LockedError(holder)
    ├── CallError                              raised by execute() and query()
    │   ├── RejectedError                      not applied and never will be: wrong name, arguments or size
    │   ├── UnavailableError                   not applied; retrying is safe
    │   ├── OverloadedError(retry_after)       not applied; retry later
    │   ├── OutcomeUnknownError                may have been applied, or may still be
    │   └── CommandError(type, message)        applied; the state machine raised an exception
    ├── ReplicaStoppedError(slot, position)    this replica cannot apply a command; its node stops
    └── InvariantViolatedError                 a bug in paxospp; never caught

The tree groups errors by the person who has to act: the operator, the author of a plug-in, the
caller. Errors carry data as attributes as well as text, and every one can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COMMAND_MESSAGE_BYTES_MAX = 1024
"""How many UTF-8 bytes of an exception's text are sent to the caller."""


class PaxosppError(Exception):
    """The base class of all errors here; catch it to catch everything that paxospp raises on purpose."""


class ConfigError(PaxosppError):
    """A setting, name, address or directory is not valid. Nothing was written."""


class PluginError(PaxosppError):
    """A plug-in cannot be used."""


class UnknownBackendError(PluginError):
    """No plug-in offers that storage scheme or state machine; the text lists those that are known."""


class DuplicateBackendError(PluginError):
    """Two plug-ins offer the same scheme or name; the text names both plug-ins."""


class BackendUnavailableError(PluginError):
    """The plug-in is installed but its driver is not; the text names the extra to install."""


class StorageError(PaxosppError):
    """A storage failed: the outcome is unknown, and the handle takes no further batch."""


class CorruptedError(StorageError):
    """Stored data is damaged or missing. From ``Storage.load`` it is fatal; from ``read`` it is not.

    ``slots``: ranges of the damaged slots; empty if the damage is not in slots, or they are not known.
    """

    def __init__(self, message: str = "the stored bytes are damaged", slots: Sequence[range] = ()) -> None:
        super().__init__(message)
        self.slots = tuple(slots)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.slots)


class TrimmedError(StorageError):
    """The requested slots were trimmed; the log now begins at slot ``first``."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the log begins at slot {first}; older slots are in the snapshot")
        self.first = first

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.first,)


class LockedError(StorageError):
    """The store is open already, in this process or another; ``holder`` says which, if it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"already in use by {holder}: stop it, or use another directory or storage")
        self.holder = holder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.holder,)


class CallError(PaxosppError):
    """Raised by ``execute`` and ``query``; the subclass says whether the command took effect."""


class RejectedError(CallError):
    """Not applied, and never will be: the name, the arguments or the size are not valid. Do not retry."""


class UnavailableError(CallError):
    """Not applied, and never will be: retrying is safe."""


class OverloadedError(CallError):
    """Not applied: too many calls are waiting. Retry after ``retry_after`` seconds."""

    def __init__(self, message: str = "too many calls are waiting", retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.retry_after)


class OutcomeUnknownError(CallError):
    """The command was sent but not answered: it may have been applied, or may still be."""


class CommandError(CallError):
    """The command was applied, and the state machine raised an exception, the same on every replica.

    ``type`` is the name of the exception's class, ``message`` its text, cut at 1 KiB.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return CommandError, (self.type, self.message)


class ReplicaStoppedError(PaxosppError):
    """A command failed in a way that other replicas may not see, so this replica stops before it diverges.

    ``slot`` and ``position`` identify the command; the cause is chained. The slot is never skipped:
    fix the cause, then restart the node.
    """

    def __init__(self, message: str, slot: int, position: int = 0) -> None:
        super().__init__(message)
        self.slot = slot
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.slot, self.position)


class InvariantViolatedError(PaxosppError):
    """A rule of the protocol was violated, which is a bug in paxospp. It is never caught and stops the node."""


def one_line(error: BaseException) -> str:
    """Return the text of ``error`` on one line, as it is printed to stderr."""
    return " ".join(str(error).split()) or type(error).__name__
