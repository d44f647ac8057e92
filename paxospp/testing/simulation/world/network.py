"""The virtual network: paths between nodes that lose, duplicate, delay, hold back and damage messages.

There is one ``Path`` for each ordered pair of nodes. Without faults, a path is like a gRPC stream: it loses nothing
while it stands, and messages do not overtake each other. ``watch`` checks each message before it leaves; the node
decides what to do with it when it arrives. Rules that apply to a link for a while are in ``faults.link_rules``.

Families N1 to N10 of ``paxospp/testing/simulation/README.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, get_args

from paxospp.messages import Message, SnapshotChunk
from paxospp.model import NodeId
from paxospp.testing.simulation.faults.applied_rules import AppliedRules
from paxospp.testing.simulation.faults.bad_frames import BadFrames
from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Packet, Path
from paxospp.testing.simulation.world.virtual_time import Clock

KEEP_ALIVE_S = 8.0
"""Time after which keep-alive has found a dead link, which is then dialled again."""


class SimulatedNetwork:
    """All paths, and what is wrong with them now."""

    def __init__(
        self,
        seed: str,
        clock: Clock,
        faults: Faults,
        *,
        watch: Callable[[ObservedHost, NodeId, Message], None],
        coverage: Counter[str],
    ) -> None:
        self.faults = faults
        self.lost: Counter[str] = Counter()
        self._clock = clock
        self._watch = watch
        self._coverage = coverage
        self._paths: dict[tuple[NodeId, NodeId], Path] = {}
        self._latency = Random(f"{seed} latency")
        self._loss = Random(f"{seed} N1 messages")
        self._copies = Random(f"{seed} N2 messages")
        self._delays = Random(f"{seed} N3 messages")
        self.bad_frames = BadFrames(seed, faults)
        self.applied_rules = AppliedRules(seed, clock, self._arrive, coverage)
        self.older: frozenset[NodeId] = frozenset()
        """Nodes of an older version, whose snapshot chunks do not name the ballot; the snapshot itself does."""
        self._is_plain = True
        self.set_faults(faults)

    def connect(self, hosts: Iterable[SimulatedHost]) -> None:
        hosts = list(hosts)
        for source in hosts:
            for target in hosts:
                if source is not target:
                    base_s = 0.0003 + 0.002 * self._latency.random()
                    self._paths[source.name, target.name] = Path(source, target, base_s)

    def set_faults(self, faults: Faults) -> None:
        """Replace the faults of messages; paths that are cut or clogged stay so."""
        self.faults = faults
        self.bad_frames.faults = faults
        self._is_plain = not (
            faults.loss
            or faults.duplicate
            or faults.replay
            or faults.delay_s
            or faults.tail
            or faults.bad_frame
            or faults.capacity
        )

    # Cutting and healing.

    @property
    def paths(self) -> Iterable[Path]:
        return self._paths.values()

    def path(self, source: NodeId, target: NodeId) -> Path:
        return self._paths[source, target]

    def cut(self, pairs: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Cut exactly these ordered pairs of nodes."""
        cut = set(pairs)
        for pair, path in self._paths.items():
            path.cut = pair in cut

    def heal(self, among: Iterable[NodeId]) -> None:
        """Let every path between these nodes carry messages again."""
        names = set(among)
        for (source, target), path in self._paths.items():
            if source in names and target in names:
                path.cut = False
                path.rules = ()
                path.dead_until = 0.0
                self.unclog(path)

    def unclog(self, path: Path) -> None:
        path.clogged = False
        held, path.held = path.held, []
        for packet in held:
            self._clock.after(path.base_s, self._arrive, packet)

    # Messages.

    def send(self, source: ObservedHost, to: NodeId, message: Message) -> None:
        """Check ``message`` of ``source``, and send it."""
        if type(message) is SnapshotChunk and source.name in self.older:
            message = replace(message, ballot=None)
        self._watch(source, to, message)
        path = self._paths.get((source.name, to))
        if path is None:
            return
        packet: Packet = (path, source.sender, message)
        if path.rules and self.applied_rules.takes(packet, type(message)):
            return
        if self._is_plain:
            path.under_way += 1
            at = self._clock.now + path.base_s
            if at <= path.arrived_at:
                at = path.arrived_at + 1e-9
            path.arrived_at = at
            self._clock.at(at, self._arrive, packet)
        else:
            self._send_badly(path, packet)

    def _send_badly(self, path: Path, packet: Packet) -> None:
        faults, now = self.faults, self._clock.now
        if faults.capacity and path.under_way >= faults.capacity:
            self.lost["over capacity"] += 1
            return
        if faults.loss and self._loss.random() < faults.loss:
            self.lost["on the way"] += 1
            return
        at = now + path.base_s
        if faults.delay_s:
            at += self._delays.expovariate(1 / faults.delay_s)
            if self._delays.random() < faults.tail:
                at += 5.0 * self._delays.random()
        else:
            at = max(at, path.arrived_at + 1e-9)
            path.arrived_at = at
        if faults.bad_frame:
            packet = self._as_bytes(packet)
        path.under_way += 1
        self._clock.at(at, self._arrive, packet)
        if faults.duplicate and self._copies.random() < faults.duplicate:
            path.under_way += 1
            self._clock.at(at + self._copies.random() ** 3 * 3.0, self._arrive, packet)
        if faults.replay and self._copies.random() < faults.replay:
            path.under_way += 1
            self._clock.at(at + self._copies.random() * 60.0, self._arrive, packet)

    def _as_bytes(self, packet: Packet) -> Packet:
        path, sender, message = packet
        assert not isinstance(message, bytes)
        return path, sender, self.bad_frames.frame(sender, path.target.name, message)

    def deliver(self, path: Path, data: bytes) -> None:
        """Let bytes arrive over ``path`` that no node of the cluster sent."""
        path.under_way += 1
        self._arrive((path, path.source.sender, data))

    def _arrive(self, packet: Packet) -> None:
        path, sender, message = packet
        path.under_way -= 1
        if path.cut or path.dead_until > self._clock.now:
            return
        if path.clogged:
            path.under_way += 1
            path.held.append(packet)
            return
        target = path.target
        runtime = target.runtime
        if runtime is None:
            return
        if type(message) is bytes:
            self._clock.trace(path.code + 15)
            target.take(target.loop, target.receive_bytes, (message,))
        else:
            self._clock.trace(path.code + _CODES.get(type(message), 14))
            target.take(target.loop, target.receive, (sender, message))


def _codes() -> dict[type[Any], int]:
    return {message: number for number, message in enumerate(get_args(Message))}


_CODES = _codes()
