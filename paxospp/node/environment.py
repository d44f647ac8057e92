"""Everything that a node takes from outside: clocks, timers, randomness, threads and links, as one value.

``Environment.real`` is what ``Node`` runs in. A simulation makes its own, so that real nodes run on virtual time,
disks and networks; it replaces nothing else. Code that only watches a node is an ``observer.NodeObserver``.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.messages import Message, Sender
from paxospp.model import NodeId
from paxospp.node.pacing import PACING, Pacing
from paxospp.node.worker import ThreadWorker, Worker
from paxospp.rpc.peers import PeerLinks
from paxospp.sessions.caller import Caller
from paxospp.wire.frames import FrameEncoder

RUN_BYTES_MAX = 1 << 20
RUN_COMMANDS_MAX = 1024
"""The largest run of this node's own callers. It stays in the process, so it may hold more than a client's run."""


class Links(Protocol):
    """The connections to the peers."""

    @property
    def dropped(self) -> Mapping[NodeId, int]:
        """How many messages were not sent, by peer."""
        ...

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to these nodes, except to this one itself."""
        ...

    def send(self, to: NodeId, message: Message) -> None:
        """Queue ``message`` for ``to``; it may be lost."""
        ...

    def connected(self) -> frozenset[NodeId]:
        """Return the peers to which a connection is open."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything a node uses that its messages and its storage do not determine."""

    loop: asyncio.AbstractEventLoop
    """Runs callbacks and timers; ``loop.time`` is the clock of all timeouts."""
    boot_time: Callable[[], float]
    """Seconds of a clock that keeps running while the machine sleeps, for leases and bounded reads."""
    unix_time_us: Callable[[], int]
    """Microseconds since 1970 by this machine's wall clock."""
    new_random: Callable[[], random.Random]
    """Make a random generator; each part that needs one gets its own."""
    start_worker: Callable[[str], Worker]
    """Start a thread for blocking work; the argument names its role."""
    make_links: Callable[[NodeConfig, Callable[[], Sender]], Links]
    """Make the links to the peers; the second argument returns the sender that each frame names."""
    random_bits: Callable[[int], int]
    """Return an unpredictable number of the given size in bits, for the identity of a storage and of a boot."""
    random_bytes: Callable[[int], bytes]
    """Return unpredictable bytes, for the ids of sessions."""
    make_caller: Callable[[bytes], Caller]
    """Make the ``Caller`` for commands of this process; the argument is the random part of its session's id."""
    make_replica: Callable[..., Replica] = Replica
    """Called like ``Replica``."""
    pacing: Pacing = PACING
    owns_loop: bool = False
    """Whether the event loop does nothing but this node's work, so that it may wait for small writes to the disk."""

    @classmethod
    def real(cls, name: NodeId, *, owns_loop: bool = False) -> Self:
        """Return the environment of a node that runs in the current event loop."""
        loop = asyncio.get_running_loop()
        return cls(
            loop=loop,
            boot_time=boot_time,
            unix_time_us=unix_time_us,
            new_random=random.Random,
            start_worker=lambda role: ThreadWorker(f"paxospp-{name}-{role}", loop),
            make_links=partial(_dial, name),
            random_bits=secrets.randbits,
            random_bytes=secrets.token_bytes,
            make_caller=_make_caller,
            pacing=PACING,
            owns_loop=owns_loop,
        )


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where CLOCK_BOOTTIME is missing (macOS), CLOCK_MONOTONIC counts sleep."""


def boot_time() -> float:
    """Return seconds since an arbitrary moment of this boot, counting the time that the machine slept.

    On Linux Python's monotonic clock stops during sleep, and a leader that slept would trust an expired lease.
    """
    return time.clock_gettime(_BOOT_CLOCK)


def unix_time_us() -> int:
    """Return microseconds since 1970 by this machine's wall clock."""
    return time.time_ns() // 1000


def _dial(name: NodeId, config: NodeConfig, sender: Callable[[], Sender]) -> PeerLinks:
    frames = FrameEncoder()
    return PeerLinks(
        name,
        encode=lambda to, messages: frames.encode(sender(), to, messages),
        queue_bytes_max=config.peer_queue_bytes_max,
        reconnect_max_s=config.reconnect_interval_s,
    )


def _make_caller(session_random: bytes) -> Caller:
    return Caller(session_random, run_bytes_max=RUN_BYTES_MAX, run_commands_max=RUN_COMMANDS_MAX)
