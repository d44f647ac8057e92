"""``paxospp bench`` measures, finds lost writes, and leaves no process and no file behind."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from paxospp import process_setup
from paxospp.bench import measuring, readback
from paxospp.bench.child_process import ChildEndedError, started
from paxospp.bench.histogram import Histogram
from paxospp.bench.kv_calls import GET
from paxospp.bench.load_generator import LoadResult, LoadSpec
from paxospp.bench.progress_line import ProgressLine
from paxospp.bench.readback import differences, digest_differences
from paxospp.calls import Calls
from paxospp.cli import main
from paxospp.client import Client
from tests.cluster.serving import Serving, paxospp
from tests.cluster.test_demo import processes_below

FIELDS = {
    "ops", "seconds", "ops_per_s", "p50_ms", "p99_ms", "errors", "mode", "in_flight", "clients", "value_bytes",
    "storage", "nodes", "floor",
}  # fmt: skip

SPEC = LoadSpec(in_flight=2, value_bytes=8, reads=False, prefix="b0.", keys_per_worker=2)


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of the benchmarks in this test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def bench(*arguments: str) -> dict[str, Any]:
    ended = paxospp("bench", "--json", "--seconds", "0.5", *arguments)
    assert (ended.returncode, ended.stderr.count("Traceback")) == (0, 0), ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    assert found.keys() >= FIELDS
    assert (found["errors"], found["differences"], found["seconds"]) == (0, [], 0.5)
    assert found["ops"] > 0
    assert found["ops_per_s"] == pytest.approx(found["ops"] / 0.5)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    floor = found["floor"]
    assert floor["fdatasync_ms"] > 0
    assert floor["round_trip_ms"] > 0
    assert 1_000 < floor["alone_per_s"] < 10_000_000
    return found


@pytest.mark.long  # a plain run has README's block
def test_a_remote_benchmark_reads_back_each_acknowledged_write(tmp: Path) -> None:
    found = bench("--in-flight", "64", "--storage", "file")

    told = [found[key] for key in ("mode", "in_flight", "clients", "value_bytes", "storage", "nodes")]
    assert told == ["remote", 64, 1, 16, "file:{tmp}/{name}", 3]
    floor = found["floor"]
    assert floor["total_ms"] == pytest.approx(floor["fdatasync_ms"] + 2 * floor["round_trip_ms"], abs=1e-3)
    assert not list(tmp.iterdir())
    assert not processes_below(tmp)


@pytest.mark.long
def test_an_embedded_benchmark_makes_its_calls_in_the_leader(tmp: Path) -> None:
    found = bench("--embedded", "--in-flight", "64", "--value-bytes", "100")

    assert [found[key] for key in ("mode", "in_flight", "value_bytes", "nodes")] == ["embedded", 64, 100, 3]
    floor = found["floor"]
    assert floor["total_ms"] == pytest.approx(floor["fdatasync_ms"] + floor["round_trip_ms"], abs=1e-3)
    assert not list(tmp.iterdir())
    assert not processes_below(tmp)


@pytest.mark.long
def test_several_clients_read_from_a_running_cluster_and_leave_no_key_in_it(tmp: Path) -> None:
    with Serving(tmp, count=1) as serving:
        serving.start()
        found = bench("--reads", "--clients", "2", "--in-flight", "8", "--cluster", serving.cluster)
        keys = paxospp("query", "--cluster", serving.cluster, "keys")

    assert [found[key] for key in ("clients", "storage", "nodes")] == [2, None, 1]
    assert found["floor"]["total_ms"] == pytest.approx(2 * found["floor"]["round_trip_ms"], abs=1e-3)
    assert keys.stdout == "[]\n"


@pytest.mark.long
def test_an_interrupted_benchmark_leaves_no_process_and_no_file(tmp: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "paxospp", "bench", "--seconds", "60", "--storage", "memory"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "measuring for" not in (line := process.stdout.readline()):
            assert line
        assert len(processes_below(tmp)) == 3
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(tmp.iterdir())
    assert not processes_below(tmp)


@pytest.mark.long
def test_starting_a_process_while_grpc_is_busy_does_not_kill_it(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With uvloop's own subprocesses one in ten dies by SIGSEGV before its exec, in gRPC's fork handlers."""
    codes: Counter[str] = Counter()

    async def main() -> None:
        async with Client(serving.addresses) as client:
            await client.query(GET, "key")
            ended = asyncio.Event()

            async def ask() -> None:
                while not ended.is_set():
                    await client.query(GET, "key")

            asking = [asyncio.ensure_future(ask()) for _ in range(8)]
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/bin/true")
                for _ in range(100):
                    async with started("echo") as process:
                        with pytest.raises(ChildEndedError) as told:
                            await process.receive()
                        codes[str(told.value)] += 1
            ended.set()
            await asyncio.gather(*asking)

    with Serving(tmp, count=1) as serving:
        serving.start()
        process_setup.run(main())
    assert codes == {"the echo process of the benchmark ended with exit code 0: -": 100}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--in-flight", "0"], "'0' is not a number from 1 to 16,384"),
        (["--value-bytes", "7"], "'7' is not a number from 8 to 1,000,000"),
        (["--seconds", "soon"], "'soon' is not a number of seconds above 0"),
        (["--storage", "sqlite:x"], "unknown storage scheme 'sqlite'"),
        (["--storage", "file:data"], "2 nodes cannot share the storage 'file:data': put {name}"),
        (["--storage", "file:data/{name}"], "'file:data/{name}' is outside the temporary directory"),
        (["--embedded", "--clients", "2"], "--clients 2 cannot be combined with --embedded"),
        (["--cluster", "127.0.0.1:1", "--embedded"], "--embedded cannot be combined with --cluster"),
        (
            ["--value-bytes", "500000"],
            "1,024 calls in flight with --value-bytes 500000 are 512,000,000 bytes in flight",
        ),
        (["--repeats", "2"], "--repeats 2 without --sweep"),
        (["--sweep", "--in-flight", "2"], "--in-flight cannot be combined with --sweep"),
        (["--cluster", "nowhere"], "'nowhere'"),
    ],
)
def test_a_bad_value_or_combination_of_flags_is_refused_in_one_line(
    arguments: list[str], says: str, tmp: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))
    try:
        code = main(["bench", *arguments])  # in this process, which spares half a second each
    except SystemExit as end:
        code = cast("int", end.code)
    _, err = capfd.readouterr()
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not list(tmp.iterdir())


def test_a_lost_write_is_named_and_exits_with_1(
    tmp: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def lose_one(calls: Calls, spec: LoadSpec) -> list[object]:
        values = await readback.read_back(calls, spec)
        values[1] = spec.value(1)
        return values

    monkeypatch.setattr(measuring, "read_back", lose_one)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))

    code = main(["bench", "--nodes", "1", "--storage", "memory", "--in-flight", "2", "--seconds", "0.3"])

    out, err = capfd.readouterr()
    assert (code, err) == (1, "")
    assert re.search(
        r"DIFFERENT: 'b0\.0\.1' holds '0000000000000001', but the last write acknowledged was number \d+", out
    )
    assert "every acknowledged write" not in out
    for figure in ("ops/s", "p50", "p99", "errors", "floor", "p50 / floor", "ms up to │ calls"):
        assert f"\n{figure}" in out


def test_a_cluster_that_does_not_answer_is_reported(tmp: Path) -> None:
    ended = paxospp("bench", "--cluster", "127.0.0.1:1")
    assert ended.returncode == 3
    assert "no answer from 127.0.0.1:1" in ended.stderr


# Comparing what was acknowledged with what is read back.


def result(sent: list[int], acknowledged: list[int]) -> LoadResult:
    return LoadResult(sent=sent, acknowledged=acknowledged)


def test_a_key_may_hold_the_last_acknowledged_write_or_one_sent_after_it() -> None:
    # Write number 5 of the first worker was not answered, so key 0.1 may hold it or the value before.
    for last in (3, 5):
        values = [SPEC.value(4), SPEC.value(last), SPEC.value(2), None]
        assert differences(SPEC, result([4, 5, 2, 0], [4, 3, 2, 0]), values) == []


@pytest.mark.parametrize(
    "value",
    [None, SPEC.value(2), SPEC.value(6), SPEC.value(3), "4", 4, "00000004 ", b"00000004"],
    ids=["nothing", "older", "never sent", "of another key", "too short", "a number", "longer", "bytes"],
)
def test_a_lost_or_altered_write_is_reported_with_its_key(value: object) -> None:
    found = differences(SPEC, result([4, 3, 2, 1], [4, 3, 2, 1]), [value, SPEC.value(3), SPEC.value(2), SPEC.value(1)])

    assert len(found) == 1
    assert found[0].startswith("'b0.0.0' holds ")
    assert "the last write acknowledged was number 4" in found[0]


def test_a_value_may_have_more_digits_than_int_accepts() -> None:
    spec = LoadSpec(in_flight=1, value_bytes=100_000, reads=False, prefix="b0.", keys_per_worker=1)
    assert differences(spec, result([7], [7]), [spec.value(7)]) == []
    assert differences(spec, result([7], [7]), ["9" * 100_000])


def test_many_lost_writes_are_counted() -> None:
    spec = LoadSpec(in_flight=100, value_bytes=8, reads=False, prefix="b0.", keys_per_worker=1)
    found = differences(spec, result([1] * 100, [1] * 100), [None] * 100)
    assert found[-1] == "and 95 more"


def test_a_read_that_returned_another_value_is_reported() -> None:
    wrong = LoadResult(sent=[1] * 4, acknowledged=[1] * 4, wrong=["b0.0.1", "b0.0.1"])
    assert differences(SPEC, wrong, [SPEC.value(1)] * 4) == [
        "a read of 'b0.0.1' returned another value than was written"
    ]


def test_nodes_that_differ_are_reported() -> None:
    rows = [{"name": "n1", "applied": 7, "digest": "aa"}, {"name": "n2", "applied": 7, "digest": "ab"}]
    assert digest_differences([rows[0], rows[0]]) == []
    assert digest_differences(rows) == ["the digests of the nodes at slot 7: n1 aa, n2 ab"]


# Latencies.


def test_a_short_measurement_too_says_that_it_warms_up_first() -> None:
    output = io.StringIO()
    asyncio.run(ProgressLine(output).tick("measuring", time.monotonic() + 0.01, 0.01))
    assert output.getvalue() == "warming up\nmeasuring for 0.01 s\n"


def test_percentiles_differ_from_those_of_the_sorted_list_by_one_per_cent_at_most() -> None:
    draw = random.Random(1)
    samples = [draw.lognormvariate(-6, 1.5) for _ in range(20_000)]
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)

    samples.sort()
    assert histogram.total == len(samples)
    for fraction in (0.01, 0.5, 0.9, 0.99, 0.999):
        exact = samples[int(fraction * len(samples)) - 1]
        assert histogram.percentile(fraction) == pytest.approx(exact, rel=0.01, abs=1e-6)


def test_merged_histograms_are_exact() -> None:
    whole, half = Histogram(), Histogram()
    for us in (3, 128, 129, 5_000_000, 86_400_000_000):
        whole.add(us / 1e6)
        half.add(us / 1e6)
    half.merge(whole.pairs())
    assert half.pairs() == [(bucket, 2 * count) for bucket, count in whole.pairs()]
    assert half.percentile(1.0) == pytest.approx(86_400, rel=0.01)


def test_latencies_are_drawn_with_their_bounds_in_milliseconds() -> None:
    histogram = Histogram()
    assert list(histogram.draw()) == []
    for ms in (0.9, 1.2, 1.2, 1.4, 40):
        histogram.add(ms / 1000)

    lines = [line.rstrip() for line in histogram.draw(width=12)]

    assert lines[0] == "ms up to │ calls"
    assert lines[1] == "       1 │ ████         1 (20.0%)"
    assert lines[2] == "     1.5 │ ████████████ 3 (60.0%)"
    assert lines[-1] == "      50 │ ████         1 (20.0%)"
    assert "       7 │              0 (0.0%)" in lines
