"""Every code block of the documents that users copy from, executed.

A block runs in a fresh directory in a process of its own: bash by ``bash -e``, python by this
Python. ``# → text`` at the end of a line promises a line of output. Ports 7001 to 7009 are
replaced by free ones. An HTML comment on the line above a block says what else to do with it:

    <!-- file: NAME -->              a file that the blocks after it find in their directory
    <!-- test: compile; why -->      python that needs what the tests do not install
    <!-- test: elsewhere; where -->  it runs in another test, or in .ci/run

Other languages (text, toml, a fence without one) are not executed.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "plugins/README.md"]
LANGUAGES = {"bash", "python"}
BLOCK = re.compile(
    r"(?:^<!-- (?P<what>\w+): (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
PROMISE = re.compile(r"# → (.*)$", re.MULTILINE)
PORT = re.compile(r"\b700[1-9]\b")
SECONDS_MAX = 60


@dataclass(frozen=True)
class Block:
    """One fenced block, and the files that stand in its directory."""

    where: str
    language: str
    code: str
    treatment: str
    files: dict[str, str] = field(default_factory=dict)


def blocks(document: str) -> list[Block]:
    path = ROOT / document
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    files: dict[str, str] = {}
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] not in LANGUAGES:
            continue
        line = text.count("\n", 0, match.start("code"))
        what, note, code = match["what"], match["note"] or "", match["code"]
        treatment = note.partition(";")[0] if what == "test" else what or "run"
        assert treatment in {"run", "compile", "elsewhere", "file"}, f"{document}:{line}: what is {treatment!r}?"
        found.append(Block(f"{document}:{line}", match["language"], code, treatment, dict(files)))
        if what == "file":
            files[note] = code
    return found


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda block: block.where)
def test_python_blocks_compile(block: Block) -> None:
    # A piece of an async function may stand alone, where it is only compiled.
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if block.treatment == "compile" else 0
    compile(block.code, block.where, "exec", flags)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.treatment in {"run", "file"}], ids=lambda block: block.where)
def test_a_block_runs_and_prints_what_it_promises(block: Block, tmp_path: Path) -> None:
    for name, code in block.files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")

    exit_code, output = run(block.language, with_free_ports(block.code), tmp_path)

    assert exit_code == 0, output
    assert promised(block.code) == [line for line in output.splitlines() if line in promised(block.code)], output


def test_the_two_commands_stand_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    for last in ("paxospp demo", "pytest"):
        assert f"\npython3 -m venv .venv && .venv/bin/pip install -q -e '.[rocksdb,test]' && .venv/bin/{last}\n" in text


def test_files_that_the_readme_points_to_are_there() -> None:
    for document in DOCUMENTS:
        if (ROOT / document).exists():
            for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text(encoding="utf-8")):
                assert ((ROOT / document).parent / target).exists(), f"{document} points to {target}"


def promised(code: str) -> list[str]:
    return [promise.strip() for promise in PROMISE.findall(code)]


def with_free_ports(code: str) -> str:
    with_port: dict[str, str] = {}
    sockets = []
    for port in sorted(set(PORT.findall(code))):
        sockets.append(socket.create_server(("127.0.0.1", 0)))  # held until all are drawn
        with_port[port] = str(sockets[-1].getsockname()[1])
    for drawn in sockets:
        drawn.close()
    return PORT.sub(lambda match: with_port[match[0]], code)


def run(language: str, code: str, directory: Path) -> tuple[int, str]:
    """Run ``code``; whatever it leaves running in its process group ends with it."""
    script = directory / f"block.{language}"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script)] if language == "python" else ["bash", "-e", str(script)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    log = directory / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            exit_code = -1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return exit_code, log.read_text(encoding="utf-8", errors="replace")
