"""Says what goes on, for whatever takes longer than a second; a line on a terminal, single lines elsewhere.

Drawn by hand and once a second: a bar that redraws itself takes its time from the load beside it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TextIO

QUIET_S = 1.0


class Meter:
    """``where`` is standard output, or standard error where output is kept for JSON."""

    def __init__(self, where: TextIO) -> None:
        self._where = where
        self._live = where.isatty()
        self._drawn = 0
        self._said = ""
        self.about = ""
        """Which of several measurements this is, said before each text."""

    def at(self, text: str) -> None:
        """Now begins what ``text`` says."""
        if self.about:
            # One line per measurement is enough where lines stay.
            text = f"{self.about}: {text}" if self._live else self.about
        if self._live:
            self._draw(text)
        elif text != self._said:
            print(text, file=self._where, flush=True)
        self._said = text

    async def tick(self, text: str, begin: float, seconds: float) -> None:
        """Say how much of the time after ``begin`` is over: every second, or every quarter of it."""
        self.at("warming up" if seconds > QUIET_S else text)
        await asyncio.sleep(begin - time.monotonic())
        pieces = max(1, int(seconds)) if self._live else min(4, max(1, int(seconds)))
        for piece in range(pieces):
            self.at(
                f"{text}: {seconds * piece / pieces:.0f} of {seconds:g} s" if piece else f"{text} for {seconds:g} s"
            )
            await asyncio.sleep(begin + seconds * (piece + 1) / pieces - time.monotonic())

    def note(self, text: str) -> None:
        """Something to know, which stays."""
        self.clear()
        print(text, file=self._where, flush=True)

    def clear(self) -> None:
        """What follows is the result."""
        if self._live:
            self._draw("")

    def _draw(self, text: str) -> None:
        print(f"\r{text:<{self._drawn}}" + ("" if text else "\r"), end="", file=self._where, flush=True)
        self._drawn = len(text)
