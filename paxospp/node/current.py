"""Whether this node is current: has applied what is known to be decided, so that its log time may be told.

A session is opened at the log's time as some node has applied it. One that has just come up, or
was away, would tell a time of long ago, and what is opened then may have expired already.
"""

from __future__ import annotations

from paxospp.engine.replica import Replica
from paxospp.execution.executor import Executor


class Current:
    """Becomes true when everything known is applied, and stays so while the node keeps pace."""

    def __init__(self, replica: Replica, executor: Executor) -> None:
        self._replica = replica
        self._executor = executor
        self._was = False

    def look(self) -> bool:
        """Whether it is now."""
        replica = self._replica
        if replica.membership is None or replica.leader is None:
            self._was = False
        else:
            behind = replica.wanted - self._executor.applied
            self._was = behind <= (replica.membership.alpha if self._was else 0)
        return self._was
