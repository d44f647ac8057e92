"""What Node, Client and their sync twins offer alike: ``execute`` and ``query``, and bare Paxos instances.

A class that offers them inherits ``Calls`` (or ``SyncCalls``) and says only how bytes travel:
``_execute`` and ``_query`` take a payload and give back the encoded result, and raise what
``paxospp.errors`` says. What a call becomes in bytes, and what its result becomes in Python, is
settled here, equally for all of them; ``decide`` and its like are calls of the machine that stands
beside the user's (``execution.instances``), under names that no user may take.

Two overloads per typed call: the options ``timeout`` and ``consistency`` cannot stand beside
``**kwargs: P.kwargs`` (PEP 612), so a call with options gives its arguments by position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, TypeVarTuple, overload

from paxospp.errors import RejectedError
from paxospp.state_machine.encoding import encode_call
from paxospp.state_machine.operations import Answering, Command, Executing, MachineOperation, Query
from paxospp.state_machine.payload import RESERVED_PREFIX, decode_untyped, encode_untyped, pack_raw

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Bounded:
    """The answer may be of a state that is at most so many seconds old. Made by ``bounded``."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"bounded({self.seconds!r}): give the seconds an answer may be old, 0 or more")


def bounded(seconds: float) -> Bounded:
    """For ``consistency=``: the answer may be of a state that is at most ``seconds`` old.

    A fresher answer than that is always in bounds: a linearizable one keeps every bound.
    """
    return Bounded(seconds)


Consistency: TypeAlias = Literal["linearizable", "lease", "local"] | Bounded
"""``linearizable``: no older than any call that ended before; trusts no clock.

``lease``: the same with fewer messages, where ``enable_leases`` switched them on; as long as the
rates of the nodes' clocks differ by less than 2 %. ``local``: as of what the node asked has applied.
"""

_CONSISTENCIES = ("linearizable", "lease", "local")

LEASE_MIN_S = 0.01
LEASE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Decided:
    """The value of a Paxos instance, which may be None."""

    value: Any


class Configured(Enum):
    """Stands for an option that was not given."""

    TIMEOUT = "as configured"


CONFIGURED: Final = Configured.TIMEOUT
Timeout: TypeAlias = float | Configured | None


def _unchanged(result: bytes) -> bytes:
    return result


def _encode(
    call: Any, kind: type[MachineOperation[..., Any]], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[bytes, Callable[[bytes], Any]]:
    """What travels for ``call``, and what makes its result out of the bytes that come back."""
    if isinstance(call, kind):
        codec = call.codec
        return codec.encode(arguments, keywords), codec.decode_result
    verb = "execute" if kind is Command else "query"
    if isinstance(call, MachineOperation):
        other = "query" if kind is Command else "execute"
        raise RejectedError(f"{call.name} is a {call.kind}: call {other}() with it")
    if isinstance(call, str):
        if call.startswith(RESERVED_PREFIX):
            raise RejectedError(f"{call}: names that begin with {RESERVED_PREFIX!r} are kept for paxospp itself")
        if keywords:
            raise RejectedError(
                f"{call}: a call by name takes its arguments by position, not `{next(iter(keywords))}=`"
            )
        return encode_untyped(call, arguments), decode_untyped
    if isinstance(call, bytes):
        if arguments or keywords:
            raise RejectedError(f"{verb}(b'…') takes no further arguments: the bytes are the whole {kind.kind}")
        return pack_raw(call), _unchanged
    raise TypeError(
        f"{verb}() takes a {kind.kind} such as KeyValue.{'put' if kind is Command else 'get'}, its name or bytes, "
        f"not {call!r}"
    )


def _take_consistency(options: dict[str, Any]) -> Consistency:
    consistency: Consistency = options.pop("consistency", "linearizable")
    return _checked(consistency)


def _checked(consistency: Consistency) -> Consistency:
    if consistency not in _CONSISTENCIES and not isinstance(consistency, Bounded):
        raise RejectedError(
            f"consistency={consistency!r}: use 'linearizable', 'lease', 'local' or paxospp.bounded(seconds)"
        )
    return consistency


# Calls of the machine beside the user's. A value travels encoded, within the encoded call.


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
        raise RejectedError(f"an instance's name is a str, not {name!r}")
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
    """The two verbs, to be awaited."""

    _call_timeout_s: float | None
    """How long a call waits that does not say so itself."""

    @abstractmethod
    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        """Have the command applied, once; its encoded result. To be awaited at once, through ``_result``."""

    @abstractmethod
    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        """Have the query answered; its encoded answer. To be awaited at once, through ``_result``."""

    def _abandon(self, call: Awaitable[bytes]) -> None:  # noqa: B027  # only who keeps a list of them needs to know
        """Nobody waits any more for what ``_execute`` or ``_query`` returned: it failed, or who did was cancelled."""

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
        """Have ``command`` applied on every replica, and return its result.

        Args:
            command: ``KeyValue.put``, whose arguments and result are typed; its name, then plain
                values come back; or the bytes of a command for a machine in full control.
            timeout: seconds, None for none; without it, as configured.

        Raises:
            RejectedError, UnavailableError, OverloadedError: not applied.
            CommandError: applied; the method raised.
            OutcomeUnknownError: it may have been applied, or may yet be.
        """
        timeout_s = options.pop("timeout", self._call_timeout_s) if options else self._call_timeout_s
        payload, decode = _encode(command, Command, args, options)
        call = self._execute(payload, timeout_s)
        try:  # as in _result, which would be another coroutine per call
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
        """Have ``query`` answered by one replica.

        Args:
            query: as ``command`` of ``execute``.
            timeout: seconds, None for none; without it, as configured.
            consistency: ``"linearizable"`` (the default), ``"lease"``, ``"local"`` or
                ``paxospp.bounded(seconds)``.

        Raises:
            RejectedError, UnavailableError, OverloadedError: not answered.
            CommandError: the method raised.
        """
        timeout_s = options.pop("timeout", self._call_timeout_s) if options else self._call_timeout_s
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
        """Propose ``value`` for the Paxos instance ``name``; the value that was chosen, whoever proposed it.

        Values are what MessagePack can hold, None included; tuples and sets come back as lists. A
        name may be forgotten, and never decided again: ``CommandError`` of type ``ForgottenError``.
        """
        return _value_of(await self._result(self._execute(_decide(name, value), self._timeout_s(timeout))))

    async def decided(
        self, name: str, *, timeout: Timeout = CONFIGURED, consistency: Consistency = "linearizable"
    ) -> Decided | None:
        """The value chosen for the instance ``name``; None if there is none, or not any more."""
        call = self._query(_decided(name), _checked(consistency), self._timeout_s(timeout))
        return _decided_of(await self._result(call))

    async def forget(self, name: str, *, timeout: Timeout = CONFIGURED) -> bool:
        """Free the value of the instance ``name``, for ever; False, and no effect, if it has none."""
        return bool(decode_untyped(await self._result(self._execute(_forget(name), self._timeout_s(timeout)))))

    async def enable_leases(self, duration_s: float, *, timeout: Timeout = CONFIGURED) -> None:
        """Switch leases on for all nodes, by an entry in the log, so that ``"lease"`` queries cost no round.

        After a leader is lost, nobody can follow it before ``duration_s`` are over. Only as safe as
        clocks are even: while the rates of two nodes' clocks differ by more than 2 %, a ``"lease"``
        query may miss the latest writes. Other queries never depend on clocks.
        """
        if not duration_s:
            raise RejectedError("a lease of 0 seconds is none: call disable_leases()")
        await self._result(self._execute(_set_lease(duration_s), self._timeout_s(timeout)))

    async def disable_leases(self, *, timeout: Timeout = CONFIGURED) -> None:
        """Switch leases off; ``"lease"`` queries are then confirmed like linearizable ones."""
        await self._result(self._execute(_set_lease(0), self._timeout_s(timeout)))

    def _timeout_s(self, timeout: Timeout) -> float | None:
        return self._call_timeout_s if isinstance(timeout, Configured) else timeout


class SyncCalls(ABC):
    """The same calls, blocking. See ``Calls``, from which they differ in ``async`` only."""

    _call_timeout_s: float | None

    @abstractmethod
    def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        """Have the command applied, once; its encoded result."""

    @abstractmethod
    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        """Have the query answered; its encoded answer."""

    @overload
    def execute(self, command: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def execute(self, command: Callable[[Executing, *Ts], R], /, *args: *Ts, timeout: float | None = ...) -> R: ...
    @overload
    def execute(self, command: str, /, *args: Any, timeout: float | None = ...) -> Any: ...
    @overload
    def execute(self, command: bytes, /, *, timeout: float | None = ...) -> bytes: ...
    def execute(self, command: Any, /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy and *Ts
        """Have ``command`` applied on every replica, and return its result; see ``Calls.execute``."""
        timeout_s = options.pop("timeout", self._call_timeout_s) if options else self._call_timeout_s
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
        """Have ``query`` answered by one replica; see ``Calls.query``."""
        timeout_s = options.pop("timeout", self._call_timeout_s) if options else self._call_timeout_s
        consistency = _take_consistency(options) if options else "linearizable"
        request, decode = _encode(query, Query, args, options)
        return decode(self._query(request, consistency, timeout_s))

    def decide(self, name: str, value: Any, *, timeout: Timeout = CONFIGURED) -> Any:
        """Propose a value for a Paxos instance; the one that was chosen; see ``Calls.decide``."""
        return _value_of(self._execute(_decide(name, value), self._timeout_s(timeout)))

    def decided(
        self, name: str, *, timeout: Timeout = CONFIGURED, consistency: Consistency = "linearizable"
    ) -> Decided | None:
        """The value chosen for the instance ``name``, if there is one; see ``Calls.decided``."""
        return _decided_of(self._query(_decided(name), _checked(consistency), self._timeout_s(timeout)))

    def forget(self, name: str, *, timeout: Timeout = CONFIGURED) -> bool:
        """Free the value of the instance ``name``, for ever; see ``Calls.forget``."""
        return bool(decode_untyped(self._execute(_forget(name), self._timeout_s(timeout))))

    def enable_leases(self, duration_s: float, *, timeout: Timeout = CONFIGURED) -> None:
        """Switch leases on for all nodes; see ``Calls.enable_leases``."""
        if not duration_s:
            raise RejectedError("a lease of 0 seconds is none: call disable_leases()")
        self._execute(_set_lease(duration_s), self._timeout_s(timeout))

    def disable_leases(self, *, timeout: Timeout = CONFIGURED) -> None:
        """Switch leases off; see ``Calls.disable_leases``."""
        self._execute(_set_lease(0), self._timeout_s(timeout))

    def _timeout_s(self, timeout: Timeout) -> float | None:
        return self._call_timeout_s if isinstance(timeout, Configured) else timeout
