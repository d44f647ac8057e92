"""etcd beside it, for comparison: three local processes, the same number of Puts in flight, the same disk.

Its messages are few and small, so they are written and read here by hand. The calls go to its leader.

Reference: etcd's api/etcdserverpb/rpc.proto.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from paxospp.cli.bench.case import Case, Result
from paxospp.cli.bench.load import Load
from paxospp.cli.bench.measuring import timed
from paxospp.cli.bench.meter import Meter
from paxospp.cli.bench.unary import REQUEST_BYTES_MAX, Connection
from paxospp.errors import ConfigError, PaxosppError, UnavailableError
from paxospp.testing.cluster.places import free_ports

VALUE_BYTES_MAX = REQUEST_BYTES_MAX - 100
START_S = 30.0
_LOOK_S = 0.05
_PUT = "/etcdserverpb.KV/Put"
_STATUS = "/etcdserverpb.Maintenance/Status"


def find_etcd() -> str | None:
    """The binary, if there is one on the PATH."""
    return shutil.which("etcd")


def check_etcd(value_bytes: int) -> None:
    """Raises ConfigError if etcd cannot be measured so."""
    if find_etcd() is None:
        raise ConfigError("--etcd: there is no etcd on the PATH; install it (Debian: etcd-server) or leave --etcd out")
    if value_bytes > VALUE_BYTES_MAX:
        raise ConfigError(
            f"--value-bytes {value_bytes} with --etcd: at most {VALUE_BYTES_MAX:,}; lower it or leave --etcd out"
        )


async def measure_etcd(case: Case, directory: Path, meter: Meter) -> Result:
    """``case`` with etcd in place of our nodes; acknowledged is what it answered, and nothing is read back."""
    meter.at(f"starting {case.nodes} nodes of etcd")
    async with _cluster(case, directory) as leader:
        connection = await Connection.to(leader)
        try:
            (work,) = case.works()
            load = Load(lambda key, value: connection.call(_PUT, put_request(key, value)), work)
            (tally,) = await timed(case, load.run_alone, meter)
        finally:
            connection.close()
    return Result(
        case=case,
        nodes=case.nodes,
        latencies=tally.latencies,
        errors=Counter(tally.errors),
        differences=(),
        floor=None,
        cpu_s=tally.cpu_s,
    )


@contextlib.asynccontextmanager
async def _cluster(case: Case, directory: Path) -> AsyncIterator[str]:
    """The address of the leader of a running cluster."""
    binary = find_etcd()
    assert binary is not None, "check_etcd comes first"
    ports = free_ports(2 * case.nodes)
    clients = [f"127.0.0.1:{port}" for port in ports[: case.nodes]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[case.nodes :]]
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
    connection = await Connection.to(client)
    try:
        async with asyncio.timeout(1.0):
            status = dict(fields(await connection.call(_STATUS, b"")))
    finally:
        connection.close()
    header = dict(fields(bytes(status[1]))) if isinstance(status.get(1), bytes) else {}
    return bool(status.get(4)) and status.get(4) == header.get(2)  # the leader's id, and its own


# Messages: field numbers from rpc.proto; lengths and integers as protobuf has them.


def put_request(key: str, value: str) -> bytes:
    """PutRequest: key = 1, value = 2."""
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
    """The integers and byte strings of a protobuf message, by field number."""
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
            raise PaxosppError(f"etcd answered with a field of kind {kind}, which this bench cannot read")
