"""Install a plug-in distribution as pip would, without pip."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def install(directory: Path, module: str, text: str, monkeypatch: pytest.MonkeyPatch, *, extra: str = "") -> None:
    """Put a module, its metadata and its entry point on the path."""
    metadata = directory / f"{module}_dist-2.0.dist-info"
    metadata.mkdir(parents=True)
    extra_line = f"Provides-Extra: {extra}\n" if extra else ""
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-dist\nVersion: 2.0\n{extra_line}")
    (metadata / "entry_points.txt").write_text(f"[paxospp]\n{module} = {module}\n")
    (directory / f"{module}.py").write_text(text)
    sys.modules.pop(module, None)  # another test may have imported a module of this name
    monkeypatch.syspath_prepend(directory)
