"""The commands and flags of ``paxospp``, how the text of a flag is parsed, and the exit codes.

This module imports neither gRPC nor any command, so that ``paxospp --help`` and a mistyped flag answer at once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from paxospp.calls import Consistency, bounded
from paxospp.errors import (
    ConfigError,
    LockedError,
    OutcomeUnknownError,
    OverloadedError,
    PaxosppError,
    PluginError,
    RejectedError,
    UnavailableError,
)

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_UNAVAILABLE = 3
EXIT_UNKNOWN = 4
EXIT_INTERRUPTED = 130

_NAME_AND_ADDRESS = re.compile(r"([^:\[\]]+):([^:\[\]]+:\d+)")
"""A name and an address with a colon between them, as in ``n1:127.0.0.1:7001``."""


def exit_code_of(error: PaxosppError) -> int:
    """Return the exit code for ``error``. README and ``paxospp --help`` list the codes."""
    match error:
        case ConfigError() | PluginError() | LockedError() | RejectedError():
            return EXIT_BAD_INPUT
        case UnavailableError() | OverloadedError():
            return EXIT_UNAVAILABLE
        case OutcomeUnknownError():
            return EXIT_UNKNOWN
        case _:
            return EXIT_FAILED


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a mistake in one line, as ``main`` reports every other error.

    It accepts no abbreviated flags, because a flag that is added later would change what they mean.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]  # argparse declares overloads for other kinds of namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse ``args``; refuse unknown ones here, because only this parser can name the command in the error."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (try: {self.prog} --help)\n")


def parser() -> Parser:
    """Return the parser of all commands and flags."""
    root = Parser(
        prog="paxospp",
        description="Replicate a Python class over several machines: run nodes, call them, test them.",
        epilog="exit codes: 0 success · 1 failure, or the command raised an exception · 2 bad input · 3 not applied, "
        "try again · 4 may have been applied",
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_demo(
        commands.add_parser(
            "demo", help="start a cluster on this machine, kill its leader, and check that nothing is lost"
        )
    )
    _add_serve(commands.add_parser("serve", help="run one node of a cluster until Ctrl-C or SIGTERM"))
    _add_call(commands.add_parser("execute", help="run a command on the replicated state machine"), "command")
    _add_call(commands.add_parser("query", help="run a query on the replicated state machine"), "query")
    _add_status(commands.add_parser("status", help="print role, leader, progress and state digest of each node"))
    _add_bench(
        commands.add_parser("bench", help="measure calls per second and latency, and check that no write is lost")
    )
    _add_simulate(
        commands.add_parser("simulate", help="run a cluster under simulated faults; a seed repeats its run exactly")
    )
    _add_verify(commands.add_parser("verify", help="test whether a storage plug-in keeps its contract"))
    _add_snapshot(commands.add_parser("snapshot", help="make nodes take a snapshot now and trim their logs"))
    _add_plugins(commands.add_parser("plugins", help="list the plug-ins, what they offer, and what is wrong"))
    return root


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.description = (
        "Starts a cluster of processes that store files in a temporary directory, writes to it, kills the leader with "
        "SIGKILL, starts it again, reads every value from every node, and compares the values with the input. Exits "
        "with 1 if a value or a node differs."
    )
    demo.add_argument(
        "--nodes",
        type=_count,
        default=3,
        metavar="N",
        help="number of nodes, each in a process of its own (default: 3)",
    )
    demo.add_argument(
        "--storage",
        default="file:{tmp}/{name}",
        metavar="URL",
        help="storage of each node (default: %(default)s); a scheme alone, such as rocksdb, means rocksdb:{tmp}/{name}",
    )
    demo.add_argument(
        "--input",
        metavar="FILE",
        help="a file with lines of key<TAB>value to write (default: paxospp's own source code)",
    )
    _add_plugin_flag(demo)


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.description = (
        "Every flag may also be set in the TOML file of --config, under the same name. "
        "The command line takes precedence."
    )
    serve.add_argument("--name", metavar="NAME", help="name of this node, one of the names in --cluster")
    serve.add_argument(
        "--cluster", metavar="n1=H:P,n2=H:P,…", help="names and addresses of all nodes; the same list for each node"
    )
    serve.add_argument("--storage", metavar="URL", help="storage URL of this node, such as file:./data/n1")
    serve.add_argument(
        "--machine", metavar="MACHINE", help="state machine: a plug-in's name such as kv, module:Class or file.py:Class"
    )
    serve.add_argument("--listen", metavar="H:P", help="address to bind, if it differs from the one in --cluster")
    serve.add_argument("--config", metavar="FILE", help="TOML file with flags and with fields of NodeConfig")
    serve.add_argument(
        "--allow-volatile",
        action="store_true",
        default=None,
        help="allow a storage that loses its data at a restart, such as memory:, in a cluster of several nodes",
    )
    _add_plugin_flag(serve)


def _add_call(call: argparse.ArgumentParser, kind: str) -> None:
    call.description = (
        "Each argument is JSON. Text that is not JSON is taken as a string, and so is any text for a parameter that is "
        "annotated str, except a quoted JSON string. The result is printed as one line of JSON, with bytes as base64."
    )
    _add_cluster(call)
    call.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds to wait (default: 10)")
    if kind == "query":
        call.add_argument(
            "--consistency",
            type=_consistency,
            default="linearizable",
            metavar="C",
            help="linearizable (default), lease, local, or bounded:S to accept a state up to S seconds old",
        )
    call.add_argument("name", metavar="NAME", help=f"name of the {kind}")
    call.add_argument("arguments", metavar="ARG", nargs="*", help=f"arguments of the {kind}")


def _add_status(status: argparse.ArgumentParser) -> None:
    status.description = (
        "Prints a row for each given address and for each member that a node names. 'decided' and 'applied' are the "
        "highest slots that the node knows to be decided and has applied, 'first' is the lowest slot in its log. Nodes "
        "that have applied the same slot must show the same digest. Exits with 3 if no node answers."
    )
    _add_cluster(status)
    status.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.description = (
        "Starts a cluster with files in a temporary directory (set TMPDIR to choose the disk) and keeps a fixed number "
        "of calls in flight. At the end every acknowledged write is read back and the nodes are compared; a difference "
        "exits with 1. The floor is the least time that a call can take on this machine: one fdatasync of its record, "
        "one gRPC round trip between client and leader, and one between leader and follower."
    )
    bench.add_argument(
        "--embedded",
        action="store_true",
        help="call Node.execute instead of using a Client: this process is the leader, the other nodes are processes, "
        "and each call saves a round trip (the other nodes wait 5 s before they campaign, so that this one leads)",
    )
    bench.add_argument(
        "--in-flight",
        type=_between(1, 16_384),
        metavar="N",
        help="calls in flight per client (default: 1024)",
    )
    bench.add_argument("--clients", type=_between(1, 64), metavar="N", help="number of client processes (default: 1)")
    bench.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="length of the measurement after the warm-up (default: 10; 3 with --sweep)",
    )
    bench.add_argument(
        "--value-bytes", type=_between(8, 1_000_000), metavar="N", help="size of each value (default: 16)"
    )
    bench.add_argument("--reads", action="store_true", help="measure linearizable queries instead of writes")
    bench.add_argument("--nodes", type=_count, metavar="N", help="number of nodes (default: 3)")
    bench.add_argument(
        "--storage",
        metavar="URL",
        help="storage of each node (default: file:{tmp}/{name}); a scheme alone, such as rocksdb, means "
        "rocksdb:{tmp}/{name}",
    )
    bench.add_argument(
        "--cluster",
        metavar="H:P,…",
        help="measure this running cluster instead, which must serve the machine kv; the benchmark writes keys with a "
        "prefix of its own and deletes them at the end",
    )
    bench.add_argument(
        "--sweep",
        action="store_true",
        help="measure a table of many rows: remote and embedded with 1 to 4096 calls in flight, other storages, value "
        "sizes, reads, clients and nodes, and how long writes stop when the leader is killed; compares the medians "
        "with goals",
    )
    bench.add_argument("--repeats", type=_count, metavar="N", help="how often --sweep measures each row (default: 3)")
    bench.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object, or with --sweep a list of objects, instead of tables",
    )
    _add_plugin_flag(bench)


def _add_simulate(simulate: argparse.ArgumentParser) -> None:
    simulate.description = (
        "Runs real nodes on a simulated clock, network and disks, with faults that are drawn at random from a seed. "
        "All invariants are checked after every event. Prints how often the runs saw each kind of event or, for a "
        "single seed, a hash of its events. If an invariant is broken, prints the seed that repeats the run and exits "
        "with 1."
    )
    simulate.add_argument(
        "--seeds", type=_positive, metavar="N", help="number of seeds to run (default: 100, or 1 with --seed)"
    )
    simulate.add_argument("--seed", type=_number, metavar="S", help="first seed (default: 0)")
    simulate.add_argument(
        "--machine", metavar="M", help="state machine: a plug-in's name such as kv, module:Class or file.py:Class"
    )
    simulate.add_argument("--workload", metavar="F", help="file.py:function that draws a call from a random.Random")
    simulate.add_argument(
        "--invariant",
        metavar="F",
        help="file.py:function that is called with the state machine of each replica and raises if it is wrong",
    )
    simulate.add_argument("--nodes", type=_count, metavar="N", help="number of nodes (default: drawn from the seed)")
    simulate.add_argument(
        "--seconds", type=_seconds, metavar="S", help="simulated seconds with faults (default: drawn from the seed)"
    )
    simulate.add_argument(
        "--faults",
        metavar="F,…",
        help="only these of the families of faults that the seed draws, such as N1,P3; or none",
    )
    simulate.add_argument(
        "--validate",
        action="store_true",
        help="compare each step of every run, instead of one run in five, with the executable specification",
    )
    simulate.add_argument("--jobs", type=_count, metavar="N", help="number of worker processes (default: one per core)")
    simulate.add_argument(
        "--markers", action="store_true", help="print how often the runs reached each marked branch of the code"
    )
    simulate.add_argument("--markers-json", metavar="FILE", help="write the table of --markers to FILE as JSON")
    simulate.add_argument(
        "--require-markers",
        type=_count,
        metavar="K",
        help="fail if a marker was hit fewer than K times; picks seeds, starting at the first one, whose plans are "
        "likely to reach markers that are still rare",
    )
    simulate.add_argument(
        "--missed-max",
        type=_number,
        metavar="N",
        help="with --require-markers: number of markers that may be hit fewer times (default: 0)",
    )
    simulate.add_argument(
        "--seeds-max",
        type=_number,
        metavar="M",
        help="with --require-markers: run more seeds, up to M in all, until every marker is hit often enough",
    )
    _add_plugin_flag(simulate)


def _add_verify(verify: argparse.ArgumentParser) -> None:
    verify.description = (
        "Kills processes, cuts the power and damages files, and prints for each clause of the storage contract whether "
        "it holds. Takes minutes. Exits with 1 if a clause is broken, or if nothing could be checked for what --only "
        "names."
    )
    verify.add_argument(
        "url",
        nargs="+",
        metavar="URL",
        help="scheme:{tmp} or file.py:Class:{tmp}, where {tmp} stands for fresh directories. Give several URLs to test "
        "a storage with several settings, such as thresholds so small that logs rotate and are compacted",
    )
    verify.add_argument(
        "--quick",
        action="store_true",
        help="a tenth of the kills, power cuts and flipped bits: a first try, not a proof",
    )
    verify.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CLAUSE[/CASE]",
        help="run the cases of one clause (C8 or integrity), or one case (C8/a_hole_below_decided_is_faulty); may "
        "be given more than once. The line 'again:' below a failing case shows the command that runs it alone",
    )
    verify.add_argument(
        "--all-steps", action="store_true", help="print all steps of a failing case instead of the last ones"
    )
    _add_plugin_flag(verify)


def _add_snapshot(snapshot: argparse.ArgumentParser) -> None:
    snapshot.description = (
        "Makes each of the given nodes take a snapshot of its own, before an upgrade or a copy for example. Nodes also "
        "take snapshots by themselves as their logs grow."
    )
    _add_cluster(snapshot)
    snapshot.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds to wait (default: 60)")


def _add_plugins(plugins: argparse.ArgumentParser) -> None:
    plugins.description = (
        "Lists the installed plug-ins and those given with --plugin. Exits with 1 if a plug-in is broken: it cannot be "
        "imported, it has an unknown hook, it was written for another storage contract, or another plug-in offers the "
        "same name. A storage whose driver is not installed is unavailable; this is an error only for a plug-in that "
        "--plugin names."
    )
    _add_plugin_flag(plugins)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster", required=True, metavar="H:P,…", help="addresses of nodes, separated by commas, as H:P or name=H:P"
    )


def _add_plugin_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--plugin",
        action="append",
        default=None,
        metavar="MODULE|FILE.py",
        help="load this plug-in too; may be given more than once",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 99")
    return int(text)


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:,} to {high:,}")
        return int(text)

    return number


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _consistency(text: str) -> Consistency:
    kind, colon, seconds = text.partition(":")
    match kind:
        case "linearizable" | "lease" | "local" if not colon:
            return kind
        case "bounded" if colon:
            return bounded(_seconds(seconds))
        case _:
            raise argparse.ArgumentTypeError(f"{text!r} is not linearizable, lease, local or bounded:SECONDS")


def split_addresses(text: str) -> list[str]:
    """Split the text of ``--cluster`` at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_cluster(text: str) -> dict[str, str]:
    """Parse ``n1=H:P,n2=H:P`` into names and addresses.

    Raises:
        ConfigError: a part has no name, or a name occurs twice.
    """
    cluster: dict[str, str] = {}
    for part in split_addresses(text):
        name, equals, address = part.partition("=")
        if not equals:
            named = _NAME_AND_ADDRESS.fullmatch(part)
            if named:
                raise ConfigError(f"{part!r} in --cluster has no '=': write it as {named[1]}={named[2]}")
            raise ConfigError(f"{part!r} in --cluster has no name: write it as n1={part}")
        if name in cluster:
            raise ConfigError(f"the name {name!r} occurs twice in --cluster")
        cluster[name] = address
    return cluster
