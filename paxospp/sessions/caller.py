"""The caller's side of a session: it numbers calls, cuts them into runs, and matches answers with calls.

A ``Caller`` remembers what a Client or an embedded Node needs so that each call takes effect exactly once: which calls
have no number yet, which were sent and not answered, and up to which number all are answered. It sends nothing and sets
no timer. Its owner transmits the runs that it returns, in order, and calls ``resend``: after silence while it is
``unanswered``; and while it is ``outstanding``, on a new connection, under a new leader, or when held calls leave no
space for another one.

A call gets its number when its run is first transmitted; from then on number and payload belong together. A call that
was cancelled earlier never existed. A call that was given up later keeps its number, and is sent with the others until
it is answered, because a missing number would hold up all later ones. If a node refuses to propose a call, ``VOID``
takes its place under the same number.

A caller handles one ordered stream of answers. Answers to an earlier session (``RunAnswer.session``) must not be
passed to it.

Reference: Ongaro's thesis (2014), 6.3, with runs in place of single requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paxospp.sessions.runs import VOID, Run, SessionId, encode_run
from paxospp.sessions.table import UNACKNOWLEDGED_MAX, RunStatus
from paxospp.state_machine.payload import OUTCOME_REJECTED, encode_rejected

_REJECTED = bytes([OUTCOME_REJECTED])
_ITEM_BYTES = 5
"""The most that the encoding adds to a payload."""


class Caller:
    """Numbers the calls of one session.

    A ``call`` is any object of the owner that comes back with the outcome: hashable, not None, and used once.
    """

    __slots__ = (
        "_base",
        "_calls",
        "_early",
        "_gap",
        "_payloads",
        "_queued",
        "_random",
        "_reasons",
        "_refused",
        "_run_bytes_max",
        "_run_commands_max",
        "_sent",
        "_twice",
        "held_bytes",
        "session",
    )

    def __init__(self, random: bytes, *, run_bytes_max: int, run_commands_max: int) -> None:
        """Start a session.

        Args:
            random: 16 random bytes, new for each start of the owner's process and each session.
            run_bytes_max: the size of a run's encoded payloads, without a header of some 50 bytes. A longer payload
                gets a run of its own.
            run_commands_max: the number of payloads in a run.
        """
        self._run_bytes_max = run_bytes_max
        self._run_commands_max = run_commands_max
        self._queued: dict[object, bytes] = {}
        self.held_bytes = 0
        """Total size of the payloads that are queued or not answered yet, including those that no caller waits for."""
        self._begin(random)

    def _begin(self, random: bytes) -> None:
        if len(random) != 16:
            raise ValueError(f"a session's random part has 16 bytes, not {len(random)}")
        self._random = random
        self.session: SessionId | None = None
        self._base = 1  # the lowest number that is not answered; all below are
        self._payloads: list[bytes] = []  # from _base on
        self._calls: list[object] = []  # from _base on; None: the call was given up
        self._sent: dict[object, int] = {}  # the number of each call that was sent and is waited for
        self._early: set[int] = set()  # numbers above _base that are answered already
        self._twice = 0  # numbers up to here may have been transmitted more than once
        self._gap = 0  # the expected number of the latest gap that runs were resent for
        self._reasons: dict[object, str] = {}  # of refused calls that wait for the log's answer
        self._refused = False  # a run was refused and its numbers were not transmitted since

    # ----------------------------------------------------------------------- state

    @property
    def random(self) -> bytes:
        """The random part of this session's id, which answers repeat."""
        return self._random

    @property
    def acknowledged(self) -> int:
        """The number up to which all calls are answered."""
        return self._base - 1

    @property
    def queued(self) -> int:
        """How many calls have no number yet."""
        return len(self._queued)

    @property
    def waiting(self) -> int:
        """How many calls were sent, are not answered, and were not given up."""
        return len(self._sent)

    @property
    def outstanding(self) -> bool:
        """Whether any call that was sent is not answered, including those that were given up."""
        return bool(self._payloads)

    @property
    def held_up(self) -> bool:
        """Whether a call queues behind a full window."""
        return bool(self._queued) and len(self._payloads) >= UNACKNOWLEDGED_MAX

    @property
    def unanswered(self) -> bool:
        """Whether to resend after silence: a call waits for its answer, or is queued behind a full window."""
        return bool(self._sent) or self.held_up

    # ----------------------------------------------------------------------- calls

    def open(self, log_time: int) -> None:
        """Give the session its id; ``log_time`` is the time of the log as some node has applied it.

        Until the first number is given, a call with a later time replaces the id, so that a session does not expire
        before it is used. After that the call does nothing.
        """
        if self._base == 1 and not self._payloads and (self.session is None or log_time > self.session.opened):
            self.session = SessionId(log_time, self._random)

    def add(self, payload: bytes, call: object) -> None:
        """Queue a call; ``next_runs`` gives it a number."""
        self._queued[call] = payload
        self.held_bytes += len(payload)

    def cancel(self, call: object) -> bool:
        """Give up a call; return True if it was never sent, so that it has no effect."""
        payload = self._queued.pop(call, None)
        if payload is not None:
            self.held_bytes -= len(payload)
            return True
        number = self._sent.pop(call, None)
        if number is not None:
            self._calls[number - self._base] = None
            self._reasons.pop(call, None)
        return False

    def withdraw(self) -> list[object]:
        """Remove and return every call without a number."""
        withdrawn = list(self._queued)
        self.held_bytes -= sum(map(len, self._queued.values()))
        self._queued.clear()
        return withdrawn

    def expire(self, random: bytes) -> list[object]:
        """Begin a new session, because this one expired; return the calls whose outcome is unknown.

        Calls without a number stay queued. Call this also after an idle time in which the session may have expired;
        then nothing is lost.
        """
        lost = list(self._sent)
        self.held_bytes -= sum(map(len, self._payloads))
        self._begin(random)
        return lost

    # ----------------------------------------------------------------------- runs to transmit

    def next_runs(self) -> list[bytes]:
        """Number the queued calls, as far as the window allows, and return them as encoded runs."""
        queued = self._queued
        if not queued or self.session is None:
            return []
        room = UNACKNOWLEDGED_MAX - len(self._payloads)
        if room <= 0:
            return []
        if len(queued) <= room:
            payloads, calls = list(queued.values()), list(queued)
            queued.clear()
        else:
            calls = list(queued)[:room]
            payloads = [queued.pop(call) for call in calls]
        first = self._base + len(self._payloads)
        self._sent.update(zip(calls, range(first, first + len(calls)), strict=True))
        self._payloads += payloads
        self._calls += calls
        if self._refused:
            # The refused run was not proposed, so without it the new numbers would follow a gap.
            return self._resend_up_to(first - 1, self._base)
        return self._cut(first, payloads)

    def resend(self, expected: int | None = None) -> list[bytes]:
        """Return everything sent and not answered, from number ``expected`` on (None: all), as encoded runs."""
        if expected is None:
            self._gap = 0
        return self._resend_up_to(self._base + len(self._payloads) - 1, expected or self._base)

    def _resend_up_to(self, twice: int, start: int) -> list[bytes]:
        base = self._base
        start = max(start, base)
        if start == base:
            self._refused = False
        self._twice = max(self._twice, twice)
        if not self._early:
            payloads = self._payloads[start - base :]
            return self._cut(start, payloads) if payloads else []
        # An answered number was applied, and all numbers before it too, so the runs may leave it out.
        runs: list[bytes] = []
        part: list[bytes] = []
        for number, payload in enumerate(self._payloads[start - base :], start):
            if number not in self._early:
                part.append(payload)
            elif part:
                runs += self._cut(number - len(part), part)
                part = []
        if part:
            runs += self._cut(base + len(self._payloads) - len(part), part)
        return runs

    def _cut(self, first: int, payloads: list[bytes]) -> list[bytes]:
        session = self.session
        assert session is not None  # numbers are given to an open session only
        opened, random = session
        acknowledged = self._base - 1
        bytes_max = self._run_bytes_max
        count_max = self._run_commands_max
        count = len(payloads)
        sizes = list(map(len, payloads))
        if count <= count_max and sum(sizes) + _ITEM_BYTES * count <= bytes_max:
            return [encode_run(Run(opened, random, first, acknowledged, payloads))]
        runs = []
        start = 0
        while start < count:
            stop = start + 1
            left = bytes_max - sizes[start] - _ITEM_BYTES
            while stop < count and stop - start < count_max and left >= sizes[stop] + _ITEM_BYTES:
                left -= sizes[stop] + _ITEM_BYTES
                stop += 1
            runs.append(encode_run(Run(opened, random, first + start, acknowledged, payloads[start:stop])))
            start = stop
        return runs

    # ----------------------------------------------------------------------- answers

    def on_answer(
        self, first: int, status: RunStatus | int, expected: int, outcomes: Sequence[bytes]
    ) -> tuple[list[tuple[object, bytes]], bool]:
        """Handle the answer to a run; its fields are those of ``RunAnswer``.

        Returns:
            The calls that are answered now, each with its outcome; and whether to call
            ``resend(expected)`` at once. An expired run changes nothing here: the owner calls ``expire``.
        """
        if status == RunStatus.GAP:
            return [], self._on_gap(first, expected)
        if status != RunStatus.APPLIED:
            return [], False
        skip = self._base - first
        if skip > 0:
            outcomes = outcomes[skip:]
            first = self._base
        calls = self._calls
        start = first - self._base
        count = min(len(outcomes), len(calls) - start)
        if count <= 0:
            return [], False
        if start or self._early:
            answered = self._answer_out_of_order(start, outcomes[:count])
        else:
            sent = self._sent
            answered = [pair for pair in zip(calls[:count], outcomes, strict=False) if pair[0] is not None]
            for call, _ in answered:
                del sent[call]
            self._drop(count)
        return (self._explained(answered) if self._reasons else answered), False

    def _answer_out_of_order(self, start: int, outcomes: Sequence[bytes]) -> list[tuple[object, bytes]]:
        answered = []
        base, early = self._base, self._early
        for index, outcome in enumerate(outcomes, start):
            if base + index in early:
                continue
            early.add(base + index)
            call = self._calls[index]
            if call is not None:
                del self._sent[call]
                self._calls[index] = None
                answered.append((call, outcome))
        done = 0
        while base + done in early:
            early.remove(base + done)
            done += 1
        self._drop(done)
        return answered

    def _explained(self, answered: list[tuple[object, bytes]]) -> list[tuple[object, bytes]]:
        """Put the reasons, which the log does not hold, into the outcomes of refused calls."""
        explained = []
        for call, outcome in answered:
            reason = self._reasons.pop(call, None)
            if reason is not None and outcome[:1] == _REJECTED:
                outcome = encode_rejected(reason)
            explained.append((call, outcome))
        return explained

    def _drop(self, count: int) -> None:
        self.held_bytes -= sum(map(len, self._payloads[:count]))
        del self._calls[:count]
        del self._payloads[:count]
        self._base += count

    def _on_gap(self, first: int, expected: int) -> bool:
        if expected >= first or not self._base <= expected < self._base + len(self._payloads):
            # The run began at the expected number and still had no effect: the cluster has no room for the session
            # now. Or this answer is older than others that have arrived.
            return False
        if expected == self._gap:
            # Each run that followed the lost one reports the same gap, and one resend fills it. If that is lost too,
            # the owner resends after silence.
            return False
        self._gap = expected
        return True

    def on_refused(self, numbers: Mapping[int, str]) -> list[tuple[object, str]]:
        """Handle that a node refused these numbers and did not propose their run.

        Each becomes ``VOID``. Returns the calls that certainly have no effect, with the reasons: those
        that were transmitted only once. An earlier copy of the others may still be decided, so they wait for the log's
        answer. Call ``resend`` next if ``unanswered``; otherwise the next calls carry the numbers along.
        """
        refused = []
        base = self._base
        for number, reason in numbers.items():
            index = number - base
            if not 0 <= index < len(self._payloads) or number in self._early:
                continue
            self.held_bytes -= len(self._payloads[index])
            self._payloads[index] = VOID
            call = self._calls[index]
            if call is None:
                continue
            if number <= self._twice:
                self._reasons[call] = reason
                continue
            self._calls[index] = None
            del self._sent[call]
            refused.append((call, reason))
        self._refused = True
        return refused
