"""The table of ``paxospp simulate --markers``: how often the runs took each marked branch of the code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from paxospp.cli.terminal import print_table, say
from paxospp.errors import ConfigError
from paxospp.testing.simulation.reach.beyond import BEYOND, required
from paxospp.testing.simulation.reach.tally import MarkerRow, MarkerTally


def print_markers(tally: MarkerTally) -> None:
    """Print how many seeds reached each marker and pair of markers, and how often."""
    _print(tally.rows())
    for marker, beyond in sorted(BEYOND.items()):
        say(f"out of the simulator's reach: {marker}: {beyond.reason} ({beyond.test})")


def write_markers(tally: MarkerTally, path: str) -> None:
    """Write the table to the file ``path`` as JSON.

    Raises:
        ConfigError: the file cannot be written.
    """
    table = {
        "seeds": tally.runs,
        "markers": [row._asdict() for row in tally.rows()],
        "beyond": {marker: beyond._asdict() for marker, beyond in sorted(BEYOND.items())},
    }
    try:
        Path(path).write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"--markers-json {path}: {error.strerror}") from error


def has_reached_enough(tally: MarkerTally, least: int, *, missed_max: int = 0) -> bool:
    """Return whether all required markers but ``missed_max`` were hit ``least`` times; print the missed ones."""
    missed = tally.below(least, required())
    if not missed:
        say(f"all {len(required())} markers were hit at least {least} times")
        return True
    say(f"{len(missed)} of {len(required())} markers were hit fewer than {least} times:")
    _print(missed)
    return len(missed) <= missed_max


def _print(rows: Sequence[MarkerRow]) -> None:
    print_table(("marker", "seeds", "hits"), [(row.marker, str(row.seeds), str(row.hits)) for row in rows])
