"""``paxospp serve``: run one node of a cluster until Ctrl-C or SIGTERM.

It prints a line when the node listens, waits for other nodes, follows a leader or becomes one, and when something goes
wrong. The flags may also be in a TOML file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import paxospp
from paxospp import process_setup
from paxospp.cli.arguments import EXIT_FAILED, split_cluster
from paxospp.cli.terminal import say
from paxospp.config import NodeConfig, read_config
from paxospp.errors import ConfigError, PaxosppError, PluginError, one_line
from paxospp.events import (
    Diverged,
    Event,
    FaultFound,
    LeaderChanged,
    MembershipChanged,
    SnapshotInstalled,
    SnapshotTaken,
)
from paxospp.node import Node
from paxospp.storage.contract import Storage

FLAGS = ("name", "cluster", "storage", "machine", "listen", "plugin", "allow-volatile")
_REQUIRED = ("name", "cluster", "storage", "machine")
LOOK_INTERVAL_S = 0.25
CALM_LOOK_INTERVAL_S = 1.0
"""The interval if the last look found no notes, because each look wakes a node that may be idle."""


def run(options: argparse.Namespace) -> int:
    """Run the node until a signal ends it; return 0 then, and 1 if the node stopped by itself."""
    settings = ServeOptions.of(options)
    try:
        return process_setup.run(_serve(settings))
    except KeyboardInterrupt:
        return 0


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of ``paxospp serve``: the flags, and for flags that are not given the TOML file."""

    name: str
    cluster: Mapping[str, str]
    storage: str
    machine: str
    listen: str | None
    plugins: Sequence[str]
    allow_volatile: bool
    config: NodeConfig

    @classmethod
    def of(cls, options: argparse.Namespace) -> ServeOptions:
        """Return the options.

        Raises:
            ConfigError: an option is missing or has an invalid value.
        """
        config = NodeConfig()
        table: dict[str, Any] = {}
        if options.config is not None:
            config, table = read_config(options.config, FLAGS)
        for flag in FLAGS:
            given = getattr(options, flag.replace("-", "_"))
            if given is not None:
                table[flag] = given
        missing = [f"--{flag}" for flag in _REQUIRED if flag not in table]
        if missing:
            raise ConfigError(f"missing {', '.join(missing)}: give each as a flag or in the --config file")
        return cls(
            name=_text(table, "name"),
            cluster=_cluster(table["cluster"]),
            storage=_text(table, "storage"),
            machine=_text(table, "machine"),
            listen=_text(table, "listen") if "listen" in table else None,
            plugins=_texts(table, "plugin") if "plugin" in table else (),
            allow_volatile=_truth(table, "allow-volatile") if "allow-volatile" in table else False,
            config=config,
        )


class _Server(Node):
    """A node that owns its process: it may wait for the disk in the event loop, because nothing else runs there."""

    _owns_loop = True


async def _serve(settings: ServeOptions) -> int:
    node = _Server(
        settings.name,
        cluster=settings.cluster,
        storage=settings.storage,
        machine=settings.machine,
        listen=settings.listen,
        allow_volatile=settings.allow_volatile,
        plugins=settings.plugins,
        on_event=_print_event,
        config=settings.config,
    )
    async with AsyncExitStack() as stack:
        with _storage_faults_in_one_line(settings.storage):
            await stack.enter_async_context(node)
        say(f"{node.name} listens on {settings.listen or node.address}, storage {settings.storage}")
        notes = asyncio.create_task(_print_notes(node))
        try:
            await node.wait_stopped()
        except PaxosppError as error:
            print(f"paxospp serve: {node.name} stopped: {one_line(error)}", file=sys.stderr, flush=True)
            return EXIT_FAILED
        finally:
            notes.cancel()
    return 0


@contextmanager
def _storage_faults_in_one_line(url: str) -> Iterator[None]:
    """Turn an exception that is a mistake in the code of the storage into a PluginError that names the line."""
    try:
        yield
    except PaxosppError:
        raise
    except Exception as error:
        line = _line_of_storage(error)
        if line is None:
            raise
        raise PluginError(f"storage {url!r} raised {type(error).__name__}: {error} ({line})") from error


def _line_of_storage(error: Exception) -> str | None:
    """Return the deepest line that ``error`` came through in a file of the storage, or None if it came through none."""
    ours = os.path.join(os.path.dirname(paxospp.__file__), "")
    frames = [
        (frame.f_code.co_filename, line, isinstance(frame.f_locals.get("self"), Storage))
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(ours)
    ]
    files = {file for file, _, is_storage in frames if is_storage}
    lines = [f"{file}, line {line}" for file, line, _ in frames if file in files]
    return lines[-1] if lines else None


async def _print_notes(node: Node) -> None:
    """Print each note of the node's status (whom it waits for, why it does not vote) that two looks found."""
    printed: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    while True:
        notes = node.status().notes
        for note in notes:
            if note in before and note not in printed:
                say(f"{node.name}: {note}")
        printed = before & frozenset(notes)
        before = frozenset(notes)
        await asyncio.sleep(LOOK_INTERVAL_S if notes else CALM_LOOK_INTERVAL_S)


def _print_event(event: Event) -> None:
    match event:
        case LeaderChanged(leader=None):
            pass  # if it lasts, the node's notes say so
        case LeaderChanged():
            say(f"{event.node} follows {event.leader}" if event.leader != event.node else f"{event.node} leads")
        case MembershipChanged(slot=1):
            say(f"{event.node}: cluster {event.cluster_id.hex()} is bootstrapped: {', '.join(event.members)}")
        case MembershipChanged():
            say(f"{event.node}: from slot {event.slot} the members are {', '.join(event.members)}")
        case SnapshotTaken():
            say(f"{event.node} took a snapshot up to slot {event.slot}")
        case SnapshotInstalled():
            say(f"{event.node} installed a snapshot up to slot {event.slot} from {event.source}")
        case FaultFound():
            say(f"{event.node}: {event.reason}" + (f" (found at {event.peer})" if event.peer else ""))
        case Diverged():
            say(f"{event.node}: the states of the replicas differ at slot {event.slot}")
        case _:
            pass  # start and stop are printed by _serve


def _text(table: Mapping[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise ConfigError(f'{key} = {table[key]!r} is not text: write {key} = "…"')
    return str(table[key])


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    texts = [table[key]] if isinstance(table[key], str) else table[key]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{key} = {table[key]!r} is not a list of texts")
    return texts


def _truth(table: Mapping[str, Any], key: str) -> bool:
    if not isinstance(table[key], bool):
        raise ConfigError(f"{key} = {table[key]!r} is neither true nor false")
    return table[key] is True


def _cluster(given: Any) -> Mapping[str, str]:
    """Return names and addresses, given as a TOML table or as the text of the flag."""
    if isinstance(given, str):
        return split_cluster(given)
    if isinstance(given, dict) and all(isinstance(address, str) for address in given.values()):
        return given
    raise ConfigError(f"cluster = {given!r} is neither a table of names and addresses nor text like n1=H:P,n2=H:P")
