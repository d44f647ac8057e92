"""Invariant 18: what a node holds is bounded, in memory and on disk.

In memory: values in flight, the tail of the log, waiting calls. On disk: the log below the last snapshot. The log above
it is not bounded here, because the next snapshot may fail.
"""

from __future__ import annotations

from paxospp.config import NodeConfig
from paxospp.engine.protocol import Protocol
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.writes import BYTES_MIN
from paxospp.model import Slot
from paxospp.node.environment import RUN_BYTES_MAX, RUN_COMMANDS_MAX
from paxospp.node.queries import OPEN_MAX
from paxospp.sessions.table import SESSIONS_MAX
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

_RUN_BYTES_MAX = 2 * RUN_BYTES_MAX
"""Twice the size of one run, which may exceed a bound because there was space before it came."""


def check_memory(host: ObservedHost, longest_value: int) -> None:
    """Check what a running node holds in memory."""
    runtime = host.runtime
    assert runtime is not None
    config = host.world.plan.config_of(host.index)
    protocol, inbox, local = runtime.replica.protocol, runtime.inbox, runtime.local
    role = protocol.role
    if type(role) is Leading and len(role.proposals) > role.alpha:
        _too_many(host, "slots in flight", len(role.proposals), role.alpha)
    # Beyond twice its bound, the tail takes only what is already in flight: the window of one leader.
    if protocol.log.bytes > 3 * config.tail_bytes_max + _RUN_BYTES_MAX:
        _too_many(host, "bytes of the log in memory", protocol.log.bytes, 3 * config.tail_bytes_max)
    _check_writes(host, protocol, config, longest_value)
    if inbox.waiting_bytes > config.inbox_bytes_max + _RUN_BYTES_MAX:
        _too_many(host, "bytes of waiting runs", inbox.waiting_bytes, config.inbox_bytes_max)
    if inbox.waiting_commands > 2 * config.inbox_calls_max + 2 * RUN_COMMANDS_MAX:
        _too_many(host, "waiting commands", inbox.waiting_commands, config.inbox_calls_max)
    if local.open_calls > config.inbox_calls_max:
        _too_many(host, "waiting calls", local.open_calls, config.inbox_calls_max)
    counted, held = runtime.queries.counted, runtime.queries.held
    if counted > OPEN_MAX:
        _too_many(host, "waiting queries", counted, OPEN_MAX)
    if counted != held:
        raise RuleBroken("18", f"{host.name} counts {counted} open queries and holds {held}")
    if runtime.executor.sessions_known > SESSIONS_MAX:
        _too_many(host, "sessions", runtime.executor.sessions_known, SESSIONS_MAX)


def _check_writes(host: ObservedHost, protocol: Protocol, config: NodeConfig, longest_value: int) -> None:
    """Check the values that wait for a disk that hangs (D16).

    Beyond the bound there may be one value, one answer for each peer, and what this node proposes while it leads. A
    cluster of one node is not checked: it decides nothing without its disk.
    """
    bound = 2 * max(config.tail_bytes_max, BYTES_MIN)
    membership = protocol.cluster.membership
    if protocol.writes.bytes <= bound or membership is None or len(membership.members) == 1:
        return
    plan = host.world.plan
    answer_bytes = max(other.chunk_bytes_max for other in (plan.config, *plan.differing.values()))
    values = 2 * membership.alpha + 2
    bound += len(membership.members) * answer_bytes + values * longest_value
    if protocol.writes.bytes > bound:
        _too_many(host, "bytes of values that wait for the disk", protocol.writes.bytes, bound)


def check_log(host: ObservedHost, snapshot: Slot, first: Slot) -> None:
    """Check how much log ``host`` keeps, from ``first`` on, when it makes the snapshot of slot ``snapshot`` current."""
    runtime = host.runtime
    if runtime is None or runtime.snapshots.kept_from is not None:
        return  # a peer that fetches a snapshot still needs some slots
    kept = host.world.plan.config_of(host.index).kept_log_slots_max
    if snapshot - first > kept * (1 + 1 / 32) + 2:
        _too_many(host, "slots behind its snapshot", snapshot - first, kept)


def _too_many(host: ObservedHost, what: str, count: int, bound: int) -> None:
    raise RuleBroken("18", f"{host.name} holds {count} {what}; the bound is {bound}")
