"""Rule 6, where leases are switched on: a promise to promise nobody else for a while.

Clocks are the only time there is. A grant binds for its length by the clock of the one that gave it, from when it heard
the round; a leader counts less than that by its own, from before it sent the round. In an explored system a grant
lasts ``LENGTH``, a leader counts ``LENGTH - DRIFT``, and any two clocks stay so close that neither gains more than
``DRIFT`` on the other. In a run times are seconds.
"""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Grant, Name, Round
from paxospp.testing.specification.state import Bound, Leading, Node
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Ballot

LENGTH = 3
DRIFT = 2


def tick(step: Step, now: float | None = None) -> None:
    """A clock goes on; in an explored system none runs away from the others."""
    if now is not None:
        step.become(clock=now)
        return
    now = step.node.clock + 1
    slowest = min(step.system.node(name).clock for name in step.system.names)
    step.needs("lease: clocks stay within the drift bound", now - slowest <= DRIFT // 2)
    step.become(clock=now)


def begin_round(step: Step, number: int = 0) -> None:
    """A leader sends a round of heartbeats, and remembers when."""
    if not isinstance(step.node.role, Leading):
        raise NotAllowedError("lease: only a leader sends rounds")
    step.says.append(Round(step.node.role.ballot, number, step.node.clock))


def grant(step: Step, sender: Name, round: Round, length: float = LENGTH) -> None:
    """Answer a leader's round, and promise nobody else for ``length`` from now on."""
    node = step.node
    step.heard(sender, round)
    promised = node.memory.promised
    step.needs("lease: granted to nobody below the promise", promised is None or promised <= round.ballot)
    step.meet(round.ballot)
    until = node.clock + length
    if node.bound is not None:
        until = max(until, node.bound.until)
    step.become(bound=Bound(round.ballot, until))
    if promised != round.ballot:
        step.write(replace(step.node.memory, promised=round.ballot))
    step.says.append(Grant(node.life, round, length))


def count_grant(step: Step, sender: Name, message: Grant, drift: float = DRIFT) -> None:
    """Count on a grant, from before the round was sent that it answers, less the drift of clocks."""
    role = step.node.role
    step.heard(sender, message)
    if not isinstance(role, Leading):
        raise NotAllowedError("lease: only a leader counts grants")
    step.needs("lease: grants to this very ballot", message.round.ballot == role.ballot)
    since = step.node.clock if step.lacks("lease: counted from before the round was sent") else message.round.sent
    length = message.length if step.lacks("lease: less the drift of clocks") else message.length - drift
    until = max(since + length, role.granted.get(sender) or 0)
    step.become(role=role._replace(granted=role.granted.set(sender, until)))


def is_held(name: Name, node: Node) -> bool:
    """Whether this node leads, and counts on the grants of a quorum, itself included."""
    if not isinstance(node.role, Leading) or node.membership is None:
        return False
    return node.membership.is_quorum([name, *(peer for peer, until in node.role.granted.items() if node.clock < until)])


def bound_after_restart(step: Step, length: float = LENGTH) -> Bound | None:
    """What was granted is forgotten, and not how long it may last: nobody is promised anything for so long."""
    if step.node.bound is None or step.lacks("lease: a restart waits as long as a grant may last"):
        return None
    return Bound(None, step.node.clock + length)


def needs_no_lease(step: Step, ballot: Ballot, *, own: bool = False) -> None:
    """Nobody is promised anything while a lease binds this node to another leader, and it does not campaign itself.

    A node that asks again, under another ballot of its own, has given up what it led before.
    """
    bound = step.node.bound
    if bound is None or step.node.clock >= bound.until:
        return
    to = bound.ballot
    same = to is not None and (to == ballot or (to.node != "" and (to.node, to.life) == (ballot.node, ballot.life)))
    step.needs("lease: nobody else is promised while it binds", same and not own)
