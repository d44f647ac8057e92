"""Run a block with another clock, or with another seed of the global random generator.

The context of a command (slot, time, random) is not affected. The clock of ``datetime`` is moved only in an interpreter
of its own (``interpreter_main``), because that changes a built-in class.
"""

from __future__ import annotations

import ctypes
import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, tzinfo
from types import ModuleType
from typing import Any


@contextmanager
def reseeded(seed: int) -> Iterator[None]:
    """Seed the global generator of ``random`` within the block, and restore its state afterwards."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def moved_clock(offset_s: float, modules: Iterable[ModuleType] = (), *, dates: bool = False) -> Iterator[bool]:
    """Let the functions of ``time`` be ``offset_s`` ahead within the block; with ``dates`` those of ``datetime`` too.

    ``modules`` are the modules that may have imported functions of ``time`` by name. Yield whether the clock of
    ``datetime`` is as asked: not every Python lets it be changed.
    """
    moved = _moved_functions(offset_s)
    undo: list[tuple[dict[str, Any], str, Any]] = []
    real = {vars(time)[name]: function for name, function in moved.items()}
    for module in (time, *modules):
        names = vars(module)
        for name, value in list(names.items()):
            if callable(value) and getattr(value, "__module__", None) == "time" and value in real:
                undo.append((names, name, value))
                names[name] = real[value]
    classes = _move_dates(time.time) if dates else {}
    try:
        yield not dates or abs(datetime.now().timestamp() - time.time()) < 60
    finally:
        for names, name, value in undo:
            names[name] = value
        _put_back(classes)


def _moved_functions(offset_s: float) -> dict[str, Callable[..., Any]]:
    original = dict(vars(time))
    offset_ns = int(offset_s * 1e9)

    def later(name: str) -> Callable[..., Any]:
        function = original[name]
        if name.endswith("_ns"):
            return lambda: function() + offset_ns
        return lambda: function() + offset_s

    def of_seconds(name: str) -> Callable[..., Any]:
        function, now = original[name], original["time"]
        return lambda seconds=None: function(now() + offset_s if seconds is None else seconds)

    def formatted(format: str, moment: Any = None) -> str:
        local = original["localtime"](original["time"]() + offset_s) if moment is None else moment
        text: str = original["strftime"](format, local)
        return text

    moved = {name: later(name) for name in ("time", "time_ns")}
    moved |= {name: of_seconds(name) for name in ("localtime", "gmtime", "ctime")}
    return moved | {"strftime": formatted}


def _move_dates(now: Callable[[], float]) -> dict[type, Mapping[str, Any]]:
    def now_of(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return cls.fromtimestamp(now(), tz)

    def utcnow_of(cls: type[datetime]) -> datetime:
        moment = time.gmtime()
        return cls(*moment[:6])

    def today_of(cls: type[Any]) -> Any:
        return cls.fromtimestamp(now())

    before: dict[type, Mapping[str, Any]] = {}
    for cls, functions in (
        (datetime, {"now": now_of, "utcnow": utcnow_of, "today": today_of}),
        (date, {"today": today_of}),
    ):
        before[cls] = {name: vars(cls)[name] for name in functions if name in vars(cls)}
        _assign(cls, {name: classmethod(function) for name, function in functions.items()})
    return before


def _put_back(classes: Mapping[type, Mapping[str, Any]]) -> None:
    for cls, functions in classes.items():
        names = gc.get_referents(vars(cls))[0]
        for name in ("now", "utcnow", "today"):
            if name in functions:
                names[name] = functions[name]
            else:
                names.pop(name, None)
        _forget(cls)


def _assign(cls: type, functions: Mapping[str, Any]) -> None:
    names = gc.get_referents(vars(cls))[0]
    if isinstance(names, dict):
        names.update(functions)
        _forget(cls)


def _forget(cls: type) -> None:
    """Make the interpreter look up the methods of the class again."""
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
