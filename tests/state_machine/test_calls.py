"""``execute`` and ``query`` on a machine in this process."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from paxospp.calls import Bounded, Calls, Consistency, SyncCalls, bounded
from paxospp.errors import RejectedError, UnavailableError
from paxospp.state_machine import Context, StateMachine, check_command, check_query, command, query


class KeyValue(StateMachine):
    data: dict[str, tuple[int, ...]]

    def __init__(self) -> None:
        self.data = {}

    @command
    def put(self, key: str, *, numbers: tuple[int, ...] = ()) -> bool:
        known = key in self.data
        self.data[key] = numbers
        return known

    @query
    def get(self, key: str) -> tuple[int, ...] | None:
        return self.data.get(key)


class InProcess:
    """Run calls on a machine in this process."""

    _call_timeout_s: float | None = 10.0

    def __init__(self) -> None:
        self.machine = KeyValue()
        self.seen: list[Any] = []

    def run(self, payload: bytes, timeout_s: float | None) -> bytes:
        self.seen.append(timeout_s)
        if payload.startswith(b"\x00"):
            return payload[:0:-1]
        check_command(self.machine, payload)
        return self.machine.apply(payload, Context(1, 0, 0.0))

    def ask(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        self.seen.append((consistency, timeout_s))
        if request.startswith(b"\x00"):
            return request[:0:-1]
        check_query(self.machine, request)
        return self.machine.answer(request)


class Awaited(InProcess, Calls):
    async def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        await asyncio.sleep(0)
        return self.run(payload, timeout_s)

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        # A bare future is as valid as a coroutine.
        future = asyncio.get_running_loop().create_future()
        future.set_result(self.ask(request, consistency, timeout_s))
        return future


class Blocking(InProcess, SyncCalls):
    def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        return self.run(payload, timeout_s)

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        return self.ask(request, consistency, timeout_s)


class Both:
    """Make each call both with ``await`` and blocking, and check that both return the same."""

    def __init__(self) -> None:
        self.awaited = Awaited()
        self.blocking = Blocking()

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            async def awaited() -> Any:
                return await getattr(self.awaited, verb)(*arguments, **options)

            try:
                result = getattr(self.blocking, verb)(*arguments, **options)
            except Exception as error:
                with pytest.raises(type(error)) as caught:
                    asyncio.run(awaited())
                raise caught.value from error
            assert asyncio.run(awaited()) == result
            assert self.awaited.seen == self.blocking.seen
            return result

        return call

    @property
    def seen(self) -> list[Any]:
        return self.blocking.seen


def test_typed_calls_give_typed_results() -> None:
    both = Both()

    assert both.execute(KeyValue.put, "a", numbers=(1, 2)) is False
    assert both.execute(KeyValue.put, "a", (1, 2), timeout=2.0) is True
    assert both.query(KeyValue.get, "a") == (1, 2)
    assert both.query(KeyValue.get, key="b") is None


def test_calls_by_name_give_plain_values() -> None:
    both = Both()

    assert both.execute("put", "a", [1, 2]) is False
    assert both.query("get", "a") == [1, 2]


def test_calls_by_bytes_give_bytes() -> None:
    both = Both()

    assert both.execute(b"abc") == b"cba"
    assert both.query(b"abc", consistency="local") == b"cba"
    assert both.execute(b"") == b""


def test_a_call_waits_as_long_as_it_says_or_as_configured() -> None:
    both = Both()

    both.execute("put", "a")
    both.execute("put", "a", timeout=2.0)
    both.execute(KeyValue.put, "a", timeout=None)

    assert both.seen == [10.0, 2.0, None]


def test_a_query_may_say_how_fresh_its_answer_has_to_be() -> None:
    both = Both()

    both.query("get", "a")
    both.query(KeyValue.get, "a", consistency="local")
    both.query(KeyValue.get, "a", consistency=bounded(2), timeout=1.0)

    assert both.seen == [("linearizable", 10.0), ("local", 10.0), (Bounded(2), 1.0)]


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "reason"),
    [
        ("execute", (KeyValue.get, "a"), {}, r"get is a query: call query\(\) with it"),
        ("query", (KeyValue.put, "a"), {}, r"put is a command: call execute\(\) with it"),
        ("execute", ("putt",), {}, "KeyValue has no command 'putt': it has put"),
        ("execute", ("get", "a"), {}, "KeyValue has no command 'get'"),
        ("execute", ("put",), {}, "takes 1 to 2 arguments, not 0"),
        ("execute", ("put", "a", [], 3), {}, "takes 1 to 2 arguments, not 3"),
        ("execute", ("put", 1), {}, "argument `key`: expected `str`, got `int`"),
        ("execute", ("put",), {"key": "a"}, "put: pass arguments by position in a call by name, not as `key=`"),
        ("execute", (KeyValue.put,), {}, "put needs `key`"),
        ("execute", (KeyValue.put, 1), {}, "argument `key`: expected `str`, got `int`"),
        ("execute", (KeyValue.put, "a"), {"consistency": "local"}, "put has no parameter `consistency`"),
        ("execute", (b"raw", 1), {}, "takes no other arguments"),
        ("query", (KeyValue.get, "a"), {"consistency": "Local"}, "'Local': use 'linearizable', 'lease', 'local'"),
        ("query", ("get", "a"), {"consistency": None}, "consistency=None: use"),
        ("execute", (KeyValue.put, "a"), {"timeout": "1"}, "timeout='1': give a number"),
        ("execute", (KeyValue.put, "a"), {"timeout": float("nan")}, "timeout=nan: give a number"),
        ("query", ("get", "a"), {"timeout": []}, r"timeout=\[\]: give a number of seconds greater than 0, or None"),
        ("decide", ("a", 1), {"timeout": "soon"}, "timeout='soon': give a number"),
    ],
)
def test_a_call_that_does_not_fit_is_rejected(
    verb: str, arguments: tuple[Any, ...], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RejectedError, match=reason):
        getattr(Both(), verb)(*arguments, **options)


@pytest.mark.parametrize(
    ("verb", "arguments"), [("execute", (KeyValue.put, "a")), ("query", ("get", "a")), ("decide", ("a", 1))]
)
@pytest.mark.parametrize("timeout", [0, 0.0, -1.5])
def test_a_call_whose_time_is_over_before_it_begins_is_unavailable_and_not_sent(
    verb: str, arguments: tuple[Any, ...], timeout: float
) -> None:
    """A caller computes the timeout from a deadline of its own; the call has no effect, and it may try again."""
    with pytest.raises(UnavailableError, match="no time is left, so the call was not sent"):
        getattr(Both(), verb)(*arguments, timeout=timeout)


@pytest.mark.parametrize("what", [print, None, 3, "put".__len__])
def test_executing_something_else_than_an_operation_is_a_type_error_that_says_what_to_pass(what: Any) -> None:
    with pytest.raises(TypeError, match=r"execute\(\) takes a command such as KeyValue\.put, its name or bytes"):
        Both().execute(what, "a")


class Unmarked(KeyValue):
    def touch(self) -> None: ...


@pytest.mark.parametrize(
    ("verb", "what", "reason"),
    [
        ("execute", KeyValue().put, r"pass KeyValue\.put, the method of the class"),
        ("query", KeyValue().get, r"pass KeyValue\.get, the method of the class"),
        ("execute", Unmarked.touch, r"Unmarked\.touch is not marked @paxospp\.command"),
        ("query", Unmarked().touch, r"Unmarked\.touch is not marked @paxospp\.query"),
    ],
)
def test_a_bound_or_an_unmarked_method_is_a_type_error_that_says_what_to_pass(
    verb: str, what: Any, reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        getattr(Both(), verb)(what, "a")


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_a_bound_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="give the greatest age of an answer in seconds"):
        bounded(seconds)


def test_a_bound_compares_by_value_and_pickles() -> None:
    assert bounded(2) == bounded(2.0)
    assert pickle.loads(pickle.dumps(bounded(2))) == bounded(2)
