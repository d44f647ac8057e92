"""Resolves annotations to types, at first use.

With ``from __future__ import annotations`` an annotation is text, and its names may be local to
the function around the class. So when a class or method is defined, this module captures the values of
exactly those names. (It does not keep the frame, which would keep all other locals alive.) The text is
evaluated at first use, when names defined further down in the module exist too.
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
    """A state machine cannot be used; the text names the class and attribute, and says what to write."""


def short_name(thing: Any) -> str:
    """Return the name of a class or function for messages, without the functions around it."""
    qualname: str = thing.__qualname__
    return qualname.rpartition("<locals>.")[2]


class Namespace(NamedTuple):
    """The names that an annotation may use: those of the module, and those captured around the class."""

    module: Mapping[str, Any]
    around: Mapping[str, Any]


if sys.version_info >= (3, 14):
    import annotationlib

    def raw_annotations(thing: Any) -> dict[str, Any]:
        """Return the annotations of a function or class as they were written, unresolved ones too."""
        return annotationlib.get_annotations(thing, format=annotationlib.Format.FORWARDREF)
else:

    def raw_annotations(thing: Any) -> dict[str, Any]:
        """Return the annotations of a function or class as they were written, unresolved ones too."""
        return inspect.get_annotations(thing)


def _names(annotation: Any) -> Iterable[str]:
    """Yield the names in any text inside ``annotation``."""
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


def captured_names(annotations: Mapping[str, Any], frame: FrameType | None) -> dict[str, Any]:
    """Return the values of the names in ``annotations``, from ``frame`` out to the nearest function or module."""
    wanted = {name for annotation in annotations.values() for name in _names(annotation)}
    found: dict[str, Any] = {}
    while frame is not None and wanted and frame.f_locals is not frame.f_globals:
        names = frame.f_locals
        # An annotation does not mean a method or command of the same name, such as `def list(self)`.
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
    """Return the names for the annotations in the body of ``cls``. Call it while the class is made."""
    frame: FrameType | None = sys._getframe(1)
    # Find the frame of the class statement; a metaclass or a user's __init_subclass__ may be in between.
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame = frame.f_back
    around = captured_names(raw_annotations(cls), frame)
    nested = {name: value for name, value in vars(cls).items() if isinstance(value, type)}
    return Namespace({} if frame is None else frame.f_globals, around | nested)


def _resolve(thing: Any, namespace: Namespace, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(thing, dict(namespace.module), dict(namespace.around), include_extras=True)
    except NameError as error:
        raise MachineError(
            f"{where}: {error}; annotations are read at run time, so import the name outside `if TYPE_CHECKING:` "
            "or define it before the class"
        ) from error
    except Exception as error:
        raise MachineError(f"{where}: an annotation cannot be evaluated: {error}") from error


def resolve_function(function: Any, namespace: Namespace, where: str) -> dict[str, Any]:
    """Return the types of the parameters and the result. Raises MachineError, which names what is not defined."""
    return _resolve(function, namespace, where)


def resolve_class(base: type, annotations: Mapping[str, Any], namespace: Namespace) -> dict[str, Any]:
    """Return the types of the state that the body of ``base`` annotates, without ClassVar and pseudo-fields."""
    # A bare class without bases: for the real one, get_type_hints would look up the names of every base
    # in the module of this class.
    bare = type(base.__name__, (), {"__annotations__": dict(annotations), "__module__": base.__module__})
    state: dict[str, Any] = {}
    for name, hint in _resolve(bare, namespace, short_name(base)).items():
        if hint is ClassVar or get_origin(hint) is ClassVar or hint is dataclasses.KW_ONLY:
            continue
        if isinstance(hint, dataclasses.InitVar) or hint is dataclasses.InitVar:
            continue
        if hint is Final:
            raise MachineError(f"{short_name(base)}.{name}: Final needs a type; write `{name}: Final[<type>]`")
        state[name] = get_args(hint)[0] if get_origin(hint) is Final else hint
    return state
