"""Storage URLs: the one line of text that says where a replica keeps its log.

::

    scheme:path?name=value&name=value        file:./data/n1   rocksdb:/var/lib/x?option=1   memory:
    FILE.py:Class:path?...                   ./my_store.py:MyStorage:/var/lib/x
    package.module:Class:path?...            mypackage.stores:MyStorage:/var/lib/x

It takes the text apart and judges its form. Which schemes exist, what a class takes and whether
the path is any good is asked elsewhere. Nothing is decoded: a path holds spaces and ``%`` as they
stand, and ends at the first ``?``. SQLAlchemy's database URLs are the model, less their escaping.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from paxospp.errors import ConfigError, UnknownBackendError

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
"""Two letters or more, so that ``C:\\data`` is no URL."""

_CODE = re.compile(r"(?P<code>(?:.+?\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*)(?P<rest>:.*)?", re.DOTALL)

_MODULE_AND_CLASS = re.compile(r"\w+:\w+")

TMP = "{tmp}"
"""Stands for a fresh directory, in a URL that serves several stores."""
NAME = "{name}"
"""Stands for the node's name, in a URL that serves several stores."""


@dataclass(slots=True, frozen=True)
class StorageUrl:
    """A URL taken apart: what to call, and with which path and options."""

    backend: str
    """A scheme, or ``FILE.py:Class``, or ``package.module:Class``."""
    path: str
    options: Mapping[str, str]


def parse_url(url: str, schemes: Collection[str]) -> StorageUrl:
    """Take ``url`` apart; a scheme of ``schemes`` wins over a file or module of that name.

    Raises:
        ConfigError: the form is wrong.
        UnknownBackendError: it names neither a known scheme nor a class.
    """
    backend, path, query = _split(url, schemes)
    if path is None and _MODULE_AND_CLASS.fullmatch(backend):
        raise unknown_backend(url, schemes)  # ``sqlite:data`` is far more often a scheme and a path
    if path is None:
        raise ConfigError(f"storage {url!r} names no place: write {backend}:PATH")
    if TMP in path:
        raise ConfigError(
            f"storage {url!r}: {TMP} is a fresh directory only where one URL serves several stores "
            "(demo, bench, verify, Cluster); name a directory that will be there at the next start"
        )
    if backend == "file" and path.startswith("//"):
        if not path.startswith("///"):
            raise ConfigError(f"storage {url!r} names a host: files are local, write file:///absolute or file:relative")
        path = path[2:]
    return StorageUrl(backend, _expand_home(path, url), _parse_options(query, url))


def complete_url(url: str, schemes: Collection[str], path: str = "{tmp}/{name}") -> str:
    """``url`` with ``path`` added where it names only a scheme or a class.

    ``rocksdb`` becomes ``rocksdb:{tmp}/{name}``, and ``rocksdb?option=1`` ``rocksdb:{tmp}/{name}?option=1``.
    """
    backend, present, query = _split(url, schemes)
    if present is not None:
        return url
    return f"{backend}:{path}" + (f"?{query}" if query else "")


def expand_url(url: str, *, tmp: str | None = None, name: str | None = None) -> str:
    """``url`` with ``{tmp}`` and ``{name}`` of its path replaced, where a value is given."""
    place, mark, query = url.partition("?")
    if tmp is not None:
        place = place.replace(TMP, tmp)
    if name is not None:
        place = place.replace(NAME, name)
    return place + mark + query


def unknown_backend(url: str, schemes: Collection[str]) -> UnknownBackendError:
    """The error for a URL that names neither a scheme nor a class; it lists the schemes there are."""
    known = ", ".join(sorted(schemes)) or "none"
    scheme, colon, _ = url.partition(":")
    if colon and SCHEME.fullmatch(scheme):
        return UnknownBackendError(f"unknown storage scheme {scheme!r} in {url!r}; known schemes: {known}")
    return UnknownBackendError(
        f"storage {url!r} names no scheme: write scheme:path, such as file:{url}; known schemes: {known}"
    )


def _split(url: str, schemes: Collection[str]) -> tuple[str, str | None, str]:
    """Backend, path (None: there is none) and the text of the options."""
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
        raise ConfigError(f"storage {url!r}: no home directory is known for {path!r}; write the path in full")
    return expanded


def _parse_options(query: str, url: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ConfigError(f"storage {url!r}: {pair!r} is no option: write name=value, joined by '&'")
        if name in options:
            raise ConfigError(f"storage {url!r} gives the option {name!r} twice: leave one")
        options[name] = value
    return options
