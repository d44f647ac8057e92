"""``paxospp verify``: run the storage kit on a storage plug-in and print a verdict for each clause.

The kit destroys the data it finds, so it runs in fresh directories and refuses a URL that names an existing place.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.terminal import print_table, say
from paxospp.errors import BackendUnavailableError, ConfigError, StorageError
from paxospp.plugins import PluginRegistry
from paxospp.plugins.loading import load_object
from paxospp.storage.contract import Storage
from paxospp.storage.url import TMP, complete_url, expand_url, parse_url


def run(options: argparse.Namespace) -> int:
    """Verify each URL; return 1 if a clause is broken, or if nothing could be checked for what ``--only`` names.

    Raises:
        ConfigError: a URL cannot be verified, or ``--only`` names neither a clause nor a case.
    """
    plugins: Sequence[str] = options.plugin or ()
    registry = PluginRegistry(plugins)
    urls = [_checked_url(url, registry) for url in options.url]
    try:
        from paxospp.testing.storage_suite.running import misnamed
    except ImportError as error:
        raise BackendUnavailableError(f"verify needs pytest: {error}; pip install 'paxospp[test]'") from error
    if wrong := misnamed(options.only):
        raise ConfigError("; ".join(wrong))
    return max(_verify(url, plugins, options) for url in urls)


def _verify(url: str, plugins: Sequence[str], options: argparse.Namespace) -> int:
    from paxospp.testing.storage_suite.running import run_suite
    from paxospp.testing.storage_suite.verdicts import COLUMNS

    say(f"verifying {url}" + (", with --quick: too few cases to prove anything" if options.quick else ""))
    begun = time.monotonic()
    with _counting() as count:
        verdict = run_suite(
            url,
            plugins=plugins,
            only=options.only,
            quick=options.quick,
            all_steps=options.all_steps,
            on_progress=count,
        )

    def again(label: str) -> str:
        flags = ["--quick"] if options.quick else []
        flags += [word for plugin in plugins for word in ("--plugin", plugin)]
        return shlex.join(["paxospp", "verify", *flags, "--only", label, url])

    if rows := verdict.rows(selected=bool(options.only)):
        print_table(COLUMNS, rows)
    for detail in verdict.details(again):
        say(f"\n{detail}")
    say(f"\n{verdict.summary} ({time.monotonic() - begun:.0f} s)")
    return 0 if verdict.holds else EXIT_FAILED


def _checked_url(text: str, registry: PluginRegistry) -> str:
    """Return the complete URL for ``text``, in a fresh directory if ``text`` names no place.

    Raises:
        ConfigError: it names a place and its storage is durable, or it cannot be opened.
    """
    url = complete_url(text, registry.schemes, TMP)
    with tempfile.TemporaryDirectory(prefix="paxospp-verify-") as directory:
        place = expand_url(url, tmp=f"{directory}/store", name="n1")
        opener = registry.storage(place)
        if TMP not in url.partition("?")[0]:
            if not _is_volatile(place, registry):
                raise ConfigError(
                    f"storage {url!r} names a place, and verify destroys the data there: use {{tmp}}, which stands for "
                    "fresh directories"
                )
            return url
        with suppress(StorageError):  # the cases will report it
            opener().close()  # report a missing driver or an unknown option in one line, not as a broken clause
    return url


def _is_volatile(url: str, registry: PluginRegistry) -> bool:
    """Return whether the class of the storage says that it is not durable; the storage is not opened."""
    backend = parse_url(url, registry.schemes).backend
    offered = (storage for plugin in registry.found for storage in plugin.storages)
    opened: object = next((storage.open for storage in offered if storage.scheme == backend), None)
    if opened is None:
        opened = load_object(backend)
    return isinstance(opened, type) and issubclass(opened, Storage) and not opened.durable


@contextmanager
def _counting() -> Iterator[Callable[[int, int, Sequence[str]], None]]:
    """Show a counting line on the terminal, through a descriptor of its own because pytest captures the others."""
    if not sys.stdout.isatty():
        yield lambda done, total, broken: None
        return
    with open(os.dup(sys.stdout.fileno()), "w") as terminal:

        def count(done: int, total: int, broken: Sequence[str]) -> None:
            terminal.write(f"\r{done} of {total} cases" + (f", broken so far: {', '.join(broken)}" if broken else ""))
            terminal.flush()

        yield count
        terminal.write("\r" + " " * 100 + "\r")
