"""Fixtures of the tests of storages."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def synced_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every ``os.fsync`` of the test adds the path of the file that it synced."""
    paths: list[str] = []
    sync = os.fsync

    def record_and_sync(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record_and_sync)
    return paths
