"""``paxospp status``: what every node of a cluster says of itself.

A row for every address given and for every member that any node names; one that does not answer
is a row too, with nothing in it but its address and its name if somebody told it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from paxospp.cli import loop
from paxospp.cli.arguments import EXIT_UNAVAILABLE, split_addresses
from paxospp.cli.showing import print_table, say
from paxospp.client.addresses import parse_address
from paxospp.errors import ConfigError
from paxospp.rpc.status import fetch_status

COLUMNS = ("name", "address", "reachable", "role", "ballot", "leader", "decided", "applied", "first", "digest")
TIMEOUT_S = 2.0
DIGEST_SHOWN = 12
"""Digits of a digest in the table, so that a row stays a line; ``--json`` has it whole."""

Row = Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Print the rows; 0 if one node answered, else 3."""
    addresses = [parse_address(text) for text in split_addresses(options.cluster)]
    if not addresses:
        raise ConfigError("--cluster names no address: write host:port, such as 127.0.0.1:7001")
    rows, notes = loop.run(gather(addresses))
    if options.json:
        say(json.dumps({"nodes": rows}))
    else:
        print_table(COLUMNS, [[_cell(row[column]) for column in COLUMNS] for row in map(_short, rows)])
        for note in notes:
            say(note)
    return 0 if any(row["reachable"] for row in rows) else EXIT_UNAVAILABLE


async def gather(addresses: Iterable[str]) -> tuple[list[Row], list[str]]:
    """A row per node, in the order of ``addresses`` and then of the members they name; and what nodes remark."""
    answers: dict[str, dict[str, Any] | None] = {}
    names: dict[str, str] = {}
    wanted = list(dict.fromkeys(addresses))
    while wanted:
        fetched = await asyncio.gather(*(fetch_status(address, timeout_s=TIMEOUT_S) for address in wanted))
        answers.update(zip(wanted, fetched, strict=True))
        for answer in fetched:
            names.update({member["address"]: member["name"] for member in (answer or {}).get("members", ())})
        # Members that stand under an address nobody gave, unless that is another word for one who answered.
        known = {answer["name"] for answer in answers.values() if answer is not None}
        wanted = [address for address, name in names.items() if address not in answers and name not in known]
    rows = [_row(address, answer, names.get(address)) for address, answer in answers.items()]
    notes = [f"{answer['name']}: {note}" for answer in answers.values() if answer for note in answer.get("notes", ())]
    return rows, notes


def _row(address: str, answer: Mapping[str, Any] | None, name: str | None) -> Row:
    if answer is None:
        return dict.fromkeys(COLUMNS) | {"name": name, "address": address, "reachable": False}
    return {column: answer.get(column) for column in COLUMNS} | {"address": address, "reachable": True}


def _short(row: Row) -> Row:
    digest = row["digest"]
    return row if digest is None else {**row, "digest": digest[:DIGEST_SHOWN]}


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case [round, node]:
            return f"{round}.{node}"
        case _:
            return str(value)
