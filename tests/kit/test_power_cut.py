"""Power cuts find the faults of stores known to be bad, and none in a store known to be good."""

from __future__ import annotations

import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from paxospp.testing.power_cut import (
    Fault,
    PowerCutState,
    Recording,
    count_calls,
    fast_directory,
    inject,
    limited,
    record,
    trace_available,
)

pytestmark = pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")

APPEND = """
    import os, sys, threading, zlib
    from paxospp.testing.power_cut import acknowledge, mark, offer

    os.chdir(sys.argv[1])

    def open_file(name, flags=0):
        return os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o600)

    def line(number):
        body = b"%d " % number * (number * 37 % 400)
        return b"%08x %6d %d " % (zlib.crc32(body), len(body), number) + body + b"\\n"

    def sync_directory(path="."):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
"""


@pytest.fixture
def ram() -> Iterator[Path]:
    with fast_directory() as directory:
        yield directory


def run(ram: Path, code: str, **options: object) -> Recording:
    """Record a child whose script begins with ``APPEND``."""
    (ram / "store").mkdir(exist_ok=True)
    recording = record(
        [sys.executable, "-c", dedent(APPEND) + dedent(code), str(ram / "store")],
        ram / "store",
        **options,  # type: ignore[arg-type]
    )
    assert recording.ended.exit_code in (0, -9), recording.ended.output
    assert recording.unseen == ()
    return recording


def read_lines(path: Path) -> list[int]:
    """Return the numbers of the whole lines, from the first on."""
    found: list[int] = []
    data = path.read_bytes() if path.exists() else b""
    while (head := data[:16].split()) and len(head) >= 2:
        try:
            checksum, size = int(head[0], 16), int(head[1])
        except ValueError:
            break
        number, _, rest = data[16:].partition(b" ")
        if zlib.crc32(rest[:size]) != checksum or len(rest) < size + 1 or not number.isdigit():
            break
        found.append(int(number))
        data = rest[size + 1 :]
    return found


def wrong(
    ram: Path, recording: Recording, last: Callable[[Path], int], count: int = 300, names_follow_syncs: bool = False
) -> list[PowerCutState]:
    """Return the states in which an acknowledged number is missing, or one is there that was not offered."""
    found = []
    for state in recording.states(random.Random(1), count, names_follow_syncs=names_follow_syncs):
        state.write_to(ram / "cut")
        if not (state.acknowledged or 0) <= last(ram / "cut") <= (state.offered or 0):
            found.append(state)
    return found


def last_line(directory: Path) -> int:
    lines = read_lines(directory / "log")
    assert lines == list(range(1, len(lines) + 1))
    return len(lines)


GOOD = """
    log = open_file("log", os.O_APPEND)
    sync_directory()
    for number in range(1, 41):
        offer(number)
        os.write(log, line(number))
        os.fdatasync(log)
        acknowledge(number)
"""


def test_nothing_is_found_in_a_log_that_syncs_each_line(ram: Path) -> None:
    recording = run(ram, GOOD)

    assert wrong(ram, recording, last_line) == []
    assert [recording.syncs_between(f"offer {n}", f"ack {n}") for n in range(1, 41)] == [1] * 40


def test_a_log_that_is_not_synced_is_found(ram: Path) -> None:
    recording = run(ram, GOOD.replace("os.fdatasync(log)", "pass"))

    found = wrong(ram, recording, last_line)

    assert len(found) > 200
    assert recording.syncs_between("offer 1", "ack 1") == 0
    assert any("ack" in step for step in found[0].story)


def test_a_sync_of_the_wrong_file_is_found(ram: Path) -> None:
    recording = run(ram, "    other = open_file('other')\n" + GOOD.replace("os.fdatasync(log)", "os.fdatasync(other)"))

    assert len(wrong(ram, recording, last_line)) > 100
    assert recording.syncs_between("offer 1", "ack 1") == 1


def test_a_directory_that_is_not_synced_is_found_unless_syncs_carry_names(ram: Path) -> None:
    recording = run(ram, GOOD.replace("sync_directory()", ""))

    assert len(wrong(ram, recording, last_line)) > 20
    assert wrong(ram, recording, last_line, names_follow_syncs=True) == []


RENAME = """
    for number in range(1, 31):
        offer(number)
        new = open_file("log.new", os.O_TRUNC)
        os.write(new, b"".join(line(n) for n in range(1, number + 1)))
        os.fsync(new)
        os.close(new)
        os.rename("log.new", "log")
        sync_directory()
        acknowledge(number)
"""


def test_nothing_is_found_in_a_file_that_is_renamed_into_place_and_synced(ram: Path) -> None:
    assert wrong(ram, run(ram, RENAME), last_line) == []


@pytest.mark.parametrize("forgotten", ["sync_directory()", "os.fsync(new)"])
def test_a_rename_without_one_of_its_two_syncs_is_found(ram: Path, forgotten: str) -> None:
    assert len(wrong(ram, run(ram, RENAME.replace(forgotten, "pass")), last_line)) > 10


TWO_FILES = """
    log, count = open_file("log", os.O_APPEND), open_file("count")
    sync_directory()
    for number in range(1, 31):
        offer(number)
        os.write(log, line(number))
        os.fsync(log)
        os.pwrite(count, b"%4d" % number, 0)
        os.fsync(count)
        acknowledge(number)
"""


def test_two_files_where_one_must_be_atomic_are_found(ram: Path) -> None:
    recording = run(ram, TWO_FILES)

    torn = []
    for state in recording.states(random.Random(1), 300):
        state.write_to(ram / "cut")
        count = (ram / "cut" / "count").read_bytes() if (ram / "cut" / "count").exists() else b""
        if int(count.strip(b"\0") or b"0") != last_line(ram / "cut"):
            torn.append(state)

    assert torn
    assert wrong(ram, recording, last_line) == []  # each file alone keeps its promises


def test_what_is_written_by_threads_children_and_every_kind_of_call_is_seen(ram: Path) -> None:
    """``run`` asserts that nothing is unseen: the end of the recording equals the directory."""
    recording = run(
        ram,
        """
        open("outside-copy", "wb").close()
        os.makedirs("a/b")
        log = open_file("a/log")
        def write(thread):
            own = open_file(f"a/b/{thread}")
            for number in range(20):
                os.pwrite(log, bytes([thread]) * 700, (thread * 20 + number) * 700)
                os.write(own, bytes([number]) * 3)
                os.fsync(own)
        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        if os.fork() == 0:
            os.lseek(log, 5, os.SEEK_SET)
            os.write(log, b"child")
            os._exit(0)
        os.wait()
        os.write(log, b"goes on where the child ended")
        twin = os.dup(log)
        os.read(twin, 3)
        os.write(log, b"after a read")
        os.writev(log, [b"two ", b"pieces"])
        os.pwritev(log, [b"two ", b"more"], 9)
        os.posix_fallocate(log, 100000, 5000)
        os.truncate("a/log", 99999)
        os.ftruncate(log, 99000)
        with open("made", "w+b") as made, open("a/log", "rb") as source:
            source.seek(11)
            made.write(b"x" * 100)
            made.flush()
            os.lseek(source.fileno(), 13800, 0)
            os.lseek(made.fileno(), 100, 0)
            os.sendfile(made.fileno(), source.fileno(), None, 5000)
            os.sendfile(made.fileno(), source.fileno(), None, 700)
            os.copy_file_range(source.fileno(), made.fileno(), 4000)
        os.link("made", "a/twin")
        os.symlink("made", "alias")
        os.rename("a", "moved")
        os.rename("moved/b", "b")
        os.write(log, b"by a descriptor whose path has changed")
        os.mkdir("gone")
        os.rmdir("gone")
        os.unlink("b/3")
        gone = open_file("never")
        os.unlink("never")
        os.write(gone, b"never seen")
        os.write(open_file("moved/log", os.O_APPEND), b"the end")
        os.pwrite(open_file("moved/log", os.O_APPEND), b"appended, whatever the offset", 3)
        opened = []
        def open_and_write():
            opened.append(open_file("by-thread"))
            os.write(opened[0], b"0123456789")
        opener = threading.Thread(target=open_and_write)
        opener.start()
        opener.join()
        os.lseek(opened[0], 3, os.SEEK_SET)
        os.write(opened[0], b"x")
        os.link("made", "second-name")
        os.rename("made", "second-name")  # does nothing: they are one file
        directory = os.open("moved", os.O_RDONLY)
        os.rename("twin", "twin-2", src_dir_fd=directory, dst_dir_fd=directory)
        os.write(open_file("cut"), b"until it is cut")
        os.close(os.open("cut", os.O_WRONLY | os.O_TRUNC))
        os.write(os.open("made", os.O_WRONLY | os.O_DSYNC), b"synced")
        """,
    )

    assert any("sync made" in str(event) for event in recording.events)
    everything = list(recording.states(random.Random(1), 100))
    assert all(state.acknowledged is None for state in everything)


def test_shared_mappings_are_named_as_unseen(ram: Path) -> None:
    (ram / "store").mkdir()
    code = """
        import mmap
        file = open("mapped", "w+b")
        file.truncate(4096)
        mmap.mmap(file.fileno(), 4096)[0:5] = b"unseen"[:5]
        open("plain", "wb").write(b"seen")
    """
    recording = record([sys.executable, "-c", dedent(APPEND) + dedent(code), str(ram / "store")], ram / "store")

    assert recording.ended.exit_code == 0, recording.ended.output
    assert recording.unseen == ("mapped",)


def test_a_state_is_shown_with_other_bytes_in_a_mapped_file_and_without_it(ram: Path) -> None:
    (ram / "store").mkdir()
    code = """
        import mmap
        file = open("mapped.new", "w+b")
        file.truncate(4096)
        os.fsync(file.fileno())
        view = mmap.mmap(file.fileno(), 4096)
        os.rename("mapped.new", "mapped")
        sync_directory()
        acknowledge(1)
        view[0:6] = b"unseen"
    """
    recording = record([sys.executable, "-c", dedent(APPEND) + dedent(code), str(ram / "store")], ram / "store")
    state = recording.at("ack 1")

    latest, absent = recording.without_trust(state, ["mapped"])

    assert recording.mapped.keys() == {"mapped.new", "mapped"}
    assert recording.path_at_the_end("mapped.new") == "mapped"
    assert [(left.path, bytes(left.content)) for left in state.left] == [("mapped", bytes(4096))]
    assert [(left.path, bytes(left.content)) for left in latest.left] == [("mapped", b"unseen" + bytes(4090))]
    assert absent.left == ()


def test_a_kill_between_write_and_sync_and_then_a_power_cut(ram: Path) -> None:
    """Data that one process left unsynced is still unsynced when the next process opens the store."""
    first = run(ram, GOOD, fault=Fault(syscall="fdatasync", signal="SIGKILL", when="5"))
    assert first.ended.exit_code == -9
    assert first.marks[-1] == "offer 5"

    find = "    found = os.read(open_file('log'), 100000).count(b'\\n')\n"
    trusting = run(ram, find + "    offer(found); acknowledge(found)\n", after=first)

    assert last_line(ram / "store") == 5
    assert wrong(ram, trusting, last_line) != []


def test_a_sync_that_comes_after_a_failed_one_makes_nothing_durable(ram: Path) -> None:
    """Linux marks pages as clean when a sync fails, so the store must not continue."""
    retried = GOOD.replace(
        "os.fdatasync(log)",
        """
        try:
            os.fdatasync(log)
        except OSError:
            os.fdatasync(log)""",
    )
    recording = run(ram, retried, fault=Fault(syscall="fdatasync", error="EIO", when="7"))

    assert wrong(ram, recording, last_line) != []


def test_a_child_is_given_errors_of_chosen_calls_on_chosen_files(ram: Path) -> None:
    recording = run(ram, GOOD)
    for path in (ram / "store").iterdir():
        path.unlink()
    child = [sys.executable, "-c", dedent(APPEND) + dedent(GOOD), str(ram / "store")]

    full = inject(child, Fault(syscall="write", error="ENOSPC", when="4+"), paths=recording.paths)
    failed = inject(child, Fault(syscall="fsync,fdatasync", error="EIO", when="3"), paths=recording.paths)

    assert (full.exit_code, full.marks[-1]) == (1, "offer 4")
    assert "No space left on device" in full.output
    assert (failed.exit_code, failed.marks[-1]) == (1, "offer 3")


@pytest.mark.parametrize(("when", "said"), [("1", ()), ("2", ("loaded",)), ("3", None)])
def test_it_is_told_how_far_a_child_was_when_a_call_failed(ram: Path, when: str, said: tuple[str, ...] | None) -> None:
    file = ram / "file"
    file.write_bytes(b"one two")
    code = """
        file = open_file("file")
        for _ in range(2):
            try:
                os.read(file, 3)
            except OSError:
                pass
            os.write(file, b"!")
            mark("loaded")
    """
    child = [sys.executable, "-c", dedent(APPEND) + dedent(code), str(ram)]

    ended = inject(child, Fault(syscall="read", error="EIO", when=when), paths=[str(file)], follow_marks=True)

    assert (ended.exit_code, ended.said_before_fault) == (0, said)


def test_a_short_write_is_recorded_as_short(ram: Path) -> None:
    child = [sys.executable, "-c", dedent(APPEND) + dedent(GOOD), str(ram / "store")]
    (ram / "store").mkdir()

    recording = record(limited(child, 3000), ram / "store")

    assert "File too large" in recording.ended.output
    assert recording.unseen == ()
    assert (ram / "store" / "log").stat().st_size == 3000
    assert wrong(ram, recording, last_line)  # the child takes no notice of the first, short one


def test_right_after_a_mark_nothing_is_left_but_what_was_synced(ram: Path) -> None:
    recording = run(ram, GOOD)

    for number in (1, 5, 20):
        for mark in (f"ack {number}", f"offer {number + 1}"):
            state = recording.at(mark)
            state.write_to(ram / "cut")
            assert (state.acknowledged, last_line(ram / "cut")) == (number, number)
    with pytest.raises(ValueError, match="does not have the mark"):
        recording.at("ack 99")


def test_calls_are_counted_by_name_in_the_thread_that_makes_most_of_them(ram: Path) -> None:
    recording = run(ram, GOOD)
    child = [sys.executable, "-c", dedent(APPEND) + dedent(GOOD), str(ram / "store")]
    for path in (ram / "store").iterdir():
        path.unlink()

    ended, counts = count_calls(child, ["fdatasync", "pread64"], paths=recording.paths)

    assert ended.exit_code == 0, ended.output
    assert counts["fdatasync"] == recording.calls["fdatasync"] == sum("ack" in mark for mark in recording.marks)
    assert counts["pread64"] == 0


def test_a_delayed_sync_is_made_and_returns_later(ram: Path) -> None:
    slow = Fault(syscall="fdatasync", delay_ms=30, when="1+")
    begun = time.monotonic()

    recording = run(ram, GOOD, fault=slow)

    syncs = recording.calls["fdatasync"]
    assert time.monotonic() - begun >= 0.03 * syncs
    assert wrong(ram, recording, last_line, count=50) == []


def test_the_same_seed_gives_the_same_states(ram: Path) -> None:
    recording = run(ram, TWO_FILES)

    first, again = (list(recording.states(random.Random(7), 50)) for _ in range(2))

    assert first == again
    assert len(first) == 50
    assert len({(state.acknowledged, state.offered, state.left) for state in first}) == 50


def test_states_can_be_asked_for_between_two_marks_and_come_from_all_moments_there(ram: Path) -> None:
    recording = run(ram, TWO_FILES)

    states = list(recording.states(random.Random(7), 40, since="ack 3", until="offer 20"))

    assert {state.acknowledged for state in states} <= set(range(3, 20))
    assert len({state.acknowledged for state in states[:10]}) > 3
    moments = {state.moment for state in recording.states(random.Random(7), 2000)}
    assert len(moments) > 0.7 * len(recording.events)
    with pytest.raises(ValueError, match="does not have the mark"):
        next(recording.states(random.Random(7), 40, since="ack 99"))


def test_a_state_is_written_as_it_is_told(ram: Path) -> None:
    recording = run(
        ram,
        """
        os.mkdir("sub")
        file = open_file("sub/file")
        os.write(file, b"content")
        os.link("sub/file", "twin")
        os.symlink("twin", "alias")
        os.fsync(file)
        os.sync()
        """,
    )
    state = max(recording.states(random.Random(1), 60), key=lambda state: (len(state.left), state.moment))

    (ram / "cut").mkdir()
    (ram / "cut" / "stale").touch()
    state.write_to(ram / "cut")

    assert sorted(os.listdir(ram / "cut")) == ["alias", "sub", "twin"]
    assert (ram / "cut" / "sub" / "file").read_bytes() == b"content"
    assert (ram / "cut" / "twin").samefile(ram / "cut" / "sub" / "file")
    assert os.readlink(ram / "cut" / "alias") == "twin"
