"""The families of faults, and how much of each a seed draws.

A family is a letter and a number (``N1`` message loss, ``D6`` damaged slots);
``paxospp/testing/simulation/README.md`` lists what is expected of the cluster under each. A family owns the fields of
``Faults`` that set how often and how badly it strikes. Every family draws from a random stream of its own, so switching
one off leaves the draws of the others unchanged, and a failing seed can be reduced to the families that it needs.

Reference: Groce et al., "Swarm Testing" (2012). Many runs have few families of faults, because too many faults at once
keep a cluster from ever reaching deep states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances are per message, operation or command; rates are per virtual second, over all nodes."""

    # Network.
    loss: float = 0.0
    """N1: a message is lost."""
    duplicate: float = 0.0
    """N2: a message arrives twice, the second time up to a few seconds later."""
    replay: float = 0.0
    """N2: a message arrives once more up to a minute later, across restarts and ballots."""
    delay_s: float = 0.0
    """N3: mean of an exponential delay, which lets messages overtake each other."""
    tail: float = 0.0
    """N3: chance of a delay of up to five seconds."""
    partition_rate: float = 0.0
    """N4: the nodes fall into two parts."""
    depose_s: float = 0.0
    """N4: mean time after which a new leader is cut off, with fewer than half of the nodes; 0: never."""
    forced_campaign: float = 0.0
    """N4: chance that one of the other nodes is then made to campaign at once, however far behind it is."""
    one_way_rate: float = 0.0
    """N5: some links carry messages in one direction only."""
    partial_rate: float = 0.0
    """N6: a bridge, a chain, or one node that alone reaches a quorum."""
    clog_rate: float = 0.0
    """N7: a link holds back what it carries, and releases it later."""
    half_open: float = 0.0
    """N8: after a restart of its peer, a link loses everything until keep-alive finds out."""
    bad_frame: float = 0.0
    """N9: a frame arrives with a flipped bit, cut, too long, or addressed to another node."""
    forge_rate: float = 0.0
    """N9: frames of another cluster, group, unknown node or unknown kind arrive."""
    capacity: int = 0
    """N10: greatest number of messages under way on one link; 0: no bound."""

    interference_rate: float = 0.0
    """N11: for an interval, links lose, hold, double or delay some kinds of messages in one direction."""
    contest_s: float = 0.0
    """N12: mean length of the rounds of contested elections; 0: none."""

    fetch_only_s: float = 0.0
    """N13: mean time between rounds in which one node hears only entries and snapshots; 0: never."""

    targeted_s: float = 0.0
    """N14: mean time between two looks for a node in the state that faults are aimed at; 0: never."""

    script_s: float = 0.0
    """N15: mean time after which the script of the profile begins again; 0: never."""

    # Processes.
    crash_rate: float = 0.0
    """P1: a node is killed."""
    crash_all: float = 0.0
    """P1: chance that a crash takes all nodes."""
    crash_at_write: float = 0.0
    """P2: the node dies exactly where a write begins or returns."""
    pause_rate: float = 0.0
    """P3: a node stops for up to a minute and then continues with old timers and queued messages."""
    crash_in_recovery: float = 0.0
    """P4: a node that starts is killed again before it has come up, or right after."""
    slowness_s: float = 0.0
    """P5: time that each event costs one slow node."""
    local_fault: float = 0.0
    """P6: a command fails on one machine only (MemoryError, an OSError)."""

    # Disks.
    lose_unsynced: bool = False
    """D1: a crash takes some of what was not synced; otherwise the disk keeps all it was given."""
    torn: bool = False
    """D2: the write under way at a crash is never there; otherwise it may be."""
    sync_error: float = 0.0
    """D3: a write ends in an error, and what it wrote is gone."""
    write_error: float = 0.0
    """D4: a write ends in an error, and may be there after all."""
    full_rate: float = 0.0
    """D4: a disk is full for some seconds."""
    read_error: float = 0.0
    """D5: a read of the log, or a load, ends in an error."""
    damage_rate: float = 0.0
    """D6, in the middle of the log: a slot is damaged."""
    tail_damage: float = 0.0
    """D7: at a crash the newest synced slots are damaged."""
    misdirect: float = 0.0
    """D8: a write goes to another slot's place; both are damaged."""
    lost_write: float = 0.0
    """D9: a write that returned never reached the disk, and the anchor shows it."""
    lost_end: float = 0.0
    """D9: a follower that was cut off with its leader is killed, and its latest writes never reached the disk."""
    copy_damage_rate: float = 0.0
    """D10: one of the two copies of the promise is damaged, and repaired from the other."""
    both_copies_damage: float = 0.0
    """D11: at a crash both copies of the promise are damaged, and the storage does not load any more."""
    wipe_rate: float = 0.0
    """D12: a node comes back with an empty disk."""
    founder_wipe: float = 0.0
    """D12: chance, now and then, that a node which has just promised to a founder loses its disk."""
    swap_rate: float = 0.0
    """D13: two nodes come back with each other's disk, until this is noticed."""
    snapshot_error: float = 0.0
    """D14: an operation on a snapshot, staged or read, ends in an error."""
    snapshot_damage: float = 0.0
    """D14: at a crash the current snapshot is damaged."""
    refuse_load: float = 0.0
    """D15: a load ends in an error, once."""
    stall_rate: float = 0.0
    """D16: a disk hangs for up to two minutes."""
    stall_s: float = 0.0
    """D16: mean time for which a disk hangs; 0: drawn from one second to two minutes."""
    slow_disk: float = 1.0
    """D16: factor by which one disk is slower."""
    crash_at_snapshot: float = 0.0
    """D17: the node dies between two steps of taking, sending or installing a snapshot."""
    chosen_loss: float = 0.0
    """D18: chance that a round of N12 damages what was chosen, and makes a lagging node lead."""

    sole_loss_s: float = 0.0
    """D19: mean time after which a leader loses what nobody else knows decided, and leads again; 0: never."""

    # Clocks.
    drift: float = 0.0
    """C1: clocks run faster or slower by up to this share, and differ by up to an hour."""
    clock_step_rate: float = 0.0
    """C2: a wall clock jumps by up to an hour, or stands still."""

    # Clients.
    impatience: float = 0.0
    """K1: chance that a client waits only milliseconds and continues with another node."""
    client_crash_rate: float = 0.0
    """K2: a client is gone, and old copies of its runs arrive again from elsewhere."""
    burst_rate: float = 0.0
    """K3: many calls at once."""
    hostile_rate: float = 0.0
    """K4: calls that are too large or make no sense."""

    @property
    def families(self) -> tuple[str, ...]:
        """Return the families that are switched on."""
        nothing = Faults()
        return tuple(
            family
            for family, names in FAMILIES.items()
            if any(getattr(self, name) != getattr(nothing, name) for name in names)
        )

    def without(self, *families: str) -> Faults:
        """Return these faults with some families switched off."""
        nothing = Faults()
        return replace(self, **{name: getattr(nothing, name) for family in families for name in FAMILIES[family]})

    def only(self, families: Collection[str]) -> Faults:
        """Return these faults with all other families switched off."""
        return self.without(*(family for family in FAMILIES if family not in families))


FAMILIES: Mapping[str, tuple[str, ...]] = {
    "N1": ("loss",),
    "N2": ("duplicate", "replay"),
    "N3": ("delay_s", "tail"),
    "N4": ("partition_rate", "depose_s", "forced_campaign"),
    "N5": ("one_way_rate",),
    "N6": ("partial_rate",),
    "N7": ("clog_rate",),
    "N8": ("half_open",),
    "N9": ("bad_frame", "forge_rate"),
    "N10": ("capacity",),
    "N11": ("interference_rate",),
    "N12": ("contest_s",),
    "N13": ("fetch_only_s",),
    "N14": ("targeted_s",),
    "N15": ("script_s",),
    "P1": ("crash_rate", "crash_all"),
    "P2": ("crash_at_write",),
    "P3": ("pause_rate",),
    "P4": ("crash_in_recovery",),
    "P5": ("slowness_s",),
    "P6": ("local_fault",),
    "D1": ("lose_unsynced",),
    "D2": ("torn",),
    "D3": ("sync_error",),
    "D4": ("write_error", "full_rate"),
    "D5": ("read_error",),
    "D6": ("damage_rate",),
    "D7": ("tail_damage",),
    "D8": ("misdirect",),
    "D9": ("lost_write", "lost_end"),
    "D10": ("copy_damage_rate",),
    "D11": ("both_copies_damage",),
    "D12": ("wipe_rate", "founder_wipe"),
    "D13": ("swap_rate",),
    "D14": ("snapshot_error", "snapshot_damage"),
    "D15": ("refuse_load",),
    "D16": ("stall_rate", "stall_s", "slow_disk"),
    "D17": ("crash_at_snapshot",),
    "D18": ("chosen_loss",),
    "D19": ("sole_loss_s",),
    "C1": ("drift",),
    "C2": ("clock_step_rate",),
    "K1": ("impatience",),
    "K2": ("client_crash_rate",),
    "K3": ("burst_rate",),
    "K4": ("hostile_rate",),
}
"""The fields that each family owns."""

assert {name for names in FAMILIES.values() for name in names} == {field.name for field in fields(Faults)}


def _share(low: float, high: float) -> Callable[[Random], float]:
    """Return a draw that is uniform in the exponent: small values are as likely as large ones."""
    return lambda random: low * (high / low) ** random.random()


_DRAWS: Mapping[str, Mapping[str, Callable[[Random], float | int | bool]]] = {
    "N1": {"loss": _share(0.01, 0.3)},
    "N2": {"duplicate": _share(0.01, 0.5), "replay": _share(0.0005, 0.02)},
    "N3": {"delay_s": _share(0.001, 0.1), "tail": _share(0.0005, 0.02)},
    "N4": {"partition_rate": _share(0.05, 0.6)},
    "N5": {"one_way_rate": _share(0.05, 0.5)},
    "N6": {"partial_rate": _share(0.05, 0.4)},
    "N7": {"clog_rate": _share(0.1, 2.0)},
    "N8": {"half_open": lambda random: random.choice((0.3, 0.7))},
    "N9": {"bad_frame": _share(0.002, 0.1), "forge_rate": _share(0.2, 5.0)},
    "N10": {"capacity": lambda random: random.randint(2, 20)},
    "N11": {"interference_rate": _share(0.3, 3.0)},
    "P1": {"crash_rate": _share(0.1, 2.0), "crash_all": lambda random: random.choice((0.0, 0.05, 0.3))},
    "P2": {"crash_at_write": _share(0.0005, 0.02)},
    "P3": {"pause_rate": _share(0.05, 0.5)},
    "P4": {"crash_in_recovery": lambda random: random.choice((0.1, 0.4))},
    "P5": {"slowness_s": _share(0.0005, 0.01)},
    "P6": {"local_fault": _share(0.0002, 0.005)},
    "D1": {"lose_unsynced": lambda random: True},
    "D2": {"torn": lambda random: True},
    "D3": {"sync_error": _share(0.0002, 0.01)},
    "D4": {"write_error": _share(0.0002, 0.01), "full_rate": _share(0.02, 0.2)},
    "D5": {"read_error": _share(0.005, 0.1)},
    "D6": {"damage_rate": _share(0.1, 5.0)},
    "D7": {"tail_damage": lambda random: random.choice((0.2, 0.6))},
    "D8": {"misdirect": _share(0.0005, 0.02)},
    "D9": {"lost_write": _share(0.0005, 0.02)},
    "D10": {"copy_damage_rate": _share(0.1, 1.0)},
    "D11": {"both_copies_damage": lambda random: random.choice((0.1, 0.3))},
    "D12": {"wipe_rate": _share(0.03, 0.2)},
    "D13": {"swap_rate": _share(0.03, 0.2)},
    "D14": {"snapshot_error": _share(0.01, 0.2), "snapshot_damage": lambda random: random.choice((0.1, 0.5))},
    "D15": {"refuse_load": lambda random: random.choice((0.1, 0.3))},
    "D16": {"stall_rate": _share(0.03, 0.3), "slow_disk": lambda random: random.choice((1.0, 10.0, 100.0))},
    "D17": {"crash_at_snapshot": _share(0.01, 0.2)},
    "C1": {"drift": lambda random: random.choice((0.01, 0.2, 0.5))},
    "C2": {"clock_step_rate": _share(0.1, 1.0)},
    "K1": {"impatience": _share(0.02, 0.5)},
    "K2": {"client_crash_rate": _share(0.1, 1.0)},
    "K3": {"burst_rate": _share(0.05, 0.5)},
    "K4": {"hostile_rate": _share(0.1, 2.0)},
}


_CHURN: Mapping[str, Mapping[str, Callable[[Random], float | int | bool]]] = {
    "N4": {
        "partition_rate": lambda random: 0.0,
        "depose_s": _share(0.02, 0.5),
        "forced_campaign": lambda random: random.choice((0.0, 0.3)),
    },
    "D9": {"lost_end": lambda random: random.choice((0.5, 1.0))},
    "P3": {"pause_rate": _share(0.2, 1.0)},
    "N5": {"one_way_rate": _share(0.2, 1.5)},
    "K3": {"burst_rate": _share(0.3, 1.5)},
}
"""One leader after another is lost with work in hand."""

_CONTESTS: Mapping[str, Mapping[str, Callable[[Random], float | int | bool]]] = {
    "N11": {"interference_rate": _share(0.3, 3.0)},
    "N12": {"contest_s": _share(0.02, 0.15)},
    "D18": {"chosen_loss": lambda random: random.choice((0.15, 0.4))},
    "K3": {"burst_rate": _share(0.3, 1.5)},
}
"""An adversary decides who campaigns and whom it reaches."""

_ALWAYS = ("N4", "N12")
"""Families that are never left out of churn and contested elections."""


def draws_contests(seed: int) -> bool:
    """Return whether an adversary decides who campaigns under ``seed``; see ``contested_elections``."""
    return 0.15 <= Random(f"{seed} swarm").random() < 0.7


def draws_churn(seed: int) -> bool:
    """Return whether the leader changes all the time under ``seed``."""
    return 0.7 <= Random(f"{seed} swarm").random() < 0.83


def draw_faults(seed: int) -> Faults:
    """Return the faults under ``seed``, apart from its profile.

    A seventh of all seeds has few families, and a sixth about half of them. The others combine few families with
    contested elections, or with faults that cost one leader after another: faults in recovery show where one recovery
    follows another.
    """
    half = Random(f"{seed} swarm").random() >= 0.83
    share = 0.45 if half else 0.06 if draws_contests(seed) else 0.12
    drawn: dict[str, float | int | bool] = {}
    for family, draws in _DRAWS.items():
        random = Random(f"{seed} {family}")
        if random.random() < share:
            drawn.update({name: draw(random) for name, draw in draws.items()})
    special = _CHURN if draws_churn(seed) else _CONTESTS if draws_contests(seed) else {}
    for family, draws in special.items():
        random = Random(f"{seed} {family} churn")
        if family in _ALWAYS or random.random() < 0.6:
            drawn.update({name: draw(random) for name, draw in draws.items()})
    return Faults(**drawn)  # type: ignore[arg-type]  # the draws give what each field holds
