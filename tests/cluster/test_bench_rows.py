"""The table of ``paxospp bench --sweep``: its rows, its goals, the killed leader, and etcd beside it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from paxospp.cli.bench.case import Case, Result
from paxospp.cli.bench.etcd import check_etcd, fields, find_etcd, measure_etcd, put_request
from paxospp.cli.bench.fail_over import measure_gaps
from paxospp.cli.bench.goals import GOALS, verdicts
from paxospp.cli.bench.histogram import Histogram
from paxospp.cli.bench.meter import Meter
from paxospp.cli.bench.rows import Kind, Row, rows_of
from paxospp.cli.bench.unary import REQUEST_BYTES_MAX, Connection
from paxospp.errors import ConfigError
from tests.cluster.embedding import run
from tests.cluster.serving import paxospp

CASE = Case(in_flight=1, seconds=0.5, value_bytes=16, storage="file:{tmp}/{name}")


def result(case: Case, ops: int, ms: float) -> Result:
    latencies = Histogram()
    for _ in range(ops):
        latencies.add(ms / 1000)
    return Result(
        case=case, nodes=3, latencies=latencies, errors=Counter(), differences=(), floor=None, cpu_s=ops * 5e-6
    )


def test_every_goal_is_of_a_row_that_is_measured() -> None:
    names = [row.name for row in rows_of(CASE, etcd=True, rocksdb=True)]
    assert len(set(names)) == len(names)
    assert {goal.row for goal in GOALS} <= set(names)


def test_a_row_is_the_median_of_its_repeats_and_a_goal_the_ratio_of_two_medians() -> None:
    ours, etcd = Row("remote 64", CASE), Row("etcd 64", CASE, Kind.ETCD)
    ours.results = [result(CASE, ops, ms) for ops, ms in ((100, 3.0), (900, 1.0), (500, 2.0))]
    etcd.results = [result(CASE, ops, 8.0) for ops in (100, 90, 1000)]

    told = ours.to_json()
    assert (told["ops"], told["ops_per_s"], told["repeats"]) == (1500, 1000.0, [200.0, 1800.0, 1000.0])
    assert told["p50_ms"] == pytest.approx(2.0, rel=0.01)

    assert ours.medians is not None
    assert etcd.medians is not None
    (verdict,) = verdicts({"remote 64": ours.medians, "etcd 64": etcd.medians})
    assert verdict.value == 5.0
    assert verdict.to_json() == {"goal": "× etcd", "at_least": 4.0, "value": 5.0, "met": True}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_sweep_measures_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = paxospp("bench", "--sweep", "--repeats", "1", "--seconds", "0.5", "--json", timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = json.loads(ended.stdout)
    expected = [row.name for row in rows_of(CASE, etcd=find_etcd() is not None, rocksdb=True)]
    assert [row["row"] for row in rows] == [name for name in expected if name in {row["row"] for row in rows}]
    assert len(rows) >= len(expected) - 1  # rocksdb is an extra
    for row in rows:
        assert row["failures"] == []
        assert row["gap_ms"] > 0 if row["row"] == "fail-over" else row["ops"] > 0
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_measured_has_no_goals() -> None:
    row = Row("remote 64", CASE, failures=["waited 30 s for a leader"])
    assert row.medians is None
    assert row.to_json() == {"row": "remote 64", "failures": ["waited 30 s for a leader"]}
    assert verdicts({}) == []


@pytest.mark.long
def test_the_gap_at_a_kill_of_the_leader_is_seen_by_a_caller(tmp_path: Path) -> None:
    async def main() -> None:
        (gap_s,) = await measure_gaps(CASE, tmp_path, Meter(io.StringIO()), kills=1)
        assert 0.05 < gap_s < 10

    run(main)


# etcd.


def test_a_put_request_is_as_protobuf_has_it() -> None:
    assert put_request("ab", "c") == b"\x0a\x02ab\x12\x01c"
    long = put_request("k" * 200, "v")
    assert long[:3] == b"\x0a\xc8\x01"
    assert dict(fields(long)) == {1: b"k" * 200, 2: b"v"}
    assert list(fields(b"\x20\xac\x02")) == [(4, 300)]


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]],
) -> AsyncIterator[Connection]:
    """A connection to a gRPC server with one method, ``/s/m``."""
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"m": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = await Connection.to(f"127.0.0.1:{port}")
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


def test_values_too_large_for_the_comparison_and_a_missing_etcd_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxospp.cli.bench.etcd.find_etcd", lambda: "/usr/bin/etcd")
    with pytest.raises(ConfigError, match="--value-bytes 100000 with --etcd"):
        check_etcd(100_000)
    monkeypatch.setattr("paxospp.cli.bench.etcd.find_etcd", lambda: None)
    with pytest.raises(ConfigError, match="no etcd on the PATH"):
        check_etcd(16)


@pytest.mark.long
@pytest.mark.skipif(find_etcd() is None, reason="there is no etcd on the PATH")
def test_etcd_is_measured_in_the_same_way(tmp_path: Path) -> None:
    async def main() -> None:
        found = await measure_etcd(CASE, tmp_path, Meter(io.StringIO()))
        assert found.ops > 0
        assert not found.errors

    run(main)
