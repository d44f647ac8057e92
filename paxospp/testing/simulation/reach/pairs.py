"""Pairs: markers that count once more while their replica is in a certain state.

Protocols break where two things meet that were thought through one at a time: a snapshot arrives during a campaign, or
an answer while another answer of the same node is incomplete. Each line names a marker and the states, out of
``states.STATES``, in which it is worth reaching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

PAIRS: Mapping[str, tuple[str, ...]] = {
    # Promises and their parts.
    "acceptor: a report has several parts": ("the log is damaged", "the log is trimmed", "it restarted lately"),
    "acceptor: a report names damaged slots": ("a write is under way", "it restarted lately"),
    "acceptor: an equal prepare is answered again": ("a write is under way", "it restarted lately"),
    "promises: a part of an older answer comes late": ("an answer is being put together", "leading"),
    "promises: a newer answer drops the parts of an older one": ("campaigning", "leading"),
    "promises: a later answer replaces an earlier one": ("recovering", "an answer is being put together"),
    "promises: an answer in several parts is complete": ("leading", "the log is damaged"),
    "protocol: a leader's own promise is counted late": ("recovering", "the log is damaged"),
    "protocol: the promise of a campaign that was given up becomes durable": ("campaigning",),
    "promises: of two values the one of the higher ballot is proposed": ("another replica leads too", "behind"),
    "promises: a gap is filled with a no-op": ("another replica leads too", "the log is damaged"),
    # Leading and following.
    "protocol: a new leader has not seen the end of the log": ("the log is damaged", "it restarted lately"),
    "protocol: a new leader finds slots that it does not know decided": ("behind", "a snapshot is being fetched"),
    "protocol: a leader meets a higher ballot": (
        "recovering",
        "its lease is held",
        "a write is under way",
        "the machine is busy",
    ),
    "protocol: an acceptance under another ballot than the leader's counts for nothing": ("leading", "campaigning"),
    "leading: a late promise reports nothing that comes before new values": ("recovering", "the log is damaged"),
    "leading: a late promise reports what has to come before new values": ("behind", "a write is under way"),
    "leading: an unanswered accept is sent again": ("recovering", "another replica leads too", "a link is cut"),
    "leading: a recovered slot is held back": ("the log is damaged", "it restarted lately"),
    # Learning.
    "learning: a peer tells what is decided": ("leading", "campaigning", "recovering", "the log is damaged"),
    "learning: a peer's snapshot is installed": (
        "leading",
        "the log is damaged",
        "the end of the log is damaged",
        "it has no vote",
        "a write is under way",
        "leases are on",
        "it restarted lately",
    ),
    "protocol: a snapshot brings a higher ballot": ("leading", "campaigning"),
    "acceptor: accepted slots stay above an installed snapshot": ("a write is under way", "the log is damaged"),
    "acceptor: a learned entry raises the promise": ("leases are on", "it has no vote"),
    "acceptor: a learned entry heals a damaged slot": ("leading", "it restarted lately"),
    "acceptor: an accept heals a damaged slot": ("leading", "it restarted lately"),
    "learner: another leader announces": (
        "behind",
        "a snapshot is being fetched",
        "the log is damaged",
        "the disk hangs",
    ),
    "learner: a slot held under an older ballot than announced has to be fetched": ("campaigning", "a link is cut"),
    "learning: a peer is served from the storage": ("leading", "the log is trimmed", "a write is under way"),
    "learning: only a snapshot can help": ("leading", "campaigning", "a snapshot is being fetched"),
    "learning: a read of the log finds damage": ("leading", "it restarted lately"),
    "learning: damage below the current snapshot is trimmed": ("leading", "it restarted lately"),
    # Damage to the end of a log.
    "damaged end: a leader elected since ends it": ("a write is under way", "the log is trimmed"),
    "damaged end: the leader it accepted from ends it in an answer to this boot": ("it restarted lately",),
    "leading: it vouches for nothing before it has seen the end of the log": ("the end of the log is damaged",),
    # Elections.
    "protocol: a candidate meets a higher ballot": (
        "a write is under way",
        "it restarted lately",
        "nothing is founded",
    ),
    "election: a replica whose peer is quorum-connected does not campaign": ("behind", "a link is cut"),
    "election: of those who answer too few are voters with working disks": (
        "a link is cut",
        "it restarted lately",
        "only a snapshot can help",
    ),
    "protocol: a leader that no quorum answers steps down": ("another replica leads too",),
    # Reads and leases.
    "reads: one is confirmed by a lease": ("another replica leads too", "a write is under way", "a link is cut"),
    "reads: one waits for what was recovered and is not decided yet": ("another replica leads too", "leases are on"),
    "reads: one is abandoned because its leader steps down": ("leases are on",),
    "lease: a grant is counted while the rounds that are known have a gap": ("another replica leads too",),
    "lease: granted to another leader while one binds": ("behind", "a write is under way"),
    "lease: one of an earlier boot may still bind": ("it restarted lately",),
    "voting: a lease keeps back a promise": ("a link is cut",),
    # Identity and founding.
    "admission: not a voter": ("leading", "campaigning"),
    "voting: a prepare is not answered without a vote": ("it restarted lately",),
    "founding: a founding value that was found is proposed again": ("it restarted lately",),
}
"""By marker. If a marker can be reached in one role only, that role is not among its states."""


def pair(marker: str, state: str) -> str:
    """Return the name under which ``marker`` counts while its replica is in ``state``."""
    return f"{marker} [{state}]"


def all_pairs() -> Iterator[str]:
    """Yield the names of all pairs."""
    for marker, states in PAIRS.items():
        for state in states:
            yield pair(marker, state)
