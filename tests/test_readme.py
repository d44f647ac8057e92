"""Run every code block of every document, and compare tables and pictures with the code they describe.

A block runs in a fresh directory and in a process of its own: bash with ``bash -e``, python with this interpreter.
``# → text`` at the end of a line promises that line of output. Ports 7001 to 7009 are replaced by free ones. An HTML
comment on the line above a block says how to treat it:

    <!-- file: NAME -->              run it, and save it as NAME for the blocks below; files of README.md are
                                     available to the blocks of all other documents
    <!-- test: compile; why -->      python that cannot run here, so it is only compiled
    <!-- test: elsewhere; where -->  another test or .ci/run runs it, or it takes too long

Blocks in other languages (text, toml, none) do not run.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

import paxospp
from paxospp.cli.arguments import exit_code_of, parser

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "examples" / "pictures"
REFERENCE = "paxospp/README.md"
LANGUAGES = {"bash", "python"}
BLOCK = re.compile(
    r"(?:^<!-- (?P<what>\w+): (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
PROMISE = re.compile(r"# → (.*)$", re.MULTILINE)
PORT = re.compile(r"\b700[1-9]\b")
SECONDS_MAX = 60


@dataclass(frozen=True)
class Block:
    """One fenced block of code, and the files in its directory when it runs."""

    where: str
    language: str
    code: str
    treatment: str
    files: dict[str, str] = field(default_factory=dict)


def documents() -> Iterator[str]:
    """Yield README.md and then every other document except the changelog, whose blocks were true once."""
    yield "README.md"
    for directory, below, names in os.walk(ROOT):
        # Hidden directories, virtual environments and builds contain copies, or documents of other projects.
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".")
            and name not in {"build", "dist", "node_modules"}
            and not (Path(directory) / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            document = (Path(directory) / name).relative_to(ROOT).as_posix()
            if name.endswith(".md") and document not in {"README.md", "CHANGELOG.md"}:
                yield document


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, files: Mapping[str, str]) -> list[Block]:
    """Return the bash and python blocks of ``document``; ``files`` exist before the first one runs."""
    text = text_of(document)
    files = dict(files)
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] not in LANGUAGES:
            continue
        line = text.count("\n", 0, match.start("code"))
        what, note, code = match["what"], match["note"] or "", match["code"]
        treatment = note.partition(";")[0] if what == "test" else what or "run"
        assert treatment in {"run", "compile", "elsewhere", "file"}, f"{document}:{line}: unknown comment {treatment!r}"
        found.append(Block(f"{document}:{line}", match["language"], code, treatment, dict(files)))
        if what == "file":
            files[note] = code
    return found


DOCUMENTS = list(documents())
FIRST_BLOCKS = blocks("README.md", {})
FIRST_FILES = FIRST_BLOCKS[-1].files
BLOCKS = [*FIRST_BLOCKS, *(block for document in DOCUMENTS[1:] for block in blocks(document, FIRST_FILES))]


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


def test_the_readme_shows_the_two_commands_and_stays_short() -> None:
    text = text_of("README.md")

    for last in ("paxospp demo", "pytest"):
        assert f"\npython3 -m venv .venv && .venv/bin/pip install -q -e '.[rocksdb,test]' && .venv/bin/{last}\n" in text
    assert text.count("\n") < 200


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_target_of_every_link_exists(document: str) -> None:
    for path, _, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(#([^)]+))?\)", text_of(document)):
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document} points to {path}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{document} points to {path}#{anchor}"


def test_the_reference_lists_every_setting_with_its_unit_and_default() -> None:
    units = {"_s": "seconds", "_bytes_max": "bytes", "_slots_max": "slots", "_calls_max": "calls", "alpha": "slots"}
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| \w[^|]+ \|$", section("Settings"), re.MULTILINE)

    assert [(name, unit, number(default)) for name, unit, default in listed] == [
        (setting.name, next(units[end] for end in units if setting.name.endswith(end)), setting.default)
        for setting in fields(paxospp.NodeConfig)
    ]


def test_the_reference_lists_every_command_and_only_flags_that_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| `paxospp (\w+)[^`]*` \| [^|]+ \| ([^|]+) \|$", section("The command line"), re.MULTILINE)
    rows.append(("bench", " ".join(re.findall(r"^\| (`--[^|]+)", section("Benchmarks"), re.MULTILINE))))

    assert {command for command, _ in rows} == set(re.findall(r"^    (\w+)  ", parser().format_help(), re.MULTILINE))
    for command, flags in rows:
        with pytest.raises(SystemExit):
            parser().parse_args([command, "--help"])
        known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert set(re.findall(r"--[\w-]+", flags)) <= known, command


def test_the_reference_says_with_which_code_each_error_ends() -> None:
    listed = re.findall(r"^\| `(\w+Error)\b[^|]*\| [^|]+ \| (\d) \|$", section("Guarantees and errors"), re.MULTILINE)

    assert {name for name, _ in listed} >= {kind.__name__ for kind in paxospp.CallError.__subclasses__()}
    for name, code in listed:
        kind = getattr(paxospp, name)
        assert exit_code_of(kind.__new__(kind)) == int(code), name


def test_the_diagram_is_what_its_script_draws() -> None:
    drawn = runpy.run_path(str(PICTURES / "draw_cluster.py"))["draw"]()

    assert (PICTURES / "cluster.svg").read_text(encoding="utf-8") == drawn, "run examples/pictures/draw_cluster.py"
    ElementTree.fromstring(drawn)


def test_the_picture_of_the_demo_shows_what_a_demo_prints() -> None:
    """The picture shows the figures of one run, so only its phrases are checked, and its script with other output."""
    output = "killed n1, the leader, with SIGKILL and 3 writes in flight\nall 7 values were read back\n"
    drawn = runpy.run_path(str(PICTURES / "record_demo.py"))["picture"](output)

    assert shown(drawn).split("\n")[:3] == ["paxospp demo", "$ paxospp demo", output.split("\n")[0]]
    recorded = shown((PICTURES / "demo.svg").read_text(encoding="utf-8"))
    for line in (
        "is the leader",
        "with SIGKILL",
        "writes were interrupted",
        "caught up",
        "read back from each of the 3 nodes",
    ):
        assert line in recorded


def section(title: str) -> str:
    """Return the text of one section of the reference, with its subsections."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text_of(REFERENCE), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{REFERENCE} has no section {title!r}"
    return found[1]


def anchors(text: str) -> set[str]:
    """Return the anchors that links use for the headings of ``text``."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def number(text: str) -> float:
    """Return ``8 MiB``, ``16,384`` or ``0.4`` as a number."""
    digits, _, unit = text.replace(",", "").partition(" ")
    return float(digits) * {"": 1, "MiB": 1 << 20}[unit]


def shown(svg: str) -> str:
    """Return the lines of text in a picture."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    lines = ["".join(text.itertext()).replace("\u00a0", " ").strip() for text in texts]
    return "\n".join(line for line in lines if line)


def promised(code: str) -> list[str]:
    return [promise.strip() for promise in PROMISE.findall(code)]


def with_free_ports(code: str) -> str:
    with_port: dict[str, str] = {}
    sockets = []
    for port in sorted(set(PORT.findall(code))):
        sockets.append(socket.create_server(("127.0.0.1", 0)))  # kept open until every port is drawn
        with_port[port] = str(sockets[-1].getsockname()[1])
    for drawn in sockets:
        drawn.close()
    return PORT.sub(lambda match: with_port[match[0]], code)


def run(language: str, code: str, directory: Path) -> tuple[int, str]:
    """Run ``code``, kill the processes that it left running, and return its exit code and output."""
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
