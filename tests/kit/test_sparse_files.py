"""Sparse files of many GiB take the kit little time and memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from paxospp.testing.power_cut import trace_available
from paxospp.testing.power_cut.content import PAGE, Content, copy_file
from paxospp.testing.storage_suite.file_damage import copy_store, flip_needle, flips, holes, space_of

HUGE = 4 << 30
MEMORY_BYTES_MAX = 256 << 20


def test_a_content_does_what_a_bytearray_does() -> None:
    chance = random.Random(1)
    content, model = Content(), bytearray()
    for _ in range(2000):
        at, size = chance.randrange(5 * PAGE), chance.choice([0, 1, 40, 513, PAGE, 2 * PAGE + 7])
        match chance.randrange(4):
            case 0:
                content.resize(at)
                del model[at:]
                model.extend(bytes(at - len(model)))
            case 1 if len(model) > at:
                end = min(at + size, len(model))
                content = content.cut(at, end)
                del model[at:end]
            case _:
                data = bytes(size) if chance.random() < 0.3 else chance.randbytes(size)
                content.write(at, data)
                model.extend(bytes(max(at - len(model), 0)))
                model[at : at + size] = data
        assert bytes(content) == model
        assert content.read(at, 100) == model[at : at + 100]
        assert (content == Content(bytes(model)), content.size) == (True, len(model))
        assert hash(content) == hash(Content(bytes(model)))
        assert all(model[start : start + len(data)] == data for start, data in content.runs())


def test_a_file_comes_back_with_its_holes(tmp_path: Path) -> None:
    content = Content(b"begin")
    content.write(HUGE - 3, b"end")

    content.to_file(tmp_path / "one")
    copy_file(str(tmp_path / "one"), str(tmp_path / "two"))

    for name in ("one", "two"):
        assert (tmp_path / name).stat().st_size == HUGE
        assert Content.of_file(tmp_path / name) == content
    assert space_of(tmp_path) <= 8 * PAGE


def test_damage_to_a_huge_sparse_file_meets_what_is_written_in_it(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    content = Content(b"begin" * 20)
    content.write(HUGE - 200, b"needle" * 20)
    content.resize(HUGE)
    content.to_file(tmp_path / "store" / "log")
    chance = random.Random(1)

    damages = [*flips(tmp_path / "store", "log", 16, chance), *holes(tmp_path / "store", "log", 4, chance)]
    changed = 0
    for number, damage in enumerate(damages):
        place = tmp_path / str(number) / "store"
        copy_store(tmp_path / "store", place)
        damage.do(place)
        after = Content.of_file(place / "log") if (place / "log").exists() else None
        changed += after != content
    assert changed >= len(damages) - 2  # the flips into the padding may have met the same bit twice
    assert flip_needle(tmp_path / "store", b"needle" * 20) == 1


@pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")
def test_recording_a_huge_sparse_file_takes_little_memory(tmp_path: Path) -> None:
    """Record in a process with limited memory."""
    child = """
        import os, sys
        os.chdir(sys.argv[1])
        log = os.open("log", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(log, 4 << 30)
        for number in range(20):
            os.pwrite(log, b"%d" % number * 50, number * 200 << 20)
            os.fsync(log)
        os.write(1, b"done")
    """
    kit = """
        import random, resource, sys
        from pathlib import Path
        from paxospp.testing.power_cut import record
        limit = int(sys.argv[3])
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        directory = Path(sys.argv[1])
        recording = record([sys.executable, "-c", sys.argv[2], str(directory)], directory)
        assert recording.unseen == (), recording.unseen
        states = list(recording.states(random.Random(1), 100))
        for state in states:
            state.write_to(directory.parent / "cut")
        print(len(states), max(left.content.size for state in states for left in state.left))
    """
    (tmp_path / "store").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", dedent(kit), str(tmp_path / "store"), dedent(child), str(MEMORY_BYTES_MAX)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stderr
    states, longest = done.stdout.split()
    assert int(states) >= 20
    assert int(longest) == HUGE
