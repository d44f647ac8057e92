"""Every test here also checks that gRPC and asyncio log no error, whatever input they got."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_is_logged_by_the_libraries(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    complaints = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR
        and record.name.partition(".")[0] in ("grpc", "asyncio")
        # Several loops in several threads: harmless, and gone in later versions (grpc/grpc#25364).
        and not (record.exc_info and record.exc_info[0] is BlockingIOError)
    ]
    assert not complaints
