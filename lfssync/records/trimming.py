"""Keeps a mirror's store small: old evidence about other remotes goes, and room that nothing needs is given back.

Beside `store`, for `upkeep`, under the mirror's lock. The one thing to know: the history and everything else in a store
is bounded where it is written; what is left to grow is evidence, and the file itself, which never shrinks on its own.

Source: PRAGMA freelist_count and VACUUM in SQLite's documentation.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lfssync.errors import TransientError

_SMALL_PAGES = 1000
"""A smaller file, of 4 MB, is not worth the trouble."""


def has_grown(file: Path, endpoint: str, before: float) -> bool:
    """Whether `trim` has something to do.

    Args:
        file: The store.
        endpoint: The remote whose evidence stays.
        before: Older evidence about others goes; in seconds since the epoch.

    Raises:
        TransientError: The store cannot be read.
    """
    with _opened(file) as db:
        (pages,), (free,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
        query = "SELECT 1 FROM objects WHERE endpoint != ? AND confirmed_at < ? LIMIT 1"
        is_old = db.execute(query, (endpoint, before)).fetchone() is not None
        return is_old or (pages > _SMALL_PAGES and free > pages // 2)


def trim(file: Path, endpoint: str, before: float) -> None:
    """Forget old evidence about other remotes, and give back the room that nothing needs any more; see `has_grown`.

    Raises:
        TransientError: Disk full, or the like; nothing is lost then.
    """
    with _opened(file) as db:
        db.execute("DELETE FROM objects WHERE endpoint != ? AND confirmed_at < ?", (endpoint, before))
        db.execute("DELETE FROM seen WHERE endpoint != ? AND at < ?", (endpoint, before))
        db.execute("VACUUM")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as db:
            yield db
    except sqlite3.Error as error:
        raise TransientError(f"{file}: {error}", "free disk space; it is tried again") from error
