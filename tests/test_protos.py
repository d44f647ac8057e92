"""The generated code is what protos/ says, and was made by the compiler that every protobuf can read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor

from paxospp.wire.v1 import client_pb2, peer_pb2

ROOT = Path(__file__).resolve().parent.parent
FILES = {"peer": peer_pb2.DESCRIPTOR, "client": client_pb2.DESCRIPTOR}

needs_sources = pytest.mark.skipif(not (ROOT / "protos").is_dir(), reason="needs a checkout: protos/ is not installed")


@pytest.mark.parametrize("name", FILES)
def test_the_gencode_is_of_the_version_that_every_protobuf_we_allow_can_read(name: str) -> None:
    """Newer gencode refuses an older runtime; 5.26.1 is our floor."""
    generated = (ROOT / "paxospp" / "wire" / "v1" / f"{name}_pb2.py").read_text()

    assert "# Protobuf Python Version: 5.26.1\n" in generated
    assert "runtime_version" not in generated


@needs_sources
@pytest.mark.parametrize("name", FILES)
def test_every_field_stands_in_the_gencode_under_the_number_that_protos_gives_it(name: str) -> None:
    """Without a compiler; ``protos/generate.py --check`` compares every byte."""
    source = (ROOT / "protos" / "paxospp" / "wire" / "v1" / f"{name}.proto").read_text()

    assert fields_in_source(source) == fields_in_gencode(FILES[name])


@needs_sources
@pytest.mark.skipif(not (ROOT / ".gen").is_dir(), reason="no compiler: run python protos/generate.py once")
def test_generating_anew_changes_nothing() -> None:
    command = [sys.executable, str(ROOT / "protos" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", FILES)
def test_the_zero_of_every_enum_means_that_nothing_was_said(name: str) -> None:
    """So that a field left out is not taken for a kind."""
    for enum in FILES[name].enum_types_by_name.values():
        assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


def fields_in_source(source: str) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    message = ""
    for line in re.sub(r"//[^\n]*", "", source).splitlines():
        if opened := re.match(r"message (\w+)", line):
            message = opened[1]
        elif field := re.match(r"\s+(?:optional |repeated )?[\w.]+ (\w+) = (\d+);", line):
            found.add((message, field[1], int(field[2])))
    return found


def fields_in_gencode(file: FileDescriptor) -> set[tuple[str, str, int]]:
    messages: list[Descriptor] = list(file.message_types_by_name.values())
    return {(message.name, field.name, field.number) for message in messages for field in message.fields}
