"""From a name on a command line to a module or object: ``FILE.py:Name`` and ``package.module:Name``.

A file becomes a module under a name of its own in ``sys.modules``, so that tracebacks show its
lines, annotations resolve and its classes pickle. A file that is imported already, ``__main__``
included, is used as it is: run twice, it would give two classes of one name. What goes wrong is
one line that names the file and the line in it.
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

_loading = threading.RLock()  # between threads; a file may load another one


def load_object(spec: str) -> object:
    """The object that ``FILE.py:Name`` or ``package.module:Name`` stands for.

    Raises:
        ConfigError: there is no such file, module or name.
        PluginError: the file or module raised while it was imported.
    """
    source, _, name = spec.rpartition(":")
    if not source or not name.isidentifier():
        raise ConfigError(f"{spec!r} names no object: write FILE.py:Name or package.module:Name")
    module = load_module(source)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(f"{source} has no {name!r}; is the name spelt as in the file?") from None


def load_module(source: str) -> ModuleType:
    """The module of a file (``*.py``) or of a dotted name. Raises like ``load_object``."""
    if is_file(source):
        return _load_file(Path(source).expanduser())
    if not all(part.isidentifier() for part in source.split(".")):
        raise ConfigError(f"{source!r} names no module: write FILE.py or package.module")
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{source}.".startswith(f"{error.name}."):
            raise ConfigError(f"there is no module {source!r}; install it, or name a file: ./{source}.py") from None
        raise _failed(source, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(source, error) from error


def is_file(source: str) -> bool:
    """Whether ``source`` names a file rather than a module."""
    return source.endswith(".py") or os.sep in source


def one_line(error: BaseException) -> str:
    """``error`` as text for a message of one line."""
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
    name = f"{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"  # never that of an installed module
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{str(path)!r} is no Python file: its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise _failed(str(path), error) from error
        raise
    return module


def _failed(source: str, error: BaseException) -> PluginError:
    if isinstance(error, SyntaxError):
        return PluginError(f"{source} cannot be imported: line {error.lineno}: {error.msg}")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == source]
    where = f"line {lines[-1]}: " if lines else ""
    return PluginError(f"{source} cannot be imported: {where}{one_line(error)}")
