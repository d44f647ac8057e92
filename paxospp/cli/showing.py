"""What the commands print: tables and progress, with rich where it is installed.

On a terminal, progress is a bar; anywhere else it is a few plain lines, so that a log of a
build stays readable. Without rich everything is plain text in aligned columns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Say how much is done by now."""

    def __call__(self, done: int, /) -> None: ...


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """``rows`` under ``columns``; plain text when nobody sits at a terminal."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            table = Table()
            for column in columns:
                table.add_column(column)
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            Console().print(table)
            return
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    for row in (columns, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A bar, or a line at every quarter."""
    if sys.stdout.isatty():
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        except ImportError:
            pass
        else:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns) as bar:
                task = bar.add_task(what, total=total)
                yield lambda done: bar.update(task, completed=done)
            return
    quarters = [total * quarter // 4 for quarter in (1, 2, 3, 4)]

    def advance(done: int) -> None:
        while quarters and done >= quarters[0]:
            quarters.pop(0)
            say(f"{what}: {done} of {total}")

    yield advance
