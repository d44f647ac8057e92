"""Output of the commands: lines, tables and progress.

On a terminal with rich installed, tables have borders and progress is a bar. Elsewhere all of it is plain text, and
progress is a few lines, so that the log of a build stays readable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Show that ``done`` steps are done by now."""

    def __call__(self, done: int, /) -> None: ...


def say(text: str) -> None:
    """Print ``text`` and flush, so that it is seen at once."""
    print(text, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` under the headings ``columns``."""
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
    """Show the progress of ``total`` steps, as a bar or as a line per quarter."""
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
        before = len(quarters)
        while quarters and done >= quarters[0]:
            quarters.pop(0)
        if len(quarters) < before:
            say(f"{what}: {done} of {total}")

    yield advance
