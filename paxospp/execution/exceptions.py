"""What an exception of a state machine means: a result of the command, or the end of this replica.

An exception that every replica meets alike is a result. What only this machine may suffer is
not: taking it for one would let replicas differ, and skipping the slot would too, so the
replica stops before it differs (CONTRACTS.md, *Raising*; Yuan et al., "Simple Testing Can
Prevent Most Critical Failures" (2014), on what becomes of errors nobody thought about).
"""

from __future__ import annotations


def stops_replica(error: BaseException) -> bool:
    """Whether ``error`` may be this machine's own trouble, instead of a result equal everywhere."""
    if not isinstance(error, Exception) or isinstance(error, (MemoryError, RecursionError)):
        return True
    if isinstance(error, OSError):
        # The operating system sets it; `raise PermissionError("not the owner")` leaves it None.
        return error.errno is not None
    if isinstance(error, ExceptionGroup):
        return any(stops_replica(part) for part in error.exceptions)
    return False


def describe(error: BaseException) -> tuple[str, str]:
    """The name of the exception's class, and its text as far as it has one."""
    try:
        message = str(error)
    except BaseException:
        # A `__str__` that raises, whatever it raises, must not turn a result into something else.
        message = ""
    return type(error).__name__, message
