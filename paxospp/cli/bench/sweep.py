"""``--sweep``: every row of the table in turn, and all of it several times over.

The repeats of a row lie as far apart as the table is long, so that what disturbs the machine for a
while disturbs all rows alike; goals are ratios of medians of the same run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from paxospp.cli.arguments import EXIT_FAILED, one_line
from paxospp.cli.bench.etcd import measure_etcd
from paxospp.cli.bench.fail_over import measure_gaps
from paxospp.cli.bench.goals import of_row, verdicts
from paxospp.cli.bench.measuring import measure
from paxospp.cli.bench.meter import Meter
from paxospp.cli.bench.rows import Kind, Row
from paxospp.cli.showing import print_table, say
from paxospp.errors import PaxosppError

KILLS = 3
"""Of the leader, in each repeat."""
COLUMNS = ("row", "ops/s", "p50 ms", "p99 ms", "floor ms", "CPU µs", "errors", "elections")
GOAL_COLUMNS = ("row", "figure", "value", "goal", "")


async def sweep(rows: Sequence[Row], directory: Path, meter: Meter, repeats: int) -> None:
    """Go through ``rows`` so many times; what is measured stands in them."""
    for repeat in range(1, repeats + 1):
        for row in rows:
            meter.about = f"{row.name}, repeat {repeat} of {repeats}"
            await _measure(row, directory, meter)


def show_sweep(rows: Sequence[Row], *, as_json: bool) -> int:
    """0 if every row was measured and all that was acknowledged is there; goals that are missed change nothing."""
    found = verdicts({row.name: medians for row in rows if (medians := row.medians) is not None})
    if as_json:
        goals = {row.name: [verdict.to_json() for verdict in of_row(found, row.name)] for row in rows}
        say(json.dumps([row.to_json() | {"goals": goals[row.name]} for row in rows]))
    else:
        print_table(COLUMNS, [_cells(row) for row in rows if row.kind is not Kind.FAIL_OVER])
        say("")
        print_table(GOAL_COLUMNS, [verdict.cells() for row in rows for verdict in of_row(found, row.name)])
        say("")
        _say_rest(rows)
    return EXIT_FAILED if any(row.differences or row.failures for row in rows) else 0


async def _measure(row: Row, directory: Path, meter: Meter) -> None:
    """One repeat, in a directory and on a cluster of its own; that it failed is part of the table."""
    try:
        with tempfile.TemporaryDirectory(dir=directory) as own:
            match row.kind:
                case Kind.PAXOSPP:
                    row.results.append(await measure(row.case, Path(own), meter))
                case Kind.ETCD:
                    row.results.append(await measure_etcd(row.case, Path(own), meter))
                case Kind.FAIL_OVER:
                    row.gaps_s += await measure_gaps(row.case, Path(own), meter, KILLS)
    except (PaxosppError, OSError) as error:
        row.failures.append(one_line(error))


def _cells(row: Row) -> tuple[str, ...]:
    medians = row.medians
    if medians is None:
        return (row.name, *["-"] * (len(COLUMNS) - 1))
    return (
        row.name,
        f"{medians.ops_per_s:,.0f}",
        f"{medians.p50_ms:.2f}",
        f"{medians.p99_ms:.2f}",
        f"{medians.floor_ms:.2f}" if medians.floor_ms else "-",
        f"{medians.cpu_us_per_op:.1f}",
        f"{sum(result.errors.total() for result in row.results):,}",
        str(sum(result.elections for result in row.results)),
    )


def _say_rest(rows: Sequence[Row]) -> None:
    for row in rows:
        for failure in row.failures:
            say(f"NOT MEASURED: {row.name}: {failure}")
        for difference in row.differences:
            say(f"DIFFERENT: {row.name}: {difference}")
    if not any(row.differences or row.failures for row in rows):
        say("every write of ours that was acknowledged was read back, and the digests of the nodes agree, in every row")
