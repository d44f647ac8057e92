"""Whom a client may ask, and whom next.

The book holds the addresses the client was given and those that nodes named as their leader's.
It decides the order in which they are tried, when a hint is followed, and how long to rest
between rounds. It opens nothing; time comes in as an argument.

A hint is advice. Two nodes that name each other would send a client to and fro for ever, so at
most one hint is followed per ``FOLLOW_INTERVAL_S``, and an address that could not be reached
from here (a leader behind another network's names) is tried again ever more rarely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from paxospp.errors import ConfigError

FOLLOW_INTERVAL_S = 1.0
REST_MIN_S = 0.02
REST_MAX_S = 0.5
_LEARNED_MAX = 32
_SHUN_MIN_S = 0.25
_SHUN_MAX_S = 60.0


def parse_address(text: str) -> str:
    """The ``host:port`` of ``text``, which may be ``host:port`` or ``name=host:port``.

    Raises:
        ConfigError: it is neither; the text names what was given.
    """
    return _parse(text)[1]


def _parse(text: str) -> tuple[str, str]:
    """Name ("" where there is none) and ``host:port``."""
    name, _, address = text.rpartition("=")
    address = address.strip()
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is no address: write host:port, such as 127.0.0.1:7001")
    return name.strip(), address


@dataclass(slots=True)
class _Shunned:
    until: float
    for_s: float


class AddressBook:
    """The addresses of one client, in the order in which it would try them."""

    def __init__(self, addresses: Sequence[str], random: Random) -> None:
        if isinstance(addresses, str) or not addresses:
            raise ConfigError("a client needs a list with at least one address, such as ['127.0.0.1:7001']")
        parsed = [_parse(address) for address in addresses]
        self._given = tuple(dict.fromkeys(address for _, address in parsed))
        self._of_name = {name: address for name, address in parsed if name}
        self._learned: dict[str, None] = {}
        self._random = random
        self._turn = 0
        self._failures_in_a_row = 0
        self._shunned: dict[str, _Shunned] = {}
        self._elsewhere: set[str] = set()
        self._followed_at = float("-inf")

    def __str__(self) -> str:
        return ", ".join(self._given)

    @property
    def known(self) -> tuple[str, ...]:
        """Every address, those given first."""
        return self._given + tuple(address for address in self._learned if address not in self._given)

    def of_node(self, name: str, advertised: str) -> str:
        """Where to reach the node ``name``: as given with that name, else where others say it is.

        Who gives a name knows how to reach it from here; what nodes call each other may be
        addresses of another network.
        """
        return self._of_name.get(name, advertised)

    def next(self, left: str = "") -> str:
        """The address whose turn it is, another than the one just ``left``; asking again gives the one after it."""
        if len(self.known) > 1 and self.known[self._turn % len(self.known)] == left:
            self._turn += 1
        address = self.known[self._turn % len(self.known)]
        self._turn += 1
        return address

    def rest_s(self) -> float:
        """How long to wait before the next attempt: not at all until every address failed once."""
        rounds, place = divmod(self._failures_in_a_row, len(self.known))
        if rounds == 0 or place != 0:
            return 0.0
        longest = min(REST_MAX_S, REST_MIN_S * 2.0 ** min(rounds, 16))
        return longest * self._random.uniform(0.5, 1.0)

    def learn(self, address: str) -> None:
        """Remember what a node named, for the day when those given are gone."""
        self._learned.pop(address, None)
        self._learned[address] = None
        if len(self._learned) > _LEARNED_MAX:
            self._learned.pop(next(iter(self._learned)))

    def reached(self, address: str) -> None:
        if self._failures_in_a_row >= len(self.known):
            self._shunned.clear()  # nobody could be reached: that says nothing of any one of them
        self._failures_in_a_row = 0
        self._shunned.pop(address, None)
        self._elsewhere.discard(address)

    def not_reached(self, address: str, now: float) -> None:
        self._failures_in_a_row += 1
        self._elsewhere.discard(address)
        before = self._shunned.get(address)
        for_s = _SHUN_MIN_S if before is None else min(_SHUN_MAX_S, before.for_s * 2)
        self._shunned[address] = _Shunned(now + for_s, for_s)

    def is_elsewhere(self, address: str, now: float) -> bool:
        """The node there belongs to another cluster; whether that is news."""
        known = address in self._elsewhere
        self.not_reached(address, now)
        self._elsewhere.add(address)
        return not known

    @property
    def all_elsewhere(self) -> bool:
        """Whether every address was found to be another cluster's when last tried."""
        return self._elsewhere.issuperset(self.known)

    @property
    def elsewhere(self) -> str:
        """Who was found to belong to another cluster, as a sentence; empty if nobody."""
        found = [address for address in self.known if address in self._elsewhere]
        if not found:
            return ""
        belong = "belongs" if len(found) == 1 else "belong"
        return f"{', '.join(found)} {belong} to another cluster than the nodes this client talked to before"

    def followed(self, now: float) -> None:
        """A hint was followed, and the client now talks to whom it named."""
        self._followed_at = now

    def may_follow_at(self, address: str) -> float:
        """From when on a hint that names ``address`` may be followed."""
        shunned = self._shunned.get(address)
        earliest = self._followed_at + FOLLOW_INTERVAL_S
        return earliest if shunned is None else max(earliest, shunned.until)
