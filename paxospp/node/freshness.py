"""Whether this node has applied what it knows to be decided, so that its log time may be given to callers.

A session is opened at the log time as some node has applied it. A node that has just started, or was away, would
give an old time, and a session opened at that time may already have expired.
"""

from __future__ import annotations

from paxospp.engine.replica import Replica
from paxospp.execution.executor import Executor


class Freshness:
    """Becomes true when everything known to be decided is applied, and stays true while the node keeps up."""

    def __init__(self, replica: Replica, executor: Executor) -> None:
        self._replica = replica
        self._executor = executor
        self._was_fresh = False

    def is_fresh(self) -> bool:
        """Whether the node is up to date now; later answers depend on how far it falls behind between the calls."""
        replica = self._replica
        if replica.membership is None or replica.leader is None:
            self._was_fresh = False
        else:
            behind = replica.wanted - self._executor.applied
            self._was_fresh = behind <= (replica.membership.alpha if self._was_fresh else 0)
        return self._was_fresh
