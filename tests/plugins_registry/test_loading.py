"""Loading the code that a flag names: how a file becomes a module, and the errors for mistakes."""

from __future__ import annotations

import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from paxospp.errors import ConfigError, PluginError
from paxospp.plugins.loading import load_module, load_object


def written(directory: Path, text: str, name: str = "bank.py") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_a_class_of_a_file_pickles_and_its_lines_show_in_tracebacks(tmp_path: Path) -> None:
    spec = written(tmp_path, "class Bank:\n    def fail(self):\n        raise ValueError('here')\n") + ":Bank"

    bank: Any = load_object(spec)

    assert type(pickle.loads(pickle.dumps(bank()))) is bank
    with pytest.raises(ValueError, match="here") as caught:
        bank().fail()
    assert "raise ValueError('here')" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_a_file_is_run_once_whatever_way_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "class Bank: pass\n")
    monkeypatch.chdir(tmp_path)

    assert load_object(f"{path}:Bank") is load_object("./bank.py:Bank") is load_object("bank.py:Bank")


def test_a_file_that_is_imported_already_is_not_run_again() -> None:
    assert load_object(f"{__file__}:written") is written


def test_two_files_of_one_name_are_two_modules_and_hide_no_installed_one(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = load_module(written(tmp_path, "WHO = 1\n", "json.py"))
    second = load_module(written(tmp_path / "other", "WHO = 2\n", "json.py"))

    assert (first.WHO, second.WHO) == (1, 2)
    assert hasattr(sys.modules["json"], "dumps")


def test_a_dotted_name_is_a_module() -> None:
    assert load_object("pathlib:Path") is Path


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("absent.py:Bank", "no file 'absent.py'"),
        ("no_such_module:Bank", "no module 'no_such_module'"),
        ("no_such.module:Bank", "name a file: ./no_such/module.py:Bank"),
        ("json.decoder:Bank", "json.decoder has no 'Bank'; it defines JSONDecodeError, JSONDecoder"),
        ("pathlib:Bank", "pathlib has no 'Bank'"),
        ("not a module:Bank", "'not a module' does not name a module"),
        ("Bank", "write FILE.py:Name or package.module:Name"),
        ("pathlib:", "write FILE.py:Name or package.module:Name"),
    ],
)
def test_the_error_for_missing_code_is_one_line_that_names_it(spec: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_object(spec)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\nraise ValueError('no\\nluck')\n", "line 3: ValueError: no luck"),
        ("\nclass Bank\n", "line 2: "),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("import a_driver_that_is_absent\n", "line 1: ModuleNotFoundError: No module named 'a_driver_that_is_absent'"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where_and_leaves_nothing(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    before = set(sys.modules)

    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            load_module(path)
        assert str(caught.value).startswith(f"{path} cannot be imported: {says}")
        assert "\n" not in str(caught.value)
    assert set(sys.modules) == before
