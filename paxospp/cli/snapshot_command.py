"""``paxospp snapshot``: make nodes take a snapshot now and trim their logs."""

from __future__ import annotations

import argparse
import asyncio
import sys

from paxospp import process_setup
from paxospp.cli.arguments import exit_code_of
from paxospp.cli.cluster_flag import parse_addresses
from paxospp.cli.terminal import say
from paxospp.errors import CallError, one_line
from paxospp.rpc.unary_calls import ask_for_snapshot


def run(options: argparse.Namespace) -> int:
    """Print a line for each address; return 0 if all took a snapshot, else the exit code of the first failure."""
    return process_setup.run(_ask_all(parse_addresses(options.cluster), options.timeout))


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
