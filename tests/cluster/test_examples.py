"""The examples run unchanged, started as a reader would start them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paxospp.testing.cluster.provisioning import free_ports

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KV_STORE = EXAMPLES / "kv_store"


def python(script: Path, *arguments: str, cwd: Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, input=input, timeout=60)


@pytest.fixture
def kv_store(tmp_path: Path) -> Iterator[str]:
    """Start three servers of the key-value store, and yield their addresses in the form of ``--cluster``."""
    cluster = ",".join(f"n{number}=127.0.0.1:{port}" for number, port in enumerate(free_ports(3), 1))
    with ExitStack() as stack:
        servers = []
        for name in ("n1", "n2", "n3"):
            server = subprocess.Popen(
                [sys.executable, "-W", "error", str(KV_STORE / "server.py"), name, "--cluster", cluster],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            stack.enter_context(server)
            stack.callback(server.terminate)
            servers.append(server)
        for server in servers:
            assert server.stdout is not None
            assert "listens on" in server.stdout.readline()
        yield cluster
        for server in servers:
            begun = time.monotonic()
            server.terminate()
            assert server.wait(10) == 0
            assert time.monotonic() - begun < 2.5


@pytest.mark.long
def test_the_key_value_store_of_the_tutorial_works(kv_store: str, tmp_path: Path) -> None:
    addresses = ",".join(part.partition("=")[2] for part in kv_store.split(","))

    def client(*words: str, input: str | None = None) -> str:
        ended = python(KV_STORE / "client.py", "--cluster", addresses, *words, cwd=tmp_path, input=input)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    assert client("put", "boo", "foo") == "ok\n"
    assert client("get", "boo") == "foo\n"
    assert client("delete", "boo") == "ok\n"
    assert client("get", "boo") == "(nothing)\n"
    ended = python(KV_STORE / "client.py", "--cluster", addresses, "get", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "put KEY VALUE | get KEY | delete KEY" in ended.stderr
    assert client(input="put a b\nget a\nwhat\n") == "> ok\n> b\n> put KEY VALUE | get KEY | delete KEY\n> "


def test_the_embedded_counter_continues_when_it_is_run_again(tmp_path: Path) -> None:
    source = (EXAMPLES / "embedded_counter.py").read_text()
    script = tmp_path / "embedded_counter.py"
    script.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_ports(1)[0]}", source))
    for total in ("1\n", "2\n"):
        ended = python(script, cwd=tmp_path)
        assert (ended.stdout, ended.stderr, ended.returncode) == (total, "", 0)


def test_the_examples_use_public_names_only() -> None:
    for file in [EXAMPLES / "embedded_counter.py", *KV_STORE.glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not [
                    name.name for name in node.names if name.name.startswith("paxospp.") and name.name != "paxospp.sync"
                ]
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("paxospp."), file
            elif isinstance(node, ast.Attribute):
                assert not re.match(r"_[^_]", node.attr), file
