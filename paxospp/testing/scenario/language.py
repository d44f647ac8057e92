"""The language of scenario files: its verbs, and how their arguments are parsed.

===============================  ==================================================================
``settings alpha=2 …``           fields of ``Settings``, for all nodes from their next start on
``settings n2 alpha=3 …``        the same for one node, whatever holds for all
``cluster 3 [blank]``            make and start n1..n3; founded (slot 1 decided, nobody leads) or blank
``campaign n2``                  n2 campaigns at once
``propose n1 text``              n1, leading, proposes
``fill n1``                      it proposes until it may not
``read n1 7 [lease]``            a linearizable read at n1, called 7; a lease is enough for it
``lease 0.5 [n1 …]``             the log, as these applied it, says that leases last so long; 0: off
``deliver SELECTION``            these messages, which wait, arrive now
``duplicate SELECTION``          the same, and they stay waiting too
``drop SELECTION``               they never arrive
``only SELECTION``               from now on ``run`` and ``stabilize`` lose every other message
``all except SELECTION``         from now on they lose these
``hold SELECTION``               from now on they leave these waiting, to be delivered by hand
``all``                          ends ``only``, ``all except`` and ``hold``
``persist n1 [n2 …] [oldest]``   every write of n1 that is out returns, or only the oldest one
``hang n1``                      no write of n1 returns by itself from now on, until its next start
``stabilize [n1 n2 …]``          writes return and messages among these arrive until all is quiet
``wait 0.5 [n1 …]``              time passes for these, with ticks; nothing arrives meanwhile
``run 0.5 [n1 …]``               time passes for these, and everything among them arrives
``tick n1 [n2 …]``               these do what is due now; no time passes
``cut n1 n2``                    both directions of a link are lost
``oneway n1 n2``                 what n1 sends to n2 is lost
``heal``                         no link is cut any more
``crash n1``                     its process ends; writes that have not returned are lost
``powercut n1``                  the same, and it loses returned writes that were not synced
``start n1``                     it starts from its disk
``wipe n1``                      its disk is new: another incarnation
``rollback n1 N``                its disk forgets all but its first N writes (slot 1 is the first)
``damage n1 3``                  slot 3 of its disk is damaged; a running replica finds out by reading
``damage n1 3..5``               so are slots 3 to 5; ``3..``: the end of its log from slot 3 on
``trim n1 4``                    its disk forgot the slots below 4, at the next start
``snapshot n1 4 [2]``            its machine's snapshot up to slot 4 is current; slots below 2, or 5, go
``lose n1``                      its snapshot cannot be read at the next start
``install n3 4 n1``              it installs the snapshot up to slot 4 that it fetched from n1
``show [n1 …]``                  role, ballot, leader, decided slot, applied values; (through a snapshot)
``show log [n1 …]``              what its disk holds, per slot with ballots, and which writes are out
``show proposals [n1 …]``        what it proposes under its ballot, and who has accepted it
``show reads [n1 …]``            which reads wait for an answer
``show leases [n1 …]``           what it granted to whom, until when
``show waiting [SELECTION]``     which messages wait
``heartbeats on|off``            whether heartbeats are shown; they are sent either way
===============================  ==================================================================

A SELECTION says which messages: a link, kinds, fields and a position, each of them optional.

===========================  ======================================================================
``n1->n2 n1<->n2 n1,n2->*``  one link, both directions of it, several; ``*`` stands for any node
``among n1 n2 n3``           all links among these
``Accept Accepted``          of these kinds; ``heartbeats`` are Heartbeat and HeartbeatAnswer
``part=2 slot=3 …``          whose field reads so, as it is shown: ``ballot`` (or ``b``), ``counter``,
                             ``decided``, ``from``, ``part``, ``promised``, ``refused``, ``round``,
                             ``slot``, ``value``; ``holds=3``: an entry of slot 3 is among its entries
``first last 2nd 3rd …``     of those that fit, this one; not in standing rules
``… and …``                  what fits either; ``deliver`` takes one after the other
``… except …``               but not what fits this; in ``only``
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
    """A scenario says something that cannot be understood or done; ``play`` names the file and the line."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about ``word``: the known word that is most similar, else all of them."""
    words = sorted(known)
    like = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {like[0]!r}?" if like else f"known: {', '.join(words)}"


def usages() -> dict[str, list[str]]:
    """Return how each verb is written, by verb, as the table above says."""
    found: dict[str, list[str]] = {}
    for line in (__doc__ or "").split("A SELECTION says", maxsplit=1)[0].splitlines():
        if line.startswith("``"):
            usage = line[2:].partition("``")[0]
            found.setdefault(usage.split()[0], []).append(usage)
    return found


def parse_slot(text: str) -> Slot:
    """Return the slot that ``text`` names.

    Raises:
        ScenarioError: it is not a number from 1 on.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ScenarioError(f"{text!r} is not a slot: use a number from 1 on")
    return Slot(int(text))


def parse_count(text: str, what: str) -> int:
    """Return ``text`` as a count of ``what``, 0 or more.

    Raises:
        ScenarioError: it is not.
    """
    if not text.isdecimal():
        raise ScenarioError(f"{text!r} is not a number of {what}")
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
    """Return ``text`` in seconds, 0 or more.

    Raises:
        ScenarioError: it is not a number, or a negative one.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ScenarioError(f"{text!r} is not a time in seconds")
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
            raise ScenarioError(f"{word!r} is not a setting: write name=value")
        if name not in known:
            raise ScenarioError(f"{name!r} is not a setting; {nearest(name, known)}")
        try:
            changed[name] = known[name](value)
        except ValueError:
            raise ScenarioError(f"{name}: {value!r} is not of type {known[name].__name__}") from None
    return replace(base, **changed)  # type: ignore[arg-type]
