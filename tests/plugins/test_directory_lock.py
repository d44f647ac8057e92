"""The lock on a directory: it excludes this process and others, and survives files that killed processes left."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paxospp.errors import ConfigError, LockedError
from paxospp.storage import lock_directory, make_directory

CHILD_TIMEOUT_S = 60

HOLD = """
import sys
from paxospp.storage import lock_directory
lock = lock_directory(sys.argv[1])
print("held", flush=True)
sys.stdin.read(1)
"""


def holding_child(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_opener_in_this_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = lock_directory(str(tmp_path / "a"))
    with pytest.raises(LockedError, match=str(os.getpid())):
        lock_directory(str(tmp_path / "a"))
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(LockedError):
        lock_directory(str(tmp_path / "b"))
    first.release()
    first.release()
    with lock_directory(str(tmp_path / "a")):
        pass
    lock_directory(str(tmp_path / "a")).release()


def test_the_error_names_the_process_that_holds_it_and_pickles(tmp_path: Path) -> None:
    with holding_child(tmp_path) as child:
        with pytest.raises(LockedError) as caught:
            lock_directory(str(tmp_path))
        child.communicate("x", timeout=CHILD_TIMEOUT_S)
    assert str(child.pid) in caught.value.holder
    assert pickle.loads(pickle.dumps(caught.value)).holder == caught.value.holder
    lock_directory(str(tmp_path)).release()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with holding_child(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(CHILD_TIMEOUT_S)
    lock_directory(str(tmp_path)).release()


def test_a_note_left_by_a_dead_holder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("process 1 of long ago, with a long name" * 5)
    with lock_directory(str(tmp_path)), pytest.raises(LockedError) as caught:
        lock_directory(str(tmp_path))
    assert f"process {os.getpid()}" in caught.value.holder
    assert "long ago" not in caught.value.holder


def test_directories_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    make_directory(str(tmp_path / "a" / "b" / "c"))
    for directory in ("a", "a/b", "a/b/c"):
        assert (tmp_path / directory).stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_a_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="file"):
            lock_directory(str(path))
    assert (tmp_path / "file").read_text() == "mine"


def test_the_name_of_an_existing_directory_is_made_durable_too(tmp_path: Path, synced_paths: list[str]) -> None:
    """Its creator may have been killed before the sync, and a power cut would remove it with everything in it."""
    (tmp_path / "a").mkdir()

    make_directory(str(tmp_path / "a"))
    make_directory(str(tmp_path / "a" / "b" / "c"))

    assert synced_paths == [str(tmp_path), str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
