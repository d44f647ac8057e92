"""The node: where clocks, disk, network and tasks meet the pure engine. Everything runs on one event loop.

``node.Node`` is the public class and the life cycle. ``recovery`` is what a start does with the storage, ``runtime``
wires up the parts of a node that takes part: ``driver`` carries out what the engine asks for, ``writer`` owns the
storage's threads, ``inbox`` queues runs until they are proposed and finds who waits for their outcomes, ``local`` and
``remote`` are the two kinds of callers, ``queries`` confirms and answers reads, ``watch`` is the change feed,
``snapshots`` takes, sends and fetches snapshots. What a node takes from the world is one value (``environment``), and
who watches it is one object (``observer``).

A *command*, a call of a state machine's method, is encoded into a *payload*. A caller numbers its payloads and sends
consecutive ones as a *run* of its session. A leader proposes several runs as one *value*; the value that a slot
decides is in an *entry* of the log. Applying an entry gives each run an *outcome*, which resolves the futures of its
calls.
"""

from paxospp.node.node import Node
from paxospp.node.status import NodeStatus

__all__ = ["Node", "NodeStatus"]
