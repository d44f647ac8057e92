"""Bad input to ``serve``: one line that names the value and what to do, exit code 2, and nothing written to disk."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from paxospp.cli import main
from tests.cluster.serving import Serving

ONE = "n1=127.0.0.1:17991"
THREE = "n1=127.0.0.1:17991,n2=127.0.0.1:17992,n3=127.0.0.1:17993"


class Ended(NamedTuple):
    """Exit code and output of a command line."""

    code: int
    out: str
    err: str


Paxospp = Callable[..., Ended]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def paxospp(here: Path, capfd: pytest.CaptureFixture[str]) -> Paxospp:
    """Run a command line in this process, which saves half a second; output is captured at the file descriptors."""

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        try:
            code = main(arguments)
        except SystemExit as end:
            code = cast("int", end.code)
        return Ended(code, *capfd.readouterr())

    return run


def flags(**changes: str) -> list[str]:
    """Return correct flags of ``serve``, except for ``changes``."""
    given = {"name": "n1", "cluster": THREE, "storage": "file:data", "machine": "kv"} | changes
    return [text for flag, value in given.items() for text in (f"--{flag}", value)]


def assert_refused(ended: Ended, *says: str) -> None:
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.count("\n") == 1, ended
    for text in says:
        assert text in ended.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"storage": "sqlite:data"}, ["sqlite", "file", "rocksdb"]),
        ({"storage": "data"}, ["'data'", "file:data"]),
        ({"storage": "my_store.py"}, ["my_store.py:CLASS"]),
        ({"storage": "file:data?syncs=no"}, ["syncs"]),
        ({"storage": "file:{tmp}/n1"}, ["{tmp}"]),
        ({"storage": "memory:"}, ["memory:", "--allow-volatile"]),
        ({"name": "n4"}, ["n4", "n1"]),
        ({"name": "n 1"}, ["n 1"]),
        ({"cluster": "n1=127.0.0.1:17991,n1=127.0.0.1:17992"}, ["n1", "twice"]),
        ({"cluster": "n1=127.0.0.1:17991,n2=127.0.0.1:17991"}, ["127.0.0.1:17991"]),
        ({"cluster": "127.0.0.1:17991"}, ["127.0.0.1:17991", "n1=127.0.0.1:17991"]),
        ({"cluster": "n1:127.0.0.1:17991"}, ["write it as n1=127.0.0.1:17991"]),
        ({"cluster": "[::1]:17991"}, ["write it as n1=[::1]:17991"]),
        ({"cluster": "n1=127.0.0.1"}, ["127.0.0.1"]),
        ({"machine": "nothing"}, ["nothing", "kv"]),
        ({"machine": "nothing:Nothing"}, ["name a file: ./nothing.py:Nothing"]),
        ({"machine": "nothing.py:Nothing"}, ["nothing.py"]),
        ({"listen": "127.0.0.1"}, ["127.0.0.1"]),
        ({"listen": "203.0.113.7:17991"}, ["203.0.113.7:17991"]),
        ({"plugin": "no_such_plugin"}, ["no_such_plugin"]),
        ({"config": "nothing.toml"}, ["nothing.toml"]),
    ],
)
def test_a_bad_value_is_named(here: Path, paxospp: Paxospp, changes: dict[str, str], says: list[str]) -> None:
    assert_refused(paxospp("serve", *flags(**changes)), *says)
    assert not list(here.iterdir())


def test_missing_flags_are_named(paxospp: Paxospp) -> None:
    assert_refused(paxospp("serve", "--name", "n1"), "--cluster, --storage, --machine")


def test_a_mistyped_command_line_is_reported_in_one_line(paxospp: Paxospp) -> None:
    assert_refused(paxospp("sreve"), "sreve")
    assert_refused(paxospp("status"), "--cluster")
    assert_refused(paxospp("status", "--cluster", "nowhere"), "nowhere")
    assert_refused(paxospp("demo", "--nodes", "0"), "'0'")
    assert_refused(paxospp("simulate", "--seeds", "0"), "'0' is not a number of 1 or more")
    assert_refused(paxospp("simulate", "--missed-max", "3"), "need --require-markers")
    assert_refused(
        paxospp("bench", "--secnds", "1"),
        "paxospp bench: unrecognized arguments: --secnds 1 (try: paxospp bench --help)",
    )
    assert_refused(paxospp("bench", "--sec", "1"), "unrecognized arguments: --sec 1")
    assert_refused(paxospp("execute", "--cluster", ONE, "--timeout", "no", "put"), "'no'")
    assert_refused(paxospp("plugins", "--plugin", "nothing.py"), "nothing.py")


BAD_STORAGE = """
import paxospp

class Bad(paxospp.KeyValueStorage):
    def load(self):
        return super().load()

    def get(self, key):
        return None

    def scan(self, start, stop):
        yield from ()

    def write(self, delete_ranges, puts, sync):
        pass

    def close(self):
        super().close()
"""


@pytest.mark.parametrize("code", ["return super().load()", "return None", "yield from ()"])
def test_a_storage_that_raises_while_it_is_loaded_is_named_with_the_line(
    here: Path, paxospp: Paxospp, code: str
) -> None:
    (here / "bad.py").write_text(BAD_STORAGE.replace(code, f"{{}}['no such key']; {code}"))
    line = BAD_STORAGE[: BAD_STORAGE.index(code)].count("\n") + 1
    assert_refused(
        paxospp("serve", *flags(storage="bad.py:Bad:data", cluster=ONE)),
        "storage 'bad.py:Bad:data' raised KeyError: 'no such key'",
        f"bad.py, line {line})",
    )


def test_a_port_in_use_is_reported_with_its_address(here: Path, paxospp: Paxospp) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(paxospp("serve", *flags(cluster=f"n1={address}")), address)
    assert not list(here.iterdir())


def test_a_data_directory_that_is_locked_or_belongs_to_another_node_or_cluster_is_refused(
    here: Path, paxospp: Paxospp
) -> None:
    with Serving(here, count=1) as serving:
        serving.start()
        serving.wait_founded()
        assert_refused(paxospp("serve", *flags(cluster=ONE, storage="file:n1")), "in use")
        assert serving.stop("n1") == 0
        other = flags(name="n2", cluster="n2=127.0.0.1:17992", storage="file:n1")
        assert_refused(paxospp("serve", *other), "n1")
        assert_refused(paxospp("serve", *flags(storage="file:n1")), "n2, n3")
        serving.start()


def test_a_configuration_file_may_hold_flags_and_settings_and_the_command_line_wins(
    here: Path, paxospp: Paxospp
) -> None:
    config = here / "node.toml"
    with Serving(here, count=1) as serving:
        config.write_text(
            f"""
            name = "n1"
            storage = "file:{here}/data with a space"
            machine = "nothing"
            value_bytes_max = 2048
            call_timeout_s = 5
            allow-volatile = false
            plugin = []
            [cluster]
            n1 = "{serving.addresses[0]}"
            """
        )
        serving.spawn("n1", ["--config", str(config), "--machine", "kv"])
        serving.wait_founded()
        assert paxospp("execute", "--cluster", serving.cluster, "put", "a", "x").code == 0
        assert_refused(paxospp("execute", "--cluster", serving.cluster, "put", "a", "x" * 3000), "2048")
        assert (here / "data with a space").is_dir()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("storge = 'file:x'", ["'storge'", "'storage'"]),
        ("election_timeout = 3", ["'election_timeout'", "'election_timeout_s'"]),
        ("alow-volatile = true", ["'alow-volatile'", "'allow-volatile'"]),
        ("alpha = 'many'", ["alpha", "many"]),
        ("name = 1", ["name", "1"]),
        ("cluster = 5", ["cluster", "5"]),
        ("plugin = 'no_such_plugin'", ["no_such_plugin"]),
        ("allow-volatile = 'yes'", ["allow-volatile", "yes"]),
        ("name = ", ["node.toml", "TOML"]),
    ],
)
def test_a_bad_key_or_value_in_a_configuration_file_is_named(
    here: Path, paxospp: Paxospp, text: str, says: list[str]
) -> None:
    (here / "node.toml").write_text(text)
    given = {"name": "n1", "cluster": THREE, "storage": "file:data", "machine": "kv"}
    arguments = [part for flag, value in given.items() if not text.startswith(flag) for part in (f"--{flag}", value)]
    assert_refused(paxospp("serve", "--config", "node.toml", *arguments), *says)
    assert [path.name for path in here.iterdir()] == ["node.toml"]
