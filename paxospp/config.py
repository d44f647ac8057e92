"""What can be set on a node: one frozen value, checked when it is made.

Every name carries its unit. A value that cannot be is a ``ConfigError`` that names the field, the
value and the way out; so is a combination that would elect leaders for ever or lose its own
messages. What has to be equal on all nodes (``alpha``, ``session_expiry_s``) counts only where a
cluster is founded: from then on the founding membership says it.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from paxospp.errors import ConfigError

KIB = 1 << 10
MIB = 1 << 20


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeConfig:
    """The settings of a node; the defaults suit machines in one data centre."""

    call_timeout_s: float = 10.0
    """How long ``execute`` and ``query`` wait when they are not told."""
    value_bytes_max: int = 1 * MIB
    """The largest command or query, encoded; a larger one is a ``RejectedError``."""

    heartbeat_interval_s: float = 0.1
    election_timeout_s: float = 0.4
    """How long a leader may be silent. Raise it where pauses or round trips are long."""
    resend_interval_s: float = 0.2
    """How long an unanswered message between nodes, or a run of commands, waits to be sent again."""
    reconnect_interval_s: float = 0.5
    """The longest pause between two attempts to reach a peer."""

    alpha: int = 256
    """How many slots may be open at once, and after how many a membership begins to govern."""
    session_expiry_s: int = 3600
    """After how long a silent client's session is forgotten, in seconds of the log's time."""

    batch_bytes_max: int = 4 * MIB
    """The most commands, in bytes, that are proposed as one value; a single larger one goes alone."""
    snapshot_log_bytes_max: int = 8 * MIB
    """How much of the log is applied before the next snapshot; more while the last snapshot was a quarter of it."""
    snapshot_log_slots_max: int = 100_000
    """The same in slots."""
    snapshot_interval_s: float = 3600.0
    """How long after a change a snapshot is taken at the latest."""
    kept_log_bytes_max: int = 8 * MIB
    """How much of the log stays behind a snapshot, for nodes that were away for a while."""
    kept_log_slots_max: int = 100_000
    """The same in slots: as much stays as both allow."""

    tail_bytes_max: int = 32 * MIB
    """How much of the log is held in memory; older entries are read from storage."""
    chunk_bytes_max: int = 1 * MIB
    """The size of the pieces that snapshots and missed entries travel in."""
    peer_queue_bytes_max: int = 64 * MIB
    """How much may wait for one peer; beyond it messages are dropped, and sent again later."""
    inbox_calls_max: int = 16_384
    """How many calls may wait in this node; beyond it the callers' streams are not read."""
    inbox_bytes_max: int = 64 * MIB
    """The same in bytes."""

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_number(field.name, float if field.type == "float" else int)
        for field_name, limits in _LIMITS.items():
            self._check_limits(field_name, *limits)
        if self.election_timeout_s <= 3 * self.heartbeat_interval_s:
            raise ConfigError(
                f"election_timeout_s={self.election_timeout_s} is too short for heartbeat_interval_s="
                f"{self.heartbeat_interval_s}: make it more than three of them, or a late one unseats a leader"
            )
        for larger, smaller in (
            ("peer_queue_bytes_max", "batch_bytes_max"),
            ("peer_queue_bytes_max", "value_bytes_max"),
            ("inbox_bytes_max", "value_bytes_max"),
        ):
            if getattr(self, larger) < getattr(self, smaller):
                raise ConfigError(
                    f"{larger}={getattr(self, larger)} is less than {smaller}={getattr(self, smaller)}: "
                    f"raise {larger} or lower {smaller}"
                )

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """The settings in a TOML file; what it leaves out keeps its default.

        Raises:
            ConfigError: no such file, no TOML, an unknown key or a value that cannot be.
        """
        return cls(**_checked_keys(read_toml(path), _field_names(), path))

    def _check_number(self, name: str, kind: type[float] | type[int]) -> None:
        value = getattr(self, name)
        allowed = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
            raise ConfigError(f"{name}={value!r} is not {'a number' if kind is float else 'a whole number'}")

    def _check_limits(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            why = f": a message holds {_MESSAGE_BYTES} with all that is around it" if high == _VALUE_BYTES else ""
            raise ConfigError(f"{name}={value} is out of bounds{why}: use {_shown(low)} to {_shown(high)}")


_MESSAGE_BYTES = 16 * MIB
"""What gRPC is told to take (``rpc.channel``)."""
_VALUE_BYTES = 12 * MIB
"""What of a message may be values."""


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


_LIMITS: Mapping[str, tuple[float, float]] = {
    "call_timeout_s": (0.001, 86_400),
    "value_bytes_max": (1 * KIB, _VALUE_BYTES),
    "heartbeat_interval_s": (0.001, 60),
    "election_timeout_s": (0.01, 600),
    "resend_interval_s": (0.01, 60),
    "reconnect_interval_s": (0.01, 60),
    "alpha": (1, 16_384),
    "session_expiry_s": (1, 10 * 365 * 86_400),
    "batch_bytes_max": (1 * KIB, _VALUE_BYTES),
    "snapshot_log_bytes_max": (1 * KIB, 1024 * 1024 * MIB),
    "snapshot_log_slots_max": (1, 1 << 50),
    "snapshot_interval_s": (0.05, 10 * 365 * 86_400),
    "kept_log_bytes_max": (1, 1024 * 1024 * MIB),
    "kept_log_slots_max": (1, 1 << 50),
    "tail_bytes_max": (1 * KIB, 1024 * MIB),
    "chunk_bytes_max": (1 * KIB, _VALUE_BYTES),
    "peer_queue_bytes_max": (1 * KIB, 1024 * MIB),
    "inbox_calls_max": (1, 1_000_000),
    "inbox_bytes_max": (1 * KIB, 1024 * MIB),
}


def read_config(path: str | Path, flags: Collection[str]) -> tuple[NodeConfig, dict[str, Any]]:
    """The settings in a TOML file, and apart from them the values of the ``flags`` that stand in it too."""
    table = _checked_keys(read_toml(path), _field_names() | set(flags), path)
    settings = {key: value for key, value in table.items() if key in _field_names()}
    return NodeConfig(**settings), {key: value for key, value in table.items() if key not in settings}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The table in a TOML file, or a ConfigError that says why there is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"the configuration {str(path)!r} is not TOML: {error}") from error


def _field_names() -> set[str]:
    return {field.name for field in fields(NodeConfig)}


def _checked_keys(table: dict[str, Any], known: Collection[str], path: str | Path) -> dict[str, Any]:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)
            raise ConfigError(f"the configuration {str(path)!r} has an unknown key {key!r}: did you mean {near[0]!r}?")
    return table
