"""The identity of a storage: reading the stored identity, checking it, and naming each boot.

A new storage is *blank*. Before its node sends anything, its name, its group, a new incarnation and the names of the
cluster are written and synced. Every start increments the boot number and syncs it too. A storage of another node or
cluster is refused before anything is written.

References: rules 8 and 9 of ``paxospp/engine/README.md``; Alagappan et al., "Protocol-Aware Recovery for
Consensus-Based Storage" (2018), on telling a new disk from one that lost its data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from paxospp.engine.settings import Identity
from paxospp.errors import ConfigError, CorruptedError
from paxospp.model import Entry, Kind, Membership, NodeId, check_node_id
from paxospp.rpc.listening import split_address
from paxospp.storage.contract import DurableState, WriteBatch

_IDENTITY = "identity"
_BOOT = "boot"
_GROUP = 0
"""A storage holds one group of replicas; the number is stored and sent so that there can be more later."""


class _IdentityRecord(msgspec.Struct, frozen=True, array_like=True):
    name: str
    group: int
    incarnation: int
    cluster: tuple[str, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_IdentityRecord).decode


def check_cluster(name: str, cluster: Mapping[str, str]) -> dict[NodeId, str]:
    """Return the names and addresses as given; raise ConfigError if they cannot be a cluster of ``name``."""
    checked: dict[NodeId, str] = {}
    owners: dict[str, str] = {}
    check_node_id(name)
    for member, address in cluster.items():
        check_node_id(member)
        _, port = split_address(address)
        if address in owners:
            raise ConfigError(f"{owners[address]} and {member} have the same address {address}: give each node its own")
        if port == 0 and len(cluster) > 1:
            raise ConfigError(
                f"{member}={address}: port 0 is for one-node clusters, as peers could not find the node; "
                "use a fixed port"
            )
        owners[address] = member
        checked[NodeId(member)] = address
    if name not in checked:
        raise ConfigError(
            f"node {name!r} is not in the cluster {', '.join(sorted(cluster)) or '(empty)'}: "
            "add the node, or correct its name"
        )
    return checked


class StoredIdentity:
    """The identity in a loaded storage, checked against the name and the cluster that the node was started with."""

    def __init__(
        self, name: NodeId, cluster: Mapping[NodeId, str], state: DurableState, founding: Entry | None
    ) -> None:
        self._name = name
        self._names = tuple(sorted(cluster))
        data = state.meta.get(_IDENTITY)
        self._stored = None if data is None else _read_identity(data)
        if self._stored is None and (state.promised is not None or state.last >= state.first or state.decided):
            raise CorruptedError(
                "the storage holds a log but no identity: restore the data directory from a copy, or start with an "
                "empty one"
            )
        self._boot = int.from_bytes(state.meta.get(_BOOT, b""), "big")
        if self._stored is not None:
            self._check(self._stored, _membership(state, founding))

    def check_membership(self, membership: Membership) -> None:
        """Raise ConfigError if the members that a snapshot names are not those this node was started with."""
        if self._stored is not None:
            self._check(self._stored, membership)

    def _check(self, stored: _IdentityRecord, founding: Membership | None) -> None:
        if stored.name != self._name:
            raise ConfigError(
                f"the storage holds the data of node {stored.name!r}, not of {self._name!r}: "
                "give each node a storage of its own"
            )
        names = stored.cluster if founding is None else tuple(sorted(founding.names))
        if names != self._names:
            raise ConfigError(
                f"the storage belongs to the cluster {', '.join(names)}, "
                f"but the node was started with {', '.join(self._names)}: start it with the members of that cluster"
            )

    def begin(self, addresses: Mapping[NodeId, str], random_bits: Callable[[int], int]) -> tuple[Identity, WriteBatch]:
        """Return the identity of this boot, and the batch that must be durable before anything is sent under it.

        ``random_bits`` returns a random number of the given size in bits.
        """
        boot = self._boot + 1
        meta = {_BOOT: boot.to_bytes(8, "big")}
        stored = self._stored
        if stored is None:
            # An incarnation is never 0.
            stored = _IdentityRecord(self._name, _GROUP, random_bits(63) | 1, self._names)
            meta[_IDENTITY] = _encode(stored)
        identity = Identity(
            name=self._name,
            group=stored.group,
            incarnation=stored.incarnation,
            boot=boot,
            nonce=random_bits(63),
            cluster=addresses,
        )
        return identity, WriteBatch(meta=meta, sync=True)


def _read_identity(data: bytes) -> _IdentityRecord:
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise CorruptedError(f"the identity in the storage cannot be read: {error}") from error


def _membership(state: DurableState, founding: Entry | None) -> Membership | None:
    """Return the first membership, if this storage knows that it is decided."""
    if founding is None or state.decided < 1 or founding.kind is not Kind.MEMBERSHIP:
        return None
    return Membership.from_bytes(founding.value)
