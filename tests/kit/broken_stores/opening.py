"""Stores that two may hold, or nobody any more (C9)."""

from __future__ import annotations

import fcntl
import os

from paxospp import DurableState
from paxospp.errors import LockedError
from tests.kit.broken_stores.sound import SoundStorage


class NoLock(SoundStorage):
    """Whoever comes is let in."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        assert self._lock is not None
        self._lock.release()


class PidFile(NoLock):
    """A file that says who is in, and that a killed process leaves behind."""

    def __init__(self, path: str) -> None:
        self.pid_path = os.path.join(path, "pid")
        self.mine = False
        super().__init__(path)
        if os.path.exists(self.pid_path):
            self.close_anchor()
            raise LockedError("somebody")
        with open(self.pid_path, "w") as file:
            file.write(str(os.getpid()))
        self.mine = True

    def close(self) -> None:
        super().close()
        if self.mine:
            os.unlink(self.pid_path)
            self.mine = False


class LockPerProcess(NoLock):
    """POSIX locks belong to the process: it never meets its own."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.lock_file = os.open(os.path.join(path, "posix-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self.lock_file)
            self.close_anchor()
            raise LockedError("another process") from error

    def close(self) -> None:
        super().close()
        if self.lock_file >= 0:
            os.close(self.lock_file)
            self.lock_file = -1


class LockTakenInLoad(SoundStorage):
    """Opening works for everybody, and the second one learns of the first when it is too late."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        assert self._lock is not None
        self._lock.release()
        self.late = -1

    def load(self) -> DurableState:
        self.late = os.open(os.path.join(self.path, "late-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.late, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError("somebody") from error
        return super().load()

    def close(self) -> None:
        super().close()
        if self.late >= 0:
            os.close(self.late)
            self.late = -1


class NoForkGuard(SoundStorage):
    """A forked child has the same file and the same lock, and may write."""

    def check_usable(self) -> None:
        self._anchor._pid = os.getpid()
        super().check_usable()
