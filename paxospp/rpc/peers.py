"""The links to all peers: one per peer and direction, opened and closed as the addresses change.

Knows nothing of what it carries beyond its size; who is spoken to is the node's decision, and
what a frame looks like is handed in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random

from paxospp.messages import Message
from paxospp.model import NodeId
from paxospp.rpc.link import Link


class PeerLinks:
    """The outgoing links of the node ``name``.

    ``encode(to, messages)`` makes one frame. At most ``queue_bytes_max`` bytes wait for one
    peer; ``dropped`` counts what was not sent, by peer. Use it on one loop only.
    """

    def __init__(
        self,
        name: NodeId,
        *,
        encode: Callable[[NodeId, Sequence[Message]], bytes],
        queue_bytes_max: int,
        reconnect_max_s: float = 0.5,
        random: Random | None = None,
    ) -> None:
        self.dropped: Counter[NodeId] = Counter()
        self._name = name
        self._encode = encode
        self._queue_bytes_max = queue_bytes_max
        self._reconnect_max_s = reconnect_max_s
        self._random = random or Random()
        self._links: dict[NodeId, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Keep a link to each of ``addresses`` but our own, and to nobody else."""
        if self._closed:
            return
        for peer, link in list(self._links.items()):
            if addresses.get(peer) != link.address or peer == self._name:
                self._hang_up(peer)
        for peer, address in addresses.items():
            if peer != self._name and peer not in self._links:
                self._links[peer] = Link(
                    peer,
                    address,
                    encode=partial(self._encode, peer),
                    on_dropped=partial(self._count_dropped, peer),
                    queue_bytes_max=self._queue_bytes_max,
                    reconnect_max_s=self._reconnect_max_s,
                    random=self._random,
                )

    def send(self, to: NodeId, message: Message) -> None:
        """Queue ``message`` for ``to``; never waits, and drops what does not fit or has no link."""
        link = self._links.get(to)
        if link is None:
            self._count_dropped(to, 1)
        else:
            link.send(message)

    def connected(self) -> frozenset[NodeId]:
        """The peers to whom a stream is open, as far as this end can tell."""
        return frozenset(peer for peer, link in self._links.items() if link.connected)

    async def close(self) -> None:
        """Hang up on everybody; may come twice. No task and no channel is left."""
        self._closed = True
        for peer in list(self._links):
            self._hang_up(peer)
        if self._closing:
            await asyncio.wait(self._closing)

    def _hang_up(self, peer: NodeId) -> None:
        task = asyncio.get_running_loop().create_task(self._links.pop(peer).close(), name=f"paxospp hang up on {peer}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _count_dropped(self, peer: NodeId, count: int) -> None:
        self.dropped[peer] += count
