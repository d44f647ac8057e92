"""``paxospp demo`` survives the death of its leader and leaves no process and no file behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paxospp.cli.demo.input_pairs import fingerprint, from_file, own_source
from paxospp.cli.demo.timed_writes import read_differences
from paxospp.client import Client
from paxospp.errors import ConfigError
from tests.client.alone import Alone
from tests.cluster.embedding import run
from tests.cluster.serving import paxospp


@contextmanager
def demo(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a demo whose temporary directory is below ``tmp_path``."""
    command = [sys.executable, "-W", "error", "-m", "paxospp", "demo", *arguments]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def processes_below(path: Path) -> list[str]:
    """Return the command lines of processes that contain ``path``."""
    lines = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(path) in line]


@pytest.mark.parametrize("own_input", [True, pytest.param(False, marks=pytest.mark.long)], ids=["three lines", "all"])
def test_the_leader_is_killed_and_every_value_is_on_every_node(tmp_path: Path, own_input: bool) -> None:
    source = tmp_path / "input.tsv"
    source.write_bytes(b"a\t1\nb\twith\ttab\nc\t\xff\xfe\n")
    begun = time.monotonic()
    with demo(tmp_path, *(["--input", str(source), "--storage", "file"] if own_input else [])) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out + err
    assert time.monotonic() - begun < 30
    assert re.search(r"killed (n\d), the leader, with SIGKILL and [1-9]\d* writes in flight", out)
    assert re.search(r"writes were interrupted for \d+ ms", out)
    assert re.search(r"n\d was started again and caught up", out)
    for figure in ("writes/s", "p50", "p99", "gap at fail-over", "catch-up"):
        assert figure in out
    count = re.search(r"all ([\d,]+) values were read back from each of the 3 nodes", out)
    assert count is not None
    if own_input:  # it is repeated until there is something to see
        assert count[1] == "3"
        assert re.search(r"writing: 5,?001 of 5,?001", out)
    else:
        assert int(count[1].replace(",", "")) > 5000
    assert [path.name for path in tmp_path.iterdir()] == ["input.tsv"]
    assert not processes_below(tmp_path)


@pytest.mark.long
def test_a_short_input_is_written_repeatedly(tmp_path: Path) -> None:
    source = tmp_path / "input.tsv"
    source.write_bytes(b"a\t1\nb\twith\ttab\nc\t\xff\xfe\n")
    with demo(tmp_path, "--nodes", "1", "--input", str(source), "--storage", "file") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out + err
    assert "all 3 values were read back from the node, as written" in out
    assert "writing: 5001 of 5001" in out
    assert [path.name for path in tmp_path.iterdir()] == ["input.tsv"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        while "is the leader" not in process.stdout.readline():
            pass
        assert len(processes_below(tmp_path)) == 3
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
    assert not processes_below(tmp_path)


def test_a_bad_storage_or_input_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no_tab").write_text("key value\n")
    for arguments in (
        ["--storage", "sqlite"],
        ["--storage", "rocksb"],
        ["--input", str(tmp_path / "nothing")],
        ["--input", str(tmp_path / "no_tab")],
    ):
        ended = paxospp("demo", *arguments)
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert arguments[1] in ended.stderr


def test_a_value_that_differs_from_what_was_written_is_found() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            for key in ("a", "b", "c"):
                await client.execute("put", key, key)
            read: list[int] = []
            pairs: dict[str, str | bytes] = {"a": "a", "b": "else", "c": b"c", "d": ""}
            assert sorted(await read_differences(client, pairs, read.append)) == ["b", "c", "d"]
            assert sorted(read) == [1, 2, 3, 4]

    run(main)


def test_the_default_input_is_every_line_of_the_package() -> None:
    pairs = own_source()
    assert pairs["paxospp/errors.py:1"] == '"""Every error that paxospp raises on purpose, in one small tree.'
    assert "paxospp/wire/v1/client_pb2.py:1" in pairs
    assert not [key for key in pairs if "__pycache__" in key]


def test_the_last_value_of_a_repeated_key_counts(tmp_path: Path) -> None:
    source = tmp_path / "input.tsv"
    source.write_bytes(b"a\t1\na\t2\n")
    assert from_file(str(source)) == {"a": "2"}
    source.write_bytes(b"\xff\t1\n")
    with pytest.raises(ConfigError, match="line 1"):
        from_file(str(source))


def test_fingerprints_of_text_bytes_and_none_differ() -> None:
    assert len({fingerprint("a"), fingerprint(b"a"), fingerprint(None), fingerprint("")}) == 4
