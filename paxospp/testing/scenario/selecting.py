"""Selections of messages by link, kind, field and position, as ``language`` describes them.

Fields are compared as they are shown, so that the text of a shown message can be used in a command.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from paxospp.engine.output import Send
from paxospp.messages import Accept, DecidedEntries, Heartbeat, HeartbeatAnswer, Promise, ProtocolMessage, Sender
from paxospp.model import NodeId
from paxospp.testing.describe import describe_message, describe_value
from paxospp.testing.scenario.language import ScenarioError, nearest

KINDS: dict[str, tuple[type, ...]] = {
    **{kind.__name__: (kind,) for kind in get_args(ProtocolMessage)},
    "heartbeats": (Heartbeat, HeartbeatAnswer),
}
"""The kinds of messages, by the words that select them."""

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "ballot": ("ballot", "leading"),
    "b": ("ballot",),
    "counter": ("counter",),
    "decided": ("decided", "decided_up_to"),
    "from": ("start",),
    "promised": ("promised",),
    "refused": ("refused",),
    "round": ("round",),
    "slot": ("slot",),
}
_FIELDS = frozenset({*_ATTRIBUTES, "holds", "part", "value"})
_POSITIONS = {"first": 0, "last": -1}


class Envelope(NamedTuple):
    """A message in flight, with its sender."""

    sender: Sender
    send: Send

    @property
    def source(self) -> NodeId:
        return self.sender.node

    @property
    def target(self) -> NodeId:
        return self.send.to

    @property
    def message(self) -> ProtocolMessage:
        return self.send.message

    @property
    def is_heartbeat(self) -> bool:
        """Whether the message is a heartbeat or the answer to one."""
        return isinstance(self.message, (Heartbeat, HeartbeatAnswer))

    def __str__(self) -> str:
        return f"{self.source}->{self.target} {describe_message(self.message)}"


@dataclass(slots=True, frozen=True)
class Clause:
    """One part of a selection: the messages on these links, of these kinds, with these fields.

    A field that is empty or None does not restrict the selection.
    """

    links: Collection[tuple[NodeId, NodeId]] | None
    kinds: tuple[type, ...]
    fields: tuple[tuple[str, str], ...]
    position: int | None
    """Select only one of the messages that match: counted from 0, or from the end if negative."""

    @property
    def is_specific(self) -> bool:
        """Whether it selects by more than links."""
        return bool(self.kinds or self.fields or self.position is not None)

    def fits(self, envelope: Envelope) -> bool:
        """Whether ``envelope`` matches links, kinds and fields, whatever the position."""
        if self.links is not None and (envelope.source, envelope.target) not in self.links:
            return False
        if self.kinds and not isinstance(envelope.message, self.kinds):
            return False
        return all(value in _shown(envelope.message, name) for name, value in self.fields)

    def pick(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Return the selected ones of ``envelopes``, in their order."""
        fitting = [envelope for envelope in envelopes if self.fits(envelope)]
        if self.position is None:
            return fitting
        try:
            return [fitting[self.position]]
        except IndexError:
            return []


_EVERYTHING = Clause(links=None, kinds=(), fields=(), position=None)


@dataclass(slots=True, frozen=True)
class Selection:
    """The messages that match one of ``clauses`` and none of ``exceptions``."""

    clauses: tuple[Clause, ...]
    exceptions: tuple[Clause, ...] = ()

    def fits(self, envelope: Envelope) -> bool:
        """Whether ``envelope`` is selected."""
        if any(clause.fits(envelope) for clause in self.exceptions):
            return False
        return any(clause.fits(envelope) for clause in self.clauses)


def parse_clauses(words: Sequence[str], nodes: Collection[NodeId]) -> tuple[Clause, ...]:
    """Return the clauses that ``words`` spell out, separated by ``and``.

    Raises:
        ScenarioError: a word is not valid there.
    """
    clauses: list[Clause] = []
    part: list[str] = []
    for word in (*words, "and"):
        if word != "and":
            part.append(word)
            continue
        if not part:
            raise ScenarioError("say which messages: a link such as n1->n2, a kind such as Accept, or both")
        clauses.append(_parse_clause(part, nodes))
        part = []
    return tuple(clauses)


def parse_standing(words: Sequence[str], nodes: Collection[NodeId]) -> Selection:
    """Return the selection of a standing rule: clauses or nothing, then optionally ``except`` and the exceptions.

    Raises:
        ScenarioError: a word is not valid there.
    """
    split = words.index("except") if "except" in words else len(words)
    clauses = (_EVERYTHING,) if split == 0 and words else parse_clauses(words[:split], nodes)
    exceptions = parse_clauses(words[split + 1 :], nodes) if split < len(words) else ()
    if any(clause.position is not None for clause in (*clauses, *exceptions)):
        raise ScenarioError("a standing rule cannot select by position: leave out first, last, 2nd and the like")
    return Selection(clauses, exceptions)


def _parse_clause(words: Sequence[str], nodes: Collection[NodeId]) -> Clause:
    links: set[tuple[NodeId, NodeId]] | None = None
    kinds: list[type] = []
    fields: list[tuple[str, str]] = []
    position: int | None = None
    among: list[NodeId] = []
    is_listing = False
    for word in words:
        name, equals, value = word.partition("=")
        if is_listing and word in nodes:
            among.append(NodeId(word))
            continue
        is_listing = word == "among"
        if is_listing:
            continue
        if "->" in word and not equals:
            links = (links or set()) | set(_parse_link(word, nodes))
        elif word in KINDS:
            kinds.extend(KINDS[word])
        elif equals:
            if name not in _FIELDS:
                raise ScenarioError(f"no message has a field {name!r}; {nearest(name, _FIELDS)}")
            fields.append((name, value))
        elif (counted := _parse_position(word)) is not None:
            position = counted
        else:
            known = [*KINDS, *_POSITIONS, "among", *nodes]
            raise ScenarioError(f"{word!r} does not select messages; {nearest(word, known)}")
    if "among" in words:
        if len(among) < 2:
            raise ScenarioError("among: name two nodes or more")
        links = (links or set()) | {(one, other) for one in among for other in among}
    return Clause(links, tuple(kinds), tuple(fields), position)


def _parse_link(word: str, nodes: Collection[NodeId]) -> Iterable[tuple[NodeId, NodeId]]:
    both = "<->" in word
    source, _, target = word.partition("<->" if both else "->")
    sources, targets = _parse_end(source, nodes), _parse_end(target, nodes)
    for one in sources:
        for other in targets:
            yield one, other
            if both:
                yield other, one


def _parse_end(text: str, nodes: Collection[NodeId]) -> Collection[NodeId]:
    if text == "*":
        return nodes
    names = [NodeId(name) for name in text.split(",")]
    for name in names:
        if name not in nodes:
            raise ScenarioError(f"{name!r} is not a node; {nearest(name, nodes)}")
    return names


def _parse_position(word: str) -> int | None:
    if word in _POSITIONS:
        return _POSITIONS[word]
    counted = re.fullmatch(r"([1-9][0-9]*)(st|nd|rd|th)", word)
    return None if counted is None else int(counted[1]) - 1


def _shown(message: ProtocolMessage, field: str) -> Collection[str]:
    """Return ``field`` of ``message`` as it is shown, in all its spellings; empty if the message has no such field."""
    match field:
        case "part":
            if not isinstance(message, Promise):
                return ()
            return f"{message.part + 1}", f"{message.part + 1}/{message.parts}"
        case "holds":
            if not isinstance(message, (Promise, DecidedEntries)):
                return ()
            return [str(entry.slot) for entry in message.entries]
        case "value":
            return (describe_value(message.kind, message.value),) if isinstance(message, Accept) else ()
        case _:
            values = (getattr(message, attribute, None) for attribute in _ATTRIBUTES[field])
            return [str(value) for value in values if value is not None]
