"""Prints an action as one line, and a trace as a scenario that ``paxospp.testing.scenario`` can play.

In a scenario time passes, so a timer that fires becomes a wait, after which other timers may be due as well. And a
scenario that loses the end of a log keeps the hint of what is decided. A trace without these two plays exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
)
from paxospp.testing.describe import describe_message as _describe
from paxospp.testing.exploration.node_events import (
    Campaign,
    Crash,
    DeliverMessage,
    FireTimer,
    Install,
    Propose,
    Publish,
    ReturnWrite,
)
from paxospp.testing.exploration.node_state import NodeStep
from paxospp.testing.exploration.scope import PLACE
from paxospp.testing.exploration.timeless import Timer
from paxospp.testing.exploration.worlds import Action, Explorer, World

_WAITS_S = {Timer.FETCH: 0.05, Timer.HEARTBEAT: 0.1, Timer.RESEND: 0.2, Timer.WINDOW: 0.9}
"""How long a node of a scenario waits until a timer is due, with the settings of scenarios."""
DROP_ALL = "drop *->*"
"""The line with which a scope drops all messages in flight before it begins."""
_POSITIONS = ("first", "2nd", "3rd", *(f"{number}th" for number in range(4, 100)))


def describe_message(explorer: Explorer, number: int) -> str:
    """Return a message as a scenario prints it, with its link."""
    envelope = explorer.nodes.messages[number]
    return f"{envelope.sender.node}->{envelope.to} {_describe(envelope.message)}"


def describe(explorer: Explorer, action: Action) -> str:
    """Return an action as one line."""
    name = explorer.names[action.place]
    match action.event:
        case DeliverMessage():
            again = "duplicate " if action.budget == PLACE["duplicates"] else ""
            return again + describe_message(explorer, action.message)
        case ReturnWrite():
            return f"persist {name} oldest"
        case Crash(damaged, from_there_on):
            if not damaged:
                return f"crash {name}"
            return f"crash {name}, damage {damaged}{'..' if from_there_on else ''}"
        case Campaign():
            return f"campaign {name}"
        case Propose(value):
            return f"propose {name} {value.decode()}"
        case FireTimer(timer):
            return f"timer {name} {timer.value}"
        case Publish():
            return f"snapshot {name}"
        case Install(snapshot):
            return f"install {name} up to {snapshot.slot}"


def begin(explorer: Explorer) -> World:
    """Return the first world of the explorer's scope: a bootstrapped cluster after the actions it begins with."""
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
    """Return the action that ``line`` describes, and the world after it."""
    can = explorer.successors(world)
    for action, _, after, broken in can:
        if describe(explorer, action).startswith(line):
            if broken is not None:
                raise ValueError(f"scope {explorer.scope.name}: {line!r} breaks a rule: {broken}")
            return action, after
    known = "; ".join(describe(explorer, successor[0]) for successor in can)
    raise ValueError(f"scope {explorer.scope.name}: {line!r} cannot happen; these can: {known}")


def scenario_of(explorer: Explorer, trace: Sequence[Action], title: str) -> str:
    """Return a scenario file that plays the beginning of the scope and then ``trace``.

    ``trace`` must start in the scope's own first world. The file has commands only; ``pytest --paxospp-rewrite`` adds
    what happens.
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
        assert after is not None, "the same action in the same world has the same outcome"
        _, taken, world, _ = after
        lines.extend(_commands(explorer, action, taken, before, waiting))
        waiting.extend(taken.sends)
    explorer.bound(world)
    return "\n".join([*lines, "show", ""])


def _commands(
    explorer: Explorer, action: Action, step: NodeStep, before: Sequence[int], waiting: list[int]
) -> Iterator[str]:
    name, event = explorer.names[action.place], action.event
    match event:
        case DeliverMessage():
            selector = _selector(explorer, action.message)
            selected = [number for number in waiting if _selector(explorer, number) == selector]
            place = selected.index(action.message)
            chosen = f"{selector} {_POSITIONS[place]}" if len(selected) > 1 else selector
            waiting.remove(action.message)
            if action.budget == PLACE["duplicates"]:
                waiting.insert(0, action.message)
                yield f"duplicate {chosen}"
            else:
                yield f"deliver {chosen}"
        case ReturnWrite():
            yield f"persist {name} oldest"
        case Crash(damaged, from_there_on):
            yield f"crash {name}"
            if damaged:
                yield f"damage {name} {damaged}{'..' if from_there_on else ''}"
            yield f"start {name}"
            yield f"tick {name}"
        case FireTimer(timer):
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
    """Return the words by which a scenario selects this message and those like it."""
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
        case DecidedEntries():
            return [f"decided={message.decided}"]
        case ReadRequest() | ReadAnswer():
            return []
        case _:
            assert_never(message)
