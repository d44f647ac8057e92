"""Arguments from a command line: JSON, or text where no JSON is meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from paxospp.errors import RejectedError


def arguments_from_texts(
    operations: Mapping[str, Sequence[Sequence[Any]]], name: str, texts: Sequence[str]
) -> list[Any]:
    """What ``texts`` mean as arguments of ``name``.

    A text is JSON; one that is not is a string; and a parameter annotated ``str`` takes any text
    but a quoted JSON string as it stands, so that ``put 1 true`` needs no quoting.

    Args:
        operations: the commands, or the queries, as ``describe`` tells them, JSON or not. Of a
            name that is not in it nothing is known: the front door will refuse it.
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
