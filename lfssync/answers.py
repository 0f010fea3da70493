"""What is answered to those who ask: status, log, differences, releases, deliveries. Frozen values without I/O.

Made by `report`, `history`, `releases` and `operations`; shown by `output` and `documents`, returned by `lfssync.push`.
The one thing to know: the field names of `MirrorStatus` are those of `status --json`, which is a promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lfssync.model import Deferred, LfsObject, Receipt, State


@dataclass(frozen=True, slots=True)
class Headway:
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


@dataclass(frozen=True, slots=True)
class MirrorStatus:
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


@dataclass(frozen=True, slots=True)
class DaemonInfo:
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


@dataclass(frozen=True, slots=True)
class LogEntry:
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


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a difference: git mode, size of the content in bytes, git blob, and LFS oid if there is one."""

    git_mode: str
    size_bytes: int
    blob_oid: str
    lfs_oid: str | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a header names it: the type of its values, such as `F32`, and its sizes."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(str(length) for length in self.shape)}]"


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs between two versions of a file; `old` is None for an added one, `new` for a removed one."""

    name: str
    old: Tensor | None
    new: Tensor | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that differs between two revisions.

    Args:
        path: The path from the repository's root.
        old: None for an added path.
        new: None for a deleted path.
        tensors: For a safetensors file, which of its tensors are others now; None where nobody looked.
        unseen: Why nobody could look, for people; empty otherwise.
    """

    path: bytes
    old: Version | None
    new: Version | None
    tensors: tuple[TensorChange, ...] | None = None
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a revision is.

    Args:
        commit: Its 40 hex digits.
        at: When it was committed, in seconds since the epoch.
        author: Name and address, for people.
        message: The commit's message.
        files: All its files, each with its path from the repository's root, sorted.
        tags: Tags that point at it.
        step: The step of the training, or None.
        metrics: What was measured at that step.
        telling: The gist of what the trainer said, for people; may be empty.
    """

    commit: str
    at: float
    author: str
    message: str
    files: tuple[tuple[bytes, Version], ...]
    tags: tuple[str, ...] = ()
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    telling: str = ""

    @property
    def size_bytes(self) -> int:
        """The sizes of all files together."""
        return sum(version.size_bytes for _, version in self.files)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag and what it points at.

    Args:
        name: Its short name.
        at: When it was made, in seconds since the epoch; for a light one, when its commit was.
        message: Its text; empty for a light one.
        revision: What it points at.
    """

    name: str
    at: float
    message: str
    revision: Revision


@dataclass(frozen=True, slots=True)
class Release:
    """A tag that is proven to be on the remote.

    Args:
        version: The tag's short name, such as `v2.0.1`.
        commit: The 40 hex digits it points at.
        receipt: The remote's own word for it.
    """

    version: str
    commit: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class LostObject:
    """An LFS object that commits name and the remote does not give.

    Args:
        oid: Its name.
        size_bytes: How large it should be.
        path: A file that it belongs to, for people; empty where none is known.
        remedy: What to do.
        is_claimed: Whether the remote says that it has it, and gives other bytes.
    """

    oid: str
    size_bytes: int
    path: str
    remedy: str
    is_claimed: bool = False


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a look at the LFS objects of a remote found.

    Args:
        objects: How many the remote's history names.
        looked: How many of them the remote was asked about.
        sampled: How many were downloaded and hashed.
        missing: What the remote lacked.
        damaged: What it gave with other bytes.
        mended: What of these was sent again, and is there now.
        lost: The others.
        since: Since when all objects have been confirmed, in seconds since the epoch; None while some never were.
    """

    objects: int
    looked: int
    sampled: int
    missing: tuple[LfsObject, ...]
    damaged: tuple[LfsObject, ...]
    mended: tuple[LfsObject, ...]
    lost: tuple[LostObject, ...]
    since: float | None


@dataclass(frozen=True, slots=True)
class PushResult:
    """What `lfssync.push` delivered: the commit, how many files and bytes it brought, and the remote evidence."""

    commit: str
    files: int
    size_bytes: int
    receipt: Receipt
    release: Release | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A login at a host, as `lfssync login` and `whoami` show it; the secret is not in it.

    Args:
        host: `HOST` or `HOST:PORT`.
        name: The account.
        source: Where the login is kept, in words for people.
        organisations: Those of the account, where the host tells.
        scopes: What the token is for, in the host's own words.
        may_write: Whether it may change repositories; None where that is not known.
        is_checked: Whether the host itself was asked.
    """

    host: str
    name: str
    source: str
    organisations: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    may_write: bool | None = None
    is_checked: bool = True


@dataclass(frozen=True, slots=True)
class Logout:
    """What `lfssync logout` did: for which host, whether the keyring had a login, and who else still has one."""

    host: str
    was_there: bool
    others: tuple[str, ...] = ()
