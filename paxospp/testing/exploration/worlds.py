"""Worlds, the states that an exploration visits, and what can happen next in one.

A world is a flat tuple of numbers, so that it is small and quickly compared: the state of each node, the facts of the
run so far (``claims.FactHistory``), what is left of the budgets, and the messages in flight, each as often as it is in
flight. ``Explorer`` keeps what the numbers stand for. Loss needs no event: a message that never arrives is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from paxospp.engine.replica import Replica
from paxospp.messages import Accepted, Prepare, Promise
from paxospp.model import Ballot, Member, Membership, NodeId, Slot
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.exploration.bookkeeping import Budgets, Histories
from paxospp.testing.exploration.claims import Fact, GivenAnswer
from paxospp.testing.exploration.disk_state import DiskState
from paxospp.testing.exploration.node_events import (
    Campaign,
    Crash,
    DeliverMessage,
    Event,
    FireTimer,
    Install,
    Participants,
    Propose,
    Publish,
    ReturnWrite,
)
from paxospp.testing.exploration.node_state import NodeState, NodeStep
from paxospp.testing.exploration.nodes import Nodes, can_campaign, can_fetch, can_propose
from paxospp.testing.exploration.scope import BUDGETS, PLACE, ExplorationScope
from paxospp.testing.exploration.timeless import Timer

World = tuple[int, ...]
"""The number of each node's state, of the history and of the budget; then the messages, in ascending order."""

_FREE = -1
_UNKNOWN: Any = object()
_AMPLE = 26
"""The size of every budget while the scope begins, when its own bounds do not count yet."""


class Action(NamedTuple):
    """One thing that can happen in a world: an event at a node, and what it costs."""

    place: int
    """The index of the node."""
    event: Event
    message: int
    """The number of the message that is delivered; -1: none."""
    budget: int
    """The index in ``BUDGETS`` of what it costs; -1: nothing."""
    code: int
    """Identifies the action, in every world."""


Successor = tuple[Action, NodeStep, World, str | None]
"""The outcome of an action: the step of its node, the world after it, and the rule that it breaks or None."""


class Explorer:
    """Finds what can happen in a scope, and keeps its states of nodes, messages, histories and budgets by number."""

    def __init__(self, scope: ExplorationScope, participants: Participants | None = None) -> None:
        """Explore ``scope`` with its own nodes, or with ``participants`` instead."""
        self.scope = scope
        self.participants = participants or _participants_of(scope)
        self.names = sorted(self.participants.settings)
        self.size = len(self.names)
        self._place = {name: place for place, name in enumerate(self.names)}
        self.nodes = Nodes(self.participants, scope.message_kinds, is_synced=scope.is_synced)
        self._options: dict[int, list[Action]] = {}
        self._targets: list[int] = []
        """The index of the node that each message goes to, by the message's number."""
        self._deliveries: list[Action] = []
        self._duplicates: list[Action] = []
        self._mortal_at: list[int] = []
        """The same for messages that may become dead; -1 for others."""
        self.histories = Histories(len(self.participants.membership.names) // 2 + 1)
        self._budgets = Budgets()
        self.opening: list[Action | str] = []
        """The actions before the first world, see ``story.begin``."""
        self._is_beginning = False
        """Whether the actions are those that the scope begins with, for which its bounds do not count."""
        self._actions: dict[tuple[int, Event, str], Action] = {}
        self.by_code: dict[int, Action] = {}
        """Every action, by its code."""

    # Where it begins.

    def start(self) -> World:
        """Return the world of a bootstrapped cluster whose nodes know of each other.

        Bounds do not count until ``bound`` is called.
        """
        self._is_beginning = True
        self._options.clear()
        founding = DiskState.founded(Ballot(1, self.names[0], 1), self.participants.membership)
        steps = [self.nodes.begin(name, founding) for name in self.names]
        world = self.world([step.node for step in steps], (), ())
        waiting = [number for step in steps for number in step.sends]
        self._learn_messages()
        for number in waiting:
            # The first heartbeats make the nodes known to each other and have no other effect.
            delivered = self.take((*world, number), self._deliveries[number])
            if delivered is not None:
                world = self._put(world, self._targets[number], delivered[1].node.number)
        return world

    def bound(self, world: World) -> World:
        """Return ``world`` with the budgets of the scope; its bounds count from now on."""
        self._is_beginning = False
        self._options.clear()
        return self._put(world, self.size + 1, self._budgets.number(self.scope.budgets))

    def drop_all(self, world: World) -> World:
        """Return ``world`` without the messages in flight."""
        return world[: self.size + 2]

    def begin_with(self, states: Sequence[tuple[DiskState, Replica | None, Ballot]], facts: Sequence[Fact]) -> World:
        """Return the world of nodes in these states, given in the order of their names, with ``facts`` known.

        A state is a disk, a running replica (None: the node starts from the disk), and the highest ballot of an applied
        entry. Only messages that starting nodes send are in flight.
        """
        nodes: list[NodeState] = []
        sent: list[int] = []
        message_kinds = self.scope.message_kinds
        for name, (disk, replica, applied_under) in zip(self.names, states, strict=True):
            if replica is not None:
                nodes.append(self.nodes.adopt(replica, disk, applied_under))
            else:
                step = self.nodes.begin(name, disk)
                nodes.append(step.node)
                sent.extend(
                    number for number in step.sends if type(self.nodes.messages[number].message) in message_kinds
                )
        self._learn_messages()
        return self._put(self.world(nodes, facts, sent), self.size + 1, self._budgets.number(self.scope.budgets))

    def world(self, nodes: Sequence[NodeState], facts: Sequence[Fact], messages: Sequence[int]) -> World:
        """Return the world of these nodes, facts and messages in flight."""
        held = frozenset(fact for fact in facts if not isinstance(fact, GivenAnswer))
        number = self.histories.number(held, frozenset(fact for fact in facts if isinstance(fact, GivenAnswer)))
        budget = self._budgets.number((_AMPLE,) * len(BUDGETS))
        return (*(node.number for node in nodes), number, budget, *sorted(messages))

    def _put(self, world: World, place: int, number: int) -> World:
        return (*world[:place], number, *world[place + 1 :])

    # What can happen.

    def successors(self, world: World) -> list[Successor]:
        """Return the outcomes of all actions in ``world``, without those that change nothing."""
        size, known, found = self.size, self.nodes.known, []
        left = self._budgets.after(world[size + 1])
        for action in self.actions(world):
            node = known[world[action.place]]
            step = node.steps.get(action.code, _UNKNOWN)
            if step is _UNKNOWN:
                step = self.nodes.step(node, action.event, action.code)
                self._learn_messages()
            if step is not None:
                found.append(self._after(world, action, step, left))
        return found

    def take(self, world: World, action: Action) -> Successor | None:
        """Return the outcome of ``action`` in ``world``; None if it changes nothing."""
        node = self.nodes.known[world[action.place]]
        step = node.steps.get(action.code, _UNKNOWN)
        if step is _UNKNOWN:
            step = self.nodes.step(node, action.event, action.code)
            self._learn_messages()
        if step is None:
            return None
        return self._after(world, action, step, self._budgets.after(world[self.size + 1]))

    def actions(self, world: World) -> list[Action]:
        """Return the actions that may happen next; some of them may change nothing."""
        size, known = self.size, self.nodes.known
        budget = world[size + 1]
        left = self._budgets.after(budget)
        found: list[Action] = []
        for place in range(size):
            number = world[place]
            found.extend(
                self._next_value(action, budget) if type(action.event) is Propose else action
                for action in self._options.get(number) or self._find_options(place, number)
                if action.budget == _FREE or left[action.budget] >= 0
            )
            node = known[number]
            if node.fetches_from is not None and node.staged is None:
                offered = known[world[self._place[node.fetches_from]]].disk.snapshot
                if offered is not None and offered.slot > node.replica.delivered:
                    found.append(self._action(place, Install(offered)))
        deliveries, duplicates = self._deliveries, self._duplicates if left[PLACE["duplicates"]] >= 0 else None
        last = -1
        for number in world[size + 2 :]:
            if number != last:
                last = number
                found.append(deliveries[number])
                if duplicates is not None:
                    found.append(duplicates[number])
        return found

    def _after(self, world: World, action: Action, step: NodeStep, left: Sequence[int]) -> Successor:
        size, place, node = self.size, action.place, step.node
        history, budget = world[size], world[size + 1]
        broken = step.broken
        if step.facts_id:
            history = self.histories.add(history, step)
        if step.claims_id or step.facts_id:
            broken = broken or self.histories.judge(history, step)
        messages = list(world[size + 2 :])
        if action.budget != _FREE:
            budget = left[action.budget]
        elif action.message >= 0:
            messages.remove(action.message)
        if step.kills:
            mortal, dead = self._mortal_at, node.dead
            messages = [
                number
                for number in messages
                if mortal[number] != place or not (dead[number] if number in dead else self.nodes.is_dead(node, number))
            ]
        if step.sends:
            mortal, known = self._mortal_at, self.nodes.known
            for number in step.sends:
                to = mortal[number]
                if to < 0 or not self.nodes.is_dead(known[world[to]], number):
                    messages.append(number)
            messages.sort()
        return action, step, (*world[:place], node.number, *world[place + 1 : size], history, budget, *messages), broken

    def _learn_messages(self) -> None:
        for number in range(len(self._targets), len(self.nodes.messages)):
            envelope = self.nodes.messages[number]
            place = self._place[envelope.to]
            event = DeliverMessage(envelope.sender, envelope.message)
            self._targets.append(place)
            self._mortal_at.append(place if isinstance(envelope.message, (Promise, Accepted, Prepare)) else -1)
            delivery = Action(place, event, number, _FREE, 2 * number)
            duplicate = Action(place, event, number, PLACE["duplicates"], 2 * number + 1)
            self._deliveries.append(delivery)
            self._duplicates.append(duplicate)
            self.by_code[delivery.code], self.by_code[duplicate.code] = delivery, duplicate

    def _find_options(self, place: int, number: int) -> list[Action]:
        """Return the actions that need no message, for a node in one of its states."""
        node, scope = self.nodes.known[number], self.scope
        found: list[Action] = []
        if node.out:
            found.append(self._action(place, ReturnWrite()))
        if can_campaign(node) and self._may(node.name, scope.campaigners):
            found.append(self._action(place, Campaign(), "campaigns"))
        if can_propose(node):
            found.append(self._action(place, Propose(b""), "proposals"))
        if self._may(node.name, scope.crashers):
            found.append(self._action(place, Crash(), "crashes"))
            for entry in node.disk.entries:
                if entry.slot > 1:
                    found.append(self._action(place, Crash(entry.slot), "damages"))
                    if scope.loses_ends:
                        found.append(self._action(place, Crash(entry.slot, True), "damages"))
        if can_fetch(node):
            found.append(self._action(place, FireTimer(Timer.FETCH), "fetches"))
        for timer, budget in ((Timer.HEARTBEAT, "heartbeats"), (Timer.RESEND, "resends"), (Timer.WINDOW, "windows")):
            found.append(self._action(place, FireTimer(timer), budget))
        snapshot = node.disk.snapshot
        if node.staged is None and node.replica.delivered > (1 if snapshot is None else snapshot.slot):
            found.append(self._action(place, Publish(), "snapshots"))
        self._options[number] = found
        return found

    def _may(self, name: NodeId, named: Sequence[str]) -> bool:
        return self._is_beginning or not named or name in named

    def _action(self, place: int, event: Event, budget: str = "") -> Action:
        key = place, event, budget
        action = self._actions.get(key)
        if action is None:
            paid = PLACE[budget] if budget else _FREE
            action = self._actions[key] = Action(place, event, -1, paid, -1 - len(self._actions))
            self.by_code[action.code] = action
        return action

    def _next_value(self, action: Action, budget: int) -> Action:
        """Return the proposal of the next value: a, b, c and so on, so that no two values are the same."""
        left = self._budgets.amounts[budget][PLACE["proposals"]]
        letter = ord("A") + _AMPLE - left if self._is_beginning else ord("a") + self.scope.proposals - left
        return self._action(action.place, Propose(bytes([letter])), "proposals")


def _participants_of(scope: ExplorationScope) -> Participants:
    names = [NodeId(f"n{number}") for number in range(1, scope.nodes + 1)]
    settings = engine_settings(alpha=scope.alpha, chunk_bytes_max=scope.chunk_bytes_max)
    membership = Membership(
        cluster_id=bytes(16),
        group=0,
        alpha=scope.alpha,
        session_expiry_s=3600,
        replaces=Slot(0),
        members=tuple(Member(name, "any:1", 1) for name in names),
    )
    return Participants(dict.fromkeys(names, settings), dict.fromkeys(names, 1), membership)
