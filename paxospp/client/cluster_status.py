"""The status of every node of a cluster, asked of each node at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from paxospp.rpc.unary_calls import fetch_status

STATUS_FIELDS = ("name", "address", "reachable", "role", "ballot", "leader", "decided", "applied", "first", "digest")
TIMEOUT_S = 2.0

NodeRow = Mapping[str, Any]
"""The report of one node, with the keys of ``STATUS_FIELDS``."""


async def gather_status(addresses: Iterable[str]) -> tuple[list[NodeRow], list[str]]:
    """Ask the nodes at ``addresses``, and every member that an answer names, for their status.

    Returns a row per node, in the order of ``addresses`` followed by other members, and the notes of all nodes as text.
    A node that does not answer has a row with its address and, if another node told it, its name; the rest is None.
    """
    answers: dict[str, dict[str, Any] | None] = {}
    names: dict[str, str] = {}
    to_ask = list(dict.fromkeys(addresses))
    while to_ask:
        fetched = await asyncio.gather(*(fetch_status(address, timeout_s=TIMEOUT_S) for address in to_ask))
        answers.update(zip(to_ask, fetched, strict=True))
        for answer in fetched:
            names.update({member["address"]: member["name"] for member in (answer or {}).get("members", ())})
        # Ask the members at other addresses, except those that answered under an alias of their address.
        answered = {answer["name"] for answer in answers.values() if answer is not None}
        to_ask = [address for address, name in names.items() if address not in answers and name not in answered]
    rows = [_row(address, answer, names.get(address)) for address, answer in answers.items()]
    notes = [f"{answer['name']}: {note}" for answer in answers.values() if answer for note in answer.get("notes", ())]
    return rows, notes


def _row(address: str, answer: Mapping[str, Any] | None, name: str | None) -> NodeRow:
    if answer is None:
        return dict.fromkeys(STATUS_FIELDS) | {"name": name, "address": address, "reachable": False}
    return {field: answer.get(field) for field in STATUS_FIELDS} | {"address": address, "reachable": True}
