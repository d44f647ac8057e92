"""The steps of a start between loading the storage and taking part: checking, restoring, naming this boot.

It blocks. A node runs it in the thread that writes to the storage, a simulation on a virtual disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paxospp.engine.settings import Identity
from paxospp.errors import CorruptedError, TrimmedError
from paxospp.execution.executor import Executor
from paxospp.model import Entry, NodeId, Slot
from paxospp.node.identity import StoredIdentity
from paxospp.node.snapshots.restoring import damaged, restore_current
from paxospp.storage.contract import DurableState, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The state that a start restored from its storage, and the identity under which the node takes part."""

    identity: Identity
    executor: Executor
    restored_bytes: int
    """The size of the snapshot that the executor was restored from; 0 without one."""
    damage: CorruptedError | None
    """Why the current snapshot could not be restored; the state then comes from the log or a peer."""


def recover(
    storage: Storage,
    state: DurableState,
    *,
    name: NodeId,
    cluster: Mapping[NodeId, str],
    executor: Executor,
    random_bits: Callable[[int], int],
) -> Recovered:
    """Check whose storage this is, restore its snapshot, and persist the identity of this boot.

    Args:
        state: what ``storage.load`` returned.
        cluster: the names and addresses that the node was started with.
        executor: in the state of slot 0; the current snapshot is restored into it.
        random_bits: returns a random number of the given size in bits.

    Raises:
        ConfigError: the storage belongs to another node or cluster; nothing was written.
        CorruptedError: the storage is damaged in a way that the peers cannot repair.
        StorageError: the storage failed.
        ReplicaStoppedError: the machine raised.
    """
    stored = StoredIdentity(name, cluster, state, _first_entry(storage) if state.decided else None)
    restored_bytes, damage = 0, None
    if state.snapshot is not None:
        try:
            restored_bytes = restore_current(name, storage, executor, state.promised)
        except CorruptedError as error:
            if len(cluster) == 1 and state.first > 1:
                raise damaged(state.snapshot, error) from error
            # The promise and the log are intact, so this node votes as before.
            damage = error
    for _, membership in executor.memberships[-1:]:
        stored.check_membership(membership)
    identity, batch = stored.begin(cluster, random_bits)
    storage.persist(batch)
    return Recovered(identity=identity, executor=executor, restored_bytes=restored_bytes, damage=damage)


def _first_entry(storage: Storage) -> Entry | None:
    """Read slot 1, which names the first members; None if it was trimmed or is damaged."""
    try:
        entries = storage.read(Slot(1), Slot(2), 1)
    except (TrimmedError, CorruptedError):
        return None
    return entries[0] if entries else None
