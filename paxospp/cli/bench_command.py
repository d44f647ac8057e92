"""``paxospp bench``: turn its flags into a benchmark or a sweep, run it, and print the result.

``paxospp.bench`` measures. No process and no file is left behind. The exit code is 1 if an acknowledged write was lost
or altered, or if the nodes disagree.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from paxospp import process_setup
from paxospp.bench.benchmark import Benchmark, Measurement
from paxospp.bench.measuring import measure
from paxospp.bench.progress_line import ProgressLine
from paxospp.bench.summary import (
    GOAL_COLUMNS,
    SWEEP_COLUMNS,
    figures,
    sweep_cells,
    sweep_verdict_lines,
    verdict_lines,
)
from paxospp.bench.sweep import sweep
from paxospp.bench.sweep_goals import goal_outcomes, outcomes_of_row
from paxospp.bench.sweep_rows import SweepRow, sweep_rows
from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.cluster_flag import parse_addresses
from paxospp.cli.terminal import print_table, say
from paxospp.errors import ConfigError, PluginError, UnavailableError, one_line
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import complete_url
from paxospp.testing.cluster.local_nodes import check_storage

IN_FLIGHT = 1024
SECONDS = 10.0
SWEEP_SECONDS = 3.0
REPEATS = 3
VALUE_BYTES = 16
NODES = 3
IN_FLIGHT_BYTES_MAX = 256 << 20
"""The most that one client accepts; every node holds the calls in flight in memory too."""


def run(options: argparse.Namespace) -> int:
    """Measure and print; return 0 if the cluster has every write that it acknowledged, else 1."""
    progress = ProgressLine(sys.stderr if options.json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="paxospp-bench-") as directory:
        benchmark = benchmark_of(options, Path(directory))
        if benchmark.storage is None:
            progress.note(
                f"writes keys with the prefix {benchmark.prefix} into this cluster and deletes them at the end"
            )
            progress.note("the floor is measured on this machine and in its temporary directory")
        rows = _rows(benchmark, Path(directory), progress) if options.sweep else []
        try:
            if rows:
                process_setup.run(sweep(rows, Path(directory), progress, options.repeats or REPEATS))
            else:
                measured = process_setup.run(measure(benchmark, Path(directory), progress))
        except OSError as error:  # a full disk, for example
            raise UnavailableError(
                f"{directory}: {error.strerror or error}; to use another directory set the environment variable TMPDIR"
            ) from error
        finally:
            progress.clear()
    return _show_sweep(rows, as_json=options.json) if rows else _show(measured, as_json=options.json)


def _show(measured: Measurement, *, as_json: bool) -> int:
    if as_json:
        say(json.dumps(measured.to_json()))
    else:
        print_table(("measured", ""), list(figures(measured)))
        say("")
        for line in measured.latencies.draw():
            say(line.rstrip())
        say("")
        for line in verdict_lines(measured):
            say(line)
    return EXIT_FAILED if measured.differences else 0


def _show_sweep(rows: Sequence[SweepRow], *, as_json: bool) -> int:
    """Print the table; return 0 if every row was measured and nothing was lost. A missed goal is not a failure."""
    outcomes = goal_outcomes({row.name: medians for row in rows if (medians := row.medians) is not None})
    if as_json:
        goals = {row.name: [outcome.to_json() for outcome in outcomes_of_row(outcomes, row.name)] for row in rows}
        say(json.dumps([row.to_json() | {"goals": goals[row.name]} for row in rows]))
    else:
        print_table(SWEEP_COLUMNS, [sweep_cells(row) for row in rows if not row.kills_leader])
        say("")
        print_table(GOAL_COLUMNS, [outcome.cells() for row in rows for outcome in outcomes_of_row(outcomes, row.name)])
        say("")
        for line in sweep_verdict_lines(rows):
            say(line)
    return EXIT_FAILED if any(row.differences or row.failures for row in rows) else 0


def _rows(base: Benchmark, directory: Path, progress: ProgressLine) -> list[SweepRow]:
    """Return the rows that can be measured here, and note which one cannot."""
    rocksdb = True
    try:
        check_storage("rocksdb:{tmp}/{name}", base.plugins, directory)
    except PluginError as error:
        progress.note(f"the row for rocksdb is left out: {one_line(error)}")
        rocksdb = False
    return sweep_rows(base, rocksdb=rocksdb)


def benchmark_of(options: argparse.Namespace, directory: Path) -> Benchmark:
    """Return the benchmark that the flags describe.

    Raises:
        ConfigError: two flags exclude each other, or the storage URL cannot be used.
        PluginError: the storage cannot be opened.
    """
    plugins: Sequence[str] = options.plugin or ()
    _check_flags(options)
    addresses: Sequence[str] = ()
    storage: str | None = None
    prefix = "b"
    durable = True
    if options.cluster is not None:
        addresses = parse_addresses(options.cluster)
        prefix = f"bench-{secrets.token_hex(4)}/"
    else:
        registry = PluginRegistry(plugins)
        storage = complete_url(options.storage or "file", registry.schemes)
        durable = check_storage(storage, plugins, directory)
    return Benchmark(
        in_flight=options.in_flight or IN_FLIGHT,
        seconds=options.seconds or (SWEEP_SECONDS if options.sweep else SECONDS),
        value_bytes=options.value_bytes or VALUE_BYTES,
        clients=options.clients or 1,
        embedded=options.embedded,
        reads=options.reads,
        nodes=options.nodes or NODES,
        storage=storage,
        durable=durable,
        addresses=addresses,
        plugins=plugins,
        prefix=prefix,
    )


def _check_flags(options: argparse.Namespace) -> None:
    """Raise ConfigError for flags that exclude each other."""
    if options.embedded and (options.clients or 1) > 1:
        _refuse(f"--clients {options.clients}", "--embedded, where the node itself makes the calls")
    if options.cluster is not None:
        for flag in ("embedded", "nodes", "storage", "sweep"):
            if getattr(options, flag):
                _refuse(f"--{flag}", "--cluster, which measures a cluster as it is")
    if options.sweep:
        for flag in ("embedded", "reads", "in_flight", "clients", "nodes", "storage", "value_bytes"):
            if getattr(options, flag):
                _refuse(f"--{flag.replace('_', '-')}", "--sweep, whose rows set it")
    elif options.repeats:
        raise ConfigError(f"--repeats {options.repeats} without --sweep: a single benchmark runs once; add --sweep")
    in_flight, clients = options.in_flight or IN_FLIGHT, options.clients or 1
    value_bytes = options.value_bytes or VALUE_BYTES
    if in_flight * clients * value_bytes > IN_FLIGHT_BYTES_MAX:
        raise ConfigError(
            f"{in_flight * clients:,} calls in flight with --value-bytes {value_bytes} are "
            f"{in_flight * clients * value_bytes:,} bytes in flight, and at most {IN_FLIGHT_BYTES_MAX:,} are allowed: "
            "lower --in-flight, --clients or --value-bytes"
        )


def _refuse(flag: str, other: str) -> NoReturn:
    raise ConfigError(f"{flag} cannot be combined with {other}; leave out one of the two")
