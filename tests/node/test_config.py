"""``NodeConfig``: which values it refuses, and with which error."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from paxospp.config import NodeConfig, read_config
from paxospp.errors import ConfigError


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        NodeConfig(**settings)
    return str(caught.value)


def written(directory: Path, text: str) -> Path:
    path = directory / "node.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_those_of_the_contract_and_every_name_carries_a_unit() -> None:
    config = NodeConfig()

    assert config.call_timeout_s == 10.0
    assert config.value_bytes_max == 1024 * 1024
    unitless = {"alpha"}  # a number of slots; the name is that of the papers
    units = ("_s", "_bytes_max", "_calls_max", "_slots_max")
    assert all(f.name.endswith(units) for f in fields(config) if f.name not in unitless)


def test_it_is_a_frozen_value_that_pickles_and_takes_keywords_only() -> None:
    config = NodeConfig(alpha=8)

    assert pickle.loads(pickle.dumps(config)) == config == NodeConfig(alpha=8)
    with pytest.raises(FrozenInstanceError):
        config.alpha = 9  # type: ignore[misc]
    with pytest.raises(TypeError):
        NodeConfig(8)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_an_impossible_value_is_refused_by_name_and_value(value: Any) -> None:
    for field in fields(NodeConfig):
        text = refusal(**{field.name: value})
        assert text.startswith((f"{field.name}={value}", f"{field.name}={value!r}"))
        assert "\n" not in text


def test_whole_numbers_serve_as_seconds_but_fractions_not_as_counts() -> None:
    assert NodeConfig(call_timeout_s=3).call_timeout_s == 3
    assert refusal(alpha=2.5) == "alpha=2.5 is not a whole number"


def test_an_election_window_of_three_heartbeats_is_too_short() -> None:
    text = refusal(heartbeat_interval_s=0.1, election_timeout_s=0.3)

    assert "election_timeout_s=0.3" in text
    assert "heartbeat_interval_s=0.1" in text
    assert NodeConfig(heartbeat_interval_s=0.1, election_timeout_s=0.31)


def test_a_queue_has_to_hold_at_least_one_message_of_the_largest_size() -> None:
    text = refusal(peer_queue_bytes_max=1 << 20)

    assert "peer_queue_bytes_max=1048576 is less than batch_bytes_max=4194304" in text


def test_replace_checks_the_new_values() -> None:
    with pytest.raises(ConfigError):
        replace(NodeConfig(), heartbeat_interval_s=0.4)


def test_toml_sets_the_keys_it_names_and_leaves_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "call_timeout_s = 3\nalpha = 16\n")

    assert NodeConfig.from_toml(path) == NodeConfig(call_timeout_s=3, alpha=16)
    assert NodeConfig.from_toml(str(path)) == NodeConfig.from_toml(path)


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = written(tmp_path, "call_timeout = 3\n")

    with pytest.raises(ConfigError, match=r"unknown key 'call_timeout': did you mean 'call_timeout_s'\?"):
        NodeConfig.from_toml(path)


def test_the_error_for_a_missing_or_invalid_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml' cannot be read: No such file"):
        NodeConfig.from_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"node\.toml' is not TOML: .*line 1"):
        NodeConfig.from_toml(written(tmp_path, "alpha : 3\n"))


def test_the_flags_of_a_command_may_stand_in_the_same_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'alpha = 16\nname = "n1"\nstorage = "file:./data"\n')

    config, flags = read_config(path, {"name", "storage", "cluster"})

    assert config == NodeConfig(alpha=16)
    assert flags == {"name": "n1", "storage": "file:./data"}
    with pytest.raises(ConfigError, match="'name'"):
        NodeConfig.from_toml(path)
