"""The calls that Node, Client and their blocking twins share: ``execute``, ``query``, ``decide``, leases.

A class that offers them inherits ``Calls`` (or ``SyncCalls``) and defines only how bytes are sent:
``_execute`` and ``_query`` take a payload, return the encoded result, and raise the errors of
``paxospp.errors``. This module alone encodes calls and decodes results, so all four classes agree.
``decide``, ``forget`` and leases call paxospp's own state machine, which runs beside the user's
(``execution.built_in_machine``), under reserved names.

Each typed call has two overloads, because the options ``timeout`` and ``consistency`` cannot be
combined with ``**kwargs: P.kwargs`` (PEP 612): a call with options passes its arguments by position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from numbers import Real
from types import FunctionType, MethodType
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, TypeVarTuple, overload

from paxospp.errors import RejectedError, UnavailableError
from paxospp.state_machine.annotations import short_name
from paxospp.state_machine.encoding import encode_call
from paxospp.state_machine.operations import Answering, Command, Executing, MachineOperation, Query
from paxospp.state_machine.payload import RESERVED_PREFIX, decode_untyped, encode_untyped, pack_raw

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Bounded:
    """A consistency level: the answer may come from a state that is at most ``seconds`` old. See ``bounded``."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"bounded({self.seconds!r}): give the greatest age of an answer in seconds, 0 or more")


def bounded(seconds: float) -> Bounded:
    """Return a value for ``consistency=``: the answer may come from a state that is at most ``seconds`` old.

    Raises:
        ValueError: ``seconds`` is negative or infinite.
    """
    return Bounded(seconds)


Consistency: TypeAlias = Literal["linearizable", "lease", "local"] | Bounded
"""How old the state behind an answer may be.

``linearizable``: the answer includes every call that returned before; depends on no clock.
``lease``: the same with fewer messages, if ``enable_leases`` was called and the rates of the nodes'
clocks differ by less than 2 %. ``local``: the state that the node has applied, however old.
``bounded(seconds)``: at most that old.
"""

_CONSISTENCIES = ("linearizable", "lease", "local")

LEASE_MIN_S = 0.01
LEASE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Decided:
    """The value that was chosen for a Paxos instance; the value itself may be None."""

    value: Any


class Configured(Enum):
    """The default of an option, meaning that it was not given."""

    TIMEOUT = "as configured"


CONFIGURED: Final = Configured.TIMEOUT
Timeout: TypeAlias = float | Configured | None


def _unchanged(result: bytes) -> bytes:
    return result


def _encode(
    call: Any, kind: type[MachineOperation[..., Any]], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[bytes, Callable[[bytes], Any]]:
    """Return the payload of ``call`` and the function that decodes its result; RejectedError if it is not valid."""
    if isinstance(call, kind):
        codec = call.codec
        return codec.encode(arguments, keywords), codec.decode_result
    verb = "execute" if kind is Command else "query"
    if isinstance(call, MachineOperation):
        other = "query" if kind is Command else "execute"
        raise RejectedError(f"{call.name} is a {call.kind}: call {other}() with it")
    if isinstance(call, str):
        if call.startswith(RESERVED_PREFIX):
            raise RejectedError(f"{call}: names that begin with {RESERVED_PREFIX!r} are reserved for paxospp")
        if keywords:
            raise RejectedError(
                f"{call}: pass arguments by position in a call by name, not as `{next(iter(keywords))}=`"
            )
        return encode_untyped(call, arguments), decode_untyped
    if isinstance(call, bytes):
        if arguments or keywords:
            raise RejectedError(f"{verb}(b'…') takes no other arguments: the bytes are the whole {kind.kind}")
        return pack_raw(call), _unchanged
    raise TypeError(_why_no_operation(call, verb, kind.kind))


def _why_no_operation(call: Any, verb: str, kind: str) -> str:
    """Return what to pass to ``execute`` or ``query`` instead of ``call``."""
    if isinstance(call, MethodType):
        owner, name = type(call.__self__), call.__name__
        if isinstance(getattr(owner, name, None), MachineOperation):
            return f"{verb}() takes no method of an instance: pass {owner.__name__}.{name}, the method of the class"
    if isinstance(call, MethodType | FunctionType):
        return f"{short_name(call)} is not marked @paxospp.{kind}: {verb}() takes a method that is"
    example = "KeyValue.put" if kind == Command.kind else "KeyValue.get"
    return f"{verb}() takes a {kind} such as {example}, its name or bytes, not {call!r}"


def _take_timeout(options: dict[str, Any], configured: float | None) -> float | None:
    if "timeout" not in options:
        return configured
    return _check_timeout(options.pop("timeout"))


def _check_timeout(timeout: float | None) -> float | None:
    if isinstance(timeout, Real) and float(timeout) <= 0:
        # Callers compute it from a deadline, so it means that the time is over, not that the argument is wrong.
        raise UnavailableError(f"timeout={timeout!r}: no time is left, so the call was not sent")
    why = why_no_timeout(timeout)
    if why is not None:
        raise RejectedError(why)
    return timeout


def why_no_timeout(timeout: Any) -> str | None:
    """Return why ``timeout`` cannot be how long a call waits; None if it can."""
    if timeout is None or (isinstance(timeout, Real) and float(timeout) > 0):
        return None
    return f"timeout={timeout!r}: give a number of seconds greater than 0, or None to wait without limit"


def _take_consistency(options: dict[str, Any]) -> Consistency:
    consistency: Consistency = options.pop("consistency", "linearizable")
    return _check_consistency(consistency)


def _check_consistency(consistency: Consistency) -> Consistency:
    if consistency not in _CONSISTENCIES and not isinstance(consistency, Bounded):
        raise RejectedError(
            f"consistency={consistency!r}: use 'linearizable', 'lease', 'local' or paxospp.bounded(seconds)"
        )
    return consistency


def too_large(kind: Literal["command", "query"], size: int, limit: int) -> str:
    """Return why a command or query of ``size`` bytes is refused; ``limit`` is ``NodeConfig.value_bytes_max``."""
    return f"the {kind} has {size} bytes, more than value_bytes_max={limit}"


# Calls of paxospp's own state machine. The value of an instance is encoded once more inside the encoded call.


def _decide(name: str, value: Any) -> bytes:
    try:
        encoded = encode_call(value)
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise RejectedError(f"decide({name!r}): the value cannot be encoded: {error}") from error
    return encode_untyped("paxospp.decide", [_instance(name), encoded])


def _forget(name: str) -> bytes:
    return encode_untyped("paxospp.forget", [_instance(name)])


def _decided(name: str) -> bytes:
    return encode_untyped("paxospp.decided", [_instance(name)])


def _instance(name: str) -> str:
    if not isinstance(name, str):
        raise RejectedError(f"the name of an instance must be a str, not {name!r}")
    return name


def _set_lease(duration_s: float) -> bytes:
    if duration_s and not LEASE_MIN_S <= duration_s <= LEASE_MAX_S:
        raise RejectedError(f"a lease lasts {LEASE_MIN_S:g} to {LEASE_MAX_S:g} seconds, not {duration_s!r}")
    return encode_untyped("paxospp.set_lease", [round(duration_s * 1_000_000)])


def _value_of(decided: bytes) -> Any:
    return decode_untyped(decode_untyped(decided))


def _decided_of(answer: bytes) -> Decided | None:
    encoded = decode_untyped(answer)
    return None if encoded is None else Decided(decode_untyped(encoded))


class Calls(ABC):
    """The calls as coroutines; ``Node`` and ``Client`` inherit them."""

    _call_timeout_s: float | None
    """How long a call waits if it gives no timeout, in seconds; None: without limit."""

    @abstractmethod
    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        """Apply the command exactly once. Await the encoded result immediately, as ``_result`` does."""

    @abstractmethod
    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        """Answer the query. Await the encoded answer immediately, as ``_result`` does."""

    def _abandon(self, call: Awaitable[bytes]) -> None:  # noqa: B027  # for subclasses that keep a list of calls
        """Forget a call of ``_execute`` or ``_query``: it failed, or its caller was cancelled."""

    async def _result(self, call: Awaitable[bytes]) -> bytes:
        try:
            return await call
        except BaseException:
            self._abandon(call)
            raise

    @overload
    async def execute(self, command: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def execute(
        self, command: Callable[[Executing, *Ts], R], /, *args: *Ts, timeout: float | None = ...
    ) -> R: ...
    @overload
    async def execute(self, command: str, /, *args: Any, timeout: float | None = ...) -> Any: ...
    @overload
    async def execute(self, command: bytes, /, *, timeout: float | None = ...) -> bytes: ...
    async def execute(self, command: Any, /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy and *Ts
        """Apply ``command`` on every replica, and return its result.

        Args:
            command: an operation such as ``KeyValue.put``, with typed arguments and result; its
                name as a str, which returns plain values; or bytes for a machine in full control.
            timeout: seconds, or None for no limit; by default as configured.

        Raises:
            RejectedError, UnavailableError, OverloadedError: the command was not applied.
            CommandError: it was applied, and the method raised an exception.
            OutcomeUnknownError: it may have been applied, or may still be.
        """
        timeout_s = _take_timeout(options, self._call_timeout_s) if options else self._call_timeout_s
        payload, decode = _encode(command, Command, args, options)
        call = self._execute(payload, timeout_s)
        try:  # as _result does, which would cost another coroutine per call
            result = await call
        except BaseException:
            self._abandon(call)
            raise
        return decode(result)

    @overload
    async def query(self, query: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(
        self,
        query: Callable[[Answering, *Ts], R],
        /,
        *args: *Ts,
        timeout: float | None = ...,
        consistency: Consistency = ...,
    ) -> R: ...
    @overload
    async def query(
        self, query: str, /, *args: Any, timeout: float | None = ..., consistency: Consistency = ...
    ) -> Any: ...
    @overload
    async def query(self, query: bytes, /, *, timeout: float | None = ..., consistency: Consistency = ...) -> bytes: ...
    async def query(self, query: Any, /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy and *Ts
        """Run ``query`` on one replica, and return the answer.

        Args:
            query: an operation such as ``KeyValue.get``, its name, or bytes; as for ``execute``.
            timeout: seconds, or None for no limit; by default as configured.
            consistency: ``"linearizable"`` (the default), ``"lease"``, ``"local"`` or
                ``paxospp.bounded(seconds)``.

        Raises:
            RejectedError, UnavailableError, OverloadedError: the query was not answered.
            CommandError: the method raised an exception.
        """
        timeout_s = _take_timeout(options, self._call_timeout_s) if options else self._call_timeout_s
        consistency = _take_consistency(options) if options else "linearizable"
        request, decode = _encode(query, Query, args, options)
        call = self._query(request, consistency, timeout_s)
        try:
            result = await call
        except BaseException:
            self._abandon(call)
            raise
        return decode(result)

    async def decide(self, name: str, value: Any, *, timeout: Timeout = CONFIGURED) -> Any:
        """Propose ``value`` for the Paxos instance ``name``; return the chosen value.

        The chosen value may be one that another caller proposed.

        A value is anything that MessagePack can hold, None included; tuples and sets come back as
        lists.

        Raises:
            CommandError: of type ``ForgottenError``, if the instance was forgotten.
            CallError: as for ``execute``.
        """
        return _value_of(await self._result(self._execute(_decide(name, value), self._timeout_s(timeout))))

    async def decided(
        self, name: str, *, timeout: Timeout = CONFIGURED, consistency: Consistency = "linearizable"
    ) -> Decided | None:
        """Return the value chosen for the instance ``name``; None if none was chosen, or it was forgotten.

        Raises:
            CallError: as for ``query``.
        """
        call = self._query(_decided(name), _check_consistency(consistency), self._timeout_s(timeout))
        return _decided_of(await self._result(call))

    async def forget(self, name: str, *, timeout: Timeout = CONFIGURED) -> bool:
        """Drop the value of the instance ``name`` for good; return False, without effect, if it has none.

        Raises:
            CallError: as for ``execute``.
        """
        return bool(decode_untyped(await self._result(self._execute(_forget(name), self._timeout_s(timeout)))))

    async def enable_leases(self, duration_s: float, *, timeout: Timeout = CONFIGURED) -> None:
        """Enable leases on all nodes, by an entry in the log; ``"lease"`` queries then need no round of messages.

        After the leader fails, no other node can lead until ``duration_s`` seconds have passed. If the
        rates of two nodes' clocks differ by more than 2 %, a ``"lease"`` query may miss the latest
        writes. Other queries never depend on clocks.

        Raises:
            RejectedError: ``duration_s`` is not between 0.01 and 60 seconds.
            CallError: otherwise as for ``execute``.
        """
        if not duration_s:
            raise RejectedError("a lease must be longer than 0 seconds: to disable leases, call disable_leases()")
        await self._result(self._execute(_set_lease(duration_s), self._timeout_s(timeout)))

    async def disable_leases(self, *, timeout: Timeout = CONFIGURED) -> None:
        """Disable leases on all nodes; ``"lease"`` queries are then confirmed like linearizable ones.

        Raises:
            CallError: as for ``execute``.
        """
        await self._result(self._execute(_set_lease(0), self._timeout_s(timeout)))

    def _timeout_s(self, timeout: Timeout) -> float | None:
        return self._call_timeout_s if isinstance(timeout, Configured) else _check_timeout(timeout)


async def execute_encoded(calls: Calls, payload: bytes, timeout_s: float | None) -> bytes:
    """Execute an encoded command through ``calls``, and return its encoded result; for the blocking twins."""
    return await calls._result(calls._execute(payload, timeout_s))


async def query_encoded(calls: Calls, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
    """Run an encoded query through ``calls``, and return its encoded answer; for the blocking twins."""
    return await calls._result(calls._query(request, consistency, timeout_s))


class SyncCalls(ABC):
    """The calls as blocking methods; otherwise the same as ``Calls``."""

    _call_timeout_s: float | None

    @abstractmethod
    def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        """Apply the command exactly once, and return its encoded result."""

    @abstractmethod
    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        """Answer the query, and return its encoded answer."""

    @overload
    def execute(self, command: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def execute(self, command: Callable[[Executing, *Ts], R], /, *args: *Ts, timeout: float | None = ...) -> R: ...
    @overload
    def execute(self, command: str, /, *args: Any, timeout: float | None = ...) -> Any: ...
    @overload
    def execute(self, command: bytes, /, *, timeout: float | None = ...) -> bytes: ...
    def execute(self, command: Any, /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy and *Ts
        """Apply ``command`` on every replica, and return its result; see ``Calls.execute``."""
        timeout_s = _take_timeout(options, self._call_timeout_s) if options else self._call_timeout_s
        payload, decode = _encode(command, Command, args, options)
        return decode(self._execute(payload, timeout_s))

    @overload
    def query(self, query: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def query(
        self,
        query: Callable[[Answering, *Ts], R],
        /,
        *args: *Ts,
        timeout: float | None = ...,
        consistency: Consistency = ...,
    ) -> R: ...
    @overload
    def query(self, query: str, /, *args: Any, timeout: float | None = ..., consistency: Consistency = ...) -> Any: ...
    @overload
    def query(self, query: bytes, /, *, timeout: float | None = ..., consistency: Consistency = ...) -> bytes: ...
    def query(self, query: Any, /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy and *Ts
        """Run ``query`` on one replica, and return the answer; see ``Calls.query``."""
        timeout_s = _take_timeout(options, self._call_timeout_s) if options else self._call_timeout_s
        consistency = _take_consistency(options) if options else "linearizable"
        request, decode = _encode(query, Query, args, options)
        return decode(self._query(request, consistency, timeout_s))

    def decide(self, name: str, value: Any, *, timeout: Timeout = CONFIGURED) -> Any:
        """Propose a value for a Paxos instance, and return the chosen one; see ``Calls.decide``."""
        return _value_of(self._execute(_decide(name, value), self._timeout_s(timeout)))

    def decided(
        self, name: str, *, timeout: Timeout = CONFIGURED, consistency: Consistency = "linearizable"
    ) -> Decided | None:
        """Return the value chosen for the instance ``name``, or None; see ``Calls.decided``."""
        return _decided_of(self._query(_decided(name), _check_consistency(consistency), self._timeout_s(timeout)))

    def forget(self, name: str, *, timeout: Timeout = CONFIGURED) -> bool:
        """Drop the value of the instance ``name`` for good; see ``Calls.forget``."""
        return bool(decode_untyped(self._execute(_forget(name), self._timeout_s(timeout))))

    def enable_leases(self, duration_s: float, *, timeout: Timeout = CONFIGURED) -> None:
        """Enable leases on all nodes; see ``Calls.enable_leases``."""
        if not duration_s:
            raise RejectedError("a lease must be longer than 0 seconds: to disable leases, call disable_leases()")
        self._execute(_set_lease(duration_s), self._timeout_s(timeout))

    def disable_leases(self, *, timeout: Timeout = CONFIGURED) -> None:
        """Disable leases on all nodes; see ``Calls.disable_leases``."""
        self._execute(_set_lease(0), self._timeout_s(timeout))

    def _timeout_s(self, timeout: Timeout) -> float | None:
        return self._call_timeout_s if isinstance(timeout, Configured) else _check_timeout(timeout)
