"""Storage URLs: one line of text that says where a replica keeps its log.

::

    scheme:path?name=value&name=value        file:./data/n1   rocksdb:/var/lib/x?option=1   memory:
    FILE.py:Class:path?...                   ./my_store.py:MyStorage:/var/lib/x
    package.module:Class:path?...            mypackage.stores:MyStorage:/var/lib/x

This module splits the text and checks its form. It knows no schemes and does not look at the path;
``paxospp.plugins`` and the storages do. Nothing is decoded: a path may contain spaces and ``%`` as they
are, and ends at the first ``?``. Modelled on SQLAlchemy's database URLs, without their escaping.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from paxospp.errors import ConfigError, UnknownBackendError

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
"""Two characters or more, so that ``C:\\data`` is not a URL."""

_CODE = re.compile(r"(?P<code>(?:.+?\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*)(?P<rest>:.*)?", re.DOTALL)

_MODULE_AND_CLASS = re.compile(r"\w+:\w+")

TMP = "{tmp}"
"""Placeholder for a fresh directory, in a URL that serves several stores."""
NAME = "{name}"
"""Placeholder for the node's name, in a URL that serves several stores."""


@dataclass(slots=True, frozen=True)
class StorageUrl:
    """The parts of a URL: what to open, and with which path and options."""

    backend: str
    """A scheme, or ``FILE.py:Class``, or ``package.module:Class``."""
    path: str
    options: Mapping[str, str]


def parse_url(url: str, schemes: Collection[str]) -> StorageUrl:
    """Split ``url``. A scheme in ``schemes`` takes precedence over a file or module of that name.

    Raises:
        ConfigError: the URL is malformed.
        UnknownBackendError: it names neither a known scheme nor a class.
    """
    backend, path, query = _split(url, schemes)
    if path is None and _MODULE_AND_CLASS.fullmatch(backend):
        raise unknown_backend(url, schemes)  # ``sqlite:data`` is far more often a scheme and a path
    if path is None:
        raise ConfigError(f"storage {url!r} has no path: write {backend}:PATH")
    if TMP in path:
        raise ConfigError(
            f"storage {url!r}: {TMP} stands for a fresh directory only where one URL serves several stores "
            "(demo, bench, verify, Cluster); name a directory that will exist at the next start"
        )
    if backend == "file" and path.startswith("//"):
        if not path.startswith("///"):
            raise ConfigError(f"storage {url!r} names a host: files are local, write file:///absolute or file:relative")
        path = path[2:]
    return StorageUrl(backend, _expand_home(path, url), _parse_options(query, url))


def complete_url(url: str, schemes: Collection[str], path: str = "{tmp}/{name}") -> str:
    """Return ``url`` with ``path`` added if it is only a scheme or a class.

    ``rocksdb`` becomes ``rocksdb:{tmp}/{name}``, and ``rocksdb?option=1`` ``rocksdb:{tmp}/{name}?option=1``.

    Raises:
        UnknownBackendError: it names neither a known scheme nor a class.
    """
    scheme = url.partition("?")[0]
    if scheme not in schemes and SCHEME.fullmatch(scheme) and not scheme.endswith(".py"):
        raise UnknownBackendError(f"unknown storage scheme {scheme!r}; known schemes: {_listed(schemes)}")
    backend, present, query = _split(url, schemes)
    if present is not None:
        return url
    return f"{backend}:{path}" + (f"?{query}" if query else "")


def expand_url(url: str, *, tmp: str | None = None, name: str | None = None) -> str:
    """Return ``url`` with ``{tmp}`` and ``{name}`` in its path replaced by the given values."""
    place, mark, query = url.partition("?")
    if tmp is not None:
        place = place.replace(TMP, tmp)
    if name is not None:
        place = place.replace(NAME, name)
    return place + mark + query


def unknown_backend(url: str, schemes: Collection[str]) -> UnknownBackendError:
    """Return the error for a URL that names neither a scheme nor a class; it lists the known schemes."""
    known = _listed(schemes)
    scheme, colon, _ = url.partition(":")
    if colon and SCHEME.fullmatch(scheme):
        return UnknownBackendError(f"unknown storage scheme {scheme!r} in {url!r}; known schemes: {known}")
    if url.endswith(".py"):
        return UnknownBackendError(f"storage {url!r} names no class: write {url}:CLASS")
    return UnknownBackendError(
        f"storage {url!r} has no scheme: write scheme:path, such as file:{url}; known schemes: {known}"
    )


def _listed(schemes: Collection[str]) -> str:
    return ", ".join(sorted(schemes)) or "none"


def _split(url: str, schemes: Collection[str]) -> tuple[str, str | None, str]:
    """Return the backend, the path (None if it is missing) and the text of the options."""
    place, _, query = url.partition("?")
    scheme, colon, path = place.partition(":")
    if scheme in schemes:
        return scheme, path if colon else None, query
    if code := _CODE.fullmatch(place):
        rest = code["rest"]
        return code["code"], None if rest is None else rest[1:], query
    raise unknown_backend(url, schemes)


def _expand_home(path: str, url: str) -> str:
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ConfigError(f"storage {url!r}: no home directory is known for {path!r}; write the full path")
    return expanded


def _parse_options(query: str, url: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ConfigError(f"storage {url!r}: {pair!r} is not a valid option: write name=value, joined by '&'")
        if name in options:
            raise ConfigError(f"storage {url!r} has the option {name!r} twice: remove one")
        options[name] = value
    return options
