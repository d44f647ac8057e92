"""Imports the module or object that a command line names: ``FILE.py:Name``, ``package.module:Name``.

A file becomes a module with a unique name in ``sys.modules``, so that tracebacks show its lines,
annotations resolve and its classes pickle. A file that is already imported, ``__main__`` included,
is not run again: that would define its classes twice. An error is one line that names the file and
the line in it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import traceback
import zlib
from pathlib import Path
from types import ModuleType

from paxospp.errors import ConfigError, PluginError

_loading = threading.RLock()  # reentrant: a file may load another one


def load_object(spec: str) -> object:
    """Return the object that ``FILE.py:Name`` or ``package.module:Name`` names.

    Raises:
        ConfigError: the file, module or name does not exist.
        PluginError: the file or module raised while it was imported.
    """
    source, _, name = spec.rpartition(":")
    if not source or not name.isidentifier():
        raise ConfigError(f"{spec!r} does not name an object: write FILE.py:Name or package.module:Name")
    module = load_module(source, name)
    try:
        return getattr(module, name)
    except AttributeError:
        defined = ", ".join(_defined_in(module))
        remedy = f"it defines {defined}" if defined else "is the name spelt as in the file?"
        raise ConfigError(f"{source} has no {name!r}; {remedy}") from None


def load_module(source: str, name: str = "") -> ModuleType:
    """Return the module of a file (``*.py``) or of a dotted name. Raises like ``load_object``.

    ``name`` is the object that is wanted from it, for the text of an error.
    """
    if is_file(source):
        return _load_file(Path(source).expanduser())
    if not all(part.isidentifier() for part in source.split(".")):
        raise ConfigError(f"{source!r} does not name a module: write FILE.py or package.module")
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{source}.".startswith(f"{error.name}."):
            file = f"./{source.replace('.', '/')}.py" + (f":{name}" if name else "")
            raise ConfigError(f"there is no module {source!r}; install it, or name a file: {file}") from None
        raise import_error(source, error) from error
    except (Exception, SystemExit) as error:
        raise import_error(source, error) from error


def is_file(source: str) -> bool:
    """Return whether ``source`` names a file rather than a module."""
    return source.endswith(".py") or os.sep in source


def _defined_in(module: ModuleType) -> list[str]:
    """Return the public classes of ``module`` that are defined there, in the order of the file; ten at most."""
    return [
        name
        for name, found in vars(module).items()
        if isinstance(found, type) and found.__module__ == module.__name__ and not name.startswith("_")
    ][:10]


def type_and_text(error: BaseException) -> str:
    """Return ``error`` as text for a one-line message."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r} (looked for from {os.getcwd()!r})")
    path = path.resolve()
    with _loading:
        present = _imported(path)
        return present if present is not None else _execute(path)


def _imported(path: Path) -> ModuleType | None:
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.endswith(path.name) and Path(file).resolve() == path:
            return module
    return None


def _execute(path: Path) -> ModuleType:
    name = f"{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"  # no installed module has such a name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{str(path)!r} is not a Python file: its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise import_error(str(path), error) from error
        raise
    return module


def import_error(source: str, error: BaseException) -> PluginError:
    """Return the error for a file or module that raised ``error`` while it was imported."""
    if isinstance(error, SyntaxError):
        file = "" if error.filename in (source, None) else f"{error.filename}, "
        return PluginError(f"{source} cannot be imported: {file}line {error.lineno}: {error.msg}")
    frames = traceback.extract_tb(error.__traceback__)
    if is_file(source):
        where = [f"line {frame.lineno}: " for frame in frames if frame.filename == source]
    else:
        where = [f"{frame.filename}, line {frame.lineno}: " for frame in frames if not _is_machinery(frame.filename)]
    return PluginError(f"{source} cannot be imported: {where[-1] if where else ''}{type_and_text(error)}")


def _is_machinery(file: str) -> bool:
    """Return whether ``file`` belongs to the import system or to this package, not to the plug-in."""
    return "importlib" in file or os.path.dirname(file) == os.path.dirname(__file__)
