"""The verbs of the language, each a function of the world and of the words that follow the verb.

The table at the top of ``language`` says what they do. ``selecting`` selects messages, and ``show_verb`` has the verb
``show``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from paxospp.model import Slot
from paxospp.testing.scenario.disk import ScenarioDisk
from paxospp.testing.scenario.language import (
    ScenarioError,
    nearest,
    parse_count,
    parse_seconds,
    parse_slot,
    parse_slots,
    usages,
)
from paxospp.testing.scenario.selecting import Clause, Envelope, parse_clauses, parse_standing
from paxospp.testing.scenario.show_verb import show
from paxospp.testing.scenario.world import ScenarioWorld

_NODES_MAX = 9


def perform(world: ScenarioWorld, words: Sequence[str]) -> None:
    """Carry out one command; its first word is the verb.

    Raises:
        ScenarioError: the verb is unknown, it has too few or too many words, or it cannot be carried out.
    """
    verb, rest = (words[0], words[1:]) if words else ("", ())
    if verb not in VERBS:
        raise ScenarioError(f"{verb!r} is not a verb; {nearest(verb, VERBS)}")
    try:
        inspect.signature(VERBS[verb]).bind(world, *rest)
    except TypeError:
        raise _misused(verb) from None
    VERBS[verb](world, *rest)


def _misused(verb: str) -> ScenarioError:
    return ScenarioError(f"usage: {' · '.join(usages().get(verb, [verb]))}")


# The cluster.


def _settings(world: ScenarioWorld, *words: str) -> None:
    name = words[0] if words and "=" not in words[0] else None
    settings = words if name is None else words[1:]
    if not settings:
        raise _misused("settings")
    world.configure(settings, name)


def _cluster(world: ScenarioWorld, size: str, option: str = "founded") -> None:
    if option not in ("blank", "founded"):
        raise ScenarioError(f"{option!r} is not a kind of cluster; {nearest(option, ('blank', 'founded'))}")
    nodes = parse_count(size, "nodes")
    if not 1 <= nodes <= _NODES_MAX:
        raise ScenarioError(f"a cluster of a scenario has 1 to {_NODES_MAX} nodes")
    world.make_cluster(nodes, founded=option == "founded")


# Orders to a replica.


def _campaign(world: ScenarioWorld, name: str) -> None:
    host = world.host(name)
    host.honour(host.running.campaign(world.now), world.now)


def _propose(world: ScenarioWorld, name: str, *value: str) -> None:
    host = world.host(name)
    if not host.running.proposable:
        world.tell(f"{name} cannot propose")
        return
    host.honour(host.running.propose(" ".join(value).encode(), world.now), world.now)


def _fill(world: ScenarioWorld, name: str) -> None:
    host = world.host(name)
    count = 0
    while host.running.proposable:
        host.honour(host.running.propose(b"fill", world.now), world.now)
        count += 1
    world.tell(f"{name} proposed {count} values")


def _read(world: ScenarioWorld, name: str, ticket: str, confirmed_by: str = "round") -> None:
    if confirmed_by not in ("round", "lease"):
        raise ScenarioError(f"{confirmed_by!r} does not confirm a read; {nearest(confirmed_by, ('lease', 'round'))}")
    host, number = world.host(name), parse_count(ticket, "a read")
    replica = host.running
    host.reads.append(number)
    host.honour(replica.read(number, world.now, lease=confirmed_by == "lease"), world.now)


def _lease(world: ScenarioWorld, seconds: str, *names: str) -> None:
    duration_us = round(parse_seconds(seconds) * 1_000_000)
    for name in world.names(names):
        host = world.host(name)
        host.honour(host.running.set_lease(duration_us, world.now), world.now)


# Messages.


def _deliver(world: ScenarioWorld, *words: str) -> None:
    for clause in parse_clauses(words, world.nodes):
        for envelope in _pick(world, clause):
            world.arrive(envelope)


def _duplicate(world: ScenarioWorld, *words: str) -> None:
    for clause in parse_clauses(words, world.nodes):
        picked = _pick(world, clause)
        world.network.waiting[:0] = picked
        for envelope in picked:
            world.arrive(envelope)


def _drop(world: ScenarioWorld, *words: str) -> None:
    for clause in parse_clauses(words, world.nodes):
        for envelope in _pick(world, clause):
            world.lose(envelope)


def _pick(world: ScenarioWorld, clause: Clause) -> list[Envelope]:
    before = world.network.waiting
    picked = world.network.pick(clause)
    if not picked and clause.is_specific:
        waiting = "; ".join(str(envelope) for envelope in before if world.is_shown(envelope))
        raise ScenarioError(f"no such message waits; waiting: {waiting or 'only heartbeats'}")
    return picked


def _only(world: ScenarioWorld, *words: str) -> None:
    world.network.only = parse_standing(words, world.nodes)


def _all(world: ScenarioWorld, *words: str) -> None:
    if not words:
        world.network.only = None
        world.network.held.clear()
    elif words[0] == "except":
        world.network.only = parse_standing(words, world.nodes)
    else:
        raise _misused("all")


def _hold(world: ScenarioWorld, *words: str) -> None:
    world.network.held.append(parse_standing(words, world.nodes))


def _cut(world: ScenarioWorld, one: str, other: str) -> None:
    here, there = world.host(one).name, world.host(other).name
    world.network.cut |= {(here, there), (there, here)}


def _oneway(world: ScenarioWorld, sender: str, to: str) -> None:
    world.network.cut.add((world.host(sender).name, world.host(to).name))


def _heal(world: ScenarioWorld) -> None:
    world.network.cut.clear()


# Time.


def _stabilize(world: ScenarioWorld, *names: str) -> None:
    world.stabilize(world.names(names))


def _wait(world: ScenarioWorld, seconds: str, *names: str) -> None:
    world.pass_time(parse_seconds(seconds), world.names(names), settle=False)


def _run(world: ScenarioWorld, seconds: str, *names: str) -> None:
    world.pass_time(parse_seconds(seconds), world.names(names), settle=True)


def _tick(world: ScenarioWorld, name: str, *more: str) -> None:
    world.tick(world.names([name, *more]))


# Processes and disks.


def _persist(world: ScenarioWorld, name: str, *more: str) -> None:
    oldest_only = more[-1:] == ("oldest",)
    for host in [world.host(word) for word in (name, *(more[:-1] if oldest_only else more))]:
        host.persist(world.now, oldest_only=oldest_only)


def _hang(world: ScenarioWorld, name: str) -> None:
    world.host(name).hangs = True


def _crash(world: ScenarioWorld, name: str) -> None:
    world.host(name).stop()


def _powercut(world: ScenarioWorld, name: str) -> None:
    host = world.host(name)
    host.stop()
    host.disk.cut_power()


def _start(world: ScenarioWorld, name: str) -> None:
    world.start(world.host(name))


def _wipe(world: ScenarioWorld, name: str) -> None:
    host = world.host(name)
    host.stop()
    host.disk = ScenarioDisk(incarnation=host.disk.incarnation + 100)


def _rollback(world: ScenarioWorld, name: str, count: str) -> None:
    host, writes = world.host(name), parse_count(count, "writes")
    if writes > host.disk.writes:
        raise ScenarioError(f"the disk of {name} has only {host.disk.writes} writes")
    host.stop()
    host.disk.roll_back(writes)


def _damage(world: ScenarioWorld, name: str, slots: str) -> None:
    world.host(name).disk.faulty.append(parse_slots(slots))


def _trim(world: ScenarioWorld, name: str, first: str) -> None:
    world.host(name).disk.trim(parse_slot(first))


def _snapshot(world: ScenarioWorld, name: str, slot: str, first: str = "") -> None:
    covered = parse_slot(slot)
    world.host(name).publish(covered, parse_slot(first) if first else Slot(covered + 1), world.now)


def _lose(world: ScenarioWorld, name: str) -> None:
    disk = world.host(name).disk
    if disk.image.snapshot is None:
        raise ScenarioError(f"{name} has no snapshot to lose")
    disk.snapshot_is_lost = True


def _install(world: ScenarioWorld, name: str, slot: str, source: str) -> None:
    host, other, covered = world.host(name), world.host(source), parse_slot(slot)
    snapshot = other.offered_snapshot
    if snapshot is None or snapshot.meta.slot != covered:
        has = "none" if snapshot is None else f"the one up to slot {snapshot.meta.slot}"
        raise ScenarioError(f"{source} has no snapshot up to slot {covered}; its disk holds {has}")
    host.install(snapshot, other.name, world.now)


# Output.


def _heartbeats(world: ScenarioWorld, switch: str) -> None:
    if switch not in ("on", "off"):
        raise ScenarioError(f"heartbeats: {switch!r} is not 'on' or 'off'")
    world.shows_heartbeats = switch == "on"


VERBS: dict[str, Callable[..., None]] = {
    "all": _all,
    "campaign": _campaign,
    "cluster": _cluster,
    "crash": _crash,
    "cut": _cut,
    "damage": _damage,
    "deliver": _deliver,
    "drop": _drop,
    "duplicate": _duplicate,
    "fill": _fill,
    "hang": _hang,
    "heal": _heal,
    "heartbeats": _heartbeats,
    "hold": _hold,
    "install": _install,
    "lease": _lease,
    "lose": _lose,
    "oneway": _oneway,
    "only": _only,
    "persist": _persist,
    "powercut": _powercut,
    "propose": _propose,
    "read": _read,
    "rollback": _rollback,
    "run": _run,
    "settings": _settings,
    "show": show,
    "snapshot": _snapshot,
    "stabilize": _stabilize,
    "start": _start,
    "tick": _tick,
    "trim": _trim,
    "wait": _wait,
    "wipe": _wipe,
}
"""The function of each verb, by verb."""
