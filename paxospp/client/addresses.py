"""The addresses a client may connect to, and which one to try next.

The book holds the addresses the client was given and those that nodes named as their leader's. It decides the order in
which they are tried, when to follow a hint, and how long to pause between rounds. It opens no connection; the time is
an argument.

A hint is advice. Two nodes that name each other as leader could send a client back and forth for ever, so at most one
hint is followed per ``FOLLOW_INTERVAL_S``. Hints to an address that could not be reached from here, such as one in
another network, are followed at ever longer intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from paxospp.errors import ConfigError

FOLLOW_INTERVAL_S = 1.0
PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 0.5
_LEARNED_MAX = 32
_BACKOFF_MIN_S = 0.25
_BACKOFF_MAX_S = 60.0


def parse_address(text: str) -> str:
    """Return the ``host:port`` of ``text``, which is ``host:port`` or ``name=host:port``.

    Raises:
        ConfigError: ``text`` has neither form.
    """
    return _parse(text)[1]


def _parse(text: str) -> tuple[str, str]:
    """Return the name ("" if there is none) and the ``host:port``."""
    if not isinstance(text, str):
        raise ConfigError(f"{text!r} is not a valid address: use a str such as '127.0.0.1:7001'")
    name, _, address = text.rpartition("=")
    address = address.strip()
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is not a valid address: use host:port, such as 127.0.0.1:7001")
    return name.strip(), address


@dataclass(slots=True)
class _Backoff:
    until: float
    duration_s: float


class AddressBook:
    """The addresses of one client, in the order in which it tries them.

    Raises:
        ConfigError: ``addresses`` is a string, a mapping or empty, or one of them is not valid.
    """

    def __init__(self, addresses: Sequence[str], random: Random) -> None:
        if isinstance(addresses, Mapping):
            raise ConfigError("a client needs a list of addresses, not a mapping: pass list(CLUSTER.values())")
        if isinstance(addresses, str) or not isinstance(addresses, Iterable) or not addresses:
            raise ConfigError(
                f"a client needs a list of at least one address, such as ['127.0.0.1:7001'], not {addresses!r}"
            )
        parsed = [_parse(address) for address in addresses]
        self._given = tuple(dict.fromkeys(address for _, address in parsed))
        self._given_by_name = {name: address for name, address in parsed if name}
        self._learned: dict[str, None] = {}
        self._random = random
        self._next = 0
        self._failures_in_a_row = 0
        self._backoffs: dict[str, _Backoff] = {}
        self._other_cluster: set[str] = set()
        self._followed_at = float("-inf")

    def __str__(self) -> str:
        return ", ".join(self._given)

    @property
    def known(self) -> tuple[str, ...]:
        """Every address, the given ones first."""
        return self._given + tuple(address for address in self._learned if address not in self._given)

    def address_of(self, name: str, advertised: str) -> str:
        """Return the address that the user gave for the node ``name``, else the ``advertised`` one.

        The user knows how to reach a node from here; the addresses that nodes use among themselves may belong to
        another network.
        """
        return self._given_by_name.get(name, advertised)

    def next(self, avoid: str = "") -> str:
        """Return the next address in round-robin order, skipping ``avoid`` if another one is known."""
        if len(self.known) > 1 and self.known[self._next % len(self.known)] == avoid:
            self._next += 1
        address = self.known[self._next % len(self.known)]
        self._next += 1
        return address

    def pause_s(self) -> float:
        """Return how many seconds to wait before the next attempt; 0 until every address has failed once."""
        rounds, place = divmod(self._failures_in_a_row, len(self.known))
        if rounds == 0 or place != 0:
            return 0.0
        longest = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** min(rounds, 16))
        return longest * self._random.uniform(0.5, 1.0)

    def learn(self, address: str) -> None:
        """Remember an address that a node named, in case the given ones become unreachable."""
        self._learned.pop(address, None)
        self._learned[address] = None
        if len(self._learned) > _LEARNED_MAX:
            self._learned.pop(next(iter(self._learned)))

    def reached(self, address: str) -> None:
        if self._failures_in_a_row >= len(self.known):
            self._backoffs.clear()  # no address could be reached, so the failures say nothing about a single one
        self._failures_in_a_row = 0
        self._backoffs.pop(address, None)
        self._other_cluster.discard(address)

    def not_reached(self, address: str, now: float) -> None:
        self._failures_in_a_row += 1
        self._other_cluster.discard(address)
        before = self._backoffs.get(address)
        duration_s = _BACKOFF_MIN_S if before is None else min(_BACKOFF_MAX_S, before.duration_s * 2)
        self._backoffs[address] = _Backoff(now + duration_s, duration_s)

    def found_other_cluster(self, address: str, now: float) -> bool:
        """Note that the node there belongs to another cluster; return whether it did not when last tried."""
        known = address in self._other_cluster
        self.not_reached(address, now)
        self._other_cluster.add(address)
        return not known

    @property
    def all_of_other_cluster(self) -> bool:
        """Whether every address belonged to another cluster when it was last tried."""
        return self._other_cluster.issuperset(self.known)

    @property
    def other_cluster_note(self) -> str:
        """A sentence that names the addresses found to belong to another cluster; empty if there are none."""
        found = [address for address in self.known if address in self._other_cluster]
        if not found:
            return ""
        belong = "belongs" if len(found) == 1 else "belong"
        return f"{', '.join(found)} {belong} to a different cluster than the nodes this client talked to before"

    def followed(self, now: float) -> None:
        """Note that the client has followed a hint to the leader."""
        self._followed_at = now

    def may_follow_at(self, address: str) -> float:
        """Return the earliest time at which to follow a hint that names ``address``."""
        backoff = self._backoffs.get(address)
        earliest = self._followed_at + FOLLOW_INTERVAL_S
        return earliest if backoff is None else max(earliest, backoff.until)
