"""Lossy and cut links between nodes of one process: messages are dropped where a node gives them to its links."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from paxospp.messages import Message
from paxospp.model import NodeId
from tests.cluster.embedding import Embedded


class Weather:
    """Controls every link between the running nodes of ``cluster``."""

    def __init__(self, cluster: Embedded, seed: int = 0) -> None:
        self.loss = 0.0
        self.cut: set[tuple[str, str]] = set()
        self.lost = 0
        self._random = Random(seed)
        for name, node in cluster.nodes.items():
            assert node._runtime is not None
            node._runtime.links.send = self._over(name, node._runtime.links.send)  # type: ignore[assignment]

    def _over(self, name: str, send: Callable[[NodeId, Message], None]) -> Callable[[NodeId, Message], None]:
        def sent(to: NodeId, message: Message) -> None:
            if (name, to) in self.cut or self._random.random() < self.loss:
                self.lost += 1
            else:
                send(to, message)

        return sent

    def isolate(self, *names: str, others: set[str]) -> None:
        """Cut all links between ``names`` and ``others``, in both directions."""
        for name in names:
            self.cut |= {(name, other) for other in others} | {(other, name) for other in others}

    def clear(self) -> None:
        self.loss = 0.0
        self.cut.clear()
