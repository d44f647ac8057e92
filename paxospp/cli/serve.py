"""``paxospp serve``: one node of a cluster, until Ctrl-C or SIGTERM.

Says in single lines what whoever started it wants to know: where it listens, whom it waits for
until the cluster is founded, who leads, and what went wrong. Flags may stand in a TOML file too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paxospp.cli import loop
from paxospp.cli.arguments import EXIT_FAILED, one_line, split_cluster
from paxospp.cli.showing import say
from paxospp.config import NodeConfig, read_config
from paxospp.errors import ConfigError, PaxosppError
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

FLAGS = ("name", "cluster", "storage", "machine", "listen", "plugin", "allow-volatile")
_REQUIRED = ("name", "cluster", "storage", "machine")
LOOK_INTERVAL_S = 0.25
CALM_LOOK_INTERVAL_S = 1.0
"""Where nothing was to be said: each look wakes a node that may have nothing else to do."""


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; 0 then, 1 if the node had to stop by itself."""
    settings = Settings.of(options)
    try:
        return loop.run(_serve(settings))
    except KeyboardInterrupt:
        return 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the flags and the TOML file say together."""

    name: str
    cluster: Mapping[str, str]
    storage: str
    machine: str
    listen: str | None
    plugins: Sequence[str]
    allow_volatile: bool
    config: NodeConfig

    @classmethod
    def of(cls, options: argparse.Namespace) -> Settings:
        """Raises ConfigError for a flag that is missing or has a value that cannot be."""
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
            raise ConfigError(f"{', '.join(missing)} missing: give it as a flag or in the --config file")
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
    """The only thing in its process: nobody else's work stands still while its loop waits for the disk."""

    _owns_loop = True


async def _serve(settings: Settings) -> int:
    node = _Server(
        settings.name,
        cluster=settings.cluster,
        storage=settings.storage,
        machine=settings.machine,
        listen=settings.listen,
        allow_volatile=settings.allow_volatile,
        plugins=settings.plugins,
        on_event=_say_event,
        config=settings.config,
    )
    async with node:
        say(f"{node.name} listens on {settings.listen or node.address}, storage {settings.storage}")
        notes = asyncio.create_task(_say_notes(node))
        try:
            await node.wait_stopped()
        except PaxosppError as error:
            print(f"paxospp serve: {node.name} stopped: {one_line(error)}", file=sys.stderr, flush=True)
            return EXIT_FAILED
        finally:
            notes.cancel()
    return 0


async def _say_notes(node: Node) -> None:
    """A line for what is not as it should be, once it lasts: whom the node waits for, why it does not vote."""
    said: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    while True:
        notes = node.status().notes
        for note in notes:
            if note in before and note not in said:
                say(f"{node.name}: {note}")
        said = before & frozenset(notes)
        before = frozenset(notes)
        await asyncio.sleep(LOOK_INTERVAL_S if notes else CALM_LOOK_INTERVAL_S)


def _say_event(event: Event) -> None:
    match event:
        case LeaderChanged(leader=None):
            say(f"{event.node} knows no leader")
        case LeaderChanged():
            say(f"{event.node} follows {event.leader}" if event.leader != event.node else f"{event.node} leads")
        case MembershipChanged(slot=1):
            say(f"{event.node}: the cluster {event.cluster_id.hex()} is founded by {', '.join(event.members)}")
        case MembershipChanged():
            say(f"{event.node}: from slot {event.slot} the members are {', '.join(event.members)}")
        case SnapshotTaken():
            say(f"{event.node} took a snapshot up to slot {event.slot}")
        case SnapshotInstalled():
            say(f"{event.node} installed a snapshot up to slot {event.slot} from {event.source}")
        case FaultFound():
            say(f"{event.node}: {event.reason}" + (f" (seen at {event.peer})" if event.peer else ""))
        case Diverged():
            say(f"{event.node}: replicas differ at slot {event.slot}")
        case _:
            pass  # that it started and stopped is said where that is done


def _text(table: Mapping[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise ConfigError(f"{key} = {table[key]!r} is no text")
    return str(table[key])


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    texts = [table[key]] if isinstance(table[key], str) else table[key]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{key} = {table[key]!r} is no list of texts")
    return texts


def _truth(table: Mapping[str, Any], key: str) -> bool:
    if not isinstance(table[key], bool):
        raise ConfigError(f"{key} = {table[key]!r} is neither true nor false")
    return table[key] is True


def _cluster(given: Any) -> Mapping[str, str]:
    """A table of names and addresses, as TOML has it, or the text of the flag."""
    if isinstance(given, str):
        return split_cluster(given)
    if isinstance(given, dict) and all(isinstance(address, str) for address in given.values()):
        return given
    raise ConfigError(f"cluster = {given!r} is neither a table of names and addresses nor text like n1=H:P,n2=H:P")
