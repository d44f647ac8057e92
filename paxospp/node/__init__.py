"""The node: the one room with effects, where clock, disk, network and tasks meet the pure engine.

``node.Node`` is the public face and the life cycle. Behind it, all on one event loop:
``driver`` honours what the engine asks for, ``writer`` owns the storage's threads, ``front`` takes
runs in and finds who waits for outcomes, ``local`` and ``remote`` are the two kinds of callers,
``queries`` confirms reads, ``identity`` says whose storage this is, ``status`` tells about it all.
"""

from paxospp.node.node import Node
from paxospp.node.status import NodeStatus

__all__ = ["Node", "NodeStatus"]
