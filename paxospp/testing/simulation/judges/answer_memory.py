"""Answer memory: whatever a life of a storage ever told its peers, it still holds, or it knows that it lost it.

The numbers of what is broken: 5, a slot's accepted ballot never drops; 6, what is said is on disk; 7, no answer is
silent about what an earlier one told, across restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paxospp.messages import Accepted, Promise
from paxospp.model import Ballot, Entry, NodeId, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.simulation.judges.chosen_values import Life
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.step_rules import StepRules
from paxospp.testing.simulation.rule_broken import RuleBroken

_Answer = tuple[NodeId, int, int]
"""An acceptor's answer to a Prepare: whose, in which boot, and its number there."""


@dataclass(slots=True)
class _Said:
    """What one life of a storage ever told its peers."""

    promised: Ballot | None = None
    accepted: dict[Slot, Ballot] = field(default_factory=dict)


class AnswerMemory:
    """Remembers every promise and every acceptance that was told, and what each storage held."""

    def __init__(self, step_rules: StepRules) -> None:
        self._step_rules = step_rules
        self._held: dict[Life, dict[Slot, Ballot]] = {}
        """Per slot the ballot under which a life of a storage held it last."""
        self._faulty: dict[NodeId, list[range]] = {}
        self._said: dict[Life, _Said] = {}
        self._partial: dict[_Answer, set[Slot]] = {}
        """The slots that the parts of an answer have mentioned so far."""
        self._held_at: dict[_Answer, set[Slot]] = {}
        """What was on disk when an answer was made."""

    def held(self, host: ObservedHost) -> dict[Slot, Ballot]:
        """Per slot the ballot under which the storage of ``host`` held it last, damaged since or not."""
        return self._held.setdefault(_life(host), {})

    def _said_by(self, host: ObservedHost) -> _Said:
        life = _life(host)
        said = self._said.get(life)
        if said is None:
            said = self._said[life] = _Said()
        return said

    def forgive(self, host: ObservedHost) -> None:
        """What was ever said from the disk of ``host`` is not asked of it any more: an older one was put in."""
        self._said.pop(_life(host), None)
        self._held.pop(_life(host), None)

    # What is said.

    def on_reported(self, host: ObservedHost, answer: int) -> None:
        """``host`` answers a Prepare with what it holds now; the answer leaves once the promise is on disk."""
        self._held_at[_answer(host, answer)] = set(self.held(host))

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """``host`` says one part of an answer; with the last one it has told all that it ever said it accepted."""
        said = self._said_by(host)
        if said.promised is None or promise.ballot > said.promised:
            said.promised = promise.ballot
        mentioned = self._partial.setdefault(_answer(host, promise.answer), set())
        mentioned.update(entry.slot for entry in promise.entries)
        if promise.part == promise.parts - 1:
            self._check_complete(host, promise, mentioned, said)

    def _check_complete(self, host: ObservedHost, promise: Promise, mentioned: set[Slot], said: _Said) -> None:
        """7, in this very answer."""
        floor = max(promise.decided + 1, promise.first)
        answer = _answer(host, promise.answer)
        before = self._held_at.get(answer, ())
        # What was written under this very ballot may have come after the answer, and was written before it left. So may
        # what was learned to be decided meanwhile.
        held = {slot: ballot for slot, ballot in self.held(host).items() if ballot < promise.ballot}
        for slot, ballot in (held | said.accepted).items():
            if slot < floor or slot in mentioned or ballot > promise.ballot:
                continue
            if slot not in before and slot not in said.accepted and self._step_rules.has_learned(host, slot):
                continue
            if not any(slot in slots for slots in promise.faulty):
                raise RuleBroken(
                    "7",
                    f"{host.name} promises {promise.ballot} and is silent about slot {slot}, accepted under {ballot}",
                )
        del self._partial[answer]
        self._held_at.pop(answer, None)

    def on_accepted(self, host: ObservedHost, accepted: Accepted) -> None:
        """``host`` says that it accepted."""
        slot, ballot = accepted.slot, accepted.ballot
        held = host.disk.known.get(slot)
        if held is None or held < ballot:
            raise RuleBroken("6", f"{host.name} says that it accepted slot {slot} under {ballot}; synced is {held}")
        self._said_by(host).accepted[slot] = ballot

    # What is on disk, and in memory.

    def on_synced(self, host: ObservedHost, entry: Entry) -> None:
        """``entry`` is synced on the disk of ``host``."""
        held, accepted = self.held(host), self._said_by(host).accepted
        former = held.get(entry.slot)
        if former is not None and entry.ballot < former and not _was_lost(host, entry.slot):
            raise RuleBroken("5", f"{host.name} held slot {entry.slot} under {former} and now {entry.ballot}")
        if entry.ballot < accepted.get(entry.slot, entry.ballot):
            accepted[entry.slot] = entry.ballot
        held[entry.slot] = entry.ballot

    def on_load(self, host: ObservedHost, state: DurableState) -> None:
        """A node starts: what its storage loaded is at least what was ever said from it (7)."""
        said = self._said.get(_life(host))
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
        """``host`` is done with an event."""
        assert host.parts is not None
        faulty = host.parts.replica.protocol.log.faulty
        if faulty != self._faulty.get(host.name):
            self._faulty[host.name] = list(faulty)
            self._check_remembers(host)

    def _check_remembers(self, host: ObservedHost) -> None:
        """7, in memory: whatever it said it accepted, it holds or knows to be damaged, until that is decided."""
        assert host.parts is not None
        log = host.parts.replica.protocol.log
        for slot in self._said_by(host).accepted:
            if slot > host.record.decided and slot >= log.first and log.get(slot) is None and not log.is_faulty(slot):
                raise RuleBroken("7", f"{host.name} does not know any more that it accepted slot {slot}")


def _life(host: ObservedHost) -> Life:
    return host.name, host.sender.incarnation


def _answer(host: ObservedHost, number: int) -> _Answer:
    return host.name, host.sender.boot, number


def _was_lost(host: ObservedHost, slot: Slot) -> bool:
    """Whether the slot was damaged, or could not be read: it is learned anew under the ballot it was chosen under."""
    return slot in host.disk.healed or host.world.plan.faults.read_error > 0
