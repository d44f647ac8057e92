"""The node: where clocks, disk, network and tasks meet the pure engine. Everything runs on one event loop.

- ``node.Node``: the public class and its life cycle.
- ``recovery``: what a start does with the storage.
- ``runtime``: wires up the parts of a running node, which follow.
- ``driver``: carries out what the engine asks for.
- ``writer``: owns the storage's threads.
- ``inbox``: queues runs until they are proposed, and passes their answers to the callers.
- ``local``, ``remote``: calls made in this process, and calls from other processes.
- ``queries``: confirms and answers reads.
- ``watch``: the change feed.
- ``snapshots``: takes, sends and fetches snapshots.
- ``environment``: the clocks, randomness, threads and links of a node, as one value.
- ``observer``: the methods of an object that watches a node.

A *call* of a state machine's method is encoded as a *payload*. A caller numbers its payloads and sends consecutive ones
as a *run* of its session. A leader proposes several runs as one *value*; a slot, its ballot and its value are an
*entry* of the log, and one write makes a *batch* of entries durable. Applying an entry gives each payload an *outcome*,
which resolves the future of its call; the outcomes of a run are its *answer*.
"""

from paxospp.node.node import Node
from paxospp.node.status import NodeStatus

__all__ = ["Node", "NodeStatus"]
