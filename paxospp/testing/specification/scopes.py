"""The scopes to explore: small bounds, each chosen for one subject, with the guards that it shows to be needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paxospp.testing.specification.state import FOUNDING_SLOT


@dataclass(frozen=True, kw_only=True)
class ModelScope:
    """The bounds of an exploration."""

    name: str
    about: str
    nodes: int = 3
    ballots: int = 2
    slots: int = 1
    """How many slots to fill above slot 1."""
    alpha: int = 1
    founds: bool = False
    """Whether no cluster exists yet, so that the nodes bootstrap one."""
    teaches: bool = False
    """Whether nodes send decided entries."""
    announces: bool = False
    """Whether leaders announce decided slots."""
    in_parts: bool = False
    """Whether an answer to a Prepare may come in two parts."""
    late: bool = False
    """Whether promises may arrive after the candidate took the lead."""
    answers_again: bool = False
    """Whether a Prepare is answered again when it arrives again."""
    delays_writes: bool = False
    """Whether a write may return in a later step than the one that begins it."""
    snapshots: bool = False
    vouches: bool = False
    leases: bool = False
    budgets: Mapping[str, int] = field(default_factory=dict)
    """How many crashes, damages, ends (lost ends of the log), wipes and rounds of heartbeats may happen."""
    clock: int = 0
    """The time at which clocks stop."""
    begins: tuple[str, ...] = ()
    """The steps to take before the exploration begins."""
    guards: tuple[str, ...] = ()
    """Guards that the scope needs: without one, an invariant breaks. `` + `` joins two of which one is enough."""

    @property
    def settled(self) -> int:
        """The highest slot that was decided before the exploration begins."""
        return 0 if self.founds else FOUNDING_SLOT

    @property
    def is_symmetric(self) -> bool:
        """Whether nodes are interchangeable; a membership that is decided and a Vouch to one boot name nodes."""
        return not self.founds and not self.vouches


_LEADS = ("n1 campaigns under 1", "n2 promises 1", "n1 leads on [0, 1]")
_CHOOSES = ("n1 proposes v1 in 2 under 1", "n2 accepts v1 in 2 under 1", "n1 decides 2")
_ROUND = ("n1 begins a round", "n2 grants the round of n1")
_TICKS = ("n1 the clock ticks", "n2 the clock ticks", "n3 the clock ticks")
_CHOSEN = (*_LEADS, *_CHOOSES)
"""Slot 2 is chosen under ballot 1 by n1 and n2; n1 knows it, and n3 has received nothing."""
_CHOSEN_TWICE = (*_CHOSEN, "n1 proposes v1 in 3 under 1", "n2 accepts v1 in 3 under 1", "n1 decides 3")
_CHOSEN_THRICE = (*_CHOSEN_TWICE, "n1 proposes v1 in 4 under 1", "n2 accepts v1 in 4 under 1", "n1 decides 4")

_ALL = (
    ModelScope(
        name="one slot",
        about="two ballots, one slot: Paxos itself",
        guards=(
            "promise: nothing below the promise",
            "accept: nothing below the promise",
            "accept: accepting raises the promise",
            "campaign: a ballot is used once",
            "count: promises to exactly this ballot",
            "propose: clean answers from a quorum",
            "propose: the value of the highest ballot",
            "propose: one value per slot and ballot",
            "decide: acceptances from a quorum",
            "decide: acceptances under exactly this ballot",
        ),
    ),
    ModelScope(
        name="three ballots",
        about="if a slot holds two values, the one of the higher ballot counts",
        ballots=3,
        begins=("n1 campaigns under 1", "n2 promises 1", "n1 leads on [0, 1]", "n1 proposes v1 in 2 under 1"),
    ),
    ModelScope(
        name="late promises",
        about="promises that arrive after the candidate leads",
        late=True,
        answers_again=True,
    ),
    ModelScope(
        name="announcements",
        about="after an announcement, a node treats its own accepted value as decided",
        announces=True,
        guards=("learn: accepted under the announcer's ballot or above", "announce: only slots known to be decided"),
    ),
    ModelScope(
        name="taught entries",
        about="decided entries travel with their ballots, to leaders too",
        announces=True,
        teaches=True,
        guards=(
            "learn: a decided entry's ballot is met",
            "learn: the promise rises to the entry's ballot",
            "teach: only a slot known to be decided",
            "propose: decided is not clean",
        ),
    ),
    ModelScope(
        name="writes",
        about="writes take time, and a crash loses those that have not returned",
        delays_writes=True,
        budgets={"crashes": 1},
        guards=(
            "send: a message about the disk waits for its write",
            "restart: no synced write is lost",
        ),
    ),
    ModelScope(
        name="damage",
        about="an entry is damaged",
        budgets={"damages": 1},
        guards=("damage: a damaged slot is not taken for an empty one", "propose: faulty is not clean"),
    ),
    ModelScope(
        name="a lost end",
        about="a member of the quorum loses the end of its log, and the node that lags takes the lead",
        slots=3,
        teaches=True,
        vouches=True,
        budgets={"ends": 1},
        begins=(*_CHOSEN_THRICE, "n2 loses its end from 2", "n1 teaches 2", "n3 campaigns under 2", "n2 promises 2"),
        guards=(
            "vouch: clean answers from a quorum reach beyond the damage",
            "vouch: everything the promises reported is decided",
        ),
    ),
    ModelScope(
        name="a leader's word from before the damage",
        about="what a leader vouched for before a boot says nothing about what was accepted since",
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
        guards=("close: the leader was elected after this boot, or vouched to it", "vouch: up to alpha above decided"),
    ),
    ModelScope(
        name="a leader's word and a damaged slot",
        about="a slot listed as damaged is empty if it lies above what a leader vouched for, and only then",
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
        guards=("close: the leader was elected after this boot, or vouched to it", "vouch: up to alpha above decided"),
    ),
    ModelScope(
        name="the window",
        about="damage can have taken no more slots than may have been open",
        slots=3,
        vouches=True,
        budgets={"ends": 1},
        begins=_CHOSEN,
        guards=("propose: at most alpha above decided",),
    ),
    ModelScope(
        name="parts of answers",
        about="an answer in two parts, and a second answer after more was accepted",
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
    ModelScope(
        name="snapshots",
        about="a snapshot says what is decided, to leaders too",
        announces=True,
        snapshots=True,
        begins=("n1 campaigns under 1",),
        guards=(
            "snapshot: only covered slots are trimmed",
            "install: a snapshot's ballot is met",
            "install: the promise rises to the snapshot's ballot",
        ),
    ),
    ModelScope(
        name="a snapshot of two ballots",
        about="a snapshot names the highest ballot that one of its slots was decided under",
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
        guards=("snapshot: it names the highest ballot", "snapshot: only decided slots"),
    ),
    ModelScope(
        name="bootstrap",
        about="three nodes bootstrap a cluster, and one of them gets an empty disk",
        founds=True,
        slots=0,
        budgets={"wipes": 1},
        guards=(
            "bootstrap: a promise from every node",
            "bootstrap: the recovered membership",
            "wipe: a new disk is a new incarnation",
        ),
    ),
    ModelScope(
        name="bootstrap, and a slot after it",
        about="nothing is proposed above slot 1 until the voters are known",
        founds=True,
        slots=1,
        begins=("n1 campaigns under 1", "n2 promises 1", "n3 promises 1", "n1 leads on [0, 1, 2]"),
        guards=("bootstrap: only slot 1 until it is decided",),
    ),
    ModelScope(
        name="a wiped disk",
        about="a member gets an empty disk, and learns what is decided",
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
        guards=("count: only incarnations that vote + promise: only a voter",),
    ),
    ModelScope(
        name="a wiped disk that knows the members",
        about="the node has learned the membership, in which its new incarnation does not vote",
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
        guards=("accept: only a voter + decide: acceptances from incarnations that vote",),
    ),
    ModelScope(
        name="a wiped disk that knows nothing",
        about="the node takes no part in any slot above slot 1",
        budgets={"wipes": 1},
        begins=(*_LEADS, "n1 proposes v1 in 2 under 1", "n2 gets an empty disk"),
        guards=("bootstrap: only slot 1 until it is decided + decide: acceptances from incarnations that vote",),
    ),
    ModelScope(
        name="a wiped disk is asked to promise",
        about="the node has forgotten what it accepted",
        budgets={"wipes": 1},
        begins=(*_CHOSEN, "n2 gets an empty disk"),
        guards=("promise: before bootstrap, only to a bootstrap Prepare + count: only incarnations that vote",),
    ),
    ModelScope(
        name="leases",
        about="no other node leads while a leader holds a lease",
        slots=0,
        leases=True,
        clock=5,
        budgets={"rounds": 1},
        begins=(*_LEADS, *_ROUND),
        guards=(
            "lease: no promise to another node while a grant binds",
            "lease: clocks stay within the drift bound",
        ),
    ),
    ModelScope(
        name="a lease and a restart",
        about="a node that granted a lease and restarts waits until the lease is over",
        slots=0,
        leases=True,
        clock=5,
        budgets={"crashes": 1, "rounds": 1},
        begins=(*_LEADS, *_ROUND),
        guards=("lease: a restart waits as long as a grant may last",),
    ),
    ModelScope(
        name="a grant that comes late",
        about="a late grant counts from before its round was sent",
        slots=0,
        leases=True,
        clock=5,
        begins=(*_LEADS, *_ROUND, *_TICKS, *_TICKS),
        budgets={"rounds": 1},
        guards=("lease: counted from before the round was sent", "lease: counted less the drift of clocks"),
    ),
)

SCOPES: Mapping[str, ModelScope] = {scope.name: scope for scope in _ALL}

NOT_NEEDED: Mapping[str, str] = {
    "lead: promises from a quorum": "a leader proposes only with clean answers from a quorum; the guard is for reads",
    "bootstrap: promises from a quorum of the recovered membership": "no other membership can be in slot 1 then",
    "bootstrap: a membership of the incarnations that promised": "other incarnations would refuse it: no progress",
    "bootstrap: accept only a membership that lists this incarnation": "its acceptance would not count",
    "campaign: only a voter": "a node that a quorum promises may lead; rule 8 keeps messages of other clusters out",
    "campaign: above every ballot met": "a lower ballot gets no quorum, and no ballot is used twice",
    "lease: grants to exactly this ballot": "a grant binds its node in any case, and an older one only ends sooner",
    "lease: no grant below the promise": "a node with a higher promise is bound by that promise",
    "propose: no higher ballot was met": "a leader that meets a higher ballot stops leading anyway",
    "announce: no higher ballot was met": "a leader that meets a higher ballot stops leading anyway",
    "vouch: no higher ballot was met": "a leader that meets a higher ballot stops leading anyway",
    "promise: its own counts once it is on disk": "an explored candidate sends its own report with that write",
    "teach: the entry read is the one held, or an older copy": "an explored node reads at once",
    "learn: only slots that the announcement covers": "no other slots are tried",
    "restart: no slot is newly decided": "no other slots are tried",
}
"""Guards that no exploration needs, and why not; real runs are checked against them nevertheless."""
