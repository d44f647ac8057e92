"""The command line's words: commands, flags, what their texts mean, and how errors end a command.

Everything here is checked before anything else is imported, so that ``paxospp --help`` and a
mistyped flag cost no gRPC.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

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


def exit_code_of(error: PaxosppError) -> int:
    """What a shell script learns from ``error``; printed in README and in ``paxospp --help``."""
    match error:
        case ConfigError() | PluginError() | LockedError() | RejectedError():
            return EXIT_BAD_INPUT
        case UnavailableError() | OverloadedError():
            return EXIT_UNAVAILABLE
        case OutcomeUnknownError():
            return EXIT_UNKNOWN
        case _:
            return EXIT_FAILED


def one_line(error: BaseException) -> str:
    """``error`` as the one line that stderr gets."""
    return " ".join(str(error).split()) or type(error).__name__


class Parser(argparse.ArgumentParser):
    """argparse that says a mistake in one line, as every other error of ours is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (try: {self.prog} --help)\n")


def parser() -> Parser:
    """Every command with its flags."""
    root = Parser(
        prog="paxospp",
        description="A plain Python class, replicated: run nodes, talk to them, see it survive.",
        epilog="exit codes: 0 done · 1 failed, or the command raised · 2 bad input · 3 not applied, try again · "
        "4 may have been applied",
        allow_abbrev=False,
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_demo(commands.add_parser("demo", help="a real cluster of processes on this machine, and its leader killed"))
    _add_serve(commands.add_parser("serve", help="run one node of a cluster until Ctrl-C or SIGTERM"))
    _add_call(commands.add_parser("execute", help="run a command on the replicated state machine"), "command")
    _add_call(commands.add_parser("query", help="ask the replicated state machine"), "query")
    _add_status(commands.add_parser("status", help="what every node of a cluster says of itself"))
    _add_bench(commands.add_parser("bench", help="writes per second and latencies, checked and beside their floor"))
    _add_simulate(commands.add_parser("simulate", help="a cluster under simulated faults, many runs, one seed each"))
    _add_verify(commands.add_parser("verify", help="the conformance kit on a storage plug-in, as a verdict table"))
    _add_snapshot(commands.add_parser("snapshot", help="have nodes take a snapshot now, and trim their logs behind it"))
    _add_plugins(commands.add_parser("plugins", help="list the plug-ins, what they offer, and what is wrong with them"))
    return root


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.description = (
        "Starts a cluster of processes with files in a temporary directory, writes, kills the leader with SIGKILL, "
        "starts it again, and compares every value and every node with the input."
    )
    demo.add_argument("--nodes", type=_count, default=3, metavar="N", help="how many processes (default: 3)")
    demo.add_argument(
        "--storage",
        default="file:{tmp}/{name}",
        metavar="URL",
        help="where each node keeps its log (default: %(default)s); a bare scheme means scheme:{tmp}/{name}",
    )
    demo.add_argument(
        "--input", metavar="FILE", help="lines of key<TAB>value to write, instead of paxospp's own source"
    )
    _add_plugin_flag(demo)


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.description = "Flags may stand in a TOML file too, under their own names; a flag that is given wins."
    serve.add_argument("--name", metavar="NAME", help="the name of this node, one of those in --cluster")
    serve.add_argument("--cluster", metavar="n1=H:P,n2=H:P,…", help="every node of the cluster, the same everywhere")
    serve.add_argument("--storage", metavar="URL", help="where the log is kept, such as file:./data/n1")
    serve.add_argument(
        "--machine", metavar="MACHINE", help="a registered name (such as kv), module:Class or file.py:Class"
    )
    serve.add_argument("--listen", metavar="H:P", help="the address to bind, when it differs from the one in --cluster")
    serve.add_argument(
        "--config", metavar="FILE", help="a TOML file with flags and settings (the fields of NodeConfig)"
    )
    serve.add_argument(
        "--allow-volatile", action="store_true", default=None, help="let a storage that forgets vote in a cluster"
    )
    _add_plugin_flag(serve)


def _add_call(call: argparse.ArgumentParser, kind: str) -> None:
    call.description = (
        "Arguments are JSON; text that is not JSON is a string, and a parameter annotated str takes any text as it "
        "stands. The result is one line of JSON, bytes as base64."
    )
    _add_cluster(call)
    call.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds to wait (default: 10)")
    if kind == "query":
        call.add_argument(
            "--consistency",
            type=_consistency,
            default="linearizable",
            metavar="C",
            help="linearizable (default), lease, local, or bounded:S for a state at most S seconds old",
        )
    call.add_argument("name", metavar="NAME", help=f"the {kind}")
    call.add_argument("arguments", metavar="ARG", nargs="*", help="its arguments")


def _add_status(status: argparse.ArgumentParser) -> None:
    _add_cluster(status)
    status.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.description = (
        "Keeps so many calls in flight against a cluster of processes of its own, with files in a temporary directory "
        "(TMPDIR says where). Every acknowledged write is read back at the end and the nodes are compared: a "
        "difference exits with 1. The floor is what one call takes here at least: one fdatasync of its record, a gRPC "
        "round trip between caller and leader, and one between leader and follower."
    )
    bench.add_argument(
        "--embedded",
        action="store_true",
        help="call Node.execute instead of a Client: this process is the leading node, the others are processes; its "
        "calls save one round trip (the others wait 5 s before they campaign, so that it leads)",
    )
    bench.add_argument(
        "--in-flight",
        type=_between(1, 16_384),
        metavar="N",
        help="calls under way at any time, in each client (default: 1024)",
    )
    bench.add_argument("--clients", type=_between(1, 64), metavar="N", help="how many client processes (default: 1)")
    bench.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="how long is measured, once it is warm (default: 10; 3 with --sweep)",
    )
    bench.add_argument(
        "--value-bytes", type=_between(8, 1_000_000), metavar="N", help="the size of a value (default: 16)"
    )
    bench.add_argument("--reads", action="store_true", help="linearizable queries instead of writes")
    bench.add_argument("--nodes", type=_count, metavar="N", help="how many nodes (default: 3)")
    bench.add_argument(
        "--storage",
        metavar="URL",
        help="where each node keeps its log (default: file:{tmp}/{name}); a bare scheme means scheme:{tmp}/{name}",
    )
    bench.add_argument(
        "--cluster",
        metavar="H:P,…",
        help="measure this cluster of `serve --machine kv` instead; its keys have a prefix of their own and are "
        "deleted at the end",
    )
    bench.add_argument(
        "--sweep",
        action="store_true",
        help="a table of many measurements: in flight 1 to 4096, remote, embedded and of etcd, other storages, sizes, "
        "reads, clients, nodes, and the gap when the leader is killed; goals as ratios of medians",
    )
    bench.add_argument(
        "--repeats", type=_count, metavar="N", help="how often the table of --sweep is gone through (default: 3)"
    )
    bench.add_argument(
        "--etcd",
        action="store_true",
        help="measure etcd beside it, with as many Puts in flight (--sweep does whenever etcd is on the PATH)",
    )
    bench.add_argument("--json", action="store_true", help="one JSON object instead of tables; with --sweep a list")
    _add_plugin_flag(bench)


def _add_simulate(simulate: argparse.ArgumentParser) -> None:
    simulate.description = (
        "Real nodes on virtual time, network and disks, under faults that each seed draws; every invariant is "
        "checked after every event. One seed prints its event hash. Exits with 1 and the seed when one breaks."
    )
    simulate.add_argument("--seeds", type=_number, metavar="N", help="how many (default: 100, or 1 with --seed)")
    simulate.add_argument("--seed", type=_number, metavar="S", help="the first seed (default: 0)")
    simulate.add_argument(
        "--machine", metavar="M", help="a registered name (such as kv), module:Class or file.py:Class"
    )
    simulate.add_argument("--workload", metavar="F", help="file.py:function that draws a call from a Random")
    simulate.add_argument("--invariant", metavar="F", help="file.py:function, called with every replica's machine")
    simulate.add_argument("--nodes", type=_count, metavar="N", help="how many nodes, instead of what the seed says")
    simulate.add_argument("--seconds", type=_seconds, metavar="S", help="virtual seconds in which things go wrong")
    simulate.add_argument(
        "--faults", metavar="F,…", help="only these families of those that the seed draws (such as N1,P3), or none"
    )
    simulate.add_argument(
        "--validate",
        action="store_true",
        help="hold every run step by step against the executable specification, and not only one in five",
    )
    simulate.add_argument("--jobs", type=_count, metavar="N", help="how many processes (default: one per core)")
    simulate.add_argument("--markers", action="store_true", help="print how often each branch that matters was taken")
    simulate.add_argument("--markers-json", metavar="FILE", help="write that table to FILE")
    simulate.add_argument(
        "--require-markers",
        type=_count,
        metavar="K",
        help="fail if a marker was hit less than K times; of all seeds from the first one on, --seeds of them are "
        "picked whose plans promise the markers that are rare so far",
    )
    simulate.add_argument(
        "--missed-max",
        type=_number,
        default=0,
        metavar="N",
        help="with --require-markers: so many markers may be hit less often (default: 0)",
    )
    simulate.add_argument(
        "--seeds-max",
        type=_number,
        metavar="M",
        help="with --require-markers: run more seeds, up to M in all, until every marker was hit often enough",
    )
    _add_plugin_flag(simulate)


def _add_verify(verify: argparse.ArgumentParser) -> None:
    verify.description = (
        "Kills, cuts the power, damages every file, and says clause by clause what holds. Takes minutes. "
        "Exits with 1 if a clause is broken, or if --only names a case that could not be checked."
    )
    verify.add_argument(
        "url",
        nargs="+",
        metavar="URL",
        help="scheme:{tmp} or file.py:Class:{tmp}; {tmp} stands for fresh directories. Give several to try a storage "
        "with several settings, such as thresholds so small that logs rotate and compact",
    )
    verify.add_argument(
        "--quick", action="store_true", help="a tenth of the kills, power cuts and damage: for trying, not for a proof"
    )
    verify.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CLAUSE[/CASE]",
        help="run the cases of one clause (C8), or one case (C8/a_hole_below_decided_is_faulty); may be given more "
        "than once. The line 'again:' below a failing case shows how to run it alone",
    )
    verify.add_argument("--all-steps", action="store_true", help="show every step of a failing case, not the last ones")
    _add_plugin_flag(verify)


def _add_snapshot(snapshot: argparse.ArgumentParser) -> None:
    snapshot.description = (
        "Nodes take snapshots by themselves as their logs grow; this is for before an upgrade or a copy. Every node "
        "given takes its own."
    )
    _add_cluster(snapshot)
    snapshot.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds to wait (default: 60)")


def _add_plugins(plugins: argparse.ArgumentParser) -> None:
    plugins.description = (
        "Exits with 1 if a plug-in is broken: it cannot be imported, has an unknown hook, was written for another "
        "storage contract, or offers a name that another plug-in offers. A storage whose driver is not installed is "
        "unavailable, which is an error only for a plug-in that --plugin names."
    )
    _add_plugin_flag(plugins)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster", required=True, metavar="H:P,…", help="addresses of nodes, as H:P or name=H:P, with commas between"
    )


def _add_plugin_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--plugin",
        action="append",
        default=None,
        metavar="MODULE|FILE.py",
        help="a plug-in to load beside the installed ones; may be given more than once",
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


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
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
    """The texts between the commas of ``--cluster``, as they stand."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_cluster(text: str) -> dict[str, str]:
    """``n1=H:P,n2=H:P`` as names and addresses.

    Raises:
        ConfigError: a part without a name, or a name that stands twice.
    """
    cluster: dict[str, str] = {}
    for part in split_addresses(text):
        name, equals, address = part.partition("=")
        if not equals:
            raise ConfigError(f"{part!r} in --cluster has no name: write it as n1={part}")
        if name in cluster:
            raise ConfigError(f"the name {name!r} stands twice in --cluster")
        cluster[name] = address
    return cluster
