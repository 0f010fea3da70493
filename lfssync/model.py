"""The values that travel along the line, frozen and without I/O.

Every step of the pass (`scan` -> `settle` -> `stage` -> secure -> commit -> push -> verify) takes the value before it
and returns the next; all of those values are defined here, so this module is the vocabulary of the program.
The one thing to know: paths inside a mirror are `bytes`, relative to the mirrored directory, with `/` between the
parts, because file names on Linux are bytes and not text.

What exists once for each file is a NamedTuple: as frozen as the others, and made in a fraction of the time; a frozen
dataclass also takes half a millisecond of every start to define.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

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


@dataclass(frozen=True, slots=True)
class Mirror:
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


_HALF = 1 << 63


def signature_numbers(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Size, mtime, ctime, inode and mode, each modulo 2^64 as a signed number, as databases keep them.

    Some file systems make up inodes of the full width, and people set times beyond the year 2262.
    """
    mtime_ns, ctime_ns, inode = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    if not (-_HALF <= mtime_ns < _HALF and -_HALF <= ctime_ns < _HALF and inode < _HALF):
        mtime_ns, ctime_ns, inode = ((number + _HALF) % (2 * _HALF) - _HALF for number in (mtime_ns, ctime_ns, inode))
    return status.st_size, mtime_ns, ctime_ns, inode, status.st_mode


