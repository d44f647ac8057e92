"""``paxospp verify``: the conformance kit on one storage plug-in, as a table with a verdict for each clause.

It destroys what it finds, so it works in fresh directories and refuses a URL that names a place of its own.
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
from paxospp.cli.showing import print_table, say
from paxospp.errors import BackendUnavailableError, ConfigError, StorageError
from paxospp.plugins import PluginRegistry
from paxospp.plugins.loading import load_object
from paxospp.storage.contract import Storage
from paxospp.storage.url import TMP, complete_url, expand_url, parse_url


def run(options: argparse.Namespace) -> int:
    """Return 0 if no clause is broken and something was checked for each ``--only``, else 1.

    Raises:
        ConfigError: a URL cannot be verified, or ``--only`` names no clause and no case.
    """
    plugins: Sequence[str] = options.plugin or ()
    registry = PluginRegistry(plugins)
    urls = [_checked_url(url, registry) for url in options.url]
    return max(_verify(url, plugins, options) for url in urls)


def _verify(url: str, plugins: Sequence[str], options: argparse.Namespace) -> int:
    try:
        from paxospp.testing.storage_suite.running import run_suite
        from paxospp.testing.storage_suite.verdicts import COLUMNS
    except ImportError as error:
        raise BackendUnavailableError(f"verify runs on pytest: {error}; pip install 'paxospp[test]'") from error
    say(f"verifying {url}" + (" (quick: a tenth of the tries, which is no proof)" if options.quick else ""))
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

    if verdict.misnamed:
        raise ConfigError("; ".join(verdict.misnamed))

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
    """``text`` with a fresh directory as its place if it names none.

    Raises:
        ConfigError: it names a place, and its storage keeps something there; or it cannot be opened.
    """
    url = complete_url(text, registry.schemes, TMP)
    with tempfile.TemporaryDirectory(prefix="paxospp-verify-") as directory:
        place = expand_url(url, tmp=f"{directory}/store", name="n1")
        opener = registry.storage(place)
        if TMP not in url.partition("?")[0]:
            if not _is_volatile(place, registry):
                raise ConfigError(
                    f"storage {url!r} names a place, and verify destroys what it finds there: write {{tmp}}, "
                    "which stands for fresh directories"
                )
            return url
        with suppress(StorageError):  # what it has to say to that, the cases will hear
            opener().close()  # a driver that is missing, an option that does not fit: one line, not a broken clause
    return url


def _is_volatile(url: str, registry: PluginRegistry) -> bool:
    """Whether the storage says, by its class and unopened, that it keeps nothing."""
    backend = parse_url(url, registry.schemes).backend
    offered = (storage for plugin in registry.found for storage in plugin.storages)
    opened: object = next((storage.open for storage in offered if storage.scheme == backend), None)
    if opened is None:
        opened = load_object(backend)
    return isinstance(opened, type) and issubclass(opened, Storage) and not opened.durable


@contextmanager
def _counting() -> Iterator[Callable[[int, int, Sequence[str]], None]]:
    """A line on the terminal that counts; on a descriptor of its own, for pytest takes the others away meanwhile."""
    if not sys.stdout.isatty():
        yield lambda done, total, broken: None
        return
    with open(os.dup(sys.stdout.fileno()), "w") as terminal:

        def count(done: int, total: int, broken: Sequence[str]) -> None:
            terminal.write(f"\r{done} of {total} cases" + (f", broken so far: {', '.join(broken)}" if broken else ""))
            terminal.flush()

        yield count
        terminal.write("\r" + " " * 100 + "\r")
