"""Which files others have locked at the host: what a pass must leave alone, and says so.

Asked by `http` before anything is sent. The one thing to know: locks are a courtesy between people, and most hosts have
none. So whatever an answer is, it costs little time: a host that does not say in time which files are locked is taken
for one where none are, in this pass.

Source: git-lfs docs/api/locking.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lfssync.errors import LfssyncError
from lfssync.model import show

if TYPE_CHECKING:
    from lfssync.transfer.batch import Operation
    from lfssync.web.messages import Answer

ANSWER_S = 10.0
"""So long one answer may take,"""

ALL_S = 20.0
"""and so long all pages of it."""

PAGE_LOCKS = 1000
_NOT_HERE = frozenset({403, 404, 405, 501})


class Server(Protocol):
    """An LFS server; see `api.Api`."""

    @property
    def branch(self) -> str:
        """What is pushed there."""

    def call(self, operation: Operation, path: str, document: Mapping[str, Any], answer_timeout_s: float) -> Answer:
        """Post a document, with the login that there is."""


def locked(server: Server, clock: Callable[[], float] = time.monotonic) -> Mapping[bytes, str] | None:
    """The paths that others have locked, each with who did, in words for people; None where there are no locks.

    Args:
        server: Whom to ask.
        clock: Seconds that only run forward.
    """
    from lfssync.transfer.batch import Operation  # `holder` is for remotes on a disk, too, which need nothing of HTTP

    found: dict[bytes, str] = {}
    cursors = {""}
    cursor = ""
    end = clock() + ALL_S
    while clock() < end:
        try:
            answer = server.call(Operation.UPLOAD, "locks/verify", _question(server.branch, cursor), ANSWER_S)
            if answer.status in _NOT_HERE and not found:
                return None
            document = answer.document() if answer.is_success else None
        except LfssyncError:
            break  # the requests that matter say it better
        if not isinstance(document, dict):
            break
        theirs = document.get("theirs")
        for lock in theirs if isinstance(theirs, list) else ():
            found.update(_lock(lock))
        following = document.get("next_cursor")
        if not isinstance(following, str) or following in cursors:
            break
        cursor = following
        cursors.add(cursor)
    return found


def holder(locked: Mapping[bytes, str], path: bytes) -> str | None:
    """Who has locked a path, or a file that it would take the place of."""
    parts = path.split(b"/")
    ways = (b"/".join(parts[:count]) for count in range(len(parts), 0, -1))
    above = next((locked[way] for way in ways if way in locked), None)
    return above or next((who for other, who in locked.items() if other.startswith(path + b"/")), None)


def _question(branch: str, cursor: str) -> dict[str, Any]:
    ref = {"ref": {"name": f"refs/heads/{branch}"}} if branch else {}
    return {**ref, **({"cursor": cursor} if cursor else {}), "limit": PAGE_LOCKS}


def _lock(lock: Any) -> dict[bytes, str]:
    """A lock's path and owner; nothing when it is none."""
    match lock:
        case {"path": str(path), "owner": {"name": str(name)}} if name:
            return {_bytes(path): show(_bytes(name))}
        case {"path": str(path)}:
            return {_bytes(path): "somebody"}
    return {}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
