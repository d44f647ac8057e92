"""The index in tests/README.md names every directory of tests/, and no others."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def test_the_readme_lists_every_directory_of_tests() -> None:
    listed = re.findall(r"^\| `tests/([\w/]+)/` \|", (TESTS / "README.md").read_text(encoding="utf-8"), re.M)
    holding = {path.parent for pattern in ("*/*.py", "*/*/*.py", "*/*/*.txt") for path in TESTS.glob(pattern)}

    assert listed == sorted(str(directory.relative_to(TESTS)) for directory in holding)
