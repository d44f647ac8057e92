"""The language of scenario files: its verbs, and the parsing of their arguments.

===============================  ==================================================================
``settings alpha=2 …``           set fields of ``Settings`` for all nodes, from their next start on
``settings n2 alpha=3 …``        the same for one node; takes precedence over the settings for all
``cluster 3 [blank]``            make and start n1 to n3; slot 1 is decided and no node leads, or blank
``campaign n2``                  n2 campaigns at once
``propose n1 text``              n1, which leads, proposes this value
``fill n1``                      n1 proposes values until its window is full
``read n1 7 [lease]``            n1 gets a linearizable read, called 7; a lease may confirm it
``lease 0.5 [n1 …]``             these nodes apply that leases last 0.5 s; 0 switches leases off
``deliver SELECTION``            these waiting messages arrive now
``duplicate SELECTION``          the same, and a copy of each stays waiting
``drop SELECTION``               these waiting messages are lost
``only SELECTION``               from now on ``run`` and ``stabilize`` lose every other message
``all except SELECTION``         from now on they lose these messages
``hold SELECTION``               from now on they leave these waiting, for ``deliver``
``all``                          end ``only``, ``all except`` and ``hold``
``persist n1 [n2 …] [oldest]``   all writes of n1 under way return, or only the oldest one
``hang n1``                      from now on no write of n1 returns by itself, until its next start
``stabilize [n1 n2 …]``          writes return and messages among these arrive, until nothing happens
``wait 0.5 [n1 …]``              0.5 s pass for these, with ticks; no message arrives meanwhile
``run 0.5 [n1 …]``               0.5 s pass for these, and every message among them arrives
``tick n1 [n2 …]``               these do what is due now; no time passes
``cut n1 n2``                    messages between n1 and n2 are lost
``oneway n1 n2``                 messages from n1 to n2 are lost
``heal``                         end all cuts
``crash n1``                     the process of n1 ends; writes that have not returned are lost
``powercut n1``                  the same; writes that returned without a sync are lost too
``start n1``                     n1 starts from its disk
``wipe n1``                      n1 gets a new disk, and so a new incarnation
``rollback n1 N``                n1 stops; its disk keeps only its first N writes (slot 1 is the first)
``damage n1 3``                  slot 3 on the disk of n1 is damaged; a running replica notices on reading
``damage n1 3..5``               slots 3 to 5 are; with ``3..``, the end of the log from slot 3 on
``trim n1 4``                    the disk of n1 loses the slots below 4, as n1 sees at its next start
``snapshot n1 4 [2]``            n1 takes a snapshot up to slot 4, and trims slots below 2 (else below 5)
``lose n1``                      the snapshot of n1 cannot be read at its next start
``install n3 4 n1``              n3 installs the snapshot up to slot 4 that it fetched from n1
``show [n1 …]``                  role, ballot, leader, decided slot, applied values (in a snapshot: in parentheses)
``show log [n1 …]``              what the disk holds, slot by slot, and the writes under way
``show proposals [n1 …]``        the open proposals of a leader, and which nodes have accepted them
``show reads [n1 …]``            the reads that wait
``show leases [n1 …]``           the leases that the node granted, and when they end
``show waiting [SELECTION]``     the waiting messages
``heartbeats on|off``            whether heartbeats are shown; they are sent either way
===============================  ==================================================================

A SELECTION says which messages: a link, kinds, fields and a position, each of them optional.

===========================  ======================================================================
``n1->n2 n1<->n2 n1,n2->*``  one link, both directions of a link, several links; ``*``: every node
``among n1 n2 n3``           all links among these nodes
``Accept Accepted``          messages of these kinds; ``heartbeats``: Heartbeat and HeartbeatAnswer
``part=2 slot=3 …``          messages with this value in a field, as it is shown: ``ballot`` or ``b``,
                             ``counter``, ``decided``, ``from``, ``part``, ``promised``, ``refused``,
                             ``round``, ``slot``, ``value``; ``holds=3``: with an entry for slot 3
``first last 2nd 3rd …``     only this one of the messages that match; not in standing rules
``… and …``                  messages that match either; ``deliver`` takes one part after the other
``… except …``               without the messages that match this; in ``only``
===========================  ======================================================================
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from dataclasses import fields, replace

from paxospp.engine.settings import Settings
from paxospp.model import Slot


class ScenarioError(Exception):
    """A command of a scenario cannot be understood or carried out; ``play`` adds the file and the line."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about ``word``: the most similar known word, or else all known words."""
    words = sorted(known)
    like = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {like[0]!r}?" if like else f"known: {', '.join(words)}"


def usages() -> dict[str, list[str]]:
    """Return the usages of each verb, by verb, from the table above."""
    found: dict[str, list[str]] = {}
    for line in (__doc__ or "").split("A SELECTION says", maxsplit=1)[0].splitlines():
        if line.startswith("``"):
            usage = line[2:].partition("``")[0]
            found.setdefault(usage.split()[0], []).append(usage)
    return found


def parse_slot(text: str) -> Slot:
    """Return the slot that ``text`` names.

    Raises:
        ScenarioError: it is not a number of 1 or more.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ScenarioError(f"{text!r} is not a slot: use a number of 1 or more")
    return Slot(int(text))


def parse_count(text: str, what: str) -> int:
    """Return ``text`` as a count of ``what``, 0 or more.

    Raises:
        ScenarioError: it is not.
    """
    if not text.isdecimal():
        raise ScenarioError(f"{text!r} is not a number of {what}: use a number of 0 or more")
    return int(text)


def parse_slots(text: str) -> range:
    """Return the slots that ``3``, ``3..5`` or ``3..`` names; the last of these ends at ``sys.maxsize``.

    Raises:
        ScenarioError: it is none of these.
    """
    start, dots, last = text.partition("..")
    first = parse_slot(start)
    if dots and not last:
        return range(first, sys.maxsize)
    slots = range(first, parse_slot(last or start) + 1)
    if not slots:
        raise ScenarioError(f"{text!r}: the last slot is below the first")
    return slots


def parse_seconds(text: str) -> float:
    """Return the time that ``text`` gives in seconds.

    Raises:
        ScenarioError: it is not a number, or it is negative.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ScenarioError(f"{text!r} is not a time in seconds: use a number such as 0.5")
    return seconds


def parse_settings(words: Iterable[str], base: Settings) -> Settings:
    """Return ``base`` with the fields that ``words`` set, each as ``name=value``.

    Raises:
        ScenarioError: a field is unknown, or its value is not of the field's type.
    """
    known = {field.name: type(getattr(base, field.name)) for field in fields(base)}
    changed: dict[str, int | float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ScenarioError(f"{word!r} is not a setting: use NAME=VALUE")
        if name not in known:
            raise ScenarioError(f"{name!r} is not a setting; {nearest(name, known)}")
        try:
            changed[name] = known[name](value)
        except ValueError:
            raise ScenarioError(f"{name}: {value!r} is not of type {known[name].__name__}") from None
    return replace(base, **changed)  # type: ignore[arg-type]
