"""Makes the functions that open a storage or make a state machine, from what a plug-in or a URL names.

Errors are raised before anything is opened. Options are checked against the signature of the storage, so
that a misspelt one is refused before the storage makes a directory.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from paxospp.errors import BackendUnavailableError, ConfigError, PluginError
from paxospp.plugins.contracts import check_contract, stated_contract
from paxospp.plugins.loading import type_and_text
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import Storage, StorageBackend


def storage_opener(
    opened: Callable[..., Storage], url: str, path: str, options: Mapping[str, str], extra: str | None
) -> Callable[[], Storage]:
    """Return a function that opens the storage of ``url``.

    Args:
        opened: the class or function that opens it.
        extra: what to install when its driver is missing, if that is known.

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
            raise PluginError(
                f"storage {url!r}: opening it returned a {type(storage).__name__}, which is not a paxospp.Storage"
            )
        return fitting(storage, f"storage {url!r}")

    return open_storage


def fitting(storage: Storage, who: str) -> Storage:
    """Return ``storage`` if its contract is supported; else close it and raise PluginError, with ``who`` as subject.

    If a function opened it, only the storage itself knows the contract of its class.
    """
    try:
        check_contract(stated_contract(storage), who)
    except PluginError:
        storage.close()
        raise
    return storage


def missing_driver(backend: StorageBackend) -> str | None:
    """Return the name of a driver of ``backend`` that is not installed, or None; imports those that are.

    Raises:
        PluginError: a driver is installed but cannot be imported.
    """
    for driver in backend.drivers:
        try:
            importlib.import_module(driver)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{driver}.".startswith(f"{error.name}."):
                return driver
            raise _driver_error(backend, driver, error) from error
        except (Exception, SystemExit) as error:
            raise _driver_error(backend, driver, error) from error
    return None


def _driver_error(backend: StorageBackend, driver: str, error: BaseException) -> PluginError:
    return PluginError(
        f"the driver {driver} of the storage scheme {backend.scheme!r} cannot be imported: {type_and_text(error)}"
    )


def check_given_storage(storage: object) -> None:
    """Raise ConfigError if ``storage`` can be neither a URL nor a function that opens a storage."""
    if isinstance(storage, str) or callable(storage):
        return
    takes = "storage is a URL such as 'file:./data/n1', or a function that opens a storage"
    if isinstance(storage, Storage):
        raise ConfigError(f"{takes}: pass a function such as lambda: {type(storage).__name__}(…), not an open storage")
    raise ConfigError(f"{takes}, not {storage!r}")


def check_given_machine(machine: object) -> None:
    """Raise ConfigError if ``machine`` can be neither a state machine, a function that makes one, nor a name."""
    if not (isinstance(machine, str | StateMachine) or callable(machine)):
        raise ConfigError(
            "machine is a subclass of paxospp.StateMachine, a function that makes one, an instance, or a name such as "
            f"'kv', not {machine!r}"
        )


def as_storage(found: object, spec: str) -> Callable[..., Storage]:
    """Return ``found`` if it can open a storage: a subclass of Storage, or a function. Raises ConfigError."""
    if isinstance(found, type) and not issubclass(found, Storage):
        raise ConfigError(f"{spec} is not a storage: write class {found.__name__}(paxospp.Storage)")
    if not callable(found):
        raise ConfigError(f"{spec} is neither a class nor a function that opens a storage")
    return cast("Callable[..., Storage]", found)


def as_machine(found: object, spec: str) -> Callable[[], StateMachine]:
    """Return a function that makes the state machine ``found``, a subclass of StateMachine or a function.

    Raises:
        ConfigError: it is neither, or it needs arguments.
    """
    if isinstance(found, type) and not issubclass(found, StateMachine):
        raise ConfigError(f"{spec} is not a state machine: write class {found.__name__}(paxospp.StateMachine)")
    if not callable(found):
        raise ConfigError(f"{spec} is neither a class nor a function that makes a state machine")
    needed = [p.name for p in _parameters(found) if p.default is p.empty and p.kind not in _VARIADIC]
    if needed:
        raise ConfigError(f"{spec} needs arguments ({', '.join(needed)}): name a function that makes one without any")

    def make_machine() -> StateMachine:
        machine = found()
        if not isinstance(machine, StateMachine):
            raise ConfigError(f"{spec} returned a {type(machine).__name__}, which is not a paxospp.StateMachine")
        return machine

    return make_machine


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters(function: Callable[..., object]) -> Sequence[inspect.Parameter]:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except ValueError:  # written in C, without a signature: the call itself will raise
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
