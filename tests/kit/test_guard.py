"""A subclass of the suite may set its attributes, but it cannot silently drop a case."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from paxospp.testing.storage_suite import StorageSuite
from paxospp.testing.storage_suite.running import undisturbed

GUARD = "test_no_case_is_deleted_or_overridden"


def outcomes(tmp_path: Path, body: str, *cases: str) -> dict[str, str]:
    """Run these cases of a class with ``body``, and return pytest's outcome for each."""
    file = tmp_path / f"test_{tmp_path.name}.py"  # a name of its own, or an earlier one's module is taken for it
    head = "import pytest\nfrom paxospp.testing.storage_suite import StorageSuite\n\n\nclass TestMine(StorageSuite):\n"
    url = "" if "storage_url" in body else '    storage_url = "memory:{tmp}"\n'
    file.write_text(f"{head}{url}{textwrap.indent(textwrap.dedent(body), '    ')}\n")
    listener = _Listener()
    with undisturbed(tmp_path / "output"):
        line = ["-q", "--noconftest", f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "--import-mode=importlib"]
        line += ["-p", "paxospp.testing.pytest_plugin", "--config-file=/dev/null"]
        pytest.main([*line, *(f"{file}::TestMine::{case}" for case in cases)], plugins=[listener])
    return listener.outcomes


class _Listener:
    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            name = report.nodeid.rpartition("::")[2]
            self.outcomes[name] = "xfailed" if hasattr(report, "wasxfail") else report.outcome


def test_a_class_that_says_only_where_its_store_is_passes_the_guard(tmp_path: Path) -> None:
    assert outcomes(tmp_path, "quick = True", GUARD) == {GUARD: "passed"}


def test_a_class_may_name_several_urls_and_each_goes_through_every_case(tmp_path: Path) -> None:
    body = 'storage_url = "file:{tmp}"\nmore_urls = ["file:{tmp}?segment_bytes=4096"]\nquick = True'
    case = "test_a_later_write_of_a_slot_wins"

    assert outcomes(tmp_path, body, case, GUARD) == {
        f"{name}[{url}]": "passed" for name in (case, GUARD) for url in ("file:{tmp}", "file:{tmp}?segment_bytes=4096")
    }


@pytest.mark.parametrize(
    "body",
    [
        "test_a_later_write_of_a_slot_wins = None",
        "def test_a_later_write_of_a_slot_wins(self): pass",
        "@pytest.mark.xfail\ndef test_a_later_write_of_a_slot_wins(self): assert False",
        "@pytest.mark.skip(reason='slow')\ndef test_a_later_write_of_a_slot_wins(self): pass",
        "def reopened(self, storage, path): return self.load(self.new_place())",
        "def some(self, number): return 1",
        "def only_if_durable(self): pytest.skip('no')",
    ],
    ids=["deleted", "overridden", "xfail without a reason", "skipped", "reopened", "some", "only_if_durable"],
)
def test_a_class_that_deletes_or_overrides_anything_fails(tmp_path: Path, body: str) -> None:
    assert outcomes(tmp_path, body, GUARD) == {GUARD: "failed"}


def test_a_case_overridden_with_xfail_and_a_reason_is_seen_and_lets_the_others_pass(tmp_path: Path) -> None:
    body = """
        @pytest.mark.xfail(reason="this store keeps the first write")
        def test_a_later_write_of_a_slot_wins(self):
            assert False
    """

    found = outcomes(tmp_path, body, GUARD, "test_a_later_write_of_a_slot_wins")

    assert found == {GUARD: "passed", "test_a_later_write_of_a_slot_wins": "xfailed"}


def test_the_guard_itself_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="guards"):
        type("TestMine", (StorageSuite,), {GUARD: lambda self: None})
