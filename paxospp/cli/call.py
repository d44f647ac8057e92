"""``paxospp execute`` and ``paxospp query``: one call, its result as one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from paxospp.cli import loop
from paxospp.cli.arguments import split_addresses
from paxospp.cli.showing import say
from paxospp.client import Client
from paxospp.client.addresses import parse_address
from paxospp.rpc.status import fetch_status
from paxospp.state_machine import arguments_from_texts

DESCRIBE_TIMEOUT_S = 2.0


def run(options: argparse.Namespace) -> int:
    """Call and print; errors are raised, and ``main`` turns them into a line and an exit code."""
    say(as_json(loop.run(_call(options))))
    return 0


async def _call(options: argparse.Namespace) -> Any:
    addresses = split_addresses(options.cluster)
    async with Client(addresses, timeout=options.timeout) as client:
        machine = await _describe_machine([parse_address(text) for text in addresses])
        if options.command == "execute":
            arguments = arguments_from_texts(machine.get("commands", {}), options.name, options.arguments)
            return await client.execute(options.name, *arguments)
        arguments = arguments_from_texts(machine.get("queries", {}), options.name, options.arguments)
        return await client.query(options.name, *arguments, consistency=options.consistency)


async def _describe_machine(addresses: Sequence[str]) -> Mapping[str, Any]:
    """The state machine's commands and queries as the first node that answers tells them; empty if none does."""
    asked = [asyncio.ensure_future(fetch_status(address, timeout_s=DESCRIBE_TIMEOUT_S)) for address in addresses]
    try:
        for answering in asyncio.as_completed(asked):
            status = await answering
            if status is not None:
                return status.get("machine") or {}
        return {}
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def as_json(result: Any) -> str:
    """One line of JSON, bytes as base64; of what JSON has no word for, its text."""
    return msgspec.json.encode(result, enc_hook=str).decode()
