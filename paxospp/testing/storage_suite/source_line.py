"""Find the line of the store's own code in a traceback that also runs through the kit and through drivers."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from types import TracebackType

import paxospp

_OURS = os.path.dirname(os.path.realpath(paxospp.__file__)) + os.sep
_LIBRARY = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def authors_line(error: BaseException) -> str | None:
    """Return the deepest line of the store that ``error`` came through: ``my_store.py:42, in write: file.flush()``.

    Return None if it came through no such line. Lines of installed packages count only if there are no others: they may
    belong to a driver that is written in Python, but also to a store that is installed.
    """
    seen: BaseException | None = error
    while seen is not None:
        frames = [frame for frame in _frames(seen.__traceback__) if _is_foreign(frame[0])]
        own = [frame for frame in frames if not any(part in frame[0] for part in _PACKAGES)]
        if frames:
            file, line, function = (own or frames)[-1]
            code = linecache.getline(file, line).strip()
            return f"{os.path.basename(file)}:{line}, in {function}" + (f": {code}" if code else "")
        seen = seen.__cause__ or seen.__context__
    return None


def _frames(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    return [(os.path.realpath(frame.filename), frame.lineno or 0, frame.name) for frame in traceback.extract_tb(trace)]


def _is_foreign(file: str) -> bool:
    """Whether ``file`` belongs neither to paxospp nor to Python, pytest or hypothesis."""
    if file.startswith(_OURS) or (file.startswith(_LIBRARY) and not any(part in file for part in _PACKAGES)):
        return False
    return not any(f"{os.sep}{name}{os.sep}" in file for name in ("_pytest", "pluggy", "hypothesis", "xdist"))
