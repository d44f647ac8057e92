"""Encodes, decodes and runs the calls of one operation, from its annotations.

An ``OperationCodec`` is built once per operation. Running a command then takes a table lookup, one
typed decode, the method and one encode. Everything else (keywords, defaults, the reason why an
argument is wrong) is computed only when it is needed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NewType, get_args, get_origin

import msgspec

from paxospp.errors import CommandError, RejectedError
from paxospp.state_machine.annotations import MachineError, Namespace, resolve_function, short_name
from paxospp.state_machine.encoding import (
    NESTING_MAX,
    PLAIN,
    array_header,
    decoder,
    encode_call,
    encode_plain,
    is_plain,
    nests_too_deep,
    read_array_header,
)
from paxospp.state_machine.payload import NotUnderstoodError, encode_name
from paxospp.state_machine.types import check_type, name_of

_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError)
_ARGUMENT = re.compile(r"^(?P<reason>.*) - at `\$\[(?P<index>\d+)\](?P<rest>.*)`$", re.DOTALL)


class Parameter(NamedTuple):
    """One parameter of an operation, other than ``self``."""

    name: str
    annotation: Any
    default: Any
    keyword_only: bool

    @property
    def has_default(self) -> bool:
        return self.default is not inspect.Parameter.empty

    @property
    def is_text(self) -> bool:
        """Whether the parameter is annotated ``str``, so that any text on a command line is a valid argument."""
        annotation = self.annotation
        while get_origin(annotation) is Annotated or isinstance(annotation, NewType):
            is_new = isinstance(annotation, NewType)
            annotation = annotation.__supertype__ if is_new else get_args(annotation)[0]
        return annotation is str


class OperationCodec:
    """Encodes and decodes the calls of one operation, and runs it on a machine."""

    __slots__ = (
        "_decode",
        "_decode_result",
        "_function",
        "_most_positional",
        "_parts",
        "_required",
        "_unbounded",
        "_unordered",
        "call",
        "name",
        "parameters",
        "prefix",
    )

    def __init__(self, name: str, function: Callable[..., Any], namespace: Namespace) -> None:
        where = short_name(function)
        hints = resolve_function(function, namespace, where)
        self.name = name
        self.prefix = encode_name(name)
        self.parameters = tuple(
            Parameter(p.name, hints[p.name], p.default, p.kind is p.KEYWORD_ONLY)
            for p in list(inspect.signature(function).parameters.values())[1:]
        )
        result = hints["return"]
        traits = [check_type(p.annotation, f"{where}: parameter `{p.name}`") for p in self.parameters]
        result_traits = check_type(result, f"{where}: return")
        self._function = function
        self._unbounded = any(trait.unbounded for trait in traits)
        self._unordered = any(trait.unordered for trait in traits)
        # A fixed tuple decodes twice as fast as a Struct, and can be passed on as *values.
        self._decode = decoder(tuple[tuple(p.annotation for p in self.parameters)])  # type: ignore[misc]
        self._decode_result = decoder(result)
        self._required = max((i + 1 for i, p in enumerate(self.parameters) if not p.has_default), default=0)
        self._most_positional = sum(not p.keyword_only for p in self.parameters)
        self._parts = [self._encode_default(p, where) for p in self.parameters]
        self.call = self._make_call(encode_call if result_traits.unordered else encode_plain)

    def _encode_default(self, parameter: Parameter, where: str) -> bytes:
        if not parameter.has_default:
            return b""
        try:
            encoded = encode_call(parameter.default)
            decoder(parameter.annotation)(encoded)
        except Exception as error:
            raise MachineError(
                f"{where}: the default of `{parameter.name}` does not match its annotation: {error}"
            ) from error
        return encoded

    def _make_call(self, encode: Callable[[Any], bytes]) -> Callable[[Any, bytes], bytes]:
        function, decode, understand, name = self._function, self._decode, self._understand, self.name
        most_positional = self._most_positional
        keywords = [p.name for p in self.parameters[most_positional:]]

        def call(machine: Any, arguments: bytes) -> bytes:
            try:
                values = decode(arguments)
            except Exception as error:
                values = understand(arguments, error)
            result = function(machine, *values)
            try:
                return encode(result)
            except _ENCODING_ERRORS as error:
                raise TypeError(f"{name}: the result cannot be encoded: {error}") from error

        def call_with_keywords(machine: Any, arguments: bytes) -> bytes:
            try:
                values = decode(arguments)
            except Exception as error:
                values = understand(arguments, error)
            named = dict(zip(keywords, values[most_positional:], strict=True))
            result = function(machine, *values[:most_positional], **named)
            try:
                return encode(result)
            except _ENCODING_ERRORS as error:
                raise TypeError(f"{name}: the result cannot be encoded: {error}") from error

        return call_with_keywords if keywords else call

    def _understand(self, arguments: bytes, error: Exception) -> tuple[Any, ...]:
        """Decode the arguments of a decided call that an older version wrote: the last ones may be missing."""
        complete = self.complete(arguments)
        if complete is not arguments:
            try:
                return self._decode(complete)  # type: ignore[no-any-return]
            except Exception as second:
                error = second
        raise NotUnderstoodError(self._explain(arguments, error)) from error

    def complete(self, arguments: bytes) -> bytes:
        """Return ``arguments`` with the defaults of missing parameters added; the same object if none is missing."""
        head = read_array_header(arguments)
        if head is None or not self._required <= head[0] < len(self.parameters):
            return arguments
        count, start = head
        return b"".join([array_header(len(self.parameters)), arguments[start:], *self._parts[count:]])

    def check(self, arguments: bytes) -> None:
        """Raise RejectedError, with a reason of one line, unless ``call`` can decode ``arguments``."""
        try:
            values = self._decode(arguments)
        except Exception as error:
            complete = self.complete(arguments)
            try:
                if complete is arguments:
                    raise error
                values = self._decode(complete)
            except Exception as second:
                raise RejectedError(self._explain(arguments, second)) from second
        # Each level of nesting takes at least one byte, so short arguments need no walk; most others are plain.
        may_nest = self._unbounded and len(arguments) > NESTING_MAX and not is_plain(values)
        if may_nest and nests_too_deep(msgspec.msgpack.decode(arguments)):
            raise RejectedError(f"{self.name}: an argument nests deeper than {NESTING_MAX} levels")

    def encode(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> bytes:
        """Return the payload of one call. Raises RejectedError if the arguments are wrong or cannot be encoded."""
        if keywords or len(arguments) != len(self.parameters):
            arguments = self._bind(arguments, keywords)
        try:
            # Most arguments that might hold a set do not, and this check saves them the walk that sorts sets.
            if self._unordered and not PLAIN.issuperset(map(type, arguments)):
                return self.prefix + encode_call(arguments)
            return self.prefix + encode_plain(arguments)
        except _ENCODING_ERRORS as error:
            raise RejectedError(f"{self.name}: the arguments cannot be encoded: {error}") from error

    def _bind(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        if len(arguments) > len(self.parameters):
            raise RejectedError(self._wrong_count(len(arguments)))
        names = [p.name for p in self.parameters]
        for keyword in keywords:
            if keyword not in names:
                raise RejectedError(f"{self.name} has no parameter `{keyword}`: {self.signature}")
            if keyword in names[: len(arguments)]:
                raise RejectedError(f"{self.name} was given `{keyword}` twice: {self.signature}")
        values = list(arguments)
        for parameter in self.parameters[len(arguments) :]:
            if parameter.name in keywords:
                values.append(keywords[parameter.name])
            elif parameter.has_default:
                values.append(parameter.default)
            else:
                raise RejectedError(f"{self.name} needs `{parameter.name}`: {self.signature}")
        return values

    def decode_result(self, result: bytes) -> Any:
        """Decode a result as annotated. Raises CommandError if the method returned something else."""
        try:
            return self._decode_result(result)
        except Exception as error:
            raise CommandError(
                type(error).__name__,
                f"{self.name} was run, but its result does not match its annotation: {error}",
            ) from error

    @property
    def signature(self) -> str:
        """The signature for messages, such as ``put(key: str, value: str)``."""
        return f"{self.name}({', '.join(self._show(p) for p in self.parameters)})"

    @staticmethod
    def _show(parameter: Parameter) -> str:
        default = f" = {parameter.default!r}" if parameter.has_default else ""
        return f"{parameter.name}: {name_of(parameter.annotation)}{default}"

    def _wrong_count(self, count: int) -> str:
        most = len(self.parameters)
        least = self._required
        number = str(most) if least == most else f"{least} to {most}"
        return f"{self.signature} takes {number} argument{'' if number == '1' else 's'}, not {count}"

    def _explain(self, arguments: bytes, error: Exception) -> str:
        head = read_array_header(arguments)
        if head is None:
            return f"{self.name}: the arguments are not a MessagePack array"
        if not self._required <= head[0] <= len(self.parameters):
            return self._wrong_count(head[0])
        text = " ".join(str(error).split())
        match = _ARGUMENT.match(text)
        if match is None:
            return f"{self.name}: the arguments cannot be decoded: {text}"
        parameter = self.parameters[int(match["index"])].name
        place = f"`{parameter}`" + (f" at `{match['rest']}`" if match["rest"] else "")
        return f"{self.name}: argument {place}: {match['reason'].lower()[:1]}{match['reason'][1:]}"
