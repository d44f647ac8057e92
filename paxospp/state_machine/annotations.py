"""Annotations to types: where their names are looked up, long after the class was made.

With ``from __future__ import annotations`` an annotation is text, and its names may be local to
the function around the class. When a class or method is made, the values of exactly those names
are kept (not the frame: it would keep alive whatever else stands there), and the text is
evaluated at first use, when the names further down the module exist too.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from collections.abc import Iterable, Mapping
from types import FrameType, FunctionType
from typing import Any, ClassVar, Final, ForwardRef, NamedTuple, get_args, get_origin, get_type_hints

from paxospp.errors import ConfigError


class MachineError(ConfigError, TypeError):
    """A state machine's class or object does not fit; the text names the place and the line to write."""


def shown(thing: Any) -> str:
    """The name of a class or function as messages have it: without the functions around it."""
    qualname: str = thing.__qualname__
    return qualname.rpartition("<locals>.")[2]


class Namespace(NamedTuple):
    """The names an annotation may use: those of the module, and those captured around the class."""

    module: Mapping[str, Any]
    around: Mapping[str, Any]


if sys.version_info >= (3, 14):
    import annotationlib

    def raw_annotations(thing: Any) -> dict[str, Any]:
        """The annotations of a function or class as they were written, unresolved ones too."""
        return annotationlib.get_annotations(thing, format=annotationlib.Format.FORWARDREF)
else:

    def raw_annotations(thing: Any) -> dict[str, Any]:
        """The annotations of a function or class as they were written, unresolved ones too."""
        return inspect.get_annotations(thing)


def _names(annotation: Any) -> Iterable[str]:
    """The names that stand as text anywhere in ``annotation``."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        try:
            tree = ast.parse(annotation.strip(), mode="eval")
        except SyntaxError:
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from _names(node.value)
    else:
        for argument in getattr(annotation, "__args__", ()):
            yield from _names(argument)


def capture(annotations: Mapping[str, Any], frame: FrameType | None) -> dict[str, Any]:
    """What the names in ``annotations`` mean in ``frame`` and around it, up to the first function or module."""
    wanted = {name for annotation in annotations.values() for name in _names(annotation)}
    found: dict[str, Any] = {}
    while frame is not None and wanted and frame.f_locals is not frame.f_globals:
        names = frame.f_locals
        # A method or command of that name (`def list(self)`) is not what an annotation means.
        found |= {
            name: names[name]
            for name in wanted - found.keys()
            if name in names and not isinstance(names[name], FunctionType) and not hasattr(names[name], "__wrapped__")
        }
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            break
        frame = frame.f_back
    return found


def namespace_of_class(cls: type) -> Namespace:
    """What the annotations in the body of ``cls`` may name; called while the class is made."""
    frame: FrameType | None = sys._getframe(1)
    # Up to the class statement; a metaclass, or an __init_subclass__ of the user's, may stand between.
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame = frame.f_back
    around = capture(raw_annotations(cls), frame)
    nested = {name: value for name, value in vars(cls).items() if isinstance(value, type)}
    return Namespace({} if frame is None else frame.f_globals, around | nested)


def _resolve(thing: Any, namespace: Namespace, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(thing, dict(namespace.module), dict(namespace.around), include_extras=True)
    except NameError as error:
        raise MachineError(
            f"{where}: {error}; annotations are read at run time, so import the name outside `if TYPE_CHECKING:` "
            "and define it before the class"
        ) from error
    except Exception as error:
        raise MachineError(f"{where}: an annotation cannot be read: {error}") from error


def resolve_function(function: Any, namespace: Namespace, where: str) -> dict[str, Any]:
    """The types of parameters and return; MachineError that names what cannot be resolved."""
    return _resolve(function, namespace, where)


def resolve_class(base: type, annotations: Mapping[str, Any], namespace: Namespace) -> dict[str, Any]:
    """The types of the state that the body of ``base`` annotates; ClassVar and pseudo-fields are none."""
    # A bare class with these annotations and no other base: get_type_hints would look up the names of
    # every base of the real one in the module of this one.
    bare = type(base.__name__, (), {"__annotations__": dict(annotations), "__module__": base.__module__})
    state: dict[str, Any] = {}
    for name, hint in _resolve(bare, namespace, shown(base)).items():
        if hint is ClassVar or get_origin(hint) is ClassVar or hint is dataclasses.KW_ONLY:
            continue
        if isinstance(hint, dataclasses.InitVar) or hint is dataclasses.InitVar:
            continue
        if hint is Final:
            raise MachineError(f"{shown(base)}.{name}: write what Final holds, `{name}: Final[<type>]`")
        state[name] = get_args(hint)[0] if get_origin(hint) is Final else hint
    return state
