"""Rule 6 with leases: a node that grants one promises no other leader anything for a while.

A grant binds its node for its length by the node's own clock, from the moment it received the round. The leader counts
on it for less, by its own clock, from the moment before it sent the round. In an explored system a grant lasts
``LENGTH``, a leader counts ``LENGTH - DRIFT``, and no clock gains more than ``DRIFT`` on another. In a run of the
engine, times are in seconds.
"""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Grant, Name, Round
from paxospp.testing.specification.state import Bound, ModelLeading, ModelNode
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import ModelBallot

LENGTH = 3
DRIFT = 2


def tick(step: ModelStep, now: float | None = None) -> None:
    """Advance the node's clock to ``now``, or by one in an explored system, where clocks stay close together."""
    if now is not None:
        step.become(clock=now)
        return
    now = step.node.clock + 1
    slowest = min(step.system.node(name).clock for name in step.system.names)
    step.needs("lease: clocks stay within the drift bound", now - slowest <= DRIFT // 2)
    step.become(clock=now)


def begin_round(step: ModelStep, number: int = 0) -> None:
    """Send a round of heartbeats, which carries the time at which it was sent."""
    if not isinstance(step.node.role, ModelLeading):
        raise NotAllowedError("lease: only a leader sends rounds")
    step.sends.append(Round(step.node.role.ballot, number, step.node.clock))


def grant(step: ModelStep, sender: Name, round: Round, length: float = LENGTH) -> None:
    """Answer a leader's round, and promise no other node anything for ``length`` from now on."""
    node = step.node
    step.receive(sender, round)
    promised = node.memory.promised
    step.needs("lease: no grant below the promise", promised is None or promised <= round.ballot)
    step.meet(round.ballot)
    until = node.clock + length
    if node.bound is not None:
        until = max(until, node.bound.until)
    step.become(bound=Bound(round.ballot, until))
    if promised != round.ballot:
        step.write(replace(step.node.memory, promised=round.ballot))
    step.sends.append(Grant(node.incarnation, round, length))


def count_grant(step: ModelStep, sender: Name, message: Grant, drift: float = DRIFT) -> None:
    """Count on a grant from before its round was sent, for its length less the drift of clocks."""
    role = step.node.role
    step.receive(sender, message)
    if not isinstance(role, ModelLeading):
        raise NotAllowedError("lease: only a leader counts grants")
    step.needs("lease: grants to exactly this ballot", message.round.ballot == role.ballot)
    since = step.node.clock if step.lacks("lease: counted from before the round was sent") else message.round.sent
    length = message.length if step.lacks("lease: counted less the drift of clocks") else message.length - drift
    until = max(since + length, role.granted.get(sender) or 0)
    step.become(role=role._replace(granted=role.granted.set(sender, until)))


def is_held(name: Name, node: ModelNode) -> bool:
    """Whether this node leads and counts on the grants of a quorum, itself included."""
    if not isinstance(node.role, ModelLeading) or node.membership is None:
        return False
    return node.membership.is_quorum([name, *(peer for peer, until in node.role.granted.items() if node.clock < until)])


def bound_after_restart(step: ModelStep, length: float = LENGTH) -> Bound | None:
    """Return what binds a node that restarts: it forgot to whom it granted a lease, so it waits out the longest one."""
    if step.node.bound is None or step.lacks("lease: a restart waits as long as a grant may last"):
        return None
    return Bound(None, step.node.clock + length)


def needs_no_lease(step: ModelStep, ballot: ModelBallot, *, own: bool = False) -> None:
    """Forbid a promise to another node, and a campaign of this one, while a grant binds this node.

    The node that holds the grant may ask under another ballot: by that it has given up the lead it had.
    """
    bound = step.node.bound
    if bound is None or step.node.clock >= bound.until:
        return
    to = bound.ballot
    asks_again = to is not None and to.node != "" and (to.node, to.incarnation) == (ballot.node, ballot.incarnation)
    is_holder = to is not None and (to == ballot or asks_again)
    step.needs("lease: no promise to another node while a grant binds", is_holder and not own)
