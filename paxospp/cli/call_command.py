"""``paxospp execute`` and ``paxospp query``: make one call and print its result as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from paxospp import process_setup
from paxospp.cli.arguments import split_addresses
from paxospp.cli.terminal import say
from paxospp.client import Client
from paxospp.client.addresses import parse_address
from paxospp.errors import RejectedError
from paxospp.rpc.unary_calls import fetch_status
from paxospp.state_machine import arguments_from_texts

DESCRIBE_TIMEOUT_S = 2.0


def run(options: argparse.Namespace) -> int:
    """Make the call and print its result. Errors are raised; ``main`` turns them into a line and an exit code."""
    say(as_json(process_setup.run(_call(options))))
    return 0


async def _call(options: argparse.Namespace) -> Any:
    addresses = split_addresses(options.cluster)
    async with Client(addresses, timeout=options.timeout) as client:
        machine = await _describe_machine([parse_address(text) for text in addresses])
        commands, queries = machine.get("commands", {}), machine.get("queries", {})
        if options.command == "execute":
            if options.name in queries:
                raise RejectedError(f"{options.name} is a query: use paxospp query")
            arguments = arguments_from_texts(commands, options.name, options.arguments)
            return await client.execute(options.name, *arguments)
        if options.name in commands:
            raise RejectedError(f"{options.name} is a command: use paxospp execute")
        arguments = arguments_from_texts(queries, options.name, options.arguments)
        return await client.query(options.name, *arguments, consistency=options.consistency)


async def _describe_machine(addresses: Sequence[str]) -> Mapping[str, Any]:
    """Return the commands and queries of the state machine, from the first node that answers; empty if none does."""
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
    """Return ``result`` as one line of JSON: bytes as base64, and the text of a value that JSON cannot express."""
    return msgspec.json.encode(result, enc_hook=str).decode()
