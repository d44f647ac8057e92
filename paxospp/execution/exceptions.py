"""The meaning of an exception in a state machine: the command's result, or the end of this replica.

An exception that every replica raises alike is a result. An exception that may happen on this machine only is not: if
it were taken for a result, or if the slot were skipped, replicas would differ. So the replica stops before it differs.

Reference: Yuan et al., "Simple Testing Can Prevent Most Critical Failures" (2014), on errors that nobody thought about.
"""

from __future__ import annotations


def stops_replica(error: BaseException) -> bool:
    """Return whether ``error`` may affect this replica only, so that it is not a result."""
    if not isinstance(error, Exception) or isinstance(error, (MemoryError, RecursionError)):
        return True
    if isinstance(error, OSError):
        # The operating system sets errno; `raise PermissionError("not the owner")` leaves it None.
        return error.errno is not None
    if isinstance(error, ExceptionGroup):
        return any(stops_replica(part) for part in error.exceptions)
    return False


def describe(error: BaseException) -> tuple[str, str]:
    """Return the class name and the text of an exception; the text is empty if it cannot be made."""
    try:
        message = str(error)
    except BaseException:
        # A `__str__` that raises must not turn a result into something else.
        message = ""
    return type(error).__name__, message
