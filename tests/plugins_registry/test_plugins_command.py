"""``paxospp plugins``: the table is complete even if plug-ins are broken; what it says of problems, and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paxospp.cli import main
from tests.plugins_registry.installing import install

STORE = """
import paxospp

class Store(paxospp.KeyValueStorage):
    pass

@paxospp.hookimpl
def paxospp_storages():
    return [paxospp.StorageBackend({backend})]
"""


class Listing:
    """The output of the command: the rows of the table, the notes below it, and the exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *plugins: str) -> None:
        self.code = main(["plugins", *(word for plugin in plugins for word in ("--plugin", plugin))])
        self.output = capsys.readouterr().out
        table, *self.notes = self.output.strip().split("\n\n")
        head, *rows = table.splitlines()
        self.rows = [tuple(row[at:].split("  ")[0].strip() for at in columns_of(head)) for row in rows]

    def states(self, plugin: str) -> dict[str, str]:
        """Return the state of each thing that ``plugin`` offers."""
        return {offers: state for name, _, offers, state, _ in self.rows if name == plugin}


def columns_of(head: str) -> list[int]:
    return [head.index(column) for column in ("plug-in", "from", "offers", "state", "what it is")]


def store(scheme: str, more: str = "") -> str:
    return STORE.format(backend=f"{scheme!r}, Store, 'a store of mine'{more}")


def test_the_plug_ins_of_paxospp_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    told = Listing(capsys)

    assert told.states("file") == {"storage file:": "ok"}
    assert told.states("memory") == {"storage memory:": "ok"}
    assert told.states("machines") == {"state machine kv": "ok"}
    assert list(told.states("rocksdb")) == ["storage rocksdb:"]


def test_two_plug_ins_with_the_same_scheme_are_both_marked_and_hide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "a", "one_store", store("doubled"), monkeypatch)
    more = "paxospp.StorageBackend('single', Store, ''), paxospp.StorageBackend("
    install(tmp_path / "b", "other_store", store("doubled").replace("paxospp.StorageBackend(", more, 1), monkeypatch)

    told = Listing(capsys)

    assert told.code == 1
    assert told.states("one_store") == {"storage doubled:": "conflict"}
    assert told.states("other_store") == {"storage single:": "ok", "storage doubled:": "conflict"}
    assert told.states("file") == {"storage file:": "ok"}
    assert told.states("machines") == {"state machine kv": "ok"}
    (note,) = [note for note in told.notes if "doubled" in note]
    assert note == (
        "the storage scheme 'doubled' is offered by 'one_store' (one_store-dist 2.0) and 'other_store' "
        "(other_store-dist 2.0), so it cannot be used: uninstall one of them, leave it out of --plugin, or rename its "
        "storage scheme"
    )


def test_a_given_plug_in_with_the_names_of_an_installed_one_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    machine = "paxospp_state_machines():\n    return [paxospp.MachineType('kv', paxospp.StateMachine, 'mine')]\n"
    mine.write_text(f"{store('file')}\n@paxospp.hookimpl\ndef {machine}")

    told = Listing(capsys, str(mine))

    assert told.code == 1
    assert told.states(str(mine)) == {"storage file:": "conflict", "state machine kv": "conflict"}
    assert told.states("file") == {"storage file:": "conflict"}
    assert told.states("machines") == {"state machine kv": "conflict"}
    assert told.states("memory") == {"storage memory:": "ok"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import a_module_that_is_absent", "line 1: ModuleNotFoundError: No module named 'a_module_that_is_absent'"),
        (store("mine").replace("paxospp_storages", "paxospp_storage"), "Did you mean 'paxospp_storages'?"),
        (store("mine").replace("@paxospp.hookimpl", ""), "mark its paxospp_storages with @paxospp.hookimpl"),
    ],
)
def test_a_broken_plug_in_is_explained_whether_installed_or_given(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "a", "broken_store", text, monkeypatch)
    (tmp_path / "given.py").write_text(text)

    told = Listing(capsys, str(tmp_path / "given.py"))

    assert told.code == 1
    assert told.states("broken_store") == told.states(str(tmp_path / "given.py")) == {"": "broken"}
    assert sum(says in note for note in told.notes) == 2
    assert told.states("file") == {"storage file:": "ok"}


def test_a_scheme_for_a_later_contract_is_broken_and_others_of_the_plug_in_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = store("late", ", contract=99), paxospp.StorageBackend('mine', Store, ''")
    install(tmp_path, "late_store", both, monkeypatch)

    told = Listing(capsys)

    assert told.code == 1
    assert told.states("late_store") == {"storage late:": "broken", "storage mine:": "ok"}
    assert any("written for storage contract 99" in note for note in told.notes)


DRIVEN = store("driven", ", drivers=['a_driver_that_is_absent.native']")


def test_a_scheme_whose_driver_is_not_installed_is_unavailable_and_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "driven_store", DRIVEN, monkeypatch, extra="driven")

    told = Listing(capsys)

    assert told.code == 0
    assert told.states("driven_store") == {"storage driven:": "unavailable"}
    assert (
        "the storage scheme 'driven' of the plug-in 'driven_store' (driven_store-dist 2.0) needs "
        "a_driver_that_is_absent.native, which is not installed: pip install 'driven_store-dist[driven]'"
    ) in told.notes


def test_rocksdb_without_its_driver_is_unavailable_and_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)  # as if it were not installed

    told = Listing(capsys)

    assert told.code == 0
    assert told.states("rocksdb") == {"storage rocksdb:": "unavailable"}
    assert [note.rpartition("needs ")[2] for note in told.notes] == [
        "rocksdict, which is not installed: pip install 'paxospp[rocksdb]'"
    ]


def test_a_missing_driver_is_a_failure_for_a_plug_in_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "driven_store", DRIVEN, monkeypatch)

    told = Listing(capsys, "driven_store")

    assert told.code == 1
    assert told.states("driven_store") == {"storage driven:": "unavailable"}
    assert any(note.endswith("which is not installed: install it") for note in told.notes)


def test_a_driver_that_is_installed_and_cannot_be_imported_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "a", "driven_store", store("driven", ", drivers=['native_driver']"), monkeypatch)
    (tmp_path / "a" / "native_driver.py").write_text("import its_own_library\n")

    told = Listing(capsys)

    assert told.code == 1
    assert told.states("driven_store") == {"storage driven:": "broken"}
    assert any("driver native_driver of the storage scheme 'driven' cannot be imported" in note for note in told.notes)


def test_observers_and_plug_ins_that_offer_nothing_are_listed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observer, empty = tmp_path / "observer.py", tmp_path / "empty.py"
    observer.write_text("import paxospp\n@paxospp.hookimpl\ndef paxospp_event(event): ...\n")
    empty.write_text("import paxospp\n@paxospp.hookimpl\ndef paxospp_storages(): return []\n")

    told = Listing(capsys, str(observer), str(empty))

    assert told.states(str(observer)) == {"observer": "ok"}
    assert told.states(str(empty)) == {"nothing": "ok"}


def test_finding_no_plug_in_at_all_is_a_failure_that_names_the_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paxospp.plugins.registry.entry_points", lambda group: ())

    assert main(["plugins"]) == 1
    assert "paxospp is not installed as a distribution" in capsys.readouterr().out


def test_a_file_that_does_not_exist_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--plugin", "absent.py"]) == 2
    assert "absent.py" in capsys.readouterr().err
