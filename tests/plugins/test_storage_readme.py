"""The stores shown in plugins/README.md, taken from its text, keep every clause of the contract."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from paxospp import CorruptedError, Slot, Storage, WriteBatch
from paxospp.plugins.registry import PluginRegistry
from paxospp.testing import StorageSuite
from paxospp.testing.storage_suite.running import run_suite
from paxospp.testing.storage_suite.words import entry
from tests.plugins.test_clauses import A_FEW

README = Path(__file__).parents[2] / "plugins" / "README.md"
BLOCK = re.compile(r"<!-- file: (?P<name>\S+) -->\n```python\n(?P<code>.*?)```", re.DOTALL)

# At import, because the parameters below name these files.
SHOWN = Path(tempfile.mkdtemp(prefix="paxospp-readme-"))
atexit.register(shutil.rmtree, SHOWN, ignore_errors=True)
for block in BLOCK.finditer(README.read_text()):
    (SHOWN / block["name"]).write_text(block["code"])


STORES = [
    pytest.param("mystore:{tmp}", (str(SHOWN / "my_store.py"),), id="my_store.py by its plug-in module and scheme"),
    pytest.param(f"{SHOWN}/one_file.py:OneFileStorage:{{tmp}}", (), id="one_file.py by file and class"),
]


@pytest.mark.long  # a plain run checks the example's store, which is of the same kind
@pytest.mark.parametrize(("url", "plugins"), STORES[:1])
def test_it_passes_a_few_cases_of_every_kind(url: str, plugins: tuple[str, ...]) -> None:
    verdict = run_suite(url, plugins=plugins, cases=A_FEW, quick=True)

    assert verdict.holds, "\n\n".join(verdict.details())
    assert len(verdict.cases) == len(A_FEW)


@pytest.mark.long
@pytest.mark.timeout(0)  # the kit itself ends a case that hangs
@pytest.mark.parametrize(("url", "plugins"), STORES)
def test_the_whole_kit_finds_no_clause_broken(url: str, plugins: tuple[str, ...]) -> None:
    verdict = run_suite(url, plugins=plugins)

    assert verdict.holds, "\n\n".join(verdict.details())
    assert verdict.below_floors == []


def test_one_file_lowers_last_when_its_damaged_end_turns_out_to_be_empty(tmp_path: Path) -> None:
    storage = one_file(tmp_path)
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(slot, b"value") for slot in range(1, 10)], decided=Slot(4)))
    storage.close()
    log = tmp_path / "log"
    log.write_bytes(log.read_bytes()[:-2])  # within the record of slot 9
    storage = one_file(tmp_path)
    state = storage.load()
    assert (state.last, list(state.faulty)) == (9, [range(9, 10)])

    storage.persist(WriteBatch(faulty_until=Slot(9)))
    storage.close()

    storage = one_file(tmp_path)
    state = storage.load()
    assert (state.last, list(state.faulty)) == (8, [])
    storage.close()


def test_one_file_calls_a_decided_slot_that_it_does_not_hold_faulty_at_once(tmp_path: Path) -> None:
    storage = one_file(tmp_path)
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(1, b"value"), entry(3, b"value")], decided=Slot(3)))

    assert [found.slot for found in storage.read(Slot(1), Slot(9), 100)] == [1]
    with pytest.raises(CorruptedError) as caught:
        storage.read(Slot(2), Slot(9), 100)
    assert list(caught.value.slots) == [range(2, 3)]
    storage.close()


def one_file(path: Path) -> Storage:
    return PluginRegistry().storage(f"{SHOWN}/one_file.py:OneFileStorage:{path}")()


def test_the_files_that_the_page_names_are_there() -> None:
    assert sorted(file.name for file in SHOWN.glob("*.py")) == ["my_store.py", "one_file.py", "test_my_store.py"]


def test_the_test_that_the_page_shows_is_a_storage_suite() -> None:
    namespace: dict[str, object] = {}
    exec((SHOWN / "test_my_store.py").read_text(), namespace)

    test = namespace["TestMyStore"]
    assert isinstance(test, type)
    assert issubclass(test, StorageSuite)
