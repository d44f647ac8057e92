"""Commands and queries: methods on an instance, typed operations on the class.

``KeyValue().put("a", "b")`` calls the method as if it had no decorator. ``KeyValue.put`` is the
operation that ``Node.execute`` takes, and knows how to encode its calls.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from paxospp.errors import RejectedError
from paxospp.state_machine.annotations import MachineError, Namespace, captured_names, raw_annotations, short_name
from paxospp.state_machine.operation_codec import OperationCodec
from paxospp.state_machine.payload import RESERVED_PREFIX, encode_name

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

_CALL_OPTIONS = ("timeout", "consistency")


class MachineBase:
    """Base class of ``StateMachine``, so that an operation can name the type of its instances."""

    __slots__ = ()


class Executing:
    """Placeholder for the machine in the type of a command; it has no instances."""


class Answering:
    """Placeholder for the machine in the type of a query; it has no instances."""


class MachineOperation(Generic[P, R]):
    """A command or a query; raises MachineError if ``function`` cannot be one."""

    kind = "operation"

    def __init__(self, function: Callable[..., R], name: str | None = None, frame: FrameType | None = None) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # for help(), IDEs, inspect.signature
        self.function = function
        self.name = function.__name__ if name is None else name
        _check_signature(function, self.kind)
        _check_name(self.name, self.kind)
        self._namespace = Namespace(
            getattr(function, "__globals__", {}), captured_names(raw_annotations(function), frame)
        )

    @functools.cached_property
    def codec(self) -> OperationCodec:
        """The codec for the annotations, built at first use. Raises MachineError if they cannot be used."""
        return OperationCodec(self.name, self.function, self._namespace)

    def encode(self, arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None) -> bytes:
        """Return the payload of a call, defaults included. Raises RejectedError if the arguments are wrong."""
        return self.codec.encode(arguments, keywords or {})

    def decode_result(self, result: bytes) -> Any:
        """Decode a result to the annotated type."""
        return self.codec.decode_result(result)

    def __reduce__(self) -> str:
        return self.function.__qualname__  # pickled by name, as a function is

    def __repr__(self) -> str:
        return f"<{self.kind} {short_name(self.function)}>"


class Command(MachineOperation[P, R]):
    """A method that may change the state; every replica runs it."""

    kind = "command"

    def __call__(self, machine: MachineBase | Executing, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(machine, *args, **kwargs)

    @overload
    def __get__(self, machine: None, owner: type[Any]) -> Command[P, R]: ...
    @overload
    def __get__(self, machine: MachineBase, owner: type[Any]) -> Callable[P, R]: ...
    def __get__(self, machine: MachineBase | None, owner: type[Any]) -> Any:
        return self if machine is None else self.function.__get__(machine, owner)


class Query(MachineOperation[P, R]):
    """A method that reads the state and does not change it; one replica runs it."""

    kind = "query"

    def __call__(self, machine: MachineBase | Answering, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(machine, *args, **kwargs)

    @overload
    def __get__(self, machine: None, owner: type[Any]) -> Query[P, R]: ...
    @overload
    def __get__(self, machine: MachineBase, owner: type[Any]) -> Callable[P, R]: ...
    def __get__(self, machine: MachineBase | None, owner: type[Any]) -> Any:
        return self if machine is None else self.function.__get__(machine, owner)


@overload
def command(function: Callable[Concatenate[Any, P], R], /) -> Command[P, R]: ...
@overload
def command(*, name: str) -> Callable[[Callable[Concatenate[Any, P], R]], Command[P, R]]: ...
def command(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Mark a method of a StateMachine as a command.

    Args:
        name: the name in the log, by default the method's. Set it when you rename a method, to keep the log valid.

    Raises:
        MachineError: the method is async or a generator, or a parameter or the result has no annotation.
    """
    if function is not None:
        return Command(function, name, sys._getframe(1))
    return lambda function: Command(function, name, sys._getframe(1))


@overload
def query(function: Callable[Concatenate[Any, P], R], /) -> Query[P, R]: ...
@overload
def query(*, name: str) -> Callable[[Callable[Concatenate[Any, P], R]], Query[P, R]]: ...
def query(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Mark a method of a StateMachine as a query.

    Args:
        name: the name that callers use, by default the method's. Set it when you rename a method, to keep their calls.

    Raises:
        MachineError: as for ``command``.
    """
    if function is not None:
        return Query(function, name, sys._getframe(1))
    return lambda function: Query(function, name, sys._getframe(1))


def _check_name(name: str, kind: str) -> None:
    if not isinstance(name, str):
        raise MachineError(f'@paxospp.{kind}(name=…) takes a str, not {name!r}; write @paxospp.{kind}(name="put")')
    if name.startswith(RESERVED_PREFIX):
        raise MachineError(f"{name!r}: names that begin with {RESERVED_PREFIX!r} are reserved for paxospp")
    try:
        encode_name(name)
    except RejectedError as error:
        raise MachineError(f"{name!r}: {error}") from error


def _check_signature(function: Any, kind: str) -> None:
    """Raise MachineError, with one line, if ``function`` can never be called through a log."""
    if not isinstance(function, FunctionType):
        raise MachineError(f"@paxospp.{kind} decorates a method (`def …(self, …)`), not {function!r}")
    where = short_name(function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise MachineError(f"{where}: a {kind} cannot be async, because no other call may run beside it: use `def`")
    if inspect.isgeneratorfunction(function):
        raise MachineError(f"{where}: a {kind} cannot be a generator: return a list")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise MachineError(f"{where}: a {kind} is a method: give it a first parameter, `self`")
    annotated = raw_annotations(function)
    for parameter in parameters[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise MachineError(f"{where}: `*{parameter.name}` cannot be stored: take a list")
        if parameter.kind is parameter.VAR_KEYWORD:
            raise MachineError(f"{where}: `**{parameter.name}` cannot be stored: take a dict")
        if parameter.name in _CALL_OPTIONS:
            raise MachineError(f"{where}: `{parameter.name}` is an option of every call: rename the parameter")
        if parameter.name not in annotated:
            raise MachineError(f"{where}: `{parameter.name}` has no annotation; write `{parameter.name}: <type>`")
    if "return" not in annotated:
        raise MachineError(f"{where}: the result has no annotation; write `-> None` or `-> <type>`")
