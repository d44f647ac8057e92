"""Small bounds to explore, each for one subject, with the guards that it shows to be needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paxospp.testing.specification.state import FOUNDING_SLOT


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is explored: how much of everything there is."""

    name: str
    about: str
    nodes: int = 3
    ballots: int = 2
    slots: int = 1
    """How many slots above the founding."""
    alpha: int = 1
    founds: bool = False
    """Whether there is no cluster yet."""
    teaches: bool = False
    announces: bool = False
    in_parts: bool = False
    late: bool = False
    """Whether promises may come after the lead was taken."""
    answers_again: bool = False
    """Whether an equal Prepare is answered again."""
    delays_writes: bool = False
    snapshots: bool = False
    vouches: bool = False
    leases: bool = False
    budgets: Mapping[str, int] = field(default_factory=dict)
    """How many crashes, damages, lost ends, wipes and rounds of heartbeats there may be."""
    clock: int = 0
    """How far clocks go."""
    begins: tuple[str, ...] = ()
    """Steps that were taken before the exploration begins."""
    guards: tuple[str, ...] = ()
    """Guards without which this scope breaks an invariant; two joined by `` + `` where either alone is enough."""

    @property
    def settled(self) -> int:
        """The highest slot that was decided before the exploration begins."""
        return 0 if self.founds else FOUNDING_SLOT

    @property
    def is_symmetric(self) -> bool:
        """Whether nodes are interchangeable: a founding and an answer to a boot name them."""
        return not self.founds and not self.vouches


_LEADS = ("n1 campaigns under 1", "n2 promises 1", "n1 leads on [0, 1]")
_CHOOSES = ("n1 proposes v1 in 2 under 1", "n2 accepts v1 in 2 under 1", "n1 decides 2")
_ROUND = ("n1 begins a round", "n2 grants the round of n1")
_TICKS = ("n1 the clock ticks", "n2 the clock ticks", "n3 the clock ticks")
_CHOSEN = (*_LEADS, *_CHOOSES)
"""Slot 2 is chosen under ballot 1 by n1 and n2; n1 knows it, and n3 has heard nothing."""
_CHOSEN_TWICE = (*_CHOSEN, "n1 proposes v1 in 3 under 1", "n2 accepts v1 in 3 under 1", "n1 decides 3")
_CHOSEN_THRICE = (*_CHOSEN_TWICE, "n1 proposes v1 in 4 under 1", "n2 accepts v1 in 4 under 1", "n1 decides 4")

_ALL = (
    Scope(
        name="one slot",
        about="two ballots, one slot: Paxos itself",
        guards=(
            "promise: nothing below the promise",
            "accept: nothing below the promise",
            "accept: an acceptance raises the promise",
            "campaign: a ballot is used once",
            "count: promises to this very ballot",
            "propose: clean answers of a quorum",
            "propose: the value of the highest ballot",
            "propose: one value per slot and ballot",
            "decide: acceptances of a quorum",
            "decide: acceptances under this very ballot",
        ),
    ),
    Scope(
        name="three ballots",
        about="of two values in a slot the one of the higher ballot counts",
        ballots=3,
        begins=("n1 campaigns under 1", "n2 promises 1", "n1 leads on [0, 1]", "n1 proposes v1 in 2 under 1"),
    ),
    Scope(name="late promises", about="promises that come after the lead was taken", late=True, answers_again=True),
    Scope(
        name="announcements",
        about="decisions are announced, and one's own acceptance is taken for decided",
        announces=True,
        guards=("learn: accepted under the announcer's ballot or above", "announce: what is known to be decided"),
    ),
    Scope(
        name="taught entries",
        about="decided entries are told, with their ballots, to leaders too",
        announces=True,
        teaches=True,
        guards=(
            "learn: a decided entry's ballot is met",
            "learn: the promise rises with the entry",
            "teach: only what is known to be decided",
            "propose: decided is not clean",
        ),
    ),
    Scope(
        name="writes",
        about="writes take time, and a crash takes what has not returned",
        delays_writes=True,
        budgets={"crashes": 1},
        guards=(
            "say: what is said of the disk waits for it",
            "restart: nothing that was synced is forgotten",
        ),
    ),
    Scope(
        name="damage",
        about="an entry rots",
        budgets={"damages": 1},
        guards=("damage: a damaged slot is told from an empty one", "propose: faulty is not clean"),
    ),
    Scope(
        name="a lost end",
        about="the end of the log of a quorum's member is lost, and the one that lags leads",
        slots=3,
        teaches=True,
        vouches=True,
        budgets={"ends": 1},
        begins=(*_CHOSEN_THRICE, "n2 loses its end from 2", "n1 teaches 2", "n3 campaigns under 2", "n2 promises 2"),
        guards=(
            "vouch: clean answers of a quorum reach beyond the damage",
            "vouch: what the promises reported is decided",
        ),
    ),
    Scope(
        name="a leader's word from before the damage",
        about="what a leader vouched for before a boot says nothing of what was accepted since",
        slots=2,
        vouches=True,
        budgets={"ends": 1},
        begins=(
            *_LEADS,
            "n1 vouches",
            *_CHOOSES,
            "n1 proposes v1 in 3 under 1",
            "n2 accepts v1 in 3 under 1",
            "n2 loses its end from 2",
            "n3 campaigns under 2",
        ),
        guards=("close: the leader was elected since, or vouched to this boot", "vouch: up to alpha above decided"),
    ),
    Scope(
        name="a leader's word and a damaged slot",
        about="a damaged slot that has a name is empty if it lies above what a leader vouched for, and only then",
        slots=2,
        vouches=True,
        budgets={"damages": 1},
        begins=(
            *_LEADS,
            "n1 vouches",
            *_CHOOSES,
            "n1 proposes v1 in 3 under 1",
            "n2 accepts v1 in 3 under 1",
            "n2 has slot 3 damaged",
            "n3 campaigns under 2",
        ),
        guards=("close: the leader was elected since, or vouched to this boot", "vouch: up to alpha above decided"),
    ),
    Scope(
        name="the window",
        about="as much may be lost as may have been open",
        slots=3,
        vouches=True,
        budgets={"ends": 1},
        begins=_CHOSEN,
        guards=("propose: at most alpha above decided",),
    ),
    Scope(
        name="parts of answers",
        about="an answer in two parts, and another one after more was accepted",
        late=True,
        slots=3,
        alpha=3,
        in_parts=True,
        answers_again=True,
        begins=(
            *_LEADS,
            "n1 proposes v1 in 3 under 1",
            "n2 accepts v1 in 3 under 1",
            "n1 proposes v1 in 4 under 1",
            "n2 accepts v1 in 4 under 1",
            "n3 campaigns under 2",
            "n2 promises 2",
            "n3 leads on [1, 2]",
            "n3 proposes v2 in 2 under 2",
            "n2 accepts v2 in 2 under 2",
        ),
        guards=("count: all parts of an answer", "count: parts of one answer"),
    ),
    Scope(
        name="snapshots",
        about="a snapshot tells what is decided, to leaders too",
        announces=True,
        snapshots=True,
        begins=("n1 campaigns under 1",),
        guards=(
            "snapshot: nothing is forgotten that it does not cover",
            "install: a snapshot's ballot is met",
            "install: the promise rises with a snapshot",
        ),
    ),
    Scope(
        name="a snapshot of two ballots",
        about="it names the highest ballot that anything it covers was decided under",
        slots=2,
        alpha=2,
        snapshots=True,
        teaches=True,
        begins=(
            *_CHOSEN,
            "n3 campaigns under 2",
            "n2 promises 2",
            "n3 leads on [1, 2]",
            "n3 proposes v2 in 3 under 2",
            "n2 accepts v2 in 3 under 2",
            "n3 decides 3",
        ),
        guards=("snapshot: it names the highest ballot", "snapshot: only of what is decided"),
    ),
    Scope(
        name="founding",
        about="three nodes found a cluster, and one of them gets an empty disk",
        founds=True,
        slots=0,
        budgets={"wipes": 1},
        guards=(
            "found: a promise of everybody",
            "found: the value that was found",
            "wipe: another disk is another life",
        ),
    ),
    Scope(
        name="founding, and a slot after it",
        about="nothing is proposed before it is known who votes",
        founds=True,
        slots=1,
        begins=("n1 campaigns under 1", "n2 promises 1", "n3 promises 1", "n1 leads on [0, 1, 2]"),
        guards=("found: nothing before the founding",),
    ),
    Scope(
        name="a wiped disk",
        about="a member of a cluster gets an empty disk, and learns",
        slots=2,
        snapshots=True,
        budgets={"wipes": 1},
        begins=(
            *_CHOSEN,
            "n1 takes a snapshot of 2, and keeps its log from 3",
            "n1 offers its snapshot",
            "n1 proposes v1 in 3 under 1",
            "n2 accepts v1 in 3 under 1",
            "n2 gets an empty disk",
        ),
        guards=("count: only lives that vote + promise: only who has a vote",),
    ),
    Scope(
        name="a wiped disk that knows the members",
        about="it has learned who votes, and it does not",
        slots=2,
        snapshots=True,
        budgets={"wipes": 1},
        begins=(
            *_CHOSEN,
            "n1 takes a snapshot of 2, and keeps its log from 3",
            "n1 offers its snapshot",
            "n2 gets an empty disk",
            "n2 installs a snapshot of 2",
            "n1 proposes v1 in 3 under 1",
        ),
        guards=("accept: only who has a vote + decide: acceptances of lives that vote",),
    ),
    Scope(
        name="a wiped disk that knows nothing",
        about="it takes no part before a cluster is founded",
        budgets={"wipes": 1},
        begins=(*_LEADS, "n1 proposes v1 in 2 under 1", "n2 gets an empty disk"),
        guards=("found: nothing before the founding + decide: acceptances of lives that vote",),
    ),
    Scope(
        name="a wiped disk is asked to promise",
        about="it has forgotten what was decided with it",
        budgets={"wipes": 1},
        begins=(*_CHOSEN, "n2 gets an empty disk"),
        guards=("promise: before there is a cluster, only to found one + count: only lives that vote",),
    ),
    Scope(
        name="leases",
        about="nobody leads while another one holds a lease",
        slots=0,
        leases=True,
        clock=5,
        budgets={"rounds": 1},
        begins=(*_LEADS, *_ROUND),
        guards=(
            "lease: nobody else is promised while it binds",
            "lease: clocks stay within the drift bound",
        ),
    ),
    Scope(
        name="a lease and a restart",
        about="who granted one and starts again waits until it is over",
        slots=0,
        leases=True,
        clock=5,
        budgets={"crashes": 1, "rounds": 1},
        begins=(*_LEADS, *_ROUND),
        guards=("lease: a restart waits as long as a grant may last",),
    ),
    Scope(
        name="a grant that comes late",
        about="it is counted from before the round that it answers",
        slots=0,
        leases=True,
        clock=5,
        begins=(*_LEADS, *_ROUND, *_TICKS, *_TICKS),
        budgets={"rounds": 1},
        guards=("lease: counted from before the round was sent", "lease: less the drift of clocks"),
    ),
)

SCOPES: Mapping[str, Scope] = {scope.name: scope for scope in _ALL}

NOT_NEEDED: Mapping[str, str] = {
    "lead: promises of a quorum": "a leader proposes nothing without clean answers of a quorum; reads rest on it",
    "found: promises of a quorum of the lives in the value found": "a value that was found is the only one there is",
    "found: a membership of the lives that promised": "others could not accept it, and the cluster would not get on",
    "found: accept only a founding that this life stands in": "its acceptance would not count",
    "campaign: only who has a vote": "whom a quorum promises may lead; rule 8 keeps messages of strangers out",
    "campaign: above every ballot met": "a ballot below one that was met gets no quorum, and is not used twice",
    "lease: grants to this very ballot": "a grant binds whatever it was given to; an older one only ends sooner",
    "lease: granted to nobody below the promise": "who has a higher promise is bound to it already",
    "propose: under no ballot below one that was met": "a leader that meets a higher ballot leads no more",
    "announce: under no ballot below one that was met": "the same",
    "vouch: under no ballot below one that was met": "the same",
    "promise: one's own counts once it is on disk": "an explored candidate reports to itself with that very write",
    "teach: what was read is what is held, or was": "an explored node reads at once",
    "learn: what the announcement covers": "nothing else is tried",
    "restart: no slot is decided that was not known to be": "nothing else is tried",
}
"""Guards without which nothing that is explored breaks, with the reason why there is one."""
