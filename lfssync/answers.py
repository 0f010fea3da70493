"""What is answered about mirrors at any time: how each stands, whether a daemon runs, what happened. Frozen, no I/O.

Made by `report`, `standing` and `store`; shown by `statuslines`, `output` and `documents`. What a command brings back
is in `results`, so that `status` need not load it.
The one thing to know: the field names of `MirrorStatus` are those of `status --json`, which is a promise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from lfssync.model import Deferred, State


class Headway(NamedTuple):
    """How far a pass under way is.

    Args:
        state: Whether it reads (`staging`) or sends (`uploading`).
        files: So many files are done.
        files_total: Of so many, as far as that is known.
        done_bytes: So many bytes are done.
        size_bytes: Of so many, as far as that is known.
        rate: Bytes a second of late; None while that cannot be told.
    """

    state: State
    files: int
    files_total: int
    done_bytes: int
    size_bytes: int
    rate: float | None = None

    @property
    def left_s(self) -> float | None:
        """How long it goes on at that rate, in seconds; None while nothing moves."""
        return (self.size_bytes - self.done_bytes) / self.rate if self.rate else None


class MirrorStatus(NamedTuple):
    """One mirror's line in `status`; the field names are those of `status --json` in the contract.

    `looked` is False when nobody has looked for changes since the last pass: no daemon runs, and a look took too long.
    """

    name: str
    path: str
    remote: str
    branch: str
    state: State
    pending_files: int = 0
    pending_bytes: int = 0
    deferred: tuple[Deferred, ...] = ()
    head: str | None = None
    pushed: str | None = None
    verified_at: float | None = None
    error: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    scrubbed_at: float | None = None
    waits: dict[str, Any] | None = None
    """Why the daemon waits with it, and until when in seconds since the epoch: the document of `pace.Waits`."""
    paused: dict[str, Any] | None = None
    """Since when and until when a person has paused it, in the same: the document of `pausing.Pause`."""
    progress: Headway | None = None
    looked: bool = True


class DaemonInfo(NamedTuple):
    """Whether a daemon runs; its process, since when in seconds since the epoch, and what it complains about."""

    running: bool
    pid: int | None = None
    since: float | None = None
    complaints: tuple[str, ...] = ()


class LogKind(StrEnum):
    """What a line of `lfssync log` tells about."""

    COMMIT = "commit"
    RELEASE = "release"
    REFUSED = "refused"
    FAILED = "failed"
    STOPPED = "stopped"
    RESUMED = "resumed"


class LogEntry(NamedTuple):
    """One thing that happened to a mirror.

    Args:
        at: Seconds since the epoch.
        kind: What it was.
        commit: 40 hex digits, or None for what never became a commit.
        text: The commit's subject, the tag's name, or the error; one line.
        tags: Tags that point at the commit.
    """

    at: float
    kind: LogKind
    commit: str | None
    text: str
    tags: tuple[str, ...] = ()
