"""What gRPC's core is told by its environment in the processes that are our own; see ``main``.

Both are read when grpc is imported for the first time. Who embeds a node or a client sets the
second one himself, if he likes: it is his process, and his gRPC.
"""

from __future__ import annotations

import os
from importlib import metadata

_POLL_IN_PLACE = "-event_engine_client,-event_engine_listener"
"""Sockets are polled by the thread that waits for completions, not by a pool of threads that wakes it.

Measured (grpcio 1.85, two cores): a message back and forth costs 9.6 thread switches instead of
15.5, and a durable write with one in flight 1.47 ms instead of 1.78.
"""
_KNOWN_UP_TO = (1, 85)
"""The last version that is known to know these names; one that does not says so on stderr at every start."""


def set_up() -> None:
    """Call before ``import grpc``; what the user has set stands."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core writes to stderr on its own account
    if tuple(int(part) for part in metadata.version("grpcio").split(".")[:2]) <= _KNOWN_UP_TO:
        os.environ.setdefault("GRPC_EXPERIMENTS", _POLL_IN_PLACE)
