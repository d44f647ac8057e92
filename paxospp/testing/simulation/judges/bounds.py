"""What may grow, and how far: FAULTS (e), 18, looked at after every event.

In memory: values in flight, the tail of the log, calls that wait. On disk: the log below the last
snapshot. What lies above it is not bounded here, for the next snapshot may fail.
"""

from __future__ import annotations

from paxospp.config import NodeConfig
from paxospp.engine.protocol import Protocol
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.writes import BYTES_MIN
from paxospp.model import Slot
from paxospp.node.queries import OPEN_MAX
from paxospp.sessions.table import SESSIONS_MAX
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

_RUN_BYTES_MAX = 2 << 20
"""The one run that may lie above a bound, because there was room before it came."""
_RUN_COMMANDS_MAX = 1024


def check_memory(host: ObservedHost, longest_value: int) -> None:
    """What a running node holds."""
    parts = host.parts
    assert parts is not None
    config = host.world.plan.config_of(host.index)
    protocol, front, local = parts.replica.protocol, parts.front, parts.local
    role = protocol.role
    if type(role) is Leading and len(role.proposals) > role.alpha:
        _too_many(host, "slots in flight", len(role.proposals), role.alpha)
    # Beyond twice its bound a tail takes nothing but what is under way already: one leader's window.
    if protocol.log.bytes > 3 * config.tail_bytes_max + _RUN_BYTES_MAX:
        _too_many(host, "bytes of the log in memory", protocol.log.bytes, 3 * config.tail_bytes_max)
    _check_writes(host, protocol, config, longest_value)
    if front.waiting_bytes > config.inbox_bytes_max + _RUN_BYTES_MAX:
        _too_many(host, "bytes of runs that wait", front.waiting_bytes, config.inbox_bytes_max)
    if front.waiting_commands > 2 * config.inbox_calls_max + 2 * _RUN_COMMANDS_MAX:
        _too_many(host, "commands that wait", front.waiting_commands, config.inbox_calls_max)
    if local.open_calls > config.inbox_calls_max:
        _too_many(host, "calls that wait", local.open_calls, config.inbox_calls_max)
    counted, held = parts.queries.counted, parts.queries.held
    if counted > OPEN_MAX:
        _too_many(host, "queries that wait", counted, OPEN_MAX)
    if counted != held:
        raise RuleBroken("18", f"{host.name} counts {counted} queries as open, and holds {held}")
    if parts.executor.sessions_known > SESSIONS_MAX:
        _too_many(host, "sessions", parts.executor.sessions_known, SESSIONS_MAX)


def _check_writes(host: ObservedHost, protocol: Protocol, config: NodeConfig, longest_value: int) -> None:
    """D16: what waits for a disk that hangs.

    Beyond the bound there may be one value, one answer of each peer, and what this node has to propose when it leads.
    Without its disk a node that is alone decides nothing.
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
    """What a node wants left of its log, from ``first`` on, as it makes its snapshot of that slot current."""
    parts = host.parts
    if parts is None or parts.snapshots.kept_from is not None:
        return  # what a peer needs that is being sent a snapshot stays
    kept = host.world.plan.config_of(host.index).kept_log_slots_max
    if snapshot - first > kept * (1 + 1 / 32) + 2:
        _too_many(host, "slots behind its snapshot", snapshot - first, kept)


def _too_many(host: ObservedHost, what: str, count: int, bound: int) -> None:
    raise RuleBroken("18", f"{host.name} holds {count} {what}; the bound is {bound}")
