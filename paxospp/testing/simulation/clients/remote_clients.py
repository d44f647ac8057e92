"""Clients in processes of their own: the client's real conversation, over virtual streams to the node's real parts.

``Conversation`` (``paxospp.client``) numbers calls, and retries commands and queries; the node's ``RemoteCalls``
answers. gRPC and the choice of an address are replaced: a stream is in order, takes time, breaks when its node dies,
and may go silent. A client that has waited too long, or is told of another leader, continues its session on another
node (K1).

References: families K1 and K2 of ``paxospp/testing/simulation/README.md``; Ongaro's thesis (2014), 6.3.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from paxospp.client.conversation import Conversation
from paxospp.errors import CallError, CommandError, CorruptedError, OutcomeUnknownError, RejectedError
from paxospp.rpc.connection import ClientConnection, MalformedRequestError
from paxospp.testing.simulation.clients.client_context import ClientContext
from paxospp.testing.simulation.clients.watched_caller import RemoteCaller
from paxospp.testing.simulation.judges.call_history import TrackedCall
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.virtual_time import VirtualLoop
from paxospp.wire.v1 import client_pb2 as wire

LOOK_S = 0.1
"""How often a client checks whether it has waited too long."""


class VirtualStream(ClientConnection):
    """One stream from a client to one boot of a node."""

    def __init__(self, client: RemoteClient, host: SimulatedHost) -> None:
        # The base class is not initialised: nothing is queued for a transport.
        self.peer = client.name
        self.closed = False
        self.host = host
        self.loop = host.loop
        self.delay_s = 0.0003 + 0.002 * client.clients.random.random()
        self._client = client
        self._requests: deque[wire.CallRequest] = deque()
        self._held_up = False
        self._later = 0.0

    @property
    def _clock(self) -> Any:
        return self._client.world.clock

    def open(self) -> None:
        """Connect: the node greets the client, or is not there."""
        self._clock.after(self.delay_s, self._at_node, self._greet)

    def _at_node(self, call: Callable[[], None]) -> None:
        if self.closed:
            return
        if self.host.loop is not self.loop or self.host.runtime is None:
            self._clock.after(self.delay_s, lambda _: self._client.on_broken(self))
            return
        self._clock.trace(self.host.index * 256 + 7)
        self.host.take(self.loop, call, ())

    def _greet(self) -> None:
        runtime = self.host.runtime
        assert runtime is not None
        runtime.remote.on_connect(self)
        self.answer(wire.CallResponse(greeting=runtime.remote.greeting()))

    def send(self, request: wire.CallRequest) -> None:
        """Send ``request`` to the node, in order."""
        self._clock.after(self.delay_s, self._at_node, lambda: self._take(request))

    def _take(self, request: wire.CallRequest) -> None:
        self._requests.append(request)
        self._hand_over_all()

    def _hand_over_all(self, _: object = None) -> None:
        """Handle requests as a server reads them: the next one waits while the node delays the current one."""
        runtime = self.host.runtime
        requests = self._requests
        while requests and not self._held_up and runtime is not None and not self.closed:
            request = requests.popleft()
            try:
                with self._client.reading(self, request):
                    waiting = self._hand_over(request, runtime.remote)
            except (MalformedRequestError, CorruptedError):
                self.close()
                self._clock.after(self.delay_s, lambda _: self._client.on_broken(self))
                return
            if isinstance(waiting, asyncio.Future) and not waiting.done():
                self._held_up = True
                waiting.add_done_callback(self._go_on)

    def _go_on(self, _: object) -> None:
        self._held_up = False
        self._hand_over_all()

    def answer(self, response: wire.CallResponse | bytes) -> None:
        if self.closed:
            return
        if isinstance(response, bytes):
            response = wire.CallResponse.FromString(response)
        self._clock.after(self.delay_s, self._arrive, response)

    def _arrive(self, response: wire.CallResponse) -> None:
        if not self.closed:
            self._clock.trace(255.0)
            self._client.on_response(self, response)

    def close(self) -> None:
        """Close the stream, and tell the node if it still runs."""
        if not self.closed:
            self.closed = True
            runtime = self.host.runtime
            if runtime is not None and self.host.loop is self.loop:
                runtime.remote.on_disconnect(self)


class RemoteClient:
    """A client that makes one call at a time over one stream."""

    def __init__(self, clients: ClientContext, number: int) -> None:
        self.world = clients.world
        self.clients = clients
        self.name = f"remote client {number}"
        self.operation: TrackedCall | None = None
        self._random = clients.random
        self._loop = VirtualLoop(  # type: ignore[abstract]
            self.world.clock, self._take, code=254, rate=1.0, offset_s=0.0
        )
        self._call: asyncio.Future[bytes] | None = None
        self._stream: VirtualStream | None = None
        self._is_greeted = False
        self._runs: deque[bytes] = deque(maxlen=8)
        """The latest runs, of which old copies arrive again (K2)."""
        self._begin()
        self.world.clock.after(LOOK_S, self._look)

    def _begin(self) -> None:
        self._conversation = Conversation(caller=RemoteCaller(self.world.history, self._random))
        self._answers: dict[tuple[VirtualStream, int], deque[int]] = {}
        self._reads: dict[int, TrackedCall] = {}
        """Reads by the id of the query."""

    def _take(self, loop: VirtualLoop, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        call(*arguments)
        self._drain()

    def _drain(self) -> None:
        ready = self._loop.ready
        while ready:
            call, arguments = ready.popleft()
            call(*arguments)

    # Calls.

    def rest(self) -> None:
        if self.clients.on:
            self.world.clock.after(self._random.expovariate(1 / self.world.plan.pace_s), self._step)

    def _step(self, _: object) -> None:
        if self.operation is not None or not self.clients.on:
            return
        drawn = self.clients.calls.next()
        payload, is_read = drawn.payload, drawn.is_read
        timeout_s = self.clients.next_timeout_s()
        operation = self.operation = self.world.history.begin(
            self.name, payload, is_read=is_read, age_s=drawn.age_s if is_read else None
        )
        self.world.history.reads.pop(id(payload), None)  # found by its stream, not by its request
        self._call = call = self._loop.create_future()
        call.add_done_callback(lambda call: self._on_done(operation, call))
        now = self._loop.time()
        if is_read:
            number = self._conversation.add_query(call, payload, drawn.consistency, now + timeout_s)
            self._reads[number] = operation
        else:
            self.world.history.operations[call] = operation
            self._conversation.add_command(call, payload, now)
        self._loop.call_later(timeout_s, self._on_deadline, call)
        self._write()

    def _on_deadline(self, call: asyncio.Future[bytes]) -> None:
        if not call.done():
            call.set_exception(self._conversation.give_up(call))

    def _on_done(self, operation: TrackedCall, call: asyncio.Future[bytes]) -> None:
        self.world.history.operations.pop(call, None)
        error = call.exception()
        if operation is not self.operation:
            return
        match error:
            case None | CommandError():
                if not operation.answered:
                    raise RuleBroken("12", f"{operation.client} has an answer that no node gave")
            case OutcomeUnknownError():
                self.world.history.give_up(operation, "refused" if operation.is_read else "unknown")
            case RejectedError():
                self.world.history.give_up(operation, "rejected")
            case CallError():
                self.world.history.give_up(operation, "refused" if operation.is_read else "not sent")
            case _:
                raise RuleBroken("a call ended badly", repr(error)) from error
        self.operation = self._call = None
        self.rest()

    # The stream.

    def _look(self, _: object) -> None:
        now = self._loop.time()
        conversation = self._conversation
        if self._stream is None:
            self._connect(None)
        elif conversation.answer_due_at() <= now:
            conversation.on_answer_overdue()
            self.world.coverage["a client went on with another node"] += 1
            self._connect(None)
        elif conversation.retry_queries_at <= now:
            conversation.resend_queries()
            self._write()
        self._drain()
        if self.clients.on or self.operation is not None:
            self.world.clock.after(LOOK_S, self._look)

    def _connect(self, to: SimulatedHost | None) -> None:
        if self._stream is not None:
            self._stream.close()
        host = to or self._random.choice(self.world.hosts)
        self._stream, self._is_greeted = None, False
        if host.loop is not None and host.runtime is not None:
            self._stream = VirtualStream(self, host)
            self._stream.open()

    def on_broken(self, stream: VirtualStream) -> None:
        if stream is self._stream:
            stream.close()
            self._stream, self._is_greeted = None, False

    def on_response(self, stream: VirtualStream, response: wire.CallResponse) -> None:
        if stream is not self._stream:
            return
        conversation, now = self._conversation, self._loop.time()
        if not self._is_greeted and response.HasField("greeting"):
            self._is_greeted = True
            conversation.on_stream(response.greeting, now)
            self._follow(stream, response.greeting.leader)
        elif response.HasField("leader"):
            conversation.on_leader(response.leader)
            conversation.resend_all()
            self._follow(stream, response.leader)
        else:
            if response.HasField("query_answers"):
                self._on_query_answered(stream, response.query_answers.first_id)
            elif response.query_failure.failure.kind == wire.FAILURE_KIND_COMMAND:
                self._on_query_answered(stream, response.query_failure.first_id)
            conversation.on_response(response, now)
        self._write()
        self._drain()

    def _follow(self, stream: VirtualStream, leader: wire.Leader) -> None:
        """Connect to the leader's node, in seven of ten cases."""
        if leader.node and leader.node != stream.host.name and self._random.random() < 0.7:
            self._connect(self.world.host(leader.node))  # type: ignore[arg-type]

    def _write(self) -> None:
        if self._stream is None or not self._is_greeted:
            return
        for request in self._conversation.requests(self._loop.time()):
            if request.WhichOneof("request") == "run":
                self._runs.append(request.run)
            self._stream.send(request)

    # Reads: the slot of each answer is noted when the node gives it.

    def reading(self, stream: VirtualStream, request: wire.CallRequest) -> Any:
        """Attribute a query in ``request`` to one of this client's reads, while the node takes it in."""
        # This client makes one call at a time, so each batch holds one query.
        id = request.queries.first_id
        operation = self._reads.get(id) if request.WhichOneof("request") == "queries" else None
        if operation is None:
            return self.world.history.asking(None)
        answers = self._answers.setdefault((stream, id), deque())
        return self.world.history.asking((operation, answers))

    def _on_query_answered(self, stream: VirtualStream, id: int) -> None:
        given = self._answers.get((stream, id))
        if not given:
            return
        index = given.popleft()
        if self._conversation.is_query_open(id):
            self.world.history.on_remote_read(self._reads[id], index)

    # End of the process.

    def crash(self) -> None:
        """Kill the process; another one takes its place, with a session of its own (K2)."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._is_greeted = None, False
        if self._call is not None and not self._call.done():
            self._conversation.give_up(self._call)
            self._call.set_exception(OutcomeUnknownError("the client is gone"))
            self._drain()
        for run in self._runs:
            self.world.clock.after(self._random.expovariate(0.3), self._come_again, run)
        self._runs.clear()
        self._begin()

    def _come_again(self, run: bytes) -> None:
        """Let an old copy of a run arrive at any node."""
        host = self._random.choice(self.world.hosts)
        if host.runtime is not None and self.clients.on:
            stream = VirtualStream(self, host)
            stream.open()
            stream.send(wire.CallRequest(run=run))
            self.world.coverage["an old copy of a run came again"] += 1

    def on_down(self, host: SimulatedHost) -> None:
        """Break streams to a node that died, most of them at once."""
        stream = self._stream
        if stream is not None and stream.host is host and self._random.random() < 0.8:
            self.world.clock.after(stream.delay_s, lambda _: self.on_broken(stream))
