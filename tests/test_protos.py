"""The generated code matches ``protos/``, every supported protobuf can read it, and a client needs nothing else."""

from __future__ import annotations

import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor

from paxospp.wire.v1 import client_pb2, peer_pb2
from tests.cluster.serving import Serving

ROOT = Path(__file__).resolve().parent.parent
FILES = {"peer": peer_pb2.DESCRIPTOR, "client": client_pb2.DESCRIPTOR}

needs_sources = pytest.mark.skipif(not (ROOT / "protos").is_dir(), reason="needs a checkout: protos/ is not installed")


@pytest.mark.parametrize("name", FILES)
def test_every_protobuf_that_we_allow_can_read_the_generated_code(name: str) -> None:
    """Generated code refuses a runtime older than its generator, and 5.26.1 is the oldest runtime that we allow."""
    generated = (ROOT / "paxospp" / "wire" / "v1" / f"{name}_pb2.py").read_text()

    assert "# Protobuf Python Version: 5.26.1\n" in generated
    assert "runtime_version" not in generated


@needs_sources
@pytest.mark.parametrize("name", FILES)
def test_every_field_has_the_same_number_in_the_generated_code_and_in_protos(name: str) -> None:
    """This needs no compiler; ``protos/generate.py --check`` compares every byte."""
    source = (ROOT / "protos" / "paxospp" / "wire" / "v1" / f"{name}.proto").read_text()

    assert fields_in_source(source) == fields_in_generated_code(FILES[name])


@needs_sources
@pytest.mark.skipif(not (ROOT / ".gen").is_dir(), reason="no compiler: run python protos/generate.py once")
def test_generating_again_changes_nothing() -> None:
    command = [sys.executable, str(ROOT / "protos" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", FILES)
def test_the_zero_of_every_enum_means_unspecified(name: str) -> None:
    """Otherwise an absent field would be taken for a value."""
    for enum in FILES[name].enum_types_by_name.values():
        assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


@needs_sources
def test_the_client_that_the_readme_shows_has_its_commands_applied_once_while_the_leader_is_killed(
    tmp_path: Path,
) -> None:
    """It uses only gRPC, the generated messages and MessagePack, so ``protos/README.md`` says all that is needed."""
    readme = (ROOT / "protos" / "README.md").read_text()
    (code,) = re.findall(r"^<!-- file: raw_client.py -->\n```python\n(.*?)^```$", readme, re.M | re.S)
    assert set(re.findall(r"^(?:from|import) (\S+)", code, re.M)) == {
        "os", "queue", "sys", "time", "grpc", "msgspec", "paxospp.wire.v1",
    }  # fmt: skip
    (tmp_path / "raw_client.py").write_text(code)
    (tmp_path / "counter.py").write_text(COUNTER)
    with Serving(tmp_path, machine=f"{tmp_path / 'counter.py'}:Counter") as serving:
        serving.start()
        client = runpy.run_path(str(tmp_path / "raw_client.py"))["RawClient"](serving.addresses)
        totals = [client.execute("add")]
        killed = leader(serving)
        killer = Thread(target=serving.stop, args=[killed, signal.SIGKILL])
        killer.start()
        totals += [client.execute("add", 2) for _ in range(10)]
        killer.join()

        assert leader(serving) != killed, "the commands were done before the leader died"
        assert totals == list(range(1, 22, 2))
        assert client.query("get") == 21
        with pytest.raises(ValueError, match="no command 'multiply'"):
            client.execute("multiply", 2)
        with pytest.raises(RuntimeError, match="OverflowError"):
            client.execute("add", 100)
        assert client.execute("add", 1) == 22


COUNTER = """
import paxospp

class Counter(paxospp.StateMachine):
    total: int = 0

    @paxospp.command
    def add(self, n: int = 1) -> int:
        if n > 50:
            raise OverflowError("too much")
        self.total += n
        return self.total

    @paxospp.query
    def get(self) -> int:
        return self.total
"""


def leader(serving: Serving) -> str:
    """Return the name of a running node that said it leads."""
    return next(name for name in serving.processes if f"{name} leads" in serving.said(name))


def fields_in_source(source: str) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    message = ""
    for line in re.sub(r"//[^\n]*", "", source).splitlines():
        if opened := re.match(r"message (\w+)", line):
            message = opened[1]
        elif field := re.match(r"\s+(?:optional |repeated )?[\w.]+ (\w+) = (\d+);", line):
            found.add((message, field[1], int(field[2])))
    return found


def fields_in_generated_code(file: FileDescriptor) -> set[tuple[str, str, int]]:
    messages: list[Descriptor] = list(file.message_types_by_name.values())
    return {(message.name, field.name, field.number) for message in messages for field in message.fields}
