"""``paxospp bench``: how many calls a second, how long each takes, and how near that is to what is possible.

A closed loop keeps a number of calls in flight against a cluster of its own (or a given one), here
(``load``) or in client processes (``clients``), for a ``case`` from start to end (``measuring``). The
floor is measured in the same run (``floor``), and what was acknowledged is looked for afterwards
(``checking``): a difference ends in exit code 1. Nothing is left behind: no process, no file.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from paxospp.cli import loop
from paxospp.cli.arguments import EXIT_FAILED, one_line, split_addresses
from paxospp.cli.bench.case import Case, Result
from paxospp.cli.bench.etcd import check_etcd, find_etcd, measure_etcd
from paxospp.cli.bench.measuring import measure
from paxospp.cli.bench.meter import Meter
from paxospp.cli.bench.report import show
from paxospp.cli.bench.rows import Row, rows_of
from paxospp.cli.bench.sweep import show_sweep, sweep
from paxospp.cli.local_cluster import check_storage
from paxospp.cli.showing import say
from paxospp.client.addresses import parse_address
from paxospp.errors import ConfigError, PluginError, UnavailableError
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import complete_url

IN_FLIGHT = 1024
SECONDS = 10.0
SWEEP_SECONDS = 3.0
REPEATS = 3
VALUE_BYTES = 16
NODES = 3
UNDER_WAY_BYTES_MAX = 256 << 20
"""As much as one client takes; and what is under way is also what every node then holds in memory."""


def run(options: argparse.Namespace) -> int:
    """0 if all that was acknowledged is there, else 1."""
    meter = Meter(sys.stderr if options.json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="paxospp-bench-") as directory:
        case = case_of(options, Path(directory))
        if case.storage is None:
            meter.note(f"writes into this cluster, keys that begin with {case.prefix}, and deletes them at the end")
            meter.note("the floor is that of this machine and its temporary directory")
        rows = _rows(case, Path(directory), meter) if options.sweep else []
        try:
            if rows:
                loop.run(sweep(rows, Path(directory), meter, options.repeats or REPEATS))
            else:
                result, beside = loop.run(_measure(case, Path(directory), meter, etcd=options.etcd))
        except OSError as error:  # such as a disk that is full
            raise UnavailableError(f"{directory}: {error.strerror or error}; TMPDIR may name another place") from error
        finally:
            meter.clear()
    if rows:
        return show_sweep(rows, as_json=options.json)
    if options.json:
        say(json.dumps(result.to_json() | ({} if beside is None else {"etcd": beside.to_json()})))
    else:
        show(result, beside)
    return EXIT_FAILED if result.differences else 0


async def _measure(case: Case, directory: Path, meter: Meter, *, etcd: bool) -> tuple[Result, Result | None]:
    result = await measure(case, directory, meter)
    return result, await measure_etcd(replace(case, storage="etcd"), directory, meter) if etcd else None


def _rows(base: Case, directory: Path, meter: Meter) -> list[Row]:
    """The rows that can be measured on this machine; which cannot, and why, is said."""
    rocksdb = True
    try:
        check_storage("rocksdb:{tmp}/{name}", base.plugins, directory)
    except PluginError as error:
        meter.note(f"without a row for rocksdb: {one_line(error)}")
        rocksdb = False
    etcd = find_etcd() is not None
    if not etcd:
        meter.note("without rows for etcd: it is not on the PATH (Debian: etcd-server)")
    return rows_of(base, etcd=etcd, rocksdb=rocksdb)


def case_of(options: argparse.Namespace, directory: Path) -> Case:
    """What the flags ask for.

    Raises:
        ConfigError: flags that exclude each other, or a storage that cannot be. PluginError: one that cannot be opened.
    """
    plugins: Sequence[str] = options.plugin or ()
    _check_together(options)
    clients = options.clients or 1
    addresses: Sequence[str] = ()
    storage: str | None = None
    prefix = "b"
    durable = True
    if options.cluster is not None:
        addresses = _addresses(options)
        prefix = f"bench-{secrets.token_hex(4)}/"
    else:
        registry = PluginRegistry(plugins)
        storage = complete_url(options.storage or "file", registry.schemes)
        durable = check_storage(storage, plugins, directory)
    return Case(
        in_flight=options.in_flight or IN_FLIGHT,
        seconds=options.seconds or (SWEEP_SECONDS if options.sweep else SECONDS),
        value_bytes=options.value_bytes or VALUE_BYTES,
        clients=clients,
        embedded=options.embedded,
        reads=options.reads,
        nodes=options.nodes or NODES,
        storage=storage,
        durable=durable,
        addresses=addresses,
        plugins=plugins,
        prefix=prefix,
    )


def _check_together(options: argparse.Namespace) -> None:
    """Raises ConfigError for flags of which one makes no sense beside the other."""
    if options.embedded and (options.clients or 1) > 1:
        _refuse(f"--clients {options.clients}", "--embedded: the load is in the node itself")
    if options.cluster is not None:
        for flag in ("embedded", "nodes", "storage", "sweep", "etcd"):
            if getattr(options, flag):
                _refuse(f"--{flag}", "--cluster: that cluster is what it is")
    if options.sweep:
        for flag in ("embedded", "reads", "in_flight", "clients", "nodes", "storage", "value_bytes"):
            if getattr(options, flag):
                _refuse(f"--{flag.replace('_', '-')}", "--sweep: its rows say what is measured")
    elif options.repeats:
        raise ConfigError(f"--repeats {options.repeats} without --sweep: one measurement is made once; add --sweep")
    under_way = (options.in_flight or IN_FLIGHT) * (options.clients or 1) * (options.value_bytes or VALUE_BYTES)
    if under_way > UNDER_WAY_BYTES_MAX:
        raise ConfigError(
            f"--value-bytes {options.value_bytes} with so many in flight are {under_way:,} bytes under way: keep them "
            f"below {UNDER_WAY_BYTES_MAX:,} by --in-flight or --clients"
        )
    if options.etcd:
        if options.reads or (options.clients or 1) > 1:
            _refuse(
                "--reads" if options.reads else f"--clients {options.clients}",
                "--etcd: its writes are measured, from one client",
            )
        check_etcd(options.value_bytes or VALUE_BYTES)


def _refuse(flag: str, other: str) -> NoReturn:
    raise ConfigError(f"{flag} with {other}; leave one of them out")


def _addresses(options: argparse.Namespace) -> list[str]:
    addresses = [parse_address(text) for text in split_addresses(options.cluster)]
    if not addresses:
        raise ConfigError("--cluster names no address: write host:port, such as 127.0.0.1:7001")
    return addresses
