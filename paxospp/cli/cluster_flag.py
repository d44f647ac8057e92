"""The flag ``--cluster`` of commands that talk to a running cluster."""

from __future__ import annotations

from paxospp.cli.arguments import split_addresses
from paxospp.client.addresses import parse_address
from paxospp.errors import ConfigError


def parse_addresses(text: str) -> list[str]:
    """Return the addresses in the text of ``--cluster``.

    Raises:
        ConfigError: the text names no address, or an invalid one.
    """
    addresses = [parse_address(part) for part in split_addresses(text)]
    if not addresses:
        raise ConfigError("--cluster names no address: write host:port, such as 127.0.0.1:7001")
    return addresses
