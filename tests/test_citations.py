"""Everything that the repository cites is in it, so that a reader can open every citation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_ABSENT = re.compile(r"\b(?:DESIGN|CONTRACTS|FAULTS|TRAPS)\b|\bSTYLE(?:\.md| section)")
"""Names of the authors' unpublished notes."""
_PAGE = re.compile(r"(?<![\w/:.-])((?:[\w-]+/)*[A-Z][A-Z_]*\.md)\b")
_FILE = re.compile(r"`([\w./*-]+\.(?:md|proto|py|svg|toml|txt))(?:::(\w+))?`|`((?:[\w.-]+/)+)`")
"""A file, a test in a file, or a directory, in backticks."""
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_NOT_OURS = {"FILE.py", "my_store.py", "utils.py", ".gen/", "kv_store/data/"}
"""Examples of names, files that we do not have on purpose, and directories that a program makes."""
_TEXT = {".md", ".proto", ".py", ".toml", ".txt", ".yml"}


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone of the repository")
    return [path for name in listed.splitlines() if (path := ROOT / name).suffix in _TEXT and path.is_file()]


def found(pattern: re.Pattern[str]) -> list[tuple[Path, str]]:
    this = Path(__file__)
    return [(path, text) for path in tracked() if path != this for text in pattern.findall(path.read_text("utf-8"))]


def test_nobody_cites_an_unpublished_document() -> None:
    assert [f"{path.relative_to(ROOT)}: {cited}" for path, cited in found(_ABSENT)] == []


def test_every_page_that_is_cited_exists() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix == ".md"}
    missing = [
        f"{path.relative_to(ROOT)}: {page}"
        for path, page in found(_PAGE)
        if not any(known == page or known.endswith(f"/{page}") for known in pages)
    ]
    assert missing == []


def test_every_file_and_test_that_a_page_names_exists() -> None:
    """A path begins at the root, in ``paxospp/``, or where the page is; a directory may be named by its last parts."""
    saved = set(re.findall(r"^<!-- file: (\S+) -->$", (ROOT / "README.md").read_text("utf-8"), re.M))
    directories = {f"/{folder.as_posix()}/" for path in tracked() for folder in path.relative_to(ROOT).parents}
    missing = []
    for page in (path for path in tracked() if path.suffix == ".md"):
        for path, test, directory in _FILE.findall(_FENCED.sub("", page.read_text("utf-8"))):
            if (path or directory) in saved | _NOT_OURS:
                continue
            if directory:
                found_it = any(known.endswith(f"/{directory}") for known in directories)
            else:
                files = [file for base in (ROOT, ROOT / "paxospp", page.parent) for file in base.glob(path)]
                found_it = any(not test or f"def {test}(" in file.read_text("utf-8") for file in files)
            if not found_it:
                missing.append(f"{page.relative_to(ROOT)}: {path}{test and f'::{test}'}{directory}")
    assert missing == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "README.md"])
def test_a_page_that_everyone_reads_first_is_short(page: str) -> None:
    """It has at most 200 lines; details have pages of their own."""
    assert len((ROOT / page).read_text("utf-8").splitlines()) <= 200
