"""Nodes without consensus: a real gRPC server that applies every run at once with a real executor.

Tests of the client use them to cause what rarely happens in a cluster: a lost run, an expired session, a wrong
hint of the leader. Several nodes may share one ``Log``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

from paxospp.errors import CommandError, RejectedError
from paxospp.execution.executor import Executor
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot
from paxospp.rpc.connection import ClientConnection
from paxospp.rpc.server import Server
from paxospp.sessions.runs import Run, decode_run, encode_commands
from paxospp.sessions.table import RunAnswer
from paxospp.wire.v1 import client_pb2 as wire
from tests.cluster.embedding import Notes

EXPIRY_S = 100


class Log:
    """Stands in for the decided log: an executor that applies each run in a slot of its own."""

    def __init__(self) -> None:
        self.machine = Notes()
        self.executor = Executor(self.machine)
        self.time = 0
        members = (Member(NodeId("n1"), "127.0.0.1:1", 1),)
        founding = Membership(
            cluster_id=bytes(16), group=0, alpha=8, session_expiry_s=EXPIRY_S, replaces=Slot(0), members=members
        )
        self._append(Kind.MEMBERSHIP, founding.to_bytes())

    def apply(self, run: bytes) -> RunAnswer:
        self.time += 1
        return self._append(Kind.COMMANDS, encode_commands(self.time, self.time, [run]))[0]

    def let_pass(self, seconds: float) -> None:
        """Advance the log's time and apply an empty value at that time."""
        self.time += round(seconds * 1_000_000)
        self._append(Kind.COMMANDS, encode_commands(self.time, self.time, []))

    def _append(self, kind: Kind, value: bytes) -> Sequence[RunAnswer]:
        slot = Slot(self.executor.applied + 1)
        return self.executor.apply(Entry(slot, Ballot(1, NodeId("n1"), 1), kind, value))


class Alone:
    """One node. ``handle`` decides what happens to a run; by default it is applied and answered."""

    def __init__(self, name: str = "n1", log: Log | None = None) -> None:
        self.name = name
        self.log = log or Log()
        self.leader = wire.Leader(node=name)
        self.cluster_id = b""
        self.address = ""
        self.runs: list[Run] = []
        self.queries: list[int] = []
        self.greeted = 0
        self.connections: list[ClientConnection] = []
        self._took = asyncio.Event()
        self.handle: Callable[[ClientConnection, bytes], Any] = self.apply
        self.mute = False
        """Take queries without answering them."""
        self._server = Server(on_frame=lambda frame: None, calls=self, status=lambda: b"{}")

    async def __aenter__(self) -> Self:
        await self.start("127.0.0.1:0")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self, listen: str) -> None:
        self.address = f"127.0.0.1:{await self._server.start(listen)}"

    async def close(self) -> None:
        await self._server.close()

    def follow(self, other: Alone) -> None:
        """Name another node as leader and tell all connected clients."""
        self.leader = wire.Leader(node=other.name, address=other.address)
        self.tell_leader()

    def tell_leader(self) -> None:
        for connection in self.connections:
            connection.answer(wire.CallResponse(leader=self.leader))

    async def took(self, count: int) -> None:
        """Wait until ``count`` runs have arrived."""
        while len(self.runs) < count:
            self._took.clear()
            await self._took.wait()

    # Ways to handle a run.

    def apply(self, connection: ClientConnection, run: bytes) -> None:
        refused = self.log.executor.check(decode_run(run))
        if refused:
            requests = [wire.RefusedRequest(number=number, reason=reason) for number, reason in refused]
            refusal = wire.RunRefused(session=decode_run(run).random, requests=requests)
            connection.answer(wire.CallResponse(run_refused=refusal))
            return
        outcome = self.log.apply(run)
        answer = wire.RunAnswer(
            session=outcome.session.random,
            first=outcome.first,
            status=cast("wire.RunStatus", outcome.status),
            expected=outcome.expected,
            outcomes=outcome.outcomes,
        )
        connection.answer(wire.CallResponse(run_answer=answer))

    def lose(self, connection: ClientConnection, run: bytes) -> None:
        """Drop the run without an answer, like a leader that dies before it proposes the run."""

    # The interface CallHandler.

    def greeting(self) -> wire.Greeting:
        self.greeted += 1
        return wire.Greeting(
            log_time=self.log.executor.log_time,
            node=self.name,
            leader=self.leader,
            value_bytes_max=1 << 20,
            cluster_id=self.cluster_id,
        )

    def on_connect(self, connection: ClientConnection) -> None:
        self.connections.append(connection)

    def on_disconnect(self, connection: ClientConnection) -> None:
        self.connections.remove(connection)

    def on_run(self, connection: ClientConnection, run: bytes) -> Any:
        self.runs.append(decode_run(run))
        self._took.set()
        return self.handle(connection, run)

    def on_queries(self, connection: ClientConnection, queries: wire.Queries) -> None:
        for id, request in enumerate(queries.requests, queries.first_id):
            self.queries.append(id)
            if not self.mute:
                connection.answer(self._answer(id, request))

    def _answer(self, id: int, request: bytes) -> wire.CallResponse:
        try:
            answers = wire.QueryAnswers(first_id=id, results=[self.log.executor.answer(request)])
        except RejectedError as error:
            failure = wire.Failure(kind=wire.FAILURE_KIND_REJECTED, message=str(error))
        except CommandError as error:
            failure = wire.Failure(kind=wire.FAILURE_KIND_COMMAND, type=error.type, message=error.message)
        else:
            return wire.CallResponse(query_answers=answers)
        return wire.CallResponse(query_failure=wire.QueryFailure(first_id=id, count=1, failure=failure))
