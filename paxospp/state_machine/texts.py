"""Converts the texts of a command line to arguments: JSON, or plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from paxospp.errors import RejectedError


def arguments_from_texts(
    operations: Mapping[str, Sequence[Sequence[Any]]], name: str, texts: Sequence[str]
) -> list[Any]:
    """Return ``texts`` as arguments of the operation ``name``.

    A text is read as JSON, or taken as a string if it is not JSON. A parameter annotated ``str`` takes
    any text unchanged except a quoted JSON string, so that ``put 1 true`` needs no quotes.

    Args:
        operations: the commands, or the queries, as ``describe`` returns them, before or after a
            trip through JSON. A name that is missing here is converted as if it had no annotations,
            and is refused later by the node.

    Raises:
        RejectedError: an argument nests too deeply.
    """
    parameters = operations.get(name, ())
    return [
        _argument(text, number < len(parameters) and bool(parameters[number][1])) for number, text in enumerate(texts)
    ]


def _argument(text: str, is_text: bool) -> Any:
    if is_text and not text.lstrip().startswith('"'):
        return text
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise RejectedError(f"the argument {text[:20]!r}… nests too deeply") from error
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
