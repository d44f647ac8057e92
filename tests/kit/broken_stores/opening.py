"""Stores that two handles can hold, or that stay locked for ever (C9)."""

from __future__ import annotations

import fcntl
import os

from paxospp import DurableState
from paxospp.errors import LockedError
from tests.kit.broken_stores.sound import SoundStorage


class NoLock(SoundStorage):
    """Takes no lock."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._anchor._lock.release()


class PidFile(NoLock):
    """Locks by a PID file, which a killed process leaves behind."""

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
    """Takes a POSIX lock, which does not keep out a second handle of the same process."""

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
    """Takes its lock in ``load`` instead of when it is opened."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._anchor._lock.release()
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
    """Lets a forked child write, which shares the file and the lock with its parent."""

    def check_usable(self) -> None:
        self._anchor._pid = os.getpid()
        super().check_usable()
