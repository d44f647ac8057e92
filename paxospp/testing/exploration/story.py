"""Tells actions in a line each, and a trace as a scenario that ``paxospp.testing.scenario`` can play.

In a scenario time passes, so a timer that fires becomes a wait, after which other timers may be due as well; and the
end of a log is lost there without the hint that stood in it. A trace that has neither happens there as it did here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
)
from paxospp.testing.describe import describe_message as _describe
from paxospp.testing.exploration.events import (
    Campaign,
    Crash,
    Deliver,
    Install,
    Propose,
    Publish,
    Tick,
    Write,
)
from paxospp.testing.exploration.nodes import Step
from paxospp.testing.exploration.scope import PLACE
from paxospp.testing.exploration.timeless import Timer
from paxospp.testing.exploration.worlds import Action, Explorer, World

_WAITS_S = {Timer.FETCH: 0.05, Timer.HEARTBEAT: 0.1, Timer.RESEND: 0.2, Timer.WINDOW: 0.9}
"""How long a node of a scenario has to wait until that timer is due, with the settings that scenarios have."""
DROP_ALL = "drop *->*"
"""The line with which a scope loses what is in flight before it begins."""
_POSITIONS = ("first", "2nd", "3rd", *(f"{number}th" for number in range(4, 100)))


def describe_message(explorer: Explorer, number: int) -> str:
    """Return a message as a scenario shows it, with its link."""
    envelope = explorer.nodes.messages[number]
    return f"{envelope.sender.node}->{envelope.to} {_describe(envelope.message)}"


def describe(explorer: Explorer, action: Action) -> str:
    """Return an action in one line."""
    name = explorer.names[action.place]
    match action.event:
        case Deliver():
            again = "duplicate " if action.budget == PLACE["duplicates"] else ""
            return again + describe_message(explorer, action.message)
        case Write():
            return f"persist {name} oldest"
        case Crash(damaged, from_there_on):
            if not damaged:
                return f"crash {name}"
            return f"crash {name}, damage {damaged}{'..' if from_there_on else ''}"
        case Campaign():
            return f"campaign {name}"
        case Propose(value):
            return f"propose {name} {value.decode()}"
        case Tick(timer):
            return f"timer {name} {timer.value}"
        case Publish():
            return f"snapshot {name}"
        case Install(snapshot):
            return f"install {name} up to {snapshot.slot}"


def begin(explorer: Explorer) -> World:
    """Return the first world of the explorer's scope: a founded cluster, and what the scope begins with."""
    world = explorer.start()
    explorer.opening.clear()
    for line in explorer.scope.begins_with:
        if line == DROP_ALL:
            explorer.opening.append(line)
            world = explorer.drop_all(world)
        else:
            action, world = _follow(explorer, world, line)
            explorer.opening.append(action)
    return explorer.bound(world)


def _follow(explorer: Explorer, world: World, line: str) -> tuple[Action, World]:
    """The one thing that ``line`` describes, and the world after it."""
    can = explorer.successors(world)
    for action, _, after, broken in can:
        if describe(explorer, action).startswith(line):
            if broken is not None:
                raise ValueError(f"scope {explorer.scope.name}: {line!r} breaks a rule: {broken}")
            return action, after
    known = "; ".join(describe(explorer, successor[0]) for successor in can)
    raise ValueError(f"scope {explorer.scope.name}: {line!r} cannot happen; these can: {known}")


def scenario_of(explorer: Explorer, trace: Sequence[Action], title: str) -> str:
    """Return a scenario file, without what happens in it, in which the scope begins and ``trace`` happens.

    ``pytest --paxospp-rewrite`` writes down what happens. It has to be a trace from the scope's own first world.
    """
    scope, lines = explorer.scope, [f"# {title}"]
    lines.append(f"settings alpha={scope.alpha} chunk_bytes_max={scope.chunk_bytes_max}")
    lines.append(f"cluster {scope.nodes}")
    lines.append(f"tick {' '.join(explorer.names)}")
    lines.append("deliver Heartbeat")
    lines.append("drop *->*")
    waiting: list[int] = []
    world = explorer.start()
    for step in (*explorer.opening, *trace):
        if isinstance(step, str):
            lines.append(step)
            waiting.clear()
            world = explorer.drop_all(world)
            continue
        before = world
        action = step
        after = explorer.take(world, action)
        assert after is not None, "a trace can happen again"
        _, taken, world, _ = after
        lines.extend(_commands(explorer, action, taken, before, waiting))
        waiting.extend(taken.sends)
    explorer.bound(world)
    return "\n".join([*lines, "show", ""])


def _commands(
    explorer: Explorer, action: Action, step: Step, before: Sequence[int], waiting: list[int]
) -> Iterator[str]:
    name, event = explorer.names[action.place], action.event
    match event:
        case Deliver():
            selector = _selector(explorer, action.message)
            alike = [number for number in waiting if _selector(explorer, number) == selector]
            place = alike.index(action.message)
            chosen = f"{selector} {_POSITIONS[place]}" if len(alike) > 1 else selector
            waiting.remove(action.message)
            if action.budget == PLACE["duplicates"]:
                waiting.insert(0, action.message)
                yield f"duplicate {chosen}"
            else:
                yield f"deliver {chosen}"
        case Write():
            yield f"persist {name} oldest"
        case Crash(damaged, from_there_on):
            yield f"crash {name}"
            if damaged:
                yield f"damage {name} {damaged}{'..' if from_there_on else ''}"
            yield f"start {name}"
            yield f"tick {name}"
        case Tick(timer):
            yield f"wait {_WAITS_S[timer]} {name}"
        case Publish():
            snapshot = step.node.staged or step.node.disk.snapshot
            assert snapshot is not None
            yield f"snapshot {name} {snapshot.slot}"
        case Install(snapshot):
            source = explorer.nodes.known[before[action.place]].fetches_from
            yield f"install {name} {snapshot.slot} {source}"
        case Campaign() | Propose():
            yield describe(explorer, action)
    if explorer.scope.is_synced:
        yield f"persist {name}"


def _selector(explorer: Explorer, number: int) -> str:
    """The words by which a scenario selects a message and those like it."""
    envelope = explorer.nodes.messages[number]
    link, kind = f"{envelope.sender.node}->{envelope.to}", type(envelope.message).__name__
    return " ".join([link, kind, *_fields(envelope.message)])


def _fields(message: ProtocolMessage) -> Sequence[str]:
    match message:
        case Prepare():
            return [f"b={message.ballot}"]
        case Promise():
            return [f"b={message.ballot}", f"part={message.part + 1}/{message.parts}"]
        case Accept() | Accepted():
            return [f"b={message.ballot}", f"slot={message.slot}"]
        case Nack():
            return [f"refused={message.refused}", f"promised={message.promised}"]
        case Heartbeat() | HeartbeatAnswer():
            return [f"round={message.round}"]
        case CatchUp():
            return [f"from={message.start}"]
        case Decided():
            return [f"decided={message.decided}"]
        case _:
            return []
