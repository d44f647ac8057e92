"""Scenarios: the protocol told as a story that a reader can follow and a test can check.

A scenario file is prose (lines that begin with ``#``), commands, a line ``----``, and what
happened; then a blank line and the next such block. Nothing happens by itself: a message
arrives when a command delivers it, a write returns when a command lets it, time passes when a
command says so. ``pytest --paxospp-rewrite`` writes down what happens now.

==============================  ==============================================================
``cluster 3 [blank]``           make n1..n3; founded (slot 1 decided, nobody leads) or blank
``campaign n2``                 n2 campaigns at once
``propose n1 text``             n1, leading, proposes
``fill n1``                     it proposes until it may not
``read n1 7``                   a linearizable read at n1, called 7
``deliver n1->n2 [Kind …]``     the waiting messages of that link (of those kinds) arrive
``duplicate n1->n2 [Kind …]``   the same, and they stay waiting too
``drop n1->n2 [Kind …]``        they never arrive; ``*`` stands for any node
``persist n1``                  every write of n1 that is out returns
``hang n1``                     no write of n1 returns from now on, until it starts anew
``stabilize [n1 n2 …]``         writes return and messages among these arrive until all is quiet
``wait 0.5 [n1 …]``             time passes for these, with ticks; nothing arrives meanwhile
``run 0.5 [n1 …]``              time passes, and everything among these arrives
``cut n1 n2 · heal``            both directions of a link are lost · no link is
``oneway n1 n2``                what n1 sends to n2 is lost
``crash n1 · start n1``         it loses what was not synced · it starts from its disk
``wipe n1``                     its disk is new: another incarnation
``rollback n1 N``               its disk forgets all but its first N writes
``damage n1 3[..5|..]``         these slots of its disk are faulty from the next start on
``trim n1 4``                   its disk forgot the slots below 4, at the next start
``snapshot n1 4 [2]``           its machine's snapshot up to slot 4 is current; slots below 2, or 5, go
``lose n1``                     its snapshot cannot be read at the next start
``install n3 4 n1``             it installs the snapshot up to slot 4 that it fetched from n1
``show n1 …``                   role, ballot, promise, decided slot, applied values
``heartbeats on|off``           whether heartbeats are shown; they are sent either way
==============================  ==============================================================

Reference: the data-driven interaction tests of etcd's raft library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from paxospp.engine.output import Output, ReadRange, Send, merge
from paxospp.engine.replica import Replica
from paxospp.engine.settings import Identity, Settings
from paxospp.events import FaultFound
from paxospp.messages import Heartbeat, HeartbeatAnswer, Sender
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.describe import describe_message, describe_value, describe_write

_STEP_S = 0.05
_QUIET_ROUNDS_MAX = 1000


class ScenarioError(Exception):
    """A scenario says something that cannot be done; the text names the line."""


@dataclass(slots=True)
class _Disk:
    """Writes in their order, and what was damaged since."""

    incarnation: int
    boot: int = 0
    writes: list[WriteBatch] = field(default_factory=list)
    faulty: list[range] = field(default_factory=list)
    first: Slot = Slot(1)
    lost_snapshot: bool = False

    def entries(self) -> dict[Slot, Entry]:
        state = merge([WriteBatch(), *self.writes])
        return {
            entry.slot: entry
            for entry in state.accepted
            if entry.slot >= max(self.first, state.trim or 1) and not any(entry.slot in slots for slots in self.faulty)
        }

    def state(self) -> DurableState:
        merged = merge([WriteBatch(), *self.writes])
        first = max(self.first, merged.trim or Slot(1))
        return DurableState(
            promised=merged.promised,
            decided=merged.decided or Slot(0),
            first=first,
            last=max((entry.slot for entry in merged.accepted), default=Slot(first - 1)),
            snapshot=merged.snapshot,
            faulty=tuple(self.faulty),
        )


@dataclass(slots=True)
class _Host:
    name: NodeId
    disk: _Disk
    replica: Replica | None = None
    out: list[tuple[int, WriteBatch]] = field(default_factory=list)
    held: list[tuple[int, list[Send]]] = field(default_factory=list)
    persisted: int = 0
    applied: list[Entry] = field(default_factory=list)
    hangs: bool = False


class Scenario:
    """Runs commands one by one; each returns the lines that tell what it caused."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._hosts: dict[NodeId, _Host] = {}
        self._waiting: list[tuple[Sender, Send]] = []
        self._lost_links: set[tuple[NodeId, NodeId]] = set()
        self._now = 0.0
        self._story: list[str] = []
        self._shows_heartbeats = False
        self._told_leading: set[NodeId] = set()
        self._random = Random(0)

    def run(self, command: str) -> list[str]:
        """Do what one line says."""
        verb, *words = command.split()
        method: Callable[..., None] | None = getattr(self, f"_do_{verb}", None)
        if method is None:
            raise ScenarioError(f"{command!r}: no such command")
        self._story = []
        try:
            method(*words)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ScenarioError(f"{command!r}: {error!r}") from error
        return self._story

    # Commands.

    def _do_cluster(self, size: str, *options: str) -> None:
        names = [NodeId(f"n{number}") for number in range(1, int(size) + 1)]
        for number, name in enumerate(names, 1):
            self._hosts[name] = _Host(name, _Disk(incarnation=number))
        if "blank" not in options:
            members = tuple(Member(name, f"{name}:1", host.disk.incarnation) for name, host in self._hosts.items())
            founding = Membership(
                cluster_id=bytes(16),
                group=0,
                alpha=self._settings.alpha,
                session_expiry_s=self._settings.session_expiry_s,
                replaces=Slot(0),
                members=members,
            )
            ballot = Ballot(1, names[0], 1)
            entry = Entry(Slot(1), ballot, Kind.MEMBERSHIP, founding.to_bytes())
            for host in self._hosts.values():
                host.disk.writes.append(WriteBatch(promised=ballot, accepted=(entry,), decided=Slot(1)))
        for name in names:
            self._start(self._hosts[name])
        self._story = []

    def _do_campaign(self, name: str) -> None:
        host, replica = self._running(name)
        self._honour(host, replica.campaign(self._now))

    def _do_propose(self, name: str, *words: str) -> None:
        host, replica = self._running(name)
        if not replica.proposable:
            self._tell(f"{name} cannot propose")
            return
        self._honour(host, replica.propose(" ".join(words).encode(), self._now))

    def _do_fill(self, name: str) -> None:
        host, replica = self._running(name)
        count = 0
        while replica.proposable:
            self._honour(host, replica.propose(b"fill", self._now))
            count += 1
        self._tell(f"{name} proposed {count} values")

    def _do_read(self, name: str, ticket: str) -> None:
        host, replica = self._running(name)
        self._honour(host, replica.read(int(ticket), self._now))

    def _do_deliver(self, link: str, *kinds: str) -> None:
        for sender, send in self._take(link, kinds):
            self._arrive(sender, send)

    def _do_duplicate(self, link: str, *kinds: str) -> None:
        taken = list(self._take(link, kinds))
        self._waiting = [*taken, *self._waiting]
        for sender, send in taken:
            self._arrive(sender, send)

    def _do_drop(self, link: str, *kinds: str) -> None:
        for sender, send in self._take(link, kinds):
            if self._is_shown(send):
                self._tell(f"lost {sender.node}->{send.to} {describe_message(send.message)}")

    def _do_persist(self, name: str) -> None:
        self._persist(self._hosts[NodeId(name)])

    def _do_hang(self, name: str) -> None:
        self._hosts[NodeId(name)].hangs = True

    def _do_stabilize(self, *names: str) -> None:
        among = {NodeId(name) for name in names} or set(self._hosts)
        for _ in range(_QUIET_ROUNDS_MAX):
            if not self._settle_once(among):
                return
        raise ScenarioError("stabilize: it never becomes quiet")

    def _do_wait(self, seconds: str, *names: str) -> None:
        self._pass_time(float(seconds), names, settle=False)

    def _do_run(self, seconds: str, *names: str) -> None:
        self._pass_time(float(seconds), names, settle=True)

    def _do_cut(self, one: str, other: str) -> None:
        self._lost_links |= {(NodeId(one), NodeId(other)), (NodeId(other), NodeId(one))}

    def _do_oneway(self, sender: str, to: str) -> None:
        self._lost_links.add((NodeId(sender), NodeId(to)))

    def _do_heal(self) -> None:
        self._lost_links.clear()

    def _do_crash(self, name: str) -> None:
        self._stop(self._hosts[NodeId(name)])

    def _do_start(self, name: str) -> None:
        self._start(self._hosts[NodeId(name)])

    def _do_wipe(self, name: str) -> None:
        host = self._hosts[NodeId(name)]
        self._stop(host)
        host.disk = _Disk(incarnation=host.disk.incarnation + 100)

    def _do_rollback(self, name: str, writes: str) -> None:
        host = self._hosts[NodeId(name)]
        self._stop(host)
        del host.disk.writes[int(writes) :]

    def _do_damage(self, name: str, slots: str) -> None:
        start, dots, last = slots.partition("..")
        stop = sys.maxsize if dots and not last else int(last or start) + 1
        self._hosts[NodeId(name)].disk.faulty.append(range(int(start), stop))

    def _do_trim(self, name: str, first: str) -> None:
        self._hosts[NodeId(name)].disk.first = Slot(int(first))

    def _do_snapshot(self, name: str, slot: str, first: str = "") -> None:
        host, replica = self._running(name)
        meta = SnapshotMeta(Slot(int(slot)), f"of-{name}")
        self._honour(host, replica.publish_snapshot(meta, Slot(int(first or meta.slot + 1)), self._now))

    def _do_lose(self, name: str) -> None:
        self._hosts[NodeId(name)].disk.lost_snapshot = True

    def _do_install(self, name: str, slot: str, source: str) -> None:
        host, replica = self._running(name)
        meta = SnapshotMeta(Slot(int(slot)), f"of-{source}")
        membership = self._running(source)[1].membership
        assert membership is not None
        host.applied.append(Entry(meta.slot, Ballot(0, NodeId(source), 0), Kind.COMMANDS, b"(snapshot)"))
        self._honour(host, replica.install_snapshot(meta, [(Slot(1), membership)], self._now))

    def _do_show(self, *names: str) -> None:
        for name in names or tuple(self._hosts):
            host = self._hosts[NodeId(name)]
            if host.replica is None:
                self._tell(f"{name} is down")
                continue
            replica = host.replica
            applied = " ".join(
                f"{entry.slot}:{describe_value(entry.kind, entry.value)}" for entry in host.applied if entry.slot > 1
            )
            votes = "" if replica.why_not_voting is None else " does not vote"
            self._tell(
                f"{name} {replica.role_name} ballot={replica.ballot} leader={replica.leader} "
                f"decided={replica.decided} applied=[{applied}]{votes}"
            )

    def _do_heartbeats(self, switch: str) -> None:
        self._shows_heartbeats = {"on": True, "off": False}[switch]

    # What the commands are made of.

    def _running(self, name: str) -> tuple[_Host, Replica]:
        host = self._hosts[NodeId(name)]
        if host.replica is None:
            raise ValueError(f"{name} is down")
        return host, host.replica

    def _start(self, host: _Host) -> None:
        self._stop(host)
        host.disk.boot += 1
        host.applied = []
        identity = Identity(
            name=host.name,
            group=0,
            incarnation=host.disk.incarnation,
            boot=host.disk.boot,
            nonce=self._random.getrandbits(60),
            cluster={name: f"{name}:1" for name in self._hosts},
        )
        state = host.disk.state()
        applied = host.disk.first - 1 if state.snapshot is None else state.snapshot.slot
        if host.disk.lost_snapshot:
            applied = 0
        memberships: tuple[tuple[Slot, Membership], ...] = ()
        if state.first > 1:
            founding = next(entry for entry in merge(host.disk.writes).accepted if entry.slot == 1)
            memberships = ((Slot(1), Membership.from_bytes(founding.value)),)
        host.replica = Replica(
            identity,
            state,
            self._settings,
            Random(host.name),
            memberships=memberships,
            applied=Slot(applied),
        )
        self._honour(host, host.replica.start(self._now))

    def _stop(self, host: _Host) -> None:
        host.replica = None
        host.out, host.held, host.hangs, host.persisted = [], [], False, 0

    def _take(self, link: str, kinds: Sequence[str]) -> Iterator[tuple[Sender, Send]]:
        source, _, target = link.partition("->")
        taken: list[tuple[Sender, Send]] = []
        left: list[tuple[Sender, Send]] = []
        for sender, send in self._waiting:
            fits = source in ("*", sender.node) and target in ("*", send.to)
            fits = fits and (not kinds or type(send.message).__name__ in kinds)
            (taken if fits else left).append((sender, send))
        self._waiting = left
        yield from taken

    def _arrive(self, sender: Sender, send: Send) -> None:
        host = self._hosts[send.to]
        lost = (sender.node, send.to) in self._lost_links or host.replica is None
        if self._is_shown(send):
            line = f"{sender.node}->{send.to} {describe_message(send.message)}"
            self._tell(f"lost {line}" if lost else line)
        if lost or host.replica is None:
            return
        before = sum(host.replica.dropped.values())
        output = host.replica.on_message(sender, send.message, self._now)
        if sum(host.replica.dropped.values()) > before and self._is_shown(send):
            self._tell(f"  {host.name} drops it")
        self._honour(host, output)

    def _settle_once(self, among: set[NodeId]) -> bool:
        moved = False
        for name in sorted(among):
            host = self._hosts[name]
            if host.out and not host.hangs:
                self._persist(host)
                moved = True
        here = [(sender, send) for sender, send in self._waiting if {sender.node, send.to} <= among]
        self._waiting = [waiting for waiting in self._waiting if waiting not in here]
        for sender, send in here:
            self._arrive(sender, send)
            moved = True
        return moved

    def _pass_time(self, seconds: float, names: Sequence[str], *, settle: bool) -> None:
        among = {NodeId(name) for name in names} or set(self._hosts)
        end = self._now + seconds
        while self._now < end - 1e-9:
            self._now = min(self._now + _STEP_S, end)
            for name in sorted(among):
                host = self._hosts[name]
                if host.replica is not None:
                    self._honour(host, host.replica.on_tick(self._now))
            if settle:
                self._do_stabilize(*among)

    def _persist(self, host: _Host) -> None:
        if host.replica is None or not host.out:
            return
        token = host.out[-1][0]
        batch = merge([batch for _, batch in host.out])
        host.out = []
        host.disk.writes.append(batch)
        host.disk.faulty = [
            piece for slots in host.disk.faulty for piece in _without(slots, {entry.slot for entry in batch.accepted})
        ]
        if batch.sync:
            self._tell(f"{host.name} persist {describe_write(batch)}")
        host.persisted = token
        ready = [sends for waits, sends in host.held if waits <= token]
        host.held = [(waits, sends) for waits, sends in host.held if waits > token]
        for sends in ready:
            self._send(host, sends)
        self._honour(host, host.replica.on_persisted(token, self._now))

    def _honour(self, host: _Host, output: Output) -> None:
        self._send(host, output.send_now)
        if output.persist is not None:
            host.out.append((output.token, output.persist))
        if host.persisted >= output.token:
            self._send(host, output.send_after_persist)
        elif output.send_after_persist:
            host.held.append((output.token, output.send_after_persist))
        if output.snapshot_from is not None:
            self._tell(f"{host.name} needs a snapshot, {output.snapshot_from} has one")
        for entry in output.decided:
            host.applied.append(entry)
            if entry.slot > 1:
                self._tell(f"{host.name} applies {entry.slot}:{describe_value(entry.kind, entry.value)}")
        for ready in output.readable:
            slot = "is not confirmed" if ready.slot is None else f"may be served from slot {ready.slot}"
            self._tell(f"{host.name} read {ready.ticket} {slot}")
        for event in output.events:
            if isinstance(event, FaultFound):
                self._tell(f"{host.name} says of {event.peer}: {event.reason}")
        for wanted in output.reads:
            self._read(host, wanted)
        if host.replica is not None and host.replica.leading and host.name not in self._told_leading:
            self._tell(f"{host.name} leads b={host.replica.ballot}")
        self._told_leading = {
            name for name, other in self._hosts.items() if other.replica is not None and other.replica.leading
        }

    def _read(self, host: _Host, wanted: ReadRange) -> None:
        assert host.replica is not None
        held = host.disk.entries()
        entries: list[Entry] = []
        faulty: tuple[range, ...] = ()
        for slot in range(wanted.start, wanted.stop):
            if any(slot in slots for slots in host.disk.faulty):
                faulty = () if entries else (range(slot, slot + 1),)
                break
            if Slot(slot) in held:
                entries.append(held[Slot(slot)])
        self._honour(host, host.replica.on_read(wanted.token, entries, self._now, faulty))

    def _send(self, host: _Host, sends: Sequence[Send]) -> None:
        assert host.replica is not None
        self._waiting.extend((host.replica.sender, send) for send in sends)

    def _is_shown(self, send: Send) -> bool:
        return self._shows_heartbeats or not isinstance(send.message, (Heartbeat, HeartbeatAnswer))

    def _tell(self, line: str) -> None:
        self._story.append(line)


def _without(slots: range, healed: set[Slot]) -> Iterator[range]:
    start = slots.start
    for slot in sorted(healed):
        if slot in slots and slot >= start:
            if slot > start:
                yield range(start, slot)
            start = slot + 1
    if start < slots.stop:
        yield range(start, slots.stop)


def play(path: Path, *, settings: Settings | None = None) -> str:
    """The text of the scenario file ``path`` with what happens now in the place of what it says.

    Raises:
        ScenarioError: a command cannot be understood or done; it names file and line.
    """
    scenario = Scenario(settings)
    blocks: list[str] = []
    for block in path.read_text().strip("\n").split("\n\n"):
        commands = block.split("\n----", 1)[0].splitlines()
        story: list[str] = []
        for line in commands:
            if line and not line.startswith("#"):
                try:
                    story.extend(scenario.run(line))
                except ScenarioError as error:
                    raise ScenarioError(f"{path.name}: {error}") from error
        told = [line for line in commands if line and not line.startswith("#")]
        blocks.append("\n".join([*commands, "----", *(story or ["ok"])] if told else commands))
    return "\n\n".join(blocks) + "\n"
