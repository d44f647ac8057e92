"""The answer memory: an incarnation must still hold everything that it told its peers, or know that it lost it.

This judge checks three invariants. 5: the accepted ballot of a slot never drops. 6: what a node says is on its disk. 7:
an answer names everything that an earlier one named, across restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paxospp.messages import Accepted, Promise
from paxospp.model import Ballot, Entry, NodeId, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.simulation.judges.chosen_values import Incarnation
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.step_rules import StepRules
from paxospp.testing.simulation.rule_broken import RuleBroken

_Answer = tuple[NodeId, int, int]
"""One answer to a Prepare: the acceptor, its boot, and the number of the answer in that boot."""


@dataclass(slots=True)
class _Said:
    """The promise and the acceptances that one incarnation ever told its peers."""

    promised: Ballot | None = None
    accepted: dict[Slot, Ballot] = field(default_factory=dict)


class AnswerMemory:
    """Remembers every promise and acceptance that was sent, and what each storage held."""

    def __init__(self, step_rules: StepRules) -> None:
        self._step_rules = step_rules
        self._held: dict[Incarnation, dict[Slot, Ballot]] = {}
        """By incarnation and slot: the ballot under which its storage held the slot last."""
        self._faulty: dict[NodeId, list[range]] = {}
        self._said: dict[Incarnation, _Said] = {}
        self._partial: dict[_Answer, set[Slot]] = {}
        """The slots that the parts of an answer have named so far."""
        self._held_at: dict[_Answer, set[Slot]] = {}
        """The slots that were on disk when an answer was made."""

    def held(self, host: ObservedHost) -> dict[Slot, Ballot]:
        """Return by slot the ballot under which the storage of ``host`` held it last, whether damaged since or not."""
        return self._held.setdefault(_incarnation(host), {})

    def _said_by(self, host: ObservedHost) -> _Said:
        incarnation = _incarnation(host)
        said = self._said.get(incarnation)
        if said is None:
            said = self._said[incarnation] = _Said()
        return said

    def forgive(self, host: ObservedHost) -> None:
        """Forget all that was sent from the disk of ``host``: an older image was put in its place."""
        self._said.pop(_incarnation(host), None)
        self._held.pop(_incarnation(host), None)

    # What is sent.

    def on_reported(self, host: ObservedHost, answer: int) -> None:
        """Note what ``host`` holds now, when it makes an answer; the answer leaves once the promise is on disk."""
        self._held_at[_answer(host, answer)] = set(self.held(host))

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """Note one part of an answer of ``host``; with the last part, check that the answer is complete."""
        said = self._said_by(host)
        if said.promised is None or promise.ballot > said.promised:
            said.promised = promise.ballot
        mentioned = self._partial.setdefault(_answer(host, promise.answer), set())
        mentioned.update(entry.slot for entry in promise.entries)
        if promise.part == promise.parts - 1:
            self._check_complete(host, promise, mentioned, said)

    def _check_complete(self, host: ObservedHost, promise: Promise, mentioned: set[Slot], said: _Said) -> None:
        """Check invariant 7 in this answer: it names every slot that the node holds or ever said it accepted."""
        floor = max(promise.decided + 1, promise.first)
        answer = _answer(host, promise.answer)
        before = self._held_at.get(answer, ())
        # Slots accepted under this very ballot, and slots learned to be decided, may have been written between the
        # making of the answer and its leaving.
        held = {slot: ballot for slot, ballot in self.held(host).items() if ballot < promise.ballot}
        for slot, ballot in (held | said.accepted).items():
            if slot < floor or slot in mentioned or ballot > promise.ballot:
                continue
            if slot not in before and slot not in said.accepted and self._step_rules.has_learned(host, slot):
                continue
            if not any(slot in slots for slots in promise.faulty):
                raise RuleBroken(
                    "7",
                    f"{host.name} promises {promise.ballot} and does not name slot {slot}, accepted under {ballot}",
                )
        del self._partial[answer]
        self._held_at.pop(answer, None)

    def on_accepted(self, host: ObservedHost, accepted: Accepted) -> None:
        """Check that what ``host`` says it accepted is on its disk."""
        slot, ballot = accepted.slot, accepted.ballot
        held = host.disk.known.get(slot)
        if held is None or held < ballot:
            raise RuleBroken(
                "6", f"{host.name} says that it accepted slot {slot} under {ballot}; its disk holds {held}"
            )
        self._said_by(host).accepted[slot] = ballot

    # What is on disk, and in memory.

    def on_synced(self, host: ObservedHost, entry: Entry) -> None:
        """Note ``entry``, which is synced on the disk of ``host`` now, and check that its ballot did not drop."""
        held, accepted = self.held(host), self._said_by(host).accepted
        former = held.get(entry.slot)
        if former is not None and entry.ballot < former and not _was_lost(host, entry.slot):
            raise RuleBroken("5", f"{host.name} held slot {entry.slot} under {former} and now {entry.ballot}")
        if entry.ballot < accepted.get(entry.slot, entry.ballot):
            accepted[entry.slot] = entry.ballot
        held[entry.slot] = entry.ballot

    def on_load(self, host: ObservedHost, state: DurableState) -> None:
        """Check invariant 7 at a start: the storage still holds all that was ever sent from it."""
        said = self._said.get(_incarnation(host))
        if said is None:
            return
        if said.promised is not None and (state.promised is None or state.promised < said.promised):
            raise RuleBroken("7", f"{host.name} promised {said.promised} and came back with {state.promised}")
        image = host.disk.image
        newest = max((entry.ballot for entry in image.entries.values()), default=None)
        if newest is not None and (image.promised is None or newest > image.promised):
            raise RuleBroken(
                "5", f"{host.name} came back with a slot accepted under {newest}, promised {image.promised}"
            )
        for slot, ballot in said.accepted.items():
            held = image.entries.get(slot)
            if slot < image.first or image.is_faulty(slot) or (held is not None and held.ballot >= ballot):
                continue
            if held is None or not _was_lost(host, slot):
                raise RuleBroken("7", f"{host.name} accepted slot {slot} under {ballot} and came back with {held}")

    def after_event(self, host: ObservedHost) -> None:
        """Check the memory of ``host`` after an event in which its damage changed."""
        assert host.runtime is not None
        faulty = host.runtime.replica.protocol.log.faulty
        if faulty != self._faulty.get(host.name):
            self._faulty[host.name] = list(faulty)
            self._check_remembers(host)

    def _check_remembers(self, host: ObservedHost) -> None:
        """Check invariant 7 in memory: the node holds each undecided slot it said it accepted, or knows its damage."""
        assert host.runtime is not None
        log = host.runtime.replica.protocol.log
        for slot in self._said_by(host).accepted:
            if slot > host.record.decided and slot >= log.first and log.get(slot) is None and not log.is_faulty(slot):
                raise RuleBroken("7", f"{host.name} has forgotten that it accepted slot {slot}")


def _incarnation(host: ObservedHost) -> Incarnation:
    return host.name, host.sender.incarnation


def _answer(host: ObservedHost, number: int) -> _Answer:
    return host.name, host.sender.boot, number


def _was_lost(host: ObservedHost, slot: Slot) -> bool:
    """Return whether the slot was damaged or unreadable: it may be learned again under the ballot of its choice."""
    return slot in host.disk.healed or host.world.plan.faults.read_error > 0
