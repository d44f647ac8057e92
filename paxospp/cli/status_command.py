"""``paxospp status``: print what each node of a cluster reports about itself."""

from __future__ import annotations

import argparse
import json

from paxospp import process_setup
from paxospp.cli.arguments import EXIT_UNAVAILABLE
from paxospp.cli.cluster_flag import parse_addresses
from paxospp.cli.terminal import print_table, say
from paxospp.client.cluster_status import STATUS_FIELDS, NodeRow, gather_status

DIGEST_SHOWN = 12
"""Digits of a digest in the table, so that a row fits on a line; ``--json`` has all of them."""


def run(options: argparse.Namespace) -> int:
    """Print a row for each node; return 0 if at least one node answered, else 3."""
    rows, notes = process_setup.run(gather_status(parse_addresses(options.cluster)))
    if options.json:
        say(json.dumps({"nodes": rows}))
    else:
        print_table(STATUS_FIELDS, [[_cell(row[field]) for field in STATUS_FIELDS] for row in map(_shortened, rows)])
        for note in notes:
            say(note)
    return 0 if any(row["reachable"] for row in rows) else EXIT_UNAVAILABLE


def _shortened(row: NodeRow) -> NodeRow:
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
