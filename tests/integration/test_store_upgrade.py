"""A store of an older version is taken on as it is: nothing has to be read again because lfssync was upgraded."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from lfssync.model import Known, LfsObject, Signature
from lfssync.records.store import SCHEMA, Store

LFS = LfsObject("a" * 64, 5)
KNOWN = Known("100644", "b" * 40, LFS, Signature(5, 1, 1, 1, 0o100644))


def plan_of(file: Path, query: str) -> str:
    connection = sqlite3.connect(file)
    try:
        return str(connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
    finally:
        connection.close()


def test_a_store_of_the_version_before_keeps_what_it_knows_and_gets_the_index(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with Store(file) as store, store.transaction():
        store.record([(b"w.bin", KNOWN)], [])
    connection = sqlite3.connect(file)
    connection.executescript("DROP INDEX files_by_object; DROP TABLE seen; PRAGMA user_version=1")
    connection.close()
    with Store(file) as store:
        assert store.known(b"w.bin") == KNOWN
        assert store.unconfirmed("there", 0) == [LFS]
        assert store.seen("there") == {}
    assert "files_by_object" in plan_of(file, "SELECT DISTINCT lfs_oid FROM files WHERE lfs_oid IS NOT NULL")


def test_opening_a_store_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with Store(file):
        pass
    before = file.stat().st_mtime_ns, file.read_bytes()
    with Store(file) as store:
        assert store.is_empty
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before


def test_a_store_of_a_newer_version_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with Store(file) as store, store.transaction():
        store.record([(b"w.bin", KNOWN)], [])
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version={SCHEMA + 1}")
    connection.close()
    with Store(file) as store:
        assert store.is_empty
