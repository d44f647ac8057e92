"""Checks a listen address before gRPC uses it, so that an error can name the reason.

gRPC itself gives no reason, writes to stderr, and accepts a host name if it can bind only one of its addresses
while another process uses the others.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from paxospp.errors import ConfigError

_NOT_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


async def check_listen(listen: str) -> None:
    """Check that ``listen`` ("host:port", "[::1]:port" or "unix:path") can be bound; a "unix:" path always passes.

    Raises:
        ConfigError: it cannot; the text says why.
    """
    if listen.startswith("unix:"):
        return
    host, port = split_address(listen)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(f"cannot listen on {listen}: no such host ({error.strerror}); check its spelling") from error
    problems = [problem for family, _, _, _, address in found if (problem := _try_bind(family, address)) is not None]
    for problem in problems:
        if problem.errno not in _NOT_HERE:
            raise ConfigError(_explain(listen, port, problem)) from problem
    if problems and len(problems) == len(found):
        raise ConfigError(_explain(listen, port, problems[0])) from problems[0]


def split_address(address: str) -> tuple[str, int]:
    """Return host (without brackets) and port of ``address``.

    Raises:
        ConfigError: ``address`` is not "host:port" or "[IPv6]:port".
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigError(f"{address!r} is not a valid address: use host:port, such as 127.0.0.1:7001 or [::1]:7001")
    return host, int(port)


def _try_bind(family: int, address: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gRPC does: ignore connections that an earlier process left in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _explain(listen: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {listen}: port {port} is in use; stop what uses it, or give this node another port"
    if error.errno in _NOT_HERE:
        return f"cannot listen on {listen}: this machine does not have that address; pass one that it has as listen="
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot listen on {listen}: {reason}; give this node another address or port"
