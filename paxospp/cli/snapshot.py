"""``paxospp snapshot``: has nodes take a snapshot now, and trim their logs behind it."""

from __future__ import annotations

import argparse
import asyncio
import sys

from paxospp.cli import loop
from paxospp.cli.arguments import exit_code_of, one_line, split_addresses
from paxospp.cli.showing import say
from paxospp.client.addresses import parse_address
from paxospp.errors import CallError, ConfigError
from paxospp.rpc.snapshot import ask_for_snapshot


def run(options: argparse.Namespace) -> int:
    """A line for each address given; 0 if all of them have one, else what the first failure says."""
    addresses = [parse_address(text) for text in split_addresses(options.cluster)]
    if not addresses:
        raise ConfigError("--cluster names no address: write host:port, such as 127.0.0.1:7001")
    return loop.run(_ask_all(addresses, options.timeout))


async def _ask_all(addresses: list[str], timeout_s: float) -> int:
    asked = (ask_for_snapshot(address, timeout_s=timeout_s) for address in addresses)
    exit_code = 0
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, CallError):
            print(f"paxospp snapshot: {one_line(answer)}", file=sys.stderr)
            exit_code = exit_code or exit_code_of(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            say(f"{answer.node} has a snapshot up to slot {answer.slot}, {answer.size_bytes} bytes")
    return exit_code
