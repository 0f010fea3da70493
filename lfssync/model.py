"""The values that travel along the line, frozen and without I/O.

Every step of the pass (`scan` -> `settle` -> `stage` -> secure -> commit -> push -> verify) takes the value before it
and returns the next; all of those values are defined here, so this module is the vocabulary of the program.
The one thing to know: paths inside a mirror are `bytes`, relative to the mirrored directory, with `/` between the
parts, because file names on Linux are bytes and not text.

All of them are NamedTuples, as what every command loads is: a frozen dataclass takes half a millisecond of each start
to define, and the module that defines it seven; and of what exists once for each file, many are made.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from lfssync.rules.signatures import signature_numbers
from lfssync.rules.windows import Window
from lfssync.wishes import KEEPS_ALL, Keep, Rule

STILL_CHANGING = "still changing"
STILL_WRITTEN = "still being written"
LFS_THRESHOLD_BYTES = 1 << 20
"""Files larger than this become LFS objects unless the configuration says otherwise."""

GROUPS = (
    "checkpoint-*",  # transformers, diffusers
    "checkpoint_*",  # accelerate, flax, Ray
    "epoch_[0-9]*",  # accelerate's examples
    "epoch-[0-9]*",
    "epoch=*",  # Lightning, where a strategy saves in pieces
    "*.ckpt",  # the same under a name of the user's
    "step_[0-9]*",
    "step-[0-9]*",  # torchtitan
    "step[0-9]*",  # OLMo
    "global_step*",  # DeepSpeed, verl
    "iter_[0-9]*",  # Megatron
)
"""Folders with such names are checkpoints, unless the configuration says otherwise."""


HEADROOM_BYTES = 5 << 30
"""So much of the disk with lfssync's state stays free when copies are kept there."""

OFFLINE_LIMIT_BYTES = 100 << 30
"""So much is kept for a mirror whose remote is out of reach."""


class State(StrEnum):
    """What a mirror is doing; the words are part of the contract of `status --json`."""

    IDLE = "idle"
    SETTLING = "settling"
    STAGING = "staging"
    UPLOADING = "uploading"
    PUSHING = "pushing"
    OFFLINE = "offline"
    BLOCKED = "blocked"
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"

    @property
    def is_working(self) -> bool:
        """True for the states that only exist while a pass runs."""
        return self in (State.STAGING, State.UPLOADING, State.PUSHING)


class DeletePolicy(StrEnum):
    """What a deletion in the directory means for the remote."""

    MIRROR = "mirror"
    KEEP = "keep"


class IncompletePolicy(StrEnum):
    """What to do with files that are still incomplete after `max_wait`."""

    WAIT = "wait"
    COMMIT = "commit"


class CreatePolicy(StrEnum):
    """Whether a mirror's repository is created on its host before the first delivery, and who may read it then."""

    NEVER = "never"
    PRIVATE = "private"
    PUBLIC = "public"


class CardPolicy(StrEnum):
    """Whether commits get a drafted model card where the directory has none."""

    OFF = "off"
    AUTO = "auto"


class TransferKind(StrEnum):
    """Who moves LFS objects; `auto` picks by the remote's address."""

    AUTO = "auto"
    BARE = "bare"
    HTTP = "http"
    GIT_LFS = "git-lfs"


class Mirror(NamedTuple):
    """One configured pair: a local directory and a remote branch.

    Durations are in seconds, sizes in bytes. `path` is absolute, with `~` expanded and symlinks left as they are.
    `remote` is what git gets: an absolute path of a bare repository or a checked URL.
    """

    name: str
    path: Path
    remote: str
    branch: str = "main"
    into: str = ""
    ignore: tuple[str, ...] = ()
    groups: tuple[str, ...] = GROUPS
    """Names of folders that are committed as a whole or not yet; patterns of fnmatch."""
    delete: DeletePolicy = DeletePolicy.MIRROR
    incomplete: IncompletePolicy = IncompletePolicy.WAIT
    create: CreatePolicy = CreatePolicy.NEVER
    card: CardPolicy = CardPolicy.OFF
    transfer: TransferKind = TransferKind.AUTO
    quiet_s: float = 5.0
    max_wait_s: float = 300.0
    min_interval_s: float = 0.0
    only_between: tuple[Window, ...] = ()
    """The hours of the day in which something is sent; none means always."""
    commits_per_hour: int = 0
    """So many commits an hour are made by themselves; 0 means no limit."""
    rescan_s: float = 600.0
    lfs_threshold_bytes: int = LFS_THRESHOLD_BYTES
    lfs_url: str = ""
    """Where the LFS server is, when the remote's address does not tell; see `transfer.endpoint`."""
    rate_limit_bytes: int = 0
    """At most so many bytes a second are sent to a host or taken from it; 0 means no limit."""
    headroom_bytes: int = HEADROOM_BYTES
    """So much stays free on the disk with lfssync's state while the remote is out of reach."""
    offline_limit_bytes: int = OFFLINE_LIMIT_BYTES
    """At most so much is kept there until the remote answers again; 0 keeps nothing."""
    shutdown_grace_s: float = 20.0
    """So long the daemon goes on when it is told to end, for what is complete and not delivered yet."""
    tag: tuple[Rule, ...] = ()
    """What is released by itself, and which branches move along."""
    keep: Keep = KEEPS_ALL
    """Which checkpoints stay at the tip of the branch when they are gone from the directory."""
    embedded: bool = False
    """True when no remote was named: a bare repository of our own, created on first use."""


class Signature(NamedTuple):
    """What `lstat` says about a file; a moved signature means a change. See stat(2)."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """The signature in a stat result."""
        return cls(*signature_numbers(status))

    @property
    def is_link(self) -> bool:
        """True for a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def git_mode(self) -> str:
        """The mode git records for it: one of 100644, 100755 and 120000."""
        if self.is_link:
            return "120000"
        return "100755" if self.mode & 0o100 else "100644"


class Hint(NamedTuple):
    """Which part of the tree to look at.

    Args:
        path: Relative path whose file or whole sub-tree may have changed; None means everything.
    """

    path: bytes | None = None


EVERYTHING = Hint(None)


class LfsObject(NamedTuple):
    """An LFS object by name: 64 lower-case hex digits of sha256, and its size (always above 0)."""

    oid: str
    size_bytes: int

    def pointer(self) -> bytes:
        """The pointer file, byte for byte as git-lfs writes it. Source: git-lfs docs/spec.md."""
        oid, size = self.oid.encode(), self.size_bytes
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (oid, size)


class Known(NamedTuple):
    """What is recorded about a mirrored path: the git entry, and the signature it was read under.

    Args:
        git_mode: 100644, 100755 or 120000.
        blob_oid: 40 hex digits of the git blob (the pointer's blob for LFS files).
        lfs: The LFS object behind the pointer, or None for a plain blob.
        signature: None when the content was never read by us (after a lost store): read it again.
    """

    git_mode: str
    blob_oid: str
    lfs: LfsObject | None
    signature: Signature | None


class Change(NamedTuple):
    """A path whose signature differs from the recorded one."""

    path: bytes
    signature: Signature
    known: Known | None


class Changes(NamedTuple):
    """What a scan found.

    Args:
        changed: New or differing files and links, sorted by path.
        removed: Recorded paths that are gone (or are ignored now), sorted.
        tracked: How many paths were recorded before; only counted when some are gone.
        warnings: Lines for people about what was left out and why.
        unreadable: What could not be looked at, or into.
    """

    changed: tuple[Change, ...]
    removed: tuple[bytes, ...]
    tracked: int | None
    warnings: tuple[str, ...] = ()
    unreadable: tuple[bytes, ...] = ()


class Deferred(NamedTuple):
    """A path that must wait, and why (`open for writing`, `still changing`, `permission denied`).

    Args:
        path: Relative to the mirrored directory.
        reason: For people; follows the path.
        size_bytes: How large it is.
        is_refused: The host would not take it, whatever is waited for: nothing else waits for it.
    """

    path: bytes
    reason: str
    size_bytes: int = 0
    is_refused: bool = False

    @property
    def passes_soon(self) -> bool:
        """Whether only a moment is missing. All other reasons end with an event, or last."""
        return self.reason.endswith((STILL_CHANGING, STILL_WRITTEN))


class Staged(NamedTuple):
    """A file that was read: hashed, classified, and pinned by an open descriptor if it is an LFS object.

    Args:
        path: Relative to the mirrored directory.
        signature: The signature under which the bytes were read.
        blob_oid: The git blob's name: of the content, or of the pointer.
        lfs: The LFS object, or None.
        fd: Open descriptor on the content while an upload needs it, or None.
        is_prefix: Only its beginning was read: a program has had it open, and appends to it, for long.
    """

    path: bytes
    signature: Signature
    blob_oid: str
    lfs: LfsObject | None = None
    fd: int | None = None
    is_prefix: bool = False

    def known(self) -> Known:
        """What to record about it once it is committed."""
        return Known(self.signature.git_mode, self.blob_oid, self.lfs, self.signature)


class Receipt(NamedTuple):
    """Remote evidence: this ref points at this commit, and these objects were confirmed, at this time.

    Args:
        ref: Full ref name on the remote.
        commit: 40 hex digits.
        objects: How many LFS objects were confirmed.
        object_bytes: Their sizes together.
        verified_at: Seconds since the epoch.
    """

    ref: str
    commit: str
    objects: int
    object_bytes: int
    verified_at: float


class PassResult(NamedTuple):
    """What one pass did.

    Args:
        commit: The commit that the remote branch holds for us, or None while there is nothing to mirror.
        receipt: The evidence for it, or None when nothing was ever pushed.
        added, changed, removed: How many files this pass committed, by kind.
        content_bytes: Sizes of the added and changed files together.
        deferred: What must wait.
        warnings: Lines for people.
    """

    commit: str | None
    receipt: Receipt | None
    added: int = 0
    changed: int = 0
    removed: int = 0
    content_bytes: int = 0
    sent_bytes: int = 0
    deferred: tuple[Deferred, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def committed(self) -> bool:
        """True when the pass made a commit."""
        return bool(self.added or self.changed or self.removed)


class Plan(NamedTuple):
    """Progress: what a phase is about to move, so that totals and time left can be shown."""

    state: State
    files: int
    size_bytes: int


class Progress(NamedTuple):
    """Progress: one file's standing within a phase; `done_bytes` only grows and ends at `size_bytes`."""

    state: State
    path: bytes
    done_bytes: int
    size_bytes: int


Monitor = Callable[[Plan | Progress], None]
"""Receives progress; must return at once and never raise."""


def silent(_: Plan | Progress) -> None:
    """The monitor that shows nothing."""


def show(path: bytes) -> str:
    r"""A path for people: bytes that are no text, control characters and terminal escapes become visible `\\x..`.

    Nothing a file is named can reach a terminal or a commit message unescaped (faults 26 and 47).
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(size_bytes: int) -> str:
    """A size for people in decimal units, as file managers and model hubs show it: `5.2 GB`, `812 B`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} EB"
