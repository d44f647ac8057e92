"""``--sweep``: measure every row of the table, then all of them again, several times.

The repeats of a row lie as far apart as the table is long, so that a disturbance of the machine affects all rows alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from paxospp.bench.fail_over import measure_gaps
from paxospp.bench.measuring import measure
from paxospp.bench.progress_line import ProgressLine
from paxospp.bench.sweep_rows import SweepRow
from paxospp.errors import PaxosppError, one_line

KILLS = 3
"""How often the leader is killed in each repeat."""


async def sweep(rows: Sequence[SweepRow], directory: Path, progress: ProgressLine, repeats: int) -> None:
    """Measure all ``rows``, ``repeats`` times; the results are added to the rows."""
    for repeat in range(1, repeats + 1):
        for row in rows:
            progress.about = f"{row.name}, repeat {repeat} of {repeats}"
            await _measure_once(row, directory, progress)


async def _measure_once(row: SweepRow, directory: Path, progress: ProgressLine) -> None:
    """Measure one repeat, in a new directory with a new cluster; a failure is recorded in the row."""
    try:
        with tempfile.TemporaryDirectory(dir=directory) as own:
            if row.kills_leader:
                row.gaps_s += await measure_gaps(row.benchmark, Path(own), progress, KILLS)
            else:
                row.measurements.append(await measure(row.benchmark, Path(own), progress))
    except (PaxosppError, OSError) as error:
        row.failures.append(one_line(error))
