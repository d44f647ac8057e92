"""The links between the nodes of a cluster: a fault proxy for each direction.

A node sends messages to a peer on a stream that it opens itself. So one ``FaultProxy`` for each ordered pair of nodes
controls whether the first reaches the second. Each node is given its own list of addresses: its own real one, and for
each peer that of the proxy in between. Clients do not use the proxies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from paxospp.errors import ConfigError
from paxospp.testing.fault_proxy import FaultProxy


class ClusterNetwork:
    """The links between nodes; ``addresses`` says where each node listens."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self.proxies: dict[tuple[str, str], FaultProxy] = {
            (source, target): FaultProxy(addresses[target]) for source, target in itertools.permutations(addresses, 2)
        }

    async def start(self) -> None:
        """Start all proxies."""
        for proxy in self.proxies.values():
            await proxy.start()

    async def close(self) -> None:
        """Close all proxies."""
        for proxy in self.proxies.values():
            await proxy.close()

    def seen_by(self, name: str) -> dict[str, str]:
        """Return the addresses to give to ``name``: its own, and for each peer that of the proxy in between."""
        return {
            peer: address if peer == name else self.proxies[name, peer].address
            for peer, address in self._addresses.items()
        }

    def between(self, a: str, b: str, *, one_way: bool = False) -> Iterator[FaultProxy]:
        """Yield the links from a to b and, unless ``one_way``, from b to a."""
        for pair in ((a, b),) if one_way else ((a, b), (b, a)):
            if pair not in self.proxies:
                raise ConfigError(
                    f"{pair[0]!r} and {pair[1]!r} have no link: use two different nodes of {', '.join(self._addresses)}"
                )
            yield self.proxies[pair]

    def across(self, groups: Sequence[Iterable[str]]) -> Iterator[FaultProxy]:
        """Yield the links between nodes that share no group."""
        together = [frozenset(group) for group in groups]
        for (source, target), proxy in self.proxies.items():
            if not any(source in group and target in group for group in together):
                yield proxy

    def heal(self) -> None:
        """End the faults of all links."""
        for proxy in self.proxies.values():
            proxy.heal()
