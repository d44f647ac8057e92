"""The stores in the text of plugins/README.md keep the clauses like any other."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from paxospp.testing import StorageSuite
from paxospp.testing.storage_suite.running import run_suite
from tests.plugins.test_clauses import A_FEW

README = Path(__file__).parents[2] / "plugins" / "README.md"
BLOCK = re.compile(r"<!-- file: (?P<name>\S+) -->\n```python\n(?P<code>.*?)```", re.DOTALL)

# Written before the classes are made, because their URLs name these files.
SHOWN = Path(tempfile.mkdtemp(prefix="paxospp-readme-"))
atexit.register(shutil.rmtree, SHOWN, ignore_errors=True)
for block in BLOCK.finditer(README.read_text()):
    (SHOWN / block["name"]).write_text(block["code"])


STORES = [
    pytest.param("mystore:{tmp}", (str(SHOWN / "my_store.py"),), id="my_store.py by its plug-in module and scheme"),
    pytest.param(f"{SHOWN}/one_file.py:OneFileStorage:{{tmp}}", (), id="one_file.py by file and class"),
]


@pytest.mark.long  # a plain run tests the example's store, which is of the same kind
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


def test_the_files_that_the_page_names_are_there() -> None:
    assert sorted(file.name for file in SHOWN.glob("*.py")) == ["my_store.py", "one_file.py", "test_my_store.py"]


def test_the_test_that_the_page_shows_is_one() -> None:
    namespace: dict[str, object] = {}
    exec((SHOWN / "test_my_store.py").read_text(), namespace)

    test = namespace["TestMyStore"]
    assert isinstance(test, type)
    assert issubclass(test, StorageSuite)
