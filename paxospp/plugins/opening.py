"""Calling what a plug-in or a user's class offers, with what may be wrong told before anything is written.

The check of options reads the signature, so that a misspelt option is refused before the
storage is opened and creates a directory.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from paxospp.errors import BackendUnavailableError, ConfigError, PluginError
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import Storage


def storage_opener(
    opened: Callable[..., Storage], url: str, path: str, options: Mapping[str, str], extra: str | None
) -> Callable[[], Storage]:
    """What opens the storage of ``url``; ``extra`` brings its driver, if one is known to.

    Raises:
        ConfigError: ``opened`` does not take these options.
        PluginError: it is a class that lacks methods of the contract.
    """
    if isinstance(opened, ABCMeta) and opened.__abstractmethods__:
        missing = ", ".join(sorted(opened.__abstractmethods__))
        raise PluginError(f"storage {url!r} cannot be opened: {opened.__name__} does not define {missing}")
    _check_options(opened, url, options)

    def open_storage() -> Storage:
        try:
            storage = opened(path, **options)
        except ImportError as error:
            remedy = f"pip install '{extra}'" if extra is not None else "install what it needs"
            raise BackendUnavailableError(f"storage {url!r} cannot be opened: {error}; {remedy}") from error
        if not isinstance(storage, Storage):
            raise PluginError(f"storage {url!r}: opening it gave {type(storage).__name__}, which is no paxospp.Storage")
        return storage

    return open_storage


def as_storage(found: object, spec: str) -> Callable[..., Storage]:
    """``found`` as something that opens a storage: a subclass of Storage, or a function."""
    if isinstance(found, type) and not issubclass(found, Storage):
        raise ConfigError(f"{spec} is no storage: write class {found.__name__}(paxospp.Storage)")
    if not callable(found):
        raise ConfigError(f"{spec} is neither a class nor a function that opens a storage")
    return cast("Callable[..., Storage]", found)


def as_machine(found: object, spec: str) -> Callable[[], StateMachine]:
    """``found`` as something that makes a state machine: a subclass of StateMachine, or a function."""
    if isinstance(found, type) and not issubclass(found, StateMachine):
        raise ConfigError(f"{spec} is no state machine: write class {found.__name__}(paxospp.StateMachine)")
    if not callable(found):
        raise ConfigError(f"{spec} is neither a class nor a function that makes a state machine")
    needed = [p.name for p in _parameters(found) if p.default is p.empty and p.kind not in _VARIADIC]
    if needed:
        raise ConfigError(f"{spec} needs arguments ({', '.join(needed)}): name a function that makes one without any")

    def make_machine() -> StateMachine:
        machine = found()
        if not isinstance(machine, StateMachine):
            raise ConfigError(f"{spec} gave {type(machine).__name__}, which is no paxospp.StateMachine")
        return machine

    return make_machine


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters(function: Callable[..., object]) -> Sequence[inspect.Parameter]:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except ValueError:  # written in C, without a signature: the call itself will tell
        return (inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD),)


def _check_options(opened: Callable[..., Storage], url: str, options: Mapping[str, str]) -> None:
    parameters = _parameters(opened)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    taken = [p for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]  # the first is the path
    names = ", ".join(p.name for p in taken)
    says = f"it takes {names}" if names else "it takes none"
    for option in options:
        if option not in [p.name for p in taken]:
            raise ConfigError(f"storage {url!r} has no option {option!r}; {says}")
    for p in taken:
        if p.default is p.empty and p.name not in options:
            raise ConfigError(f"storage {url!r} needs the option {p.name!r}: add ?{p.name}=…; {says}")
