"""The outgoing links of a node, one per peer, opened and closed as addresses change.

The node decides who its peers are and how a frame is encoded.
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
    """The outgoing links of the node ``name``; for one event loop.

    ``encode(to, messages)`` returns one frame. At most ``queue_bytes_max`` bytes are queued for each peer.
    ``dropped`` counts the messages that were not sent, by peer.
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
        """Open links to new peers, and close links to peers that are gone or have moved.

        ``addresses`` may contain this node itself, which gets no link.
        """
        if self._closed:
            return
        for peer, link in list(self._links.items()):
            if addresses.get(peer) != link.address or peer == self._name:
                self._close_link(peer)
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
        """Queue ``message`` for ``to`` without waiting; drop it if the queue is full or ``to`` is not a peer."""
        link = self._links.get(to)
        if link is None:
            self._count_dropped(to, 1)
        else:
            link.send(message)

    def connected(self) -> frozenset[NodeId]:
        """Return the peers to which a stream is open, as far as this end can tell."""
        return frozenset(peer for peer, link in self._links.items() if link.connected)

    async def close(self) -> None:
        """Close every link and wait until no task and no channel is left; may be called twice."""
        self._closed = True
        for peer in list(self._links):
            self._close_link(peer)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close_link(self, peer: NodeId) -> None:
        task = asyncio.get_running_loop().create_task(self._links.pop(peer).close(), name=f"paxospp closes {peer}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _count_dropped(self, peer: NodeId, count: int) -> None:
        self.dropped[peer] += count
