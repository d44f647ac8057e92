"""Replicas without time: pictures and copies for a model checker in which any timer may fire at any moment.

The clock of such a replica stands still at 0, and no timer is due until the model checker makes a copy in which one is.
So two states that differ only in when something happened are equal. That is sound for rules that do not depend on time:
all of them except leases (rule 6, ``lease``). Elections are replaced by ``Replica.campaign`` at any moment, which
allows more than rule 5 does.

A replica without time does not remember which leader it heard; that decides only which peer it asks first for slots
that it lacks. Also left out are what a peer declared in earlier boots, which serves only to detect disks that were
rolled back (rule 8), the numbers of writes that returned, and leases: no lease binds, and none is held.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import replace
from enum import Enum
from random import Random
from typing import Any

from paxospp.engine.replica import Replica
from paxospp.engine.rules.observer import Observer
from paxospp.model import Slot
from paxospp.testing.exploration.picture import Changes, Walk

NEVER = math.inf
LONG_AGO = -math.inf


class Timer(Enum):
    """The timers that ``Replica.on_tick`` serves."""

    HEARTBEAT = "heartbeat"
    RESEND = "resend"
    FETCH = "fetch"
    WINDOW = "window"
    """A campaign, or a lead that no quorum confirms, ends."""


def picture_without_time(replica: Replica) -> Hashable:
    """Return the state of ``replica`` with its clock at 0 and no timer due."""
    return _TIMELESS.picture(replica)


def duplicate_without_time(
    replica: Replica, observer: Observer | None = None, *, due: Timer | None = None, random: Random | None = None
) -> Replica:
    """Return a copy whose clock stands at 0, with no timer due but ``due``, which ``on_tick(0.0)`` will find.

    The copy draws from ``random``, if that is given.
    """
    if due is Timer.FETCH and not wants_to_fetch(replica):
        due = None
    also = _DUE[due]
    if random is not None:
        also = {**also, "Election": {"_random": random}, "Protocol": {"_random": random}}
    return _TIMELESS.duplicate(replica, observer, also=also)


def wants_to_fetch(replica: Replica) -> bool:
    """Whether ``replica`` has scheduled a request to a peer for slots that it lacks."""
    return replica.protocol.learning.fetching.due_at is not None


def _answers_at_rest(heartbeats: Any) -> Mapping[str, object]:
    """Keep only the round of each answer; the rest of an answer serves elections."""
    answers = {
        peer: replace(
            answered,
            at=LONG_AGO,
            answer=replace(
                answered.answer,
                promised=None,
                decided=Slot(0),
                disk_answers=True,
                quorum_connected=False,
                leader=None,
                remembered=Slot(0),
                booted_with=None,
                vouched_up_to=Slot(0),
            ),
        )
        for peer, answered in heartbeats.answers.items()
    }
    return {"next_at": NEVER, "answers": answers}


def _writes_at_rest(writes: Any) -> Mapping[str, object]:
    """Number the writes that are out from 1 on."""
    out = [replace(write, token=number, since=0.0) for number, write in enumerate(writes.out, 1)]
    return {"last_token": len(out), "_out": deque(out)}


_AT_REST: Mapping[str, Changes] = {
    "ActiveClock": lambda _: {"time": 0.0, "_last": 0.0},
    "Campaigning": lambda _: {"began_at": 0.0, "_prepare_again_at": NEVER},
    "Election": lambda _: {
        "leader": None,
        "_expires_at": NEVER,
        "_heard_at": 0.0,
        "_quorum_connected_at": LONG_AGO,
        "_probe_round": None,
        "_probe_ends_at": 0.0,
        "_waited_for_those_ahead": False,
        "_leader_is_quorum_connected": False,
        "_left_to_others": 0,
    },
    "Fetching": lambda fetching: {"due_at": None if fetching.due_at is None else NEVER, "_pause_s": 0.0},
    "HeartbeatRounds": _answers_at_rest,
    "Lease": lambda _: {"_bound_until": LONG_AGO, "_rounds": {}, "_granted": {}},
    "Leading": lambda _: {
        "since": 0.0,
        "progressed_at": 0.0,
        "_prepare_again_at": NEVER,
        "_prepare_pause_s": 0.0,
        "_blocked_by": None,
        "_blocked_since": 0.0,
    },
    "DecidedAnnouncement": lambda announcement: {"due_at": NEVER if announcement.due_at == NEVER else 0.0},
    "Proposal": lambda _: {"sent_at": 0.0, "resend_after_s": NEVER},
    "Protocol": lambda _: {"tick_due_at": 0.0},
    "Replica": lambda _: {"_boot_time": None},
    "Writes": _writes_at_rest,
    "_PeerIncarnation": lambda _: {"promised": None, "accepted_up_to": Slot(0)},
    "_Request": lambda _: {"expires_at": 0.0},
}
"""By class, the values of fields while no timer is due. Reads that wait for a leader's answer never time out."""

_DUE: Mapping[Timer | None, Mapping[str, Mapping[str, object]]] = {
    None: {},
    Timer.HEARTBEAT: {"HeartbeatRounds": {"next_at": 0.0}},
    Timer.RESEND: {
        "Campaigning": {"_prepare_again_at": 0.0},
        "Leading": {"_prepare_again_at": 0.0},
        "Proposal": {"resend_after_s": 0.0},
    },
    Timer.FETCH: {"Fetching": {"due_at": 0.0}},
    Timer.WINDOW: {"Campaigning": {"began_at": LONG_AGO}, "Leading": {"since": LONG_AGO}},
}

_TIMELESS = Walk(_AT_REST)
