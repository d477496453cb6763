"""The catalogue of collections: what it remembers is never older than what another process has committed."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rag import catalog
from rag.catalog import Catalog, CollectionRow


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalogue of one row whose file was written an hour ago, and counts as settled at once."""
    monkeypatch.setattr(catalog, "_RACY_NS", 0)
    made = Catalog(tmp_path / "catalog.sqlite3")
    made.put(CollectionRow("c", "one"))
    an_hour_ago = made._path.stat().st_mtime_ns - 3_600_000_000_000
    os.utime(made._path, ns=(an_hour_ago, an_hour_ago))
    return made


@pytest.fixture
def count_openings(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    opened: list[object] = []
    connect = sqlite3.connect

    def counted(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(arguments)
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", counted)
    return lambda: len(opened)


def test_a_row_is_read_once_while_nothing_is_committed(table: Catalog, count_openings: Callable[[], int]) -> None:
    assert [table.find("c") for _ in range(3)] == [CollectionRow("c", "one")] * 3
    assert count_openings() == 1


def test_a_commit_of_another_process_is_seen_by_the_next_question(table: Catalog) -> None:
    table.find("c")
    other = Catalog(table._path)  # stands for a process
    other.put(CollectionRow("c", "two"))
    assert table.find("c") == CollectionRow("c", "two")
    other.delete("c")
    assert table.find("c") is None


def test_what_was_committed_just_now_is_not_remembered(tmp_path: Path, count_openings: Callable[[], int]) -> None:
    table = Catalog(tmp_path / "catalog.sqlite3")
    table.put(CollectionRow("c", "one"))
    n_before = count_openings()
    assert [table.find("c") for _ in range(3)] == [CollectionRow("c", "one")] * 3
    assert count_openings() == n_before + 3


def test_names_of_no_collection_are_not_remembered(table: Catalog, count_openings: Callable[[], int]) -> None:
    assert [table.find("absent") for _ in range(2)] == [None, None]
    assert count_openings() == 2
