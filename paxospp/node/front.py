"""The front door: runs come in, values or forwarded runs go out, outcomes find who waits.

At the leader, runs wait while its own write is under way; when it returned, all that queued
become one value, at most ``batch_bytes_max`` of it. At a follower they go to the leader, once:
a run that was forwarded to a node that does not lead is dropped, and the caller's silence brings
it again. Without a leader they wait here, within bounds.

Who waits is known by the random part of the session, never by slot: outcomes come from this
node's own applying. Nothing is decided here; whether a run is new, a copy, a gap or expired
turns out where it is applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.errors import CorruptedError
from paxospp.execution.executor import Executor
from paxospp.markers import UNWATCHED, Markers
from paxospp.messages import ForwardRuns, Sender
from paxospp.model import NodeId
from paxospp.node.local import LocalCalls
from paxospp.node.log_clock import LogClock
from paxospp.node.run_queue import RunQueue
from paxospp.node.writer import Writer
from paxospp.rpc.peers import PeerLinks
from paxospp.sessions.runs import decode_run, encode_commands
from paxospp.sessions.table import RunOutcome

FORWARD_BYTES_MAX = 1 << 20
"""Runs in one message to the leader; one larger run goes alone."""
VALUE_COMMANDS_MAX = 512
"""Commands in one value, more or less: a value is applied in one piece, heartbeats wait meanwhile."""

_log = logging.getLogger("paxospp.node")


class FrontDoor:
    """Runs of this process, of remote callers and of peers, between their arrival and the log."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        writer: Writer,
        links: PeerLinks,
        config: NodeConfig,
        local: LocalCalls,
        *,
        loop: asyncio.AbstractEventLoop,
        propose: Callable[[bytes, bool], None],
        want_turn: Callable[[], None],
        unix_time: Callable[[], int],
        observer: Markers = UNWATCHED,
    ) -> None:
        self._observer = observer
        self._replica = replica
        self._executor = executor
        self._writer = writer
        self._links = links
        self._config = config
        self._local = local
        self._loop = loop
        self._propose = propose
        self._want_turn = want_turn
        self._unix_time = unix_time
        self._clock = LogClock(observer)
        self._observed = -1
        """The log's time that the clock was told last."""
        self._own = RunQueue()
        """Of this node's callers."""
        self._forwarded = RunQueue()
        """Of other nodes' callers, while this one leads."""
        self._answers: dict[bytes, Callable[[RunOutcome], None]] = {}
        self._room: list[asyncio.Future[None]] = []
        self.dropped: Counter[str] = Counter()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all runs that were not proposed yet."""
        return self._own.bytes + self._forwarded.bytes

    @property
    def waiting_commands(self) -> int:
        """About how many commands are in runs that were not proposed yet."""
        return self._own.commands + self._forwarded.commands

    # Who waits.

    def expect(self, random: bytes, answer: Callable[[RunOutcome], None]) -> None:
        """Give outcomes of the session with this random part to ``answer`` from now on."""
        self._answers[random] = answer

    def forget(self, random: bytes, answer: Callable[[RunOutcome], None]) -> None:
        """Stop that, unless somebody else took the session over meanwhile."""
        if self._answers.get(random) == answer:
            del self._answers[random]

    def on_outcomes(self, outcomes: Sequence[RunOutcome]) -> None:
        for outcome in outcomes:
            random = outcome.session.random
            if random == self._local.session_random:
                self._local.on_outcome(outcome)
            else:
                answer = self._answers.get(random)
                if answer is not None:
                    answer(outcome)

    # What comes in.

    def submit(self, run: bytes, commands: int) -> None:
        """A checked run of a caller of this node."""
        self._own.put(run, commands)
        self._want_turn()

    def wait_for_room(self) -> asyncio.Future[None] | None:
        """None while there is room; else what to await before the next request is read."""
        if self._has_room(1):
            return None
        self._observer.reached("front door: a stream waits for room")
        future: asyncio.Future[None] = self._loop.create_future()
        self._room.append(future)
        return future

    def _has_room(self, part: int) -> bool:
        """Whether what waits is below this part of the bounds."""
        own, forwarded, config = self._own, self._forwarded, self._config
        return (
            own.bytes + forwarded.bytes <= config.inbox_bytes_max // part
            and own.commands + forwarded.commands <= config.inbox_calls_max // part
        )

    def on_forwarded(self, sender: Sender, runs: Sequence[bytes]) -> None:
        """Runs that another node's callers wait for, on their one hop."""
        if not self._replica.leading:
            self._observer.reached("front door: runs are forwarded to a node that does not lead")
            self.dropped["forwarded to a node that does not lead"] += len(runs)
            return
        for place, run in enumerate(runs):
            if not self._has_room(1):
                self._observer.reached("front door: runs are forwarded to a node that has no room")
                self.dropped["forwarded to a node that is overloaded"] += len(runs) - place
                break
            commands = self._fitting(sender.node, run)
            if commands:
                self._forwarded.put(run, commands)
        self._want_turn()

    def _fitting(self, node: NodeId, run: bytes) -> int:
        """How many commands are in the run; 0 if this node's own code does not take it."""
        try:
            decoded = decode_run(run)
            refused = self._executor.check(decoded)
        except CorruptedError as error:
            refused = ((0, str(error)),)
        if not refused:
            return len(decoded.payloads)
        self.dropped["forwarded but not understood"] += 1
        _log.warning("a run that %s forwarded does not fit this node's state machine: %s", node, refused[0][1])
        return 0

    # What goes out.

    def on_turn(self) -> None:
        """Propose or forward what may go now."""
        if self._executor.log_time != self._observed:
            self._observed = self._executor.log_time
            self._clock.observe(self._observed, self._loop.time())
        if self._own.bytes or self._forwarded.bytes or self._local.wants_to_send:
            self._send_on()
        if self._room and self._has_room(2):
            self._let_in()

    def _send_on(self) -> None:
        replica = self._replica
        if replica.leading:
            while replica.proposable > 0 and not self._writer.busy and not replica.holds_delivery:
                forwarded = bool(self._forwarded)
                value = self._next_value()
                if value is None:
                    break
                self._propose(value, forwarded)
        else:
            self._drop_forwarded()
            leader = replica.leader
            if leader is not None and leader != replica.identity.name:
                self._forward(leader)

    def on_leader_changed(self) -> None:
        self._local.on_leader_changed()

    def _next_value(self) -> bytes | None:
        """All runs that queued, as one value, up to its bound."""
        bytes_max = self._config.batch_bytes_max
        if self._own.bytes < bytes_max:
            self._take_local()
        runs: list[bytes] = []
        size = commands = 0
        # In turns, so that neither this node's callers nor the others' can starve the other ones.
        queues = deque(queue for queue in (self._own, self._forwarded) if queue)
        while queues:
            queue = queues.popleft()
            if runs and not queue.fits(bytes_max - size, VALUE_COMMANDS_MAX - commands):
                self._observer.reached("front door: a run waits for the next value")
                continue
            run, count = queue.take()
            runs.append(run)
            size += len(run)
            commands += count
            if queue:
                queues.append(queue)
        if not runs:
            return None
        membership = self._replica.membership
        assert membership is not None, "nothing is proposable before the cluster is founded"
        stamp = self._clock.stamp(self._loop.time(), membership.session_expiry_s)
        return encode_commands(stamp, self._unix_time(), runs)

    def _take_local(self) -> None:
        for run, commands in self._local.take_runs():
            self._own.put(run, commands)

    def _forward(self, leader: NodeId) -> None:
        self._take_local()
        own = self._own
        while own:
            runs = [own.take()[0]]
            size = len(runs[0])
            while own.fits(FORWARD_BYTES_MAX - size, own.commands):
                runs.append(own.take()[0])
                size += len(runs[-1])
            self._observer.reached("front door: runs are forwarded to the leader")
            self._links.send(leader, ForwardRuns(runs=tuple(runs)))

    def _drop_forwarded(self) -> None:
        """They had their hop; whoever waits for them sends them again."""
        if self._forwarded:
            self._observer.reached("front door: forwarded runs are dropped, because the lead is lost")
            self.dropped["forwarded to a node that lost the lead"] += len(self._forwarded)
            self._forwarded.clear()

    def _let_in(self) -> None:
        waiting, self._room = self._room, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Nothing goes out any more; nobody is kept waiting for room."""
        self._own.clear()
        self._forwarded.clear()
        self._answers.clear()
        self._let_in()
