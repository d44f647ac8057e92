"""The commands against a real cluster of processes: output, errors and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from paxospp import process_setup
from tests.cluster.serving import Serving, paxospp

MACHINE = """
import datetime
import paxospp

class Machine(paxospp.StateMachine):
    texts: list[str]

    def __init__(self) -> None:
        self.texts = []

    @paxospp.command
    def keep(self, text: str, count: int = 1) -> int:
        self.texts += [text] * count
        return len(self.texts)

    @paxospp.command
    def refuse(self) -> None:
        raise ValueError("not\\nthis one")

    @paxospp.query
    def all(self) -> list[str]:
        return self.texts

    @paxospp.query
    def odd(self) -> dict[int, bytes]:
        return {1: b"\\x00\\xff"}

    @paxospp.query
    def odder(self) -> dict[bytes, list[dict[tuple[int, str], None]]]:
        return {b"\\x00": [{(1, "a"): None}]}

    @paxospp.query
    def when(self) -> datetime.date:
        return datetime.date(2026, 11, 22)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Three processes that serve the machine above, loaded from a file."""
    path = tmp_path_factory.mktemp("cluster with a space")
    (path / "machine.py").write_text(MACHINE)
    with Serving(path, machine="machine.py:Machine") as serving:
        serving.start()
        serving.wait_founded()
        yield serving


def test_a_call_prints_one_line_of_json(cluster: Serving) -> None:
    before = json.loads(paxospp("query", "--cluster", cluster.cluster, "all").stdout)
    kept = paxospp("execute", "--cluster", cluster.cluster, "keep", "boo")
    assert (kept.stdout, kept.stderr, kept.returncode) == (f"{len(before) + 1}\n", "", 0)
    found = paxospp("query", "--cluster", ",".join(cluster.addresses), "all")
    assert (found.stdout, found.returncode) == (json.dumps([*before, "boo"], separators=(",", ":")) + "\n", 0)


def test_a_parameter_annotated_str_takes_any_text_and_others_take_json(cluster: Serving) -> None:
    texts = ("17", "true", "a b", '{"a": 1}', '"quoted"', "null")
    with ThreadPoolExecutor(3) as threads:
        ended = threads.map(lambda text: paxospp("execute", "--cluster", cluster.cluster, "keep", text, "1"), texts)
        kept = [int(each.stdout) for each in ended]
    found = json.loads(paxospp("query", "--cluster", cluster.cluster, "all").stdout)
    assert [found[count - 1] for count in kept] == ["17", "true", "a b", '{"a": 1}', "quoted", "null"]


def test_results_that_json_cannot_express(cluster: Serving) -> None:
    assert paxospp("query", "--cluster", cluster.cluster, "odd").stdout == '{"1":"AP8="}\n'
    assert paxospp("query", "--cluster", cluster.cluster, "odder").stdout == '{"AA==":[{"(1, \'a\')":null}]}\n'
    assert paxospp("query", "--cluster", cluster.cluster, "when").stdout == '"2026-11-22"\n'


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["execute", "refuse"], 1, "paxospp execute: the command raised ValueError: not this one"),
        (["execute", "nothing"], 2, "nothing"),
        (["execute", "all"], 2, "all is a query: use paxospp query"),
        (["query", "keep"], 2, "keep is a command: use paxospp execute"),
        (["execute", "keep"], 2, "text"),
        (["execute", "keep", "a", "b"], 2, "count"),
        (["execute", "keep", "a", "1", "2"], 2, "keep"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(cluster: Serving, arguments: list[str], code: int, says: str) -> None:
    verb, *rest = arguments
    ended = paxospp(verb, "--cluster", cluster.cluster, *rest)
    assert ended.returncode == code
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert says in ended.stderr


def test_a_call_that_reaches_no_node_was_not_applied() -> None:
    ended = paxospp("execute", "--cluster", "127.0.0.1:1", "--timeout", "0.3", "keep", "a")
    assert ended.returncode == 3
    assert "never sent" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_status_has_a_row_for_every_address_and_every_member(cluster: Serving) -> None:
    ended = paxospp("status", "--cluster", f"{cluster.addresses[0]},127.0.0.1:1", "--json")
    assert ended.returncode == 0
    rows = json.loads(ended.stdout)["nodes"]
    columns = {"name", "address", "reachable", "role", "ballot", "leader", "decided", "applied", "first", "digest"}
    assert all(set(row) == columns for row in rows)
    by_address = {row["address"]: row for row in rows}
    assert set(by_address) == {*cluster.addresses, "127.0.0.1:1"}
    assert {by_address[address]["name"] for address in cluster.addresses} == set(cluster.nodes)
    gone = by_address["127.0.0.1:1"]
    assert gone.pop("reachable") is False
    assert gone.pop("address") == "127.0.0.1:1"
    assert set(gone.values()) == {None}
    leading = [row for row in rows if row["role"] == "leader"]
    assert [row["leader"] for row in leading] == [leading[0]["name"]]
    round, node = leading[0]["ballot"]
    assert isinstance(round, int)
    assert node in cluster.nodes

    table = paxospp("status", "--cluster", cluster.cluster).stdout.splitlines()
    assert table[0].split() == [
        "name", "address", "reachable", "role", "ballot", "leader", "decided", "applied", "first", "digest",
    ]  # fmt: skip
    assert len(table) == 4


def test_status_is_unavailable_if_no_node_answers() -> None:
    ended = paxospp("status", "--cluster", "n1=127.0.0.1:1")
    assert ended.returncode == 3
    assert ended.stdout.splitlines()[1].split() == ["-", "127.0.0.1:1", "no", *"-------"]


def test_serve_prints_whom_it_waits_for_and_who_leads_and_stops_within_two_seconds(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.start("n1")
        serving.wait_for("n1", "waiting for n2, n3")
        serving.start("n2", "n3")
        serving.wait_founded()
        for name in serving.nodes:
            serving.until(lambda name=name: "leads" in serving.said(name) or "follows" in serving.said(name))  # type: ignore[misc]
        assert paxospp("execute", "--cluster", serving.cluster, "put", "a", "[1, null]").returncode == 0
        for name, number in (("n1", signal.SIGTERM), ("n2", signal.SIGINT), ("n3", signal.SIGTERM)):
            if name == "n3":  # the last one, which has lost its majority
                serving.wait_for(name, "n3: knows of no leader")
                assert "has no leader" not in serving.said(name)
            begun = time.monotonic()
            assert serving.stop(name, number) == 0
            assert time.monotonic() - begun < 2.5
            assert "Traceback" not in serving.said(name)
        serving.start()
        assert paxospp("query", "--cluster", serving.cluster, "get", "a").stdout == "[1,null]\n"


@pytest.mark.long  # a plain run has the demo, and the cluster of processes in test_chaos.py
def test_no_acknowledged_write_is_lost_when_the_leader_is_killed(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.start()
        serving.wait_founded()
        for number in range(3):
            assert paxospp("execute", "--cluster", serving.cluster, "put", f"k{number}", str(number)).returncode == 0
        rows = json.loads(paxospp("status", "--cluster", serving.cluster, "--json").stdout)["nodes"]
        leader = next(row["name"] for row in rows if row["role"] == "leader")
        serving.stop(leader, signal.SIGKILL)
        assert paxospp("execute", "--cluster", serving.cluster, "put", "k3", "3").returncode == 0
        assert paxospp("query", "--cluster", serving.cluster, "keys").stdout == '["k0","k1","k2","k3"]\n'


def test_plugins_lists_what_was_found() -> None:
    ended = paxospp("plugins")
    assert ended.returncode == 0
    assert "storage file:" in ended.stdout
    assert "state machine kv" in ended.stdout


def test_help_imports_no_grpc() -> None:
    code = "import sys, paxospp.cli.arguments as a; a.parser().format_help(); sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_grpc_polls_in_place_unless_the_user_decides_otherwise_or_the_version_is_too_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(version: str, said: str | None = None) -> str | None:
        monkeypatch.setattr(metadata, "version", lambda _: version)
        monkeypatch.setenv("GRPC_EXPERIMENTS", "")
        monkeypatch.delenv("GRPC_EXPERIMENTS")
        if said is not None:
            monkeypatch.setenv("GRPC_EXPERIMENTS", said)
        process_setup.set_up_grpc()
        return os.environ.get("GRPC_EXPERIMENTS")

    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    assert told("1.85.1") == told("1.66.2") == "-event_engine_client,-event_engine_listener"
    assert told("1.85.1", "canary") == "canary"
    assert told("1.86.0") is None
