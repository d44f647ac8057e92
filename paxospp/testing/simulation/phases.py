"""One run in three phases: safety, liveness, quiet.

*Safety*: everything the plan allows goes wrong while clients work; nothing unsafe may happen.
*Liveness*: a random quorum is the core; it is healed and its faults end, and what is wrong with all
others stays wrong for good. What waits on the core must end, and new calls must be answered in
time. *Quiet*: everything heals, and all live replicas end with the same log and the same state.

Not coming back is excused by one predicate only (``stuck_slot``): a slot that no node of the core
can tell, and for which a quorum of it cannot say *accepted* or *none*. Before there is a cluster
(``founding_is_stuck``) everybody has to say so of slot 1, unless somebody can tell it.

Reference: TigerBeetle's VOPR, whose shape this is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from random import Random

from paxospp.model import Slot
from paxospp.testing.simulation.broken import Broken
from paxospp.testing.simulation.clients import Clients, EmbeddedClient
from paxospp.testing.simulation.disk import Image
from paxospp.testing.simulation.faults import Faults
from paxospp.testing.simulation.host import Host
from paxospp.testing.simulation.plan import Plan
from paxospp.testing.simulation.report import WORST
from paxospp.testing.simulation.rollback import roll_back
from paxospp.testing.simulation.world import World

FOUNDING_S = 30.0
LIVENESS_WINDOWS = 10
"""Election time-outs within which a call on the healed core has to be answered."""
CATCH_UP_S = 10.0
"""What more it takes where one of the core has to ask for what it missed."""
PENDING_S = 20.0
"""Within this all that waited on the core has ended, one way or another."""
QUIET_S = 40.0
_STEP_S = 0.05

GENTLE = Faults()


class Run:
    """One run of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan)
        self.clients = Clients(self.world)
        self.world.clients = self.clients
        self._random = Random(f"{plan.seed} phases")

    def go(self) -> None:
        """All three phases; raises Broken."""
        self._found()
        if self.plan.rolls_back:
            roll_back(self)
            return
        self._safety()
        core = self._choose_core()
        if core is not None:
            self._liveness(core)
        if self._quiet() and self.plan.cold_start:
            self._cold_start()

    # The phases.

    def _found(self) -> None:
        world = self.world
        for host in world.hosts:
            host.start()
        if not self.plan.founds_first:
            return
        self._set_faults(GENTLE, world.hosts)
        if not self._wait(FOUNDING_S, lambda: world.invariants.chosen.membership is not None):
            raise Broken("liveness", f"no cluster was founded within {FOUNDING_S:g} s of peace")
        self._set_faults(self.plan.faults, world.hosts)

    def _safety(self) -> None:
        self.clients.begin()
        for watcher in self.world.watchers:
            watcher.begin()
        self.world.troubles.begin()
        self.world.clock.run_until(self.world.clock.now + self.plan.safety_s)

    def _choose_core(self) -> list[Host] | None:
        """Who is to be well; None if there is nobody to choose, which ``stuck_slot`` has to excuse."""
        world = self.world
        world.troubles.end()
        world.troubles.swap_back()
        if world.invariants.chosen.membership is None:
            # Founding needs everybody.
            world.coverage["not founded when the faults ended"] += 1
            return None if founding_is_stuck(world.hosts) else list(world.hosts)
        voters = [
            host for host in world.hosts if world.invariants.has_vote(host) and host.disk.image.unreadable is None
        ]
        quorum = len(world.invariants.chosen.membership.members) // 2 + 1
        size = self._random.randint(quorum, max(quorum, len(voters)))
        core = self._random.sample(voters, min(size, len(voters)))
        if self._is_stuck(core, quorum):
            core = voters
            if self._is_stuck(core, quorum):
                return None
        return sorted(core, key=lambda host: host.index)

    def _is_stuck(self, core: Sequence[Host], quorum: int) -> bool:
        slot = stuck_slot(core, quorum)
        if slot is not None:
            self.world.coverage["a core had no clean copy of a slot"] += 1
        return slot is not None

    def _liveness(self, core: list[Host]) -> None:
        world = self.world
        for host in world.hosts:
            if host not in core:
                self._abandon(host, core)
        self._mend(core)
        began = world.clock.now
        window_s = self.plan.config.election_timeout_s * (1 + 2 * self.plan.faults.drift)
        # A crashed node takes a moment to start, and before the founding there is more to agree on.
        grace_s = 1.0 if world.invariants.chosen.membership is not None else FOUNDING_S
        if any(self._is_behind(host) for host in core):
            grace_s += CATCH_UP_S
        bound_s = LIVENESS_WINDOWS * window_s + grace_s
        self.clients.end()
        probes = [self.clients.probe(host) for host in core]

        def late() -> list[str]:
            return [
                probe.home.name for probe in probes if not probe.is_done and not self._has_lost_its_state(probe.home)
            ]

        if not self._wait(bound_s, lambda: not late()):
            raise Broken(
                "liveness",
                f"calls on {', '.join(late())} of the core are not answered after {bound_s:g} s of its being well",
            )
        world.coverage[WORST] = int((world.clock.now - began) / window_s)
        waiting = [
            client for client in self.clients.waiting if isinstance(client, EmbeddedClient) and client.home in core
        ]
        if not self._wait(PENDING_S, lambda: all(client.operation is None for client in waiting)):
            raise Broken("liveness", f"calls of {', '.join(client.name for client in waiting)} do not end")

    def _is_behind(self, host: Host) -> bool:
        """Whether it has to catch up with what its disk alone does not tell it."""
        return host.disk.image.decided < self.world.invariants.chosen.up_to

    def _rested_at(self, host: Host) -> float:
        """When a node that rests because a snapshot failed goes on with snapshots."""
        if host.parts is None or host.loop is None:
            return 0.0
        return host.loop.world_time(host.parts.snapshots._rest_until)

    def _has_lost_its_state(self, host: Host) -> bool:
        """Its snapshot is damaged, the log below is gone, and nobody has a snapshot that may take its place."""
        image = host.disk.image
        if not image.snapshot_is_damaged or image.snapshot is None or image.first == 1:
            return False
        slot = image.snapshot[0].slot
        others = (other.disk.image for other in self.world.hosts if other is not host)
        return not any(
            other.snapshot is not None and not other.snapshot_is_damaged and other.snapshot[0].slot >= slot
            for other in others
        )

    def _abandon(self, host: Host, core: Iterable[Host]) -> None:
        """What is wrong with ``host`` stays so for good."""
        network = self.world.network
        host.wants_up = False
        inward = outward = True
        match self._random.randrange(4):
            case 0:
                host.crash()
            case 1:
                inward = False
            case 2:
                outward = False
            case _:
                pass
        for other in self.world.hosts:
            if other is not host:
                network.path(other.name, host.name).cut |= inward
                network.path(host.name, other.name).cut |= outward

    def _quiet(self) -> bool:
        """Whether it became quiet; if not, the cluster is excused, for it cannot go on."""
        world = self.world
        self.clients.end()
        alive = [host for host in world.hosts if host.disk.image.unreadable is None]
        self._mend(alive)
        voters = [host for host in alive if world.invariants.has_vote(host)]
        membership = world.invariants.chosen.membership
        if membership is None:
            stuck = founding_is_stuck(world.hosts)
        else:
            stuck = self._is_stuck(voters, len(membership.members) // 2 + 1)
        if stuck:
            world.coverage["excused: the cluster cannot go on"] += 1
            return False
        if not self._wait(QUIET_S, lambda: self._is_quiet(alive)):
            raise Broken("quiet", self._why_not_quiet(alive))
        self._compare_states(alive)
        return True

    def _cold_start(self) -> None:
        """All nodes stop and come up from their disks to the same state."""
        world = self.world
        up = [host for host in world.hosts if host.is_up]
        voters = [host for host in up if world.invariants.has_vote(host)]
        membership = world.invariants.chosen.membership
        if membership is None or self._is_stuck(voters, len(membership.members) // 2 + 1):
            return  # what they still know is in their memory only
        before = world.history.digests[-1]
        slots = len(world.history.log)
        for host in up:
            host.crash()
            host.start()
        if not self._wait(QUIET_S, lambda: self._is_quiet(up)):
            raise Broken("cold start", self._why_not_quiet(up))
        if world.history.digests[slots] != before:
            raise Broken("cold start", "the log changed")
        self._compare_states(up)

    # What they share.

    def _set_faults(self, faults: Faults, hosts: Iterable[Host]) -> None:
        self.world.network.set_faults(faults)
        for host in hosts:
            host.faults = faults

    def _mend(self, hosts: list[Host]) -> None:
        """These nodes, their disks and the links between them are well from now on."""
        world = self.world
        self._set_faults(GENTLE, hosts)
        world.network.heal(host.name for host in hosts)
        for host in hosts:
            host.full_until = 0.0
            host.unstall()
            host.slow_disk, host.slowness_s = 1.0, 0.0
            host.wants_up = True
            if host.asleep:
                host.sleep(0.0)
            if host.loop is None:
                host.start()

    def _wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        clock = self.world.clock
        began = clock.now
        while not until():
            if clock.now >= seconds + max([began, *map(self._rested_at, self.world.hosts)]):
                return False
            clock.run_until(clock.now + _STEP_S)
        return True

    def _is_quiet(self, hosts: Iterable[Host]) -> bool:
        if self.clients.waiting:
            return False
        top = Slot(len(self.world.history.log))
        if not all(watcher.has_been_told(top) for watcher in self.world.watchers):
            return False
        return all(
            host.parts is not None and host.parts.executor.applied == top == host.parts.replica.decided
            for host in hosts
        )

    def _why_not_quiet(self, hosts: Iterable[Host]) -> str:
        where = {
            host.name: (host.parts.executor.applied, host.parts.replica.decided, host.parts.replica.first)
            if host.parts is not None
            else host.cause
            for host in hosts
        }
        waiting = [client.name for client in self.clients.waiting]
        told = [watcher.next for watcher in self.world.watchers]
        return (
            f"of {len(self.world.history.log)} slots the nodes have applied and decided, with the first they keep, "
            f"{where}; waiting: {waiting}; watchers are at {told}"
        )

    def _compare_states(self, hosts: Iterable[Host]) -> None:
        """14, for the state itself and not only for what came out of it."""
        states = {}
        for host in hosts:
            if host.parts is None or host.parts.executor.applied < len(self.world.history.log):
                self.world.coverage["excused: a node has lost its state"] += 1
                continue
            states[host.name] = b"".join(host.parts.executor._machine.snapshot())
        states["alone in its order"] = b"".join(self.world.history.reference.machine.snapshot())  # type: ignore[index]
        if len(set(states.values())) > 1:
            raise Broken("divergence", f"the states differ: {states}"[:2000])


def founding_is_stuck(hosts: Sequence[Host]) -> bool:
    """Whether nobody can found: some founding value is damaged, and those left cannot say what it was."""
    founding = Slot(1)
    clean = [host for host in hosts if not host.disk.image.is_faulty(founding) and not host.finds_faulty(founding)]
    if any(founding in host.disk.image.entries for host in hosts):
        return 2 * len(clean) <= len(hosts)
    return len(clean) < len(hosts)


def stuck_slot(core: Sequence[Host], quorum: int) -> Slot | None:
    """A slot that nobody of ``core`` can tell and that a quorum of it cannot call clean, if there is one."""
    if len(core) < quorum:
        return Slot(0)
    top = max(_last_in_doubt(host.disk.image) for host in core)
    for number in range(1, top + 2):
        slot = Slot(number)
        clean = 0
        for host in core:
            image = host.disk.image
            if slot < image.first:
                if image.snapshot_is_damaged:
                    continue
                break
            if image.snapshot is not None and slot <= image.snapshot[0].slot and not image.snapshot_is_damaged:
                break
            if image.is_faulty(slot) or host.finds_faulty(slot):
                continue
            if slot <= image.decided:
                break
            clean += 1
        else:
            if clean < quorum:
                return slot
    return None


def _last_in_doubt(image: Image) -> int:
    """The highest slot that this disk holds or knows decided, or may have lost: of a lost end the first one."""
    open_from = image.open_from if image.open_from < sys.maxsize else 0
    return max([image.decided, open_from, *image.entries, *image.faulty])
