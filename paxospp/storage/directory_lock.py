"""Locks a directory for one opener, and makes directories durably.

The lock is ``flock`` on a file description of its own, so that a second opener in the *same* process
is refused too, and the kernel releases it however the process ends. The lock file is never removed:
otherwise two processes could hold "the" lock, one of them on a file that has no name any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from types import TracebackType
from typing import Self

from paxospp.errors import ConfigError, LockedError

_NAME = "LOCK"
_NOTE_BYTES_MAX = 512


class DirectoryLock:
    """The lock on one directory, held until ``release`` or the end of the process."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    def release(self) -> None:
        """Unlock the directory. May be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_directory(path: str) -> DirectoryLock:
    """Make the directory ``path`` (mode 0700) if it is missing, and lock it.

    Raises:
        LockedError: this process or another one holds the lock; ``holder`` names the process.
        ConfigError: the directory cannot be made or opened; nothing was written.
    """
    make_directory(path)
    try:
        descriptor = os.open(os.path.join(path, _NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot lock the directory {path!r}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # The holder may not have written its note yet; then the note is empty, or its predecessor's.
        holder = os.pread(descriptor, _NOTE_BYTES_MAX, 0).decode(errors="replace") or "another process"
        os.close(descriptor)
        raise LockedError(f"{holder} ({path})") from error
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"cannot lock the directory {path!r}: {error.strerror}") from error
    note = f"process {os.getpid()} on {os.uname().nodename}".encode()[:_NOTE_BYTES_MAX]
    with contextlib.suppress(OSError):  # the note only helps the error message; the lock works without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)
    return DirectoryLock(path, descriptor)


def make_directory(path: str) -> None:
    """Make ``path`` and missing parents, mode 0700, so that they survive power loss.

    Raises:
        ConfigError: it cannot be made, or ``path`` is not a directory.
    """
    missing = []
    above = os.path.abspath(path)
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    try:
        # The process that made the existing part may have been killed before the name was durable.
        with contextlib.suppress(PermissionError):
            sync_directory(os.path.dirname(above))
        for directory in reversed(missing):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            sync_directory(os.path.dirname(directory))
    except OSError as error:
        raise ConfigError(f"cannot make the directory {path!r}: {error.strerror}") from error


def sync_directory(path: str) -> None:
    """Make changes of names in the directory ``path`` survive power loss: creating, renaming, removing."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked child shares the lock; without this it would keep the directory locked after its parent died.
    # Closing the child's copy of the descriptor does not unlock the parent's.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
