"""The settings of a node: one frozen value, validated when it is made, and read from TOML.

Every name ends in its unit. An invalid value raises ``ConfigError``, which names the field, the value
and what to write; so does a combination that would elect leaders over and over or drop messages.
``alpha`` and ``session_expiry_s`` must be equal on all nodes, so they are used only when a cluster is
bootstrapped: from then on the first membership in the log fixes them.
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
    """The settings of a node. The defaults suit machines in one data centre."""

    call_timeout_s: float = 10.0
    """How long ``execute`` and ``query`` wait if the call gives no timeout."""
    value_bytes_max: int = 1 * MIB
    """The largest payload, which is one command or query, encoded; a larger one raises ``RejectedError``."""

    heartbeat_interval_s: float = 0.1
    """How often every node sends a heartbeat to every peer."""
    election_timeout_s: float = 0.4
    """How long a leader may be silent, at least, before others try to replace it.

    After this time plus up to 50 % of jitter, a follower asks its peers whether they hear a leader. It campaigns if
    a majority answers and none of them does. Raise it if pauses or round trips are long.
    """
    resend_interval_s: float = 0.2
    """How long to wait for an answer before a message between nodes, or a run of commands, is sent again."""
    reconnect_interval_s: float = 0.5
    """The longest pause between two attempts to connect to a peer."""

    alpha: int = 256
    """How many slots may be undecided at once, and how many slots later a membership takes effect."""
    session_expiry_s: int = 3600
    """How long a client may be silent before its session is dropped, in seconds of the log's time."""

    batch_bytes_max: int = 4 * MIB
    """The most bytes of commands in one value, which is what one slot decides; a larger command is proposed alone.

    It does not limit a write to the storage, which may hold many values.
    """
    snapshot_log_bytes_max: int = 8 * MIB
    """How many bytes of log are applied before the next snapshot.

    If the last snapshot is larger than a quarter of this, the limit is four times the snapshot's size, at most four
    times this setting, and never less than the snapshot's size.
    """
    snapshot_log_slots_max: int = 100_000
    """How many slots are applied before the next snapshot; more if the last one exceeds ``snapshot_log_bytes_max``."""
    snapshot_interval_s: float = 3600.0
    """The longest time from a change to the next snapshot."""
    kept_log_bytes_max: int = 8 * MIB
    """How many bytes of log before a snapshot are kept, for nodes that were away for a while."""
    kept_log_slots_max: int = 100_000
    """How many slots before a snapshot are kept; the smaller of the two limits applies."""

    tail_bytes_max: int = 32 * MIB
    """How many bytes of log are held in memory; older entries are read from the storage.

    It also limits writes: at most twice as many bytes wait for the storage, then the node accepts nothing new.
    """
    chunk_bytes_max: int = 1 * MIB
    """The size of the chunks in which snapshots and missed entries are sent."""
    peer_queue_bytes_max: int = 64 * MIB
    """How many bytes may be queued for one peer; further messages are dropped, and sent again later."""
    inbox_calls_max: int = 16_384
    """How many calls may be queued in this node; above that it stops reading from its clients."""
    inbox_bytes_max: int = 64 * MIB
    """How many bytes of calls may be queued in this node."""

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_number(field.name, float if field.type == "float" else int)
        for field_name, limits in _LIMITS.items():
            self._check_limits(field_name, *limits)
        if self.election_timeout_s <= 3 * self.heartbeat_interval_s:
            raise ConfigError(
                f"election_timeout_s={self.election_timeout_s} is too short for heartbeat_interval_s="
                f"{self.heartbeat_interval_s}: use more than three times that, or one late heartbeat unseats the leader"
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
        """Read the settings from a TOML file; a missing key keeps its default.

        Raises:
            ConfigError: the file cannot be read or is not TOML, a key is unknown, or a value is invalid.
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
            why = f", because a message holds {_MESSAGE_BYTES} bytes in all" if high == _VALUE_BYTES else ""
            raise ConfigError(f"{name}={value} is out of bounds{why}: use {_shown(low)} to {_shown(high)}")


_MESSAGE_BYTES = 16 * MIB
"""The largest gRPC message (set in ``rpc.channel``)."""
_VALUE_BYTES = 12 * MIB
"""How many bytes of a message may be values; the rest is for what surrounds them."""


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
    """Read a TOML file that may hold settings and ``flags``; return the settings, and the flags by name.

    Raises:
        ConfigError: as for ``NodeConfig.from_toml``.
    """
    table = _checked_keys(read_toml(path), _field_names() | set(flags), path)
    settings = {key: value for key, value in table.items() if key in _field_names()}
    return NodeConfig(**settings), {key: value for key, value in table.items() if key not in settings}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the table in a TOML file. Raises ConfigError if it cannot be read or is not TOML."""
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
