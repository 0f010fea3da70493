"""What commands bring back: differences, revisions, releases, scrubs, deliveries, logins. Frozen values without I/O.

Made by `history`, `releases`, `scrub`, `login` and `operations`; shown by `output` and `documents`, some returned by
`lfssync.push`.
The one thing to know: they are apart from `answers` because `status` shows none of them and must answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lfssync.model import LfsObject, Receipt


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
