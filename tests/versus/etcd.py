"""Three local etcd processes under the load of ``paxospp bench``: as many Puts in flight, on the same disk.

The calls go to etcd's leader. The few and small messages are encoded and decoded by hand.

Reference: etcd's api/etcdserverpb/rpc.proto.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from paxospp.bench.benchmark import Benchmark
from paxospp.bench.load_generator import LoadGenerator, LoadResult
from paxospp.bench.measuring import run_timed
from paxospp.bench.progress_line import ProgressLine
from paxospp.errors import PaxosppError, UnavailableError
from paxospp.testing.cluster.provisioning import free_ports
from tests.versus.unary_grpc import REQUEST_BYTES_MAX, UnaryConnection

VALUE_BYTES_MAX = REQUEST_BYTES_MAX - 100
START_S = 30.0
_LOOK_S = 0.05
_PUT = "/etcdserverpb.KV/Put"
_STATUS = "/etcdserverpb.Maintenance/Status"


def find_etcd() -> str | None:
    """Return the path of the ``etcd`` program, or None if it is not on the PATH."""
    return shutil.which("etcd")


async def measure_etcd(benchmark: Benchmark, directory: Path, progress: ProgressLine) -> LoadResult:
    """Run ``benchmark`` on an etcd cluster with its data below ``directory``. Nothing is read back.

    Raises:
        UnavailableError: etcd elected no leader or answered no call.
    """
    progress.show(f"starting {benchmark.nodes} nodes of etcd")
    async with _cluster(benchmark, directory) as leader:
        connection = await UnaryConnection.to(leader)
        try:
            (spec,) = benchmark.load_specs()
            generator = LoadGenerator(lambda key, value: connection.call(_PUT, put_request(key, value)), spec)
            result = await run_timed(benchmark, generator.run, progress)
        finally:
            connection.close()
    if not result.latencies.total:
        raise UnavailableError(f"etcd answered no call within {benchmark.seconds:g} s: allow more with --seconds")
    return result


@contextlib.asynccontextmanager
async def _cluster(benchmark: Benchmark, directory: Path) -> AsyncIterator[str]:
    """Start a cluster of etcd; yield the address of its leader."""
    binary = find_etcd()
    assert binary is not None, "call find_etcd first"
    ports = free_ports(2 * benchmark.nodes)
    clients = [f"127.0.0.1:{port}" for port in ports[: benchmark.nodes]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[benchmark.nodes :]]
    together = ",".join(f"e{number}={peer}" for number, peer in enumerate(peers))
    with contextlib.ExitStack() as running:
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            log = running.enter_context((directory / f"e{number}.log").open("wb"))
            flags = {
                "name": f"e{number}",
                "data-dir": str(directory / f"e{number}"),
                "listen-client-urls": f"http://{client}",
                "advertise-client-urls": f"http://{client}",
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": together,
                "logger": "zap",
                "log-level": "error",
            }
            running.enter_context(_process([binary, *(f"--{flag}={value}" for flag, value in flags.items())], log))
        yield await _leader(clients)


@contextlib.contextmanager
def _process(command: list[str], log: BinaryIO) -> Iterator[None]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()


async def _leader(clients: list[str]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for client in clients:
            with contextlib.suppress(OSError, TimeoutError):
                if await _leads(client):
                    return client
        await asyncio.sleep(_LOOK_S)
    raise UnavailableError(f"waited {START_S:.0f} s for etcd to elect a leader")


async def _leads(client: str) -> bool:
    connection = await UnaryConnection.to(client)
    try:
        async with asyncio.timeout(1.0):
            status = dict(fields(await connection.call(_STATUS, b"")))
    finally:
        connection.close()
    header = dict(fields(bytes(status[1]))) if isinstance(status.get(1), bytes) else {}
    leader, own_id = status.get(4), header.get(2)
    return bool(leader) and leader == own_id


# Messages, with the field numbers of rpc.proto and protobuf's encoding of lengths and integers.


def put_request(key: str, value: str) -> bytes:
    """Encode a PutRequest: key = 1, value = 2."""
    key_bytes, value_bytes = key.encode(), value.encode()
    return b"\x0a" + _varint(len(key_bytes)) + key_bytes + b"\x12" + _varint(len(value_bytes)) + value_bytes


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Decode a protobuf message into field numbers and their integers or byte strings."""
    place = 0

    def varint() -> int:
        nonlocal place
        number = shift = 0
        while True:
            byte = message[place]
            place += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while place < len(message):
        field, kind = divmod(varint(), 8)
        if kind == 0:
            yield field, varint()
        elif kind == 2:
            length = varint()
            place += length
            yield field, message[place - length : place]
        else:
            raise PaxosppError(f"etcd answered with a field of kind {kind}, which this program cannot read")
