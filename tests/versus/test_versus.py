"""The comparison with etcd: its client, its messages, and what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from paxospp.bench.benchmark import Benchmark
from tests.cluster.embedding import run
from tests.versus.__main__ import main
from tests.versus.comparison import Comparison, Figures, RatioGoal
from tests.versus.etcd import fields, find_etcd, put_request
from tests.versus.unary_grpc import REQUEST_BYTES_MAX, UnaryConnection


def test_a_put_request_is_encoded_as_protobuf_encodes_it() -> None:
    assert put_request("ab", "c") == b"\x0a\x02ab\x12\x01c"
    long = put_request("k" * 200, "v")
    assert long[:3] == b"\x0a\xc8\x01"
    assert dict(fields(long)) == {1: b"k" * 200, 2: b"v"}
    assert list(fields(b"\x20\xac\x02")) == [(4, 300)]


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]],
) -> AsyncIterator[UnaryConnection]:
    """Start a gRPC server with one method, ``/s/m``, and yield a connection to it."""
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"m": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = await UnaryConnection.to(f"127.0.0.1:{port}")
    try:
        yield connection
    finally:
        connection.close()
        await server.stop(None)


def test_unary_calls_are_answered_each_with_its_own_message_beyond_what_one_window_holds() -> None:
    async def echo(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def main() -> None:
        async with serving(echo) as connection:
            messages = [bytes([number]) * (REQUEST_BYTES_MAX if number % 10 == 0 else number) for number in range(100)]
            answers = await asyncio.gather(*(connection.call("/s/m", message) for message in messages))
            assert answers == messages

    run(main)


def test_a_unary_call_that_is_refused_and_one_whose_server_is_gone_fail() -> None:
    async def refuse(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if request:
            await asyncio.Event().wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        raise AssertionError

    async def main() -> None:
        async with serving(refuse) as connection:
            with pytest.raises(ConnectionError, match="refused"):
                await connection.call("/s/m", b"")
            under_way = connection.call("/s/m", b"x")
        with pytest.raises(ConnectionError):
            await under_way
        with pytest.raises(ConnectionError):
            await connection.call("/s/m", b"")

    run(main)


def test_a_missing_etcd_and_values_too_large_for_its_client_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.versus.etcd.find_etcd", lambda: None)
    assert main([]) == 2
    assert "etcd is not on the PATH" in capsys.readouterr().out
    monkeypatch.setattr("tests.versus.etcd.find_etcd", lambda: "/usr/bin/etcd")
    assert main(["--value-bytes", "100000"]) == 2
    assert "--value-bytes 100000" in capsys.readouterr().out


def test_medians_are_compared_and_a_goal_is_a_bound_on_their_ratio() -> None:
    comparison = Comparison(
        Benchmark(in_flight=64, seconds=1, value_bytes=16, storage="file"),
        ours=[Figures(ops, 2.0, 4.0, 5.0) for ops in (100, 900, 500)],
        etcds=[Figures(ops, 8.0, 9.0, 8.0) for ops in (100, 90, 1000)],
    )
    assert comparison.cells() == ("64", "500", "100", "5.00", "2.00", "8.00", "0.25", "writes ≥ 4", "")
    assert comparison.to_json()["writes_ratio"] == 5.0
    assert not RatioGoal(writes_at_least=4.0).is_met(3.9, 0.1)
    assert not RatioGoal(p50_at_most=1.0).is_met(10.0, 1.1)


@pytest.mark.long
@pytest.mark.skipif(find_etcd() is None, reason="etcd is not on the PATH")
def test_paxospp_and_etcd_are_both_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["--in-flight", "64", "--seconds", "0.5", "--repeats", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["differences"] == []
    assert row["paxospp"]["ops_per_s"] > 0 < row["etcd"]["ops_per_s"]
    assert not list(tmp_path.iterdir())
