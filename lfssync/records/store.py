"""What was observed about one mirror: signatures, remote evidence, history, and the record that `status` shows.

Read and written by `pipeline` under the mirror's lock, and read by `status` from other processes at any time (SQLite
in WAL mode). The one thing to know: it is a *cache of observations*, never work to be done. A store that is missing,
garbage or older than the git dir is thrown away or reconciled, at the cost of hashing again (faults 12).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from lfssync.answers import LogEntry, LogKind
from lfssync.errors import LfssyncError, TransientError
from lfssync.model import Known, LfsObject, Receipt, Signature

SCHEMA = 2
_OLDER = (0, 1)
"""What lacks only tables and indexes, which are added; 0 is a new file."""
PROVEN_FACT = "proven"
"""Name of the fact which endpoint has acknowledged the LFS objects of all recorded files, if one has."""

REMOTES_FACT = "remotes"
"""Name of the fact which remotes this mirror was delivered to, the newest last."""

HISTORY_ROWS = 2000
"""How much of the past `log` keeps; older commits are in git anyway."""

Row = tuple[bytes, int, int, int, int, int]
"""A name with its signature: size, mtime, ctime, inode, mode. Plain tuples, because scans compare millions."""

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    directory BLOB, name BLOB, git_mode TEXT, blob_oid TEXT, lfs_oid TEXT, lfs_size INTEGER,
    size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, mode INTEGER,
    PRIMARY KEY (directory, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    endpoint TEXT, oid TEXT, confirmed_at REAL, PRIMARY KEY (endpoint, oid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    endpoint TEXT, oid TEXT, at REAL, PRIMARY KEY (endpoint, oid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
    ref TEXT PRIMARY KEY, commit_oid TEXT, objects INTEGER, object_bytes INTEGER, verified_at REAL);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, at REAL, kind TEXT, commit_oid TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
CREATE INDEX IF NOT EXISTS files_by_object ON files (lfs_oid, lfs_size) WHERE lfs_oid IS NOT NULL;
"""


def split(path: bytes) -> tuple[bytes, bytes]:
    """A relative path as (directory, name); the directory of a top-level name is empty."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def join(directory: bytes, name: bytes) -> bytes:
    """The inverse of `split`."""
    return directory + b"/" + name if directory else name


class Store:
    """One mirror's `state.db`. Use as a context; constructors do no I/O.

    Args:
        file: Where the database is or will be.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._connection: sqlite3.Connection | None = None

    @property
    def folder(self) -> Path:
        """The mirror's state folder."""
        return self.file.parent

    def __enter__(self) -> Store:
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if _is_passing(error):
                raise _translated(self.file, error) from error
            discard(self.file)
            self._connection = self._open()
        return self

    def look(self) -> sqlite3.Connection:
        """Open what is there without changing anything; the caller closes what this returns."""
        self._connection = sqlite3.connect(self.file, timeout=10, isolation_level=None)
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version in _OLDER:
                with _transaction(connection):
                    for statement in _TABLES.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={SCHEMA}")
            elif version != SCHEMA:
                raise sqlite3.DatabaseError(f"schema {version}")
            connection.execute("SELECT count(*) FROM facts").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection is not None, "the store is used outside its context"
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes in the block become visible together or not at all.

        Raises:
            TransientError: Disk full, read-only or locked for long; nothing was written then.
        """
        try:
            with _transaction(self._db):
                yield
        except sqlite3.Error as error:
            raise _translated(self.file, error) from error

    # -- files ---------------------------------------------------------------------------------------------------

    def signatures(self, directory: bytes) -> list[Row]:
        """The recorded signatures of the files directly in a directory, sorted by name; all zero when never read."""
        query = "SELECT name, size, mtime, ctime, inode, mode FROM files WHERE directory = ? ORDER BY name"
        return self._db.execute(query, (directory,)).fetchall()

    def known(self, path: bytes) -> Known | None:
        """What is recorded about one path."""
        row = self._db.execute(
            "SELECT git_mode, blob_oid, lfs_oid, lfs_size, size, mtime, ctime, inode, mode FROM files"
            " WHERE directory = ? AND name = ?",
            split(path),
        ).fetchone()
        return None if row is None else _known(row)

    def below(self, directory: bytes) -> list[bytes]:
        """All recorded paths beneath a directory (not the directory's own name as a file), sorted by SQLite."""
        if not directory:
            rows = self._db.execute("SELECT directory, name FROM files")
        else:
            rows = self._db.execute(
                "SELECT directory, name FROM files WHERE directory = ? OR (directory > ? AND directory < ?)",
                (directory, directory + b"/", directory + b"0"),
            )
        return [join(*row) for row in rows]

    def directories(self, beneath: bytes) -> list[bytes]:
        """All directories that hold recorded files, `beneath` itself included."""
        if not beneath:
            return [row[0] for row in self._db.execute("SELECT DISTINCT directory FROM files")]
        rows = self._db.execute(
            "SELECT DISTINCT directory FROM files WHERE directory = ? OR (directory > ? AND directory < ?)",
            (beneath, beneath + b"/", beneath + b"0"),
        )
        return [row[0] for row in rows]

    def everything(self) -> Iterator[tuple[bytes, Known]]:
        """Every recorded path with what is known about it."""
        rows = self._db.execute(
            "SELECT directory, name, git_mode, blob_oid, lfs_oid, lfs_size, size, mtime, ctime, inode, mode FROM files"
        )
        return ((join(row[0], row[1]), _known(row[2:])) for row in rows)

    @property
    def is_empty(self) -> bool:
        """Whether no path is recorded."""
        return self._db.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None

    def count(self) -> int:
        """How many paths are recorded; costs a look at all of them."""
        (number,) = self._db.execute("SELECT count(*) FROM files").fetchone()
        return int(number)

    def record(self, entries: Iterable[tuple[bytes, Known]], gone: Iterable[bytes]) -> None:
        """Replace what is known about paths and forget those that are gone; call within `transaction`."""
        self._db.executemany("DELETE FROM files WHERE directory = ? AND name = ?", (split(path) for path in gone))
        self._db.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *split(path),
                    known.git_mode,
                    known.blob_oid,
                    known.lfs.oid if known.lfs else None,
                    known.lfs.size_bytes if known.lfs else None,
                    *_numbers(known.signature),
                )
                for path, known in entries
            ),
        )

    # -- remote evidence -----------------------------------------------------------------------------------------

    def confirmed(self, endpoint: str, oids: Iterable[str]) -> set[str]:
        """Which of these objects the endpoint has acknowledged before."""
        query = "SELECT 1 FROM objects WHERE endpoint = ? AND oid = ?"
        return {oid for oid in oids if self._db.execute(query, (endpoint, oid)).fetchone()}

    def confirm(self, endpoint: str, oids: Iterable[str], at: float) -> None:
        """Record that the endpoint acknowledged objects at a time (seconds since the epoch)."""
        self._db.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", ((endpoint, oid, at) for oid in oids))

    def receipt(self, ref: str) -> Receipt | None:
        """The last remote evidence for a ref."""
        row = self._db.execute("SELECT * FROM receipts WHERE ref = ?", (ref,)).fetchone()
        return None if row is None else Receipt(*row)

    def receipts(self) -> list[Receipt]:
        """All remote evidence, tags included."""
        return [Receipt(*row) for row in self._db.execute("SELECT * FROM receipts ORDER BY verified_at")]

    def forget_confirmed(self) -> None:
        """Forget all acknowledgements: a remote lost something. Call within `transaction`."""
        self._db.execute("DELETE FROM objects")
        self.record_facts({PROVEN_FACT: None})

    def confirmations(self, endpoint: str) -> dict[str, float]:
        """When the endpoint acknowledged objects last, in seconds since the epoch, by oid."""
        return dict(self._db.execute("SELECT oid, confirmed_at FROM objects WHERE endpoint = ?", (endpoint,)))

    def forget_objects(self, endpoint: str, oids: Iterable[str]) -> None:
        """Forget that the endpoint acknowledged objects: it lost them. Call within `transaction`."""
        rows = [(endpoint, oid) for oid in oids]
        self._db.executemany("DELETE FROM objects WHERE endpoint = ? AND oid = ?", rows)
        self._db.executemany("DELETE FROM seen WHERE endpoint = ? AND oid = ?", rows)

    def seen(self, endpoint: str) -> dict[str, float]:
        """When objects were looked at by a scrub and found in order, in seconds since the epoch, by oid."""
        return dict(self._db.execute("SELECT oid, at FROM seen WHERE endpoint = ?", (endpoint,)))

    def record_seen(self, endpoint: str, oids: Iterable[str], at: float) -> None:
        """Record that a scrub found objects in order; call within `transaction`."""
        self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", ((endpoint, oid, at) for oid in oids))

    def unconfirmed(self, endpoint: str, since: float) -> list[LfsObject]:
        """The LFS objects of recorded files that the endpoint has not acknowledged since a time.

        Args:
            endpoint: Where the objects should be.
            since: Seconds since the epoch; 0 asks for those that it never acknowledged.
        """
        rows = self._db.execute(
            "SELECT DISTINCT lfs_oid, lfs_size FROM files LEFT JOIN objects ON endpoint = ? AND oid = lfs_oid"
            " WHERE lfs_oid IS NOT NULL AND (confirmed_at IS NULL OR confirmed_at < ?)",
            (endpoint, since),
        )
        return [LfsObject(*row) for row in rows]

    def places(self, oid: str) -> list[tuple[bytes, Signature]]:
        """Recorded files whose content is this LFS object, with the signature under which it was read."""
        rows = self._db.execute(
            "SELECT directory, name, size, mtime, ctime, inode, mode FROM files WHERE lfs_oid = ?", (oid,)
        )
        return [(join(row[0], row[1]), Signature(*row[2:])) for row in rows]

    def record_receipt(self, receipt: Receipt) -> None:
        """Keep remote evidence; call within `transaction`."""
        self._db.execute(
            "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?)",
            (receipt.ref, receipt.commit, receipt.objects, receipt.object_bytes, receipt.verified_at),
        )

    def forget_receipts(self) -> None:
        """Forget all remote evidence: the remote is another one now. Call within `transaction`."""
        self._db.execute("DELETE FROM receipts")

    # -- history and facts ---------------------------------------------------------------------------------------

    def append(self, at: float, kind: LogKind, commit: str | None, text: str) -> None:
        """Add a line to the history, dropping the oldest beyond `HISTORY_ROWS`."""
        last = self._db.execute("SELECT kind, text FROM history ORDER BY id DESC LIMIT 1").fetchone()
        if commit is None and last == (kind.value, text):
            return  # a failure that repeats is one line, not one a minute
        self._db.execute(
            "INSERT INTO history (at, kind, commit_oid, text) VALUES (?, ?, ?, ?)", (at, kind.value, commit, text)
        )
        self._db.execute("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (HISTORY_ROWS,))

    def commits_since(self, since: float) -> list[float]:
        """When commits were made, in seconds since the epoch, the oldest first; those since then only."""
        query = "SELECT at FROM history WHERE kind = ? AND at >= ? ORDER BY at"
        return [at for (at,) in self._db.execute(query, (LogKind.COMMIT.value, since))]

    def history(self, limit: int) -> list[LogEntry]:
        """The newest lines of the history, newest first."""
        rows = self._db.execute("SELECT at, kind, commit_oid, text FROM history ORDER BY id DESC LIMIT ?", (limit,))
        return [LogEntry(at, LogKind(kind), commit, text) for at, kind, commit, text in rows]

    def fact(self, name: str) -> object:
        """A single named observation (JSON value), or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def record_facts(self, facts: Mapping[str, object]) -> None:
        """Replace named observations by JSON values."""
        self._db.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)", ((name, json.dumps(value)) for name, value in facts.items())
        )


def discard(file: Path) -> None:
    """Throw a broken database away; everything in it can be observed again. Only under the mirror's lock."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{file}{suffix}")


def is_damage(error: BaseException | None) -> bool:
    """Whether an error says that the database itself is broken, as opposed to the disk being full or the like."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return isinstance(error, sqlite3.DatabaseError) and name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


@contextlib.contextmanager
def reading(file: Path) -> Iterator[Store | None]:
    """A store for those who only look, beside a pass that may be under way; None where there is none.

    Raises:
        TransientError: It cannot be read now; a broken one is made anew by the next pass.
    """
    if not file.is_file():
        yield None
        return
    store = Store(file)
    try:
        with contextlib.closing(store.look()):
            yield store
    except sqlite3.Error as error:
        raise _translated(file, error) from error


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _numbers(signature: Signature | None) -> tuple[int, int, int, int, int]:
    if signature is None:
        return (0, 0, 0, 0, 0)
    return (signature.size_bytes, signature.mtime_ns, signature.ctime_ns, signature.inode, signature.mode)


def _known(row: tuple[str, str, str | None, int | None, int, int, int, int, int]) -> Known:
    git_mode, blob_oid, lfs_oid, lfs_size, *numbers = row
    lfs = LfsObject(lfs_oid, lfs_size) if lfs_oid is not None and lfs_size is not None else None
    return Known(git_mode, blob_oid, lfs, Signature(*numbers) if numbers[4] else None)


def _is_passing(error: sqlite3.Error) -> bool:
    """True for troubles of the disk or of locking, which leave the database itself intact."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(
        (
            "SQLITE_BUSY",
            "SQLITE_FULL",
            "SQLITE_READONLY",
            "SQLITE_CANTOPEN",
            "SQLITE_IOERR",
            "SQLITE_LOCKED",
            "SQLITE_NOMEM",
        )
    )


def _translated(file: Path, error: sqlite3.Error) -> LfssyncError:
    remedy = "free disk space or mend the permissions of that folder; it is tried again"
    return TransientError(f"{file}: {error}", "the next sync makes it anew" if is_damage(error) else remedy)
