"""Runs a command's coroutine: on uvloop where it is installed, and ended in order by SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main``; Ctrl-C, SIGTERM and SIGHUP cancel it and then raise KeyboardInterrupt."""
    signals: list[int] = []
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_cancelled_by(signals, main))
        except asyncio.CancelledError:
            if signals:
                raise KeyboardInterrupt from None
            raise


async def _cancelled_by(signals: list[int], main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def cancel(number: int) -> None:
        signals.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, cancel, number)
    return await main


def name() -> str:
    """Which loop ``run`` runs on here."""
    return "asyncio" if _loop_factory() is None else "uvloop"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]  # found or not, it has to be clean
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
