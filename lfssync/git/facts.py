"""What git told once and what can never change: which commit was built on which, their trees, verdicts about paths.

Used by `repository`, so that a pass of one changed file does not start git for what the last pass knew. The one thing
to know: only what follows from its key alone is kept here (a commit's name says what is in it), so a fact may be
forgotten at any time and is never wrong. It is shared by all mirrors of a process, and bounded.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from lfssync.rules.attributes import Verdict

KEPT = 4096
"""So many facts of a kind: a few for each of some hundred mirrors."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Facts(Generic[K, V]):
    """Facts of one kind; the one that was told first is forgotten first.

    Args:
        kept: How many.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._facts: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """A fact, or None when it is not known."""
        return self._facts.get(key)

    def tell(self, key: K, value: V) -> None:
        """Keep a fact."""
        with self._lock:
            self._facts[key] = value
            while len(self._facts) > self._kept:
                del self._facts[next(iter(self._facts))]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._facts.clear()


PARENTS: Facts[str, tuple[str, ...]] = Facts()
"""Commits that were made here, and the parents that they were given."""

TREES: Facts[str, str] = Facts()
"""Commits and their trees."""

VERDICTS: Facts[tuple[bytes, bytes], Verdict] = Facts(KEPT * 4)
"""What a set of attribute files (its digest) says about a path."""

ATTRIBUTES: Facts[str, Mapping[bytes, bytes | None]] = Facts(KEPT // 8)
"""Commits, and what is in their attribute files, by path from the root; None for a path where there is none."""

_OID_DIGITS = 40
"""Any other name of a commit may mean another one tomorrow."""

_CARRIED_EDITS = 1000
_CARRIED_BYTES = 1 << 20
"""More than that is not kept: reading it again is a small part of what such a commit costs."""


def tell_attributes(commit: str, files: Mapping[bytes, bytes | None]) -> None:
    """Keep what is in attribute files of a commit, beside what is known of others of it."""
    known = {**(ATTRIBUTES.get(commit) or {}), **files}
    if (
        len(commit) == _OID_DIGITS
        and sum(len(path) + len(text or b"") for path, text in known.items()) <= _CARRIED_BYTES
    ):
        ATTRIBUTES.tell(commit, known)


def carry_attributes(
    old: str, new: str, edits: Mapping[bytes, str | None], name: Callable[[int, Iterable[bytes]], str]
) -> None:
    """Keep for a commit what is known about the attribute files of the one it was made from.

    Args:
        old: The commit before.
        new: The commit.
        edits: What it was given: the blobs of files, or None for one that goes; no folder goes as a whole.
        name: Names a blob, see `fastimport.blob_oid`.
    """
    known = ATTRIBUTES.get(old)
    if known is None or len(edits) > _CARRIED_EDITS:
        return
    same = {path for path, text in known.items() if text is not None and edits.get(path) == name(len(text), [text])}
    changed = edits.keys() - same
    above = {path[:at] for path in changed for at in range(len(path)) if path[at : at + 1] == b"/"}
    kept = (path for path in known if path not in above and changed.isdisjoint(_upwards(path)))
    tell_attributes(new, {path: known[path] for path in kept})


def _upwards(path: bytes) -> Iterator[bytes]:
    """A path and all folders it is in: a file in the place of one of them takes away what was there."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def is_known_ancestor(old: str, new: str) -> bool | None:
    """Whether `old` is in the history of `new`, as far as the commits made here tell; None when they do not.

    A commit's child is never its ancestor, so one step down answers the question upwards as well.
    """
    if old in (PARENTS.get(new) or ()):
        return True
    return False if new in (PARENTS.get(old) or ()) else None


def digest(files: Mapping[bytes, bytes]) -> bytes:
    """What stands for a set of files with their contents, in whatever order they come."""
    hashed = hashlib.sha256()
    for path, text in sorted(files.items()):
        hashed.update(b"%d %d\0%b%b" % (len(path), len(text), path, text))
    return hashed.digest()


def verdicts(rules: bytes, paths: Iterable[bytes]) -> dict[bytes, Verdict]:
    """Those verdicts of a set of attribute files that are known, by path.

    Args:
        rules: Its `digest`.
        paths: What is asked about.
    """
    known = ((path, VERDICTS.get((rules, path))) for path in paths)
    return {path: verdict for path, verdict in known if verdict is not None}
