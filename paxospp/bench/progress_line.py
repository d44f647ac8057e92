"""Progress messages of a benchmark: one line that is redrawn on a terminal, separate lines elsewhere.

It redraws once a second at most, because a progress bar of rich takes processor time from the load beside it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TextIO


class ProgressLine:
    """Writes to ``where``: standard output, or standard error if the result on standard output is JSON."""

    def __init__(self, where: TextIO) -> None:
        self._where = where
        self._live = where.isatty()
        self._drawn = 0
        self._shown = ""
        self.about = ""
        """Which of several measurements is running; shown before each text."""

    def show(self, text: str) -> None:
        """Show what the benchmark is doing now."""
        if self.about:
            # Where lines are not redrawn, a sweep prints one line per measurement.
            text = f"{self.about}: {text}" if self._live else self.about
        if self._live:
            self._draw(text)
        elif text != self._shown:
            self._print(text)
        self._shown = text

    async def tick(self, text: str, begin: float, seconds: float) -> None:
        """Show the time elapsed since ``begin`` every second, or every quarter of ``seconds`` off a terminal."""
        self.show("warming up")
        await asyncio.sleep(begin - time.monotonic())
        steps = max(1, int(seconds)) if self._live else min(4, max(1, int(seconds)))
        for step in range(steps):
            self.show(f"{text}: {seconds * step / steps:.0f} of {seconds:g} s" if step else f"{text} for {seconds:g} s")
            await asyncio.sleep(begin + seconds * (step + 1) / steps - time.monotonic())

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        self._print(text)

    def clear(self) -> None:
        """Clear the line, before the result is printed."""
        if self._live:
            self._draw("")

    def _print(self, text: str) -> None:
        self._where.write(f"{text}\n")
        self._where.flush()

    def _draw(self, text: str) -> None:
        self._where.write(f"\r{text:<{self._drawn}}" + ("" if text else "\r"))
        self._where.flush()
        self._drawn = len(text)
