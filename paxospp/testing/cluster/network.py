"""The network between the nodes: a proxy for each direction in which one node speaks to another.

A node's words to a peer travel on a stream that it dials itself, so there is one ``FaultProxy``
per ordered pair, and "a does not reach b" is that one proxy's affair. Each node is given its own
list of addresses: itself where it listens, its peers where their proxies do. Clients are no
part of this; they reach every node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from paxospp.errors import ConfigError
from paxospp.testing.fault_proxy import FaultProxy


class Network:
    """The links between ``addresses`` (name → where the node listens)."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self.proxies: dict[tuple[str, str], FaultProxy] = {
            (source, target): FaultProxy(addresses[target]) for source, target in itertools.permutations(addresses, 2)
        }

    async def start(self) -> None:
        for proxy in self.proxies.values():
            await proxy.start()

    async def close(self) -> None:
        for proxy in self.proxies.values():
            await proxy.close()

    def seen_by(self, name: str) -> dict[str, str]:
        """The addresses that ``name`` is told: its own, and for each peer that of the proxy between them."""
        return {
            peer: address if peer == name else self.proxies[name, peer].address
            for peer, address in self._addresses.items()
        }

    def between(self, a: str, b: str, *, one_way: bool = False) -> Iterator[FaultProxy]:
        """The links from a to b and, unless ``one_way``, from b to a."""
        for pair in ((a, b),) if one_way else ((a, b), (b, a)):
            if pair not in self.proxies:
                raise ConfigError(
                    f"there is no link from {pair[0]!r} to {pair[1]!r} among {', '.join(self._addresses)}"
                )
            yield self.proxies[pair]

    def across(self, groups: Sequence[Iterable[str]]) -> Iterator[FaultProxy]:
        """The links between nodes that share no group; whom no group names is alone."""
        together = [frozenset(group) for group in groups]
        for (source, target), proxy in self.proxies.items():
            if not any(source in group and target in group for group in together):
                yield proxy

    def heal(self) -> None:
        for proxy in self.proxies.values():
            proxy.heal()
