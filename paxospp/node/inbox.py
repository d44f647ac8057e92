"""The inbox: runs wait here until they can be proposed or forwarded, and answers find the caller that waits.

At the leader, runs wait while its own write is under way. When the write returns, all queued runs become one value of
at most ``batch_bytes_max``. At a follower they are forwarded to the leader, once: a node that does not lead drops a
forwarded run, and its caller sends it again after a silence. Without a leader runs wait here, within bounds.

Answers come from the entries that this node applies, and name the session that they are for. Nothing is decided here:
whether a run is new, a copy, out of order or expired is found out when it is applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence

from paxospp.config import NodeConfig
from paxospp.errors import CorruptedError
from paxospp.execution.executor import Executor
from paxospp.markers import NO_MARKERS, Markers
from paxospp.messages import ForwardRuns, Sender
from paxospp.model import NodeId
from paxospp.node.driver import Driver
from paxospp.node.environment import Links
from paxospp.node.local import LocalCalls
from paxospp.node.writer import Writer
from paxospp.sessions.runs import decode_run, encode_commands
from paxospp.sessions.table import RunAnswer

FORWARD_BYTES_MAX = 1 << 20
"""The most bytes of runs in one message to the leader; a single larger run goes alone."""
VALUE_COMMANDS_MAX = 512
"""About the most commands in one value: a value is applied without a pause, and heartbeats wait meanwhile."""
STEP_MAX_EXPIRY_FRACTION = 1 / 4
"""The log time advances from one value to the next by at most this fraction of the session expiry."""

_log = logging.getLogger("paxospp.node")


class RunQueue:
    """Encoded runs, oldest first, each with its approximate number of commands."""

    def __init__(self) -> None:
        self._runs: deque[tuple[bytes, int]] = deque()
        self.bytes = 0
        self.commands = 0

    def __len__(self) -> int:
        return len(self._runs)

    def put(self, run: bytes, commands: int) -> None:
        self._runs.append((run, commands))
        self.bytes += len(run)
        self.commands += commands

    def fits(self, bytes_left: int, commands_left: int) -> bool:
        """Whether the queue has a run, and the oldest one is within these bounds."""
        if not self._runs:
            return False
        run, commands = self._runs[0]
        return len(run) <= bytes_left and commands <= commands_left

    def take(self) -> tuple[bytes, int]:
        """Remove and return the oldest run."""
        run, commands = self._runs.popleft()
        self.bytes -= len(run)
        self.commands -= commands
        return run, commands

    def clear(self) -> None:
        self._runs.clear()
        self.bytes = 0
        self.commands = 0


class LogClock:
    """The log time that a leader stamps on values, in microseconds: elapsed time, never the wall clock.

    A stamp is the last one applied or made, plus the monotonic time since then. It stands still while there is no
    leader and while the cluster is down, so that no session expires for lack of a leader.

    A long pause counts only in part. A session is opened at the log time of the last value, and must not have expired
    when its own first value is stamped. So a step is at most a quarter of the expiry; sessions live a little longer.
    """

    def __init__(self, observer: Markers = NO_MARKERS) -> None:
        self._observer = observer
        self._stamp = 0
        self._at: float | None = None
        """The loop's time when ``_stamp`` was set; None before the first entry was applied."""

    def observe(self, applied: int, now: float) -> None:
        """Adopt the executor's log time, ``applied``, if it is later."""
        if self._at is None or applied > self._stamp:
            self._stamp = applied
            self._at = now

    def stamp(self, now: float, expiry_s: float) -> int:
        """Return the stamp of a value made now; sessions expire after ``expiry_s`` seconds."""
        if self._at is not None:
            passed_s, most_s = now - self._at, expiry_s * STEP_MAX_EXPIRY_FRACTION
            if passed_s > most_s:
                self._observer.reached("log clock: of a long silence only a part counts")
            self._stamp += int(min(max(0.0, passed_s), most_s) * 1_000_000)
        self._at = now
        return self._stamp


class Inbox:
    """Runs of this process, of remote callers and of peers, between their arrival and the log."""

    def __init__(
        self,
        driver: Driver,
        executor: Executor,
        writer: Writer,
        links: Links,
        config: NodeConfig,
        local: LocalCalls,
        *,
        loop: asyncio.AbstractEventLoop,
        unix_time_us: Callable[[], int],
        observer: Markers = NO_MARKERS,
    ) -> None:
        self._observer = observer
        self._driver = driver
        self._replica = driver.replica
        self._executor = executor
        self._writer = writer
        self._links = links
        self._config = config
        self._local = local
        self._loop = loop
        self._unix_time_us = unix_time_us
        self._clock = LogClock(observer)
        self._observed = -1
        """The log time that was given to the clock last."""
        self._own = RunQueue()
        """Runs submitted by callers of this node."""
        self._forwarded = RunQueue()
        """Runs of other nodes' callers, while this node leads."""
        self._callbacks: dict[bytes, Callable[[RunAnswer], None]] = {}
        """The callback that gets each answer to a session's runs, by the random part of the session's id."""
        self._waiting_streams: list[asyncio.Future[None]] = []
        self.dropped: Counter[str] = Counter()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all runs that are not proposed or forwarded yet."""
        return self._own.bytes + self._forwarded.bytes

    @property
    def waiting_commands(self) -> int:
        """About how many commands are in those runs."""
        return self._own.commands + self._forwarded.commands

    # Answers.

    def expect(self, random: bytes, on_answer: Callable[[RunAnswer], None]) -> None:
        """Register ``on_answer``, to be called with the answers to the runs of the session with this random part."""
        self._callbacks[random] = on_answer

    def forget(self, random: bytes, on_answer: Callable[[RunAnswer], None]) -> None:
        """Unregister ``on_answer``, unless a newer stream has taken over the session."""
        if self._callbacks.get(random) == on_answer:
            del self._callbacks[random]

    def on_answers(self, answers: Sequence[RunAnswer]) -> None:
        """Pass each answer to the caller whose session it names, if that caller is at this node."""
        for answer in answers:
            random = answer.session.random
            if random == self._local.session_random:
                self._local.on_answer(answer)
            else:
                pass_on = self._callbacks.get(random)
                if pass_on is not None:
                    pass_on(answer)

    # Runs come in.

    def submit(self, run: bytes, commands: int) -> None:
        """Queue a checked run of a remote caller of this node."""
        self._own.put(run, commands)
        self._driver.advance_soon()

    def wait_for_space(self) -> asyncio.Future[None] | None:
        """Return what a stream has to await before it reads the next request; None if the inbox has space."""
        if self._has_space(1):
            return None
        self._observer.reached("inbox: a stream waits for space")
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting_streams.append(future)
        return future

    def _has_space(self, divisor: int) -> bool:
        """Whether the waiting runs are within the configured bounds divided by ``divisor``."""
        own, forwarded, config = self._own, self._forwarded, self._config
        return (
            own.bytes + forwarded.bytes <= config.inbox_bytes_max // divisor
            and own.commands + forwarded.commands <= config.inbox_calls_max // divisor
        )

    def on_forwarded(self, sender: Sender, runs: Sequence[bytes]) -> None:
        """Queue runs that a follower forwarded, if this node leads and has space."""
        if not self._replica.leading:
            self._observer.reached("inbox: runs are forwarded to a node that does not lead")
            self.dropped["forwarded to a node that does not lead"] += len(runs)
            return
        for place, run in enumerate(runs):
            if not self._has_space(1):
                self._observer.reached("inbox: runs are forwarded to a node that has no space")
                self.dropped["forwarded to a node that is overloaded"] += len(runs) - place
                break
            commands = self._fitting(sender.node, run)
            if commands:
                self._forwarded.put(run, commands)
        self._driver.advance_soon()

    def _fitting(self, node: NodeId, run: bytes) -> int:
        """Return how many commands are in ``run``; 0 if this node's code would refuse one of them."""
        try:
            decoded = decode_run(run)
            refused = self._executor.check(decoded)
        except CorruptedError as error:
            refused = ((0, str(error)),)
        if not refused:
            return len(decoded.payloads)
        self.dropped["forwarded but not understood"] += 1
        _log.warning(
            "node %s: dropped a run that %s forwarded, because the state machine here does not accept it: %s",
            self._replica.identity.name,
            node,
            refused[0][1],
        )
        return 0

    # Runs go out.

    def advance(self) -> None:
        """Propose or forward what can be now, and let waiting streams go on once half of the space is free."""
        if self._executor.log_time != self._observed:
            self._observed = self._executor.log_time
            self._clock.observe(self._observed, self._loop.time())
        if self._own.bytes or self._forwarded.bytes or self._local.wants_to_send:
            self._send_on()
        if self._waiting_streams and self._has_space(2):
            self._resume_streams()

    def _send_on(self) -> None:
        replica = self._replica
        if replica.leading:
            while replica.proposable > 0 and not self._writer.busy and not replica.holds_delivery:
                forwarded = bool(self._forwarded)
                value = self._next_value()
                if value is None:
                    break
                self._driver.propose(value, forwarded)
        else:
            self._drop_forwarded()
            leader = replica.leader
            if leader is not None and leader != replica.identity.name:
                self._forward(leader)

    def _next_value(self) -> bytes | None:
        """Make one value of the queued runs, up to its bounds; None if there are none."""
        bytes_max = self._config.batch_bytes_max
        if self._own.bytes < bytes_max:
            self._take_local()
        runs: list[bytes] = []
        size = commands = 0
        # Take runs alternately from both queues, so that neither can starve the other.
        queues = deque(queue for queue in (self._own, self._forwarded) if queue)
        while queues:
            queue = queues.popleft()
            if runs and not queue.fits(bytes_max - size, VALUE_COMMANDS_MAX - commands):
                self._observer.reached("inbox: a run waits for the next value")
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
        assert membership is not None, "nothing is proposable before the cluster is bootstrapped"
        stamp = self._clock.stamp(self._loop.time(), membership.session_expiry_s)
        return encode_commands(stamp, self._unix_time_us(), runs)

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
            self._observer.reached("inbox: runs are forwarded to the leader")
            self._links.send(leader, ForwardRuns(runs=tuple(runs)))

    def _drop_forwarded(self) -> None:
        """Drop runs that were forwarded to this node when it led; their callers send them again."""
        if self._forwarded:
            self._observer.reached("inbox: forwarded runs are dropped, because the lead is lost")
            self.dropped["forwarded to a node that lost the lead"] += len(self._forwarded)
            self._forwarded.clear()

    def _resume_streams(self) -> None:
        waiting, self._waiting_streams = self._waiting_streams, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Drop all runs, and let waiting streams go on."""
        self._own.clear()
        self._forwarded.clear()
        self._callbacks.clear()
        self._resume_streams()
