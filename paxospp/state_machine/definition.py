"""Checks a state machine when its class is defined. Each error is one line that says what to write."""

from __future__ import annotations

import re
from typing import Any, ClassVar, get_origin

from paxospp.state_machine.annotations import MachineError, raw_annotations, short_name
from paxospp.state_machine.operations import MachineOperation

FULL_CONTROL = ("apply", "answer", "snapshot", "restore")
"""The methods that a machine in full control overrides; it has to override all of them."""

_CLASS_VARIABLE = re.compile(r"""["'\s]*(\w+\.)?ClassVar\b""")
_TAKEN = frozenset({*FULL_CONTROL, "context", "full_control"})


def operations_of(cls: type) -> dict[str, MachineOperation[..., Any]]:
    """Return the operations of ``cls`` and its bases, by attribute name."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        attributes |= vars(base)
    return {name: value for name, value in attributes.items() if isinstance(value, MachineOperation)}


def overridden(cls: type, base: type) -> set[str]:
    """Return which methods of ``FULL_CONTROL`` the class does not inherit from ``base``."""
    return {name for name in FULL_CONTROL if getattr(cls, name) is not getattr(base, name)}


def check_class(cls: type, base: type) -> None:
    """Raise MachineError if ``cls``, a subclass of ``base`` (StateMachine), cannot work."""
    _check_names(cls)
    _check_defaults(cls)
    _check_control(cls, base)
    _check_operations(cls)


def _check_names(cls: type) -> None:
    annotated = raw_annotations(cls)
    for name in _TAKEN & (vars(cls).keys() | annotated.keys()):
        value = vars(cls).get(name)
        if isinstance(value, MachineOperation):
            raise MachineError(
                f"{short_name(cls)}.{name}: StateMachine has a method of that name; rename yours and write "
                f'@paxospp.{value.kind}(name="{name}")'
            )
        if name not in FULL_CONTROL or name in annotated:
            raise MachineError(f"{short_name(cls)}.{name}: StateMachine has an attribute of that name; rename yours")


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _CLASS_VARIABLE.match(annotation) is not None
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _check_defaults(cls: type) -> None:
    annotated = raw_annotations(cls)
    for name, value in vars(cls).items():
        # As dataclasses do, take a value that cannot be hashed for a mutable one.
        if name.startswith("__") or type(value).__hash__ is not None or _is_class_variable(annotated.get(name)):
            continue
        raise MachineError(
            f"{short_name(cls)}.{name}: all instances would share this {type(value).__name__}; set it in __init__, "
            f"or annotate it ClassVar if it never changes"
        )


def _check_control(cls: type, base: type) -> None:
    own = overridden(cls, base)
    if len(own) == len(FULL_CONTROL):
        names = sorted(operations_of(cls))
        if names:
            raise MachineError(
                f"{short_name(cls)} overrides all of {', '.join(FULL_CONTROL)}, so `{names[0]}` could never be called: "
                "leave out @paxospp.command and @paxospp.query, or do not override apply and answer"
            )
        return
    missing = ", ".join(name for name in FULL_CONTROL if name not in own)
    if own & {"apply", "answer"}:
        raise MachineError(
            f"{short_name(cls)} overrides {' and '.join(sorted(own))} but not {missing}: "
            "override all four, or snapshot and restore alone"
        )
    if len(own) == 1:
        raise MachineError(f"{short_name(cls)} overrides {own.pop()} alone: snapshot and restore go together")


def _check_operations(cls: type) -> None:
    for base in cls.__mro__[1:]:
        for name, inherited in vars(base).items():
            if isinstance(inherited, MachineOperation) and name in vars(cls):
                own = vars(cls)[name]
                if not isinstance(own, type(inherited)):
                    raise MachineError(
                        f"{short_name(cls)}.{name} overrides a {inherited.kind} of {short_name(base)}: "
                        f"write @paxospp.{inherited.kind} above it"
                    )
    stored: dict[tuple[str, str], str] = {}
    for attribute, operation in operations_of(cls).items():
        other = stored.setdefault((operation.kind, operation.name), attribute)
        if other != attribute:
            raise MachineError(
                f"{short_name(cls)}: `{other}` and `{attribute}` are both the {operation.kind} named {operation.name!r}"
            )
