"""Storage URLs: a test for each rule of their contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from paxospp.errors import ConfigError, UnknownBackendError
from paxospp.storage.url import StorageUrl, complete_url, expand_url, parse_url

SCHEMES = frozenset({"file", "memory", "rocksdb"})


def parse(url: str) -> StorageUrl:
    return parse_url(url, SCHEMES)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:data/n1", "data/n1"),
        ("file:/var/lib/x", "/var/lib/x"),
        ("file:///var/lib/x", "/var/lib/x"),
        ("file:a b%20c#d", "a b%20c#d"),
        ("file:C:\\data", "C:\\data"),
        ("rocksdb://var", "//var"),
        ("memory:", ""),
        ("file:x?", "x"),
    ],
)
def test_the_path_is_taken_as_written(url: str, path: str) -> None:
    assert parse(url) == StorageUrl(url.partition(":")[0], path, {})


def test_options_follow_the_first_question_mark_and_are_not_decoded() -> None:
    assert parse("file:a?b=c=d&e=%20?").options == {"b": "c=d", "e": "%20?"}
    assert parse("file:a?b=").options == {"b": ""}


@pytest.mark.parametrize("query", ["b=1&b=1", "b", "=1", "b=1&", "&"])
def test_an_option_given_twice_or_without_a_name_is_refused(query: str) -> None:
    with pytest.raises(ConfigError):
        parse(f"file:a?{query}")


def test_a_host_is_refused_because_files_are_local() -> None:
    with pytest.raises(ConfigError, match="file://server/x"):
        parse("file://server/x")


def test_a_leading_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert parse("file:~/data").path == "/home/somebody/data"
    assert parse("file:a/~").path == "a/~"
    with pytest.raises(ConfigError, match="no home directory"):
        parse("file:~nobody-of-that-name/data")


@pytest.mark.parametrize(
    ("url", "backend", "path"),
    [
        ("./my store.py:Mine:/var/x", "./my store.py:Mine", "/var/x"),
        ("C:\\x\\store.py:Mine:data", "C:\\x\\store.py:Mine", "data"),
        ("package.stores:Mine:a:b", "package.stores:Mine", "a:b"),
        ("stores:Mine:data", "stores:Mine", "data"),
        ("store.py:Mine:", "store.py:Mine", ""),
    ],
)
def test_a_file_or_module_with_a_class_may_replace_the_scheme(url: str, backend: str, path: str) -> None:
    assert parse(f"{url}?a=1") == StorageUrl(backend, path, {"a": "1"})


def test_a_registered_scheme_wins_over_a_module_of_its_name() -> None:
    assert parse("memory:Mine:x") == StorageUrl("memory", "Mine:x", {})


@pytest.mark.parametrize("url", ["etcd:/x", "etcd:x", "./data", "C:\\data", "x:y", ""])
def test_the_error_for_a_url_without_a_known_scheme_lists_the_known_ones(url: str) -> None:
    with pytest.raises(UnknownBackendError, match="file, memory, rocksdb"):
        parse(url)


@pytest.mark.parametrize("url", ["file", "store.py:Mine", "package.stores:Mine"])
def test_a_path_is_required_to_open_one_store(url: str) -> None:
    with pytest.raises(ConfigError, match=f"write {url}:PATH"):
        parse(url)


def test_a_fresh_directory_is_refused_for_a_store_that_is_opened_again() -> None:
    with pytest.raises(ConfigError, match="fresh directory"):
        parse("file:{tmp}/n1")


def test_a_bare_scheme_or_class_is_completed_where_one_url_serves_several_stores() -> None:
    assert complete_url("rocksdb", SCHEMES) == "rocksdb:{tmp}/{name}"
    assert complete_url("rocksdb?a=1", SCHEMES) == "rocksdb:{tmp}/{name}?a=1"
    assert complete_url("store.py:Mine", SCHEMES, "{tmp}") == "store.py:Mine:{tmp}"
    assert complete_url("file:{tmp}/x-{name}", SCHEMES) == "file:{tmp}/x-{name}"
    with pytest.raises(UnknownBackendError, match="unknown storage scheme 'etcd'"):
        complete_url("etcd", SCHEMES)


def test_tmp_and_name_are_expanded_in_the_path_alone(tmp_path: Path) -> None:
    url = expand_url("file:{tmp}/{name}?a={name}", tmp=str(tmp_path), name="n1")

    assert url == f"file:{tmp_path}/n1?a={{name}}"
    assert expand_url("file:{tmp}/{name}", name="n1") == "file:{tmp}/n1"
