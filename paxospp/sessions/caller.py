"""The caller's side of a session: numbers calls, cuts runs, pairs answers with who waits.

It owns what a Client or an embedded Node must remember so that each call takes effect exactly
once: which calls have no number yet, which were sent and not answered, how far everything is
answered. It sends nothing and sets no timer. Whoever owns it transmits the runs it returns, in
order, and asks for them again (``resend``): after silence while ``unanswered``, and while
``outstanding`` on a new link, under another leader, or when what is held leaves a call no room.

A call gets its number when its run is first transmitted; number and payload then belong together
for ever. A call cancelled before that never existed. One given up after that leaves its number
behind: it is sent along with the others until answered, for a missing number would hold up
every later one. A call that a node refused to propose is replaced by ``VOID`` under its number.

One caller, one ordered stream of answers; answers of an earlier session (``RunOutcome.session``)
are not for it. Reference: Ongaro's thesis (2014), 6.3, with runs in place of single requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paxospp.sessions.runs import VOID, Run, SessionId, encode_run
from paxospp.sessions.table import UNACKNOWLEDGED_MAX, RunStatus
from paxospp.state_machine.payload import OUTCOME_REJECTED, encode_rejected

_REJECTED = bytes([OUTCOME_REJECTED])
_ITEM_BYTES = 5
"""What the encoding adds to a payload at most."""


class Caller:
    """Numbers one session's calls.

    A ``token`` is whatever the owner wants back with the outcome: hashable, not None, used once.
    """

    __slots__ = (
        "_base",
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
        "_tokens",
        "_twice",
        "held_bytes",
        "session",
    )

    def __init__(self, random: bytes, *, run_bytes_max: int, run_commands_max: int) -> None:
        """``random``: 16 bytes, drawn anew for each start of the owner's process and each session.

        ``run_bytes_max`` bounds the payloads of a run as encoded, some 50 bytes of head apart; one
        longer payload travels alone.
        """
        self._run_bytes_max = run_bytes_max
        self._run_commands_max = run_commands_max
        self._queued: dict[object, bytes] = {}
        self.held_bytes = 0
        """Of all payloads held: those that queue, and those that are not answered, whoever still waits."""
        self._begin(random)

    def _begin(self, random: bytes) -> None:
        if len(random) != 16:
            raise ValueError(f"a session's random part has 16 bytes, not {len(random)}")
        self._random = random
        self.session: SessionId | None = None
        self._base = 1  # the lowest number not answered; all below are
        self._payloads: list[bytes] = []  # from _base on
        self._tokens: list[object] = []  # from _base on; None: nobody waits
        self._sent: dict[object, int] = {}  # who waits for which number
        self._early: set[int] = set()  # numbers above _base that are answered already
        self._twice = 0  # numbers up to here may have been transmitted more than once
        self._gap = 0  # the expected number of the latest gap that was resent for
        self._reasons: dict[object, str] = {}  # why, for who waits although refused
        self._refused = False  # a run was refused and its numbers not transmitted since

    # ----------------------------------------------------------------------- what the owner sees

    @property
    def random(self) -> bytes:
        """The random part of this session's id; answers carry it."""
        return self._random

    @property
    def acknowledged(self) -> int:
        """Every number up to this one is answered."""
        return self._base - 1

    @property
    def queued(self) -> int:
        """Calls without a number."""
        return len(self._queued)

    @property
    def waiting(self) -> int:
        """Calls that were sent and that somebody still waits for."""
        return len(self._sent)

    @property
    def outstanding(self) -> bool:
        """Whether anything that was sent is not answered, whoever still waits for it."""
        return bool(self._payloads)

    @property
    def held_up(self) -> bool:
        """Whether a call queues behind a full window."""
        return bool(self._queued) and len(self._payloads) >= UNACKNOWLEDGED_MAX

    @property
    def unanswered(self) -> bool:
        """Whether silence is a reason to resend: somebody waits, or a call queues behind a full window."""
        return bool(self._sent) or self.held_up

    # ----------------------------------------------------------------------- calls come and go

    def open(self, log_time: int) -> None:
        """Give the session its id: ``log_time`` is the log's time as some node has applied it.

        May come again, with a later time, until the first number is given, so that a session does
        not expire before it was used; after that it does nothing.
        """
        if self._base == 1 and not self._payloads and (self.session is None or log_time > self.session.opened):
            self.session = SessionId(log_time, self._random)

    def add(self, payload: bytes, token: object) -> None:
        """Queue a call; it gets its number from ``next_runs``."""
        self._queued[token] = payload
        self.held_bytes += len(payload)

    def cancel(self, token: object) -> bool:
        """Whether the call had no number and now never will; False: it was sent, and stays."""
        payload = self._queued.pop(token, None)
        if payload is not None:
            self.held_bytes -= len(payload)
            return True
        number = self._sent.pop(token, None)
        if number is not None:
            self._tokens[number - self._base] = None
            self._reasons.pop(token, None)
        return False

    def withdraw(self) -> list[object]:
        """Take back every call that has no number; whose they were."""
        withdrawn = list(self._queued)
        self.held_bytes -= sum(map(len, self._queued.values()))
        self._queued.clear()
        return withdrawn

    def expire(self, random: bytes) -> list[object]:
        """The session is lost: begin another under ``random``, and name whose outcome stays unknown.

        What had no number stays queued. To be called too, with nothing lost, when the caller was
        idle for so long that its session may have expired.
        """
        lost = list(self._sent)
        self.held_bytes -= sum(map(len, self._payloads))
        self._begin(random)
        return lost

    # ----------------------------------------------------------------------- what to transmit

    def next_runs(self) -> list[bytes]:
        """Number what queued, as far as the window allows, and return it as encoded runs."""
        queued = self._queued
        if not queued or self.session is None:
            return []
        room = UNACKNOWLEDGED_MAX - len(self._payloads)
        if room <= 0:
            return []
        if len(queued) <= room:
            payloads, tokens = list(queued.values()), list(queued)
            queued.clear()
        else:
            tokens = list(queued)[:room]
            payloads = [queued.pop(token) for token in tokens]
        first = self._base + len(self._payloads)
        self._sent.update(zip(tokens, range(first, first + len(tokens)), strict=True))
        self._payloads += payloads
        self._tokens += tokens
        if self._refused:
            # What was refused went nowhere, so without it these numbers would be a gap.
            return self._resend_up_to(first - 1, self._base)
        return self._cut(first, payloads)

    def resend(self, expected: int | None = None) -> list[bytes]:
        """Everything sent and not answered, from number ``expected`` on (None: all), as encoded runs."""
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
        # An answered number was applied and all before it too, so the runs may leave it out.
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

    # ----------------------------------------------------------------------- what comes back

    def on_answer(
        self, first: int, status: RunStatus | int, expected: int, outcomes: Sequence[bytes]
    ) -> tuple[list[tuple[object, bytes]], bool]:
        """Take in the answer to a run.

        Returns:
            Who is answered now, with the outcome; and whether to ``resend(expected)`` at once. An
            expired run changes nothing here: the owner calls ``expire``.
        """
        if status == RunStatus.GAP:
            return [], self._on_gap(first, expected)
        if status != RunStatus.APPLIED:
            return [], False
        skip = self._base - first
        if skip > 0:
            outcomes = outcomes[skip:]
            first = self._base
        tokens = self._tokens
        start = first - self._base
        count = min(len(outcomes), len(tokens) - start)
        if count <= 0:
            return [], False
        if start or self._early:
            answered = self._answer_out_of_order(start, outcomes[:count])
        else:
            sent = self._sent
            answered = [pair for pair in zip(tokens[:count], outcomes, strict=False) if pair[0] is not None]
            for token, _ in answered:
                del sent[token]
            self._drop(count)
        return (self._explained(answered) if self._reasons else answered), False

    def _answer_out_of_order(self, start: int, outcomes: Sequence[bytes]) -> list[tuple[object, bytes]]:
        answered = []
        base, early = self._base, self._early
        for index, outcome in enumerate(outcomes, start):
            if base + index in early:
                continue
            early.add(base + index)
            token = self._tokens[index]
            if token is not None:
                del self._sent[token]
                self._tokens[index] = None
                answered.append((token, outcome))
        done = 0
        while base + done in early:
            early.remove(base + done)
            done += 1
        self._drop(done)
        return answered

    def _explained(self, answered: list[tuple[object, bytes]]) -> list[tuple[object, bytes]]:
        """The log says of a refused number only that it was; who refused it gave a reason."""
        explained = []
        for token, outcome in answered:
            reason = self._reasons.pop(token, None)
            if reason is not None and outcome[:1] == _REJECTED:
                outcome = encode_rejected(reason)
            explained.append((token, outcome))
        return explained

    def _drop(self, count: int) -> None:
        self.held_bytes -= sum(map(len, self._payloads[:count]))
        del self._tokens[:count]
        del self._payloads[:count]
        self._base += count

    def _on_gap(self, first: int, expected: int) -> bool:
        if expected >= first or not self._base <= expected < self._base + len(self._payloads):
            # The run began at the expected number and was refused all the same: the cluster has no
            # room for the session now. Or the answer is older than others that came since.
            return False
        if expected == self._gap:
            # The runs that followed the lost one each report the same gap; one resend mends it. If
            # that one is lost too, silence will tell.
            return False
        self._gap = expected
        return True

    def on_refused(self, numbers: Mapping[int, str]) -> list[tuple[object, str]]:
        """These numbers were refused, and the run they stood in was not proposed.

        Each becomes ``VOID``. Returns those that certainly have no effect, with the reasons: the
        ones transmitted only once. Of the others an earlier copy may still be decided; the log
        tells which came first, so they go on waiting. To be followed by ``resend`` if
        ``unanswered``; if nobody waits, the next calls take the numbers along.
        """
        refused = []
        base = self._base
        for number, reason in numbers.items():
            index = number - base
            if not 0 <= index < len(self._payloads) or number in self._early:
                continue
            self.held_bytes -= len(self._payloads[index])
            self._payloads[index] = VOID
            token = self._tokens[index]
            if token is None:
                continue
            if number <= self._twice:
                self._reasons[token] = reason
                continue
            self._tokens[index] = None
            del self._sent[token]
            refused.append((token, reason))
        self._refused = True
        return refused
