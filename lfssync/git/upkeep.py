"""Keeps a git dir small over months: packs what many small commits left behind, and drops what nothing needs any more.

Used by `line.upkeep`, under the mirror's lock; nothing of git's own does this by itself here. The one thing to know: it
is git's own `gc`, at the lowest priority and for a limited time; killed at any point it has lost nothing, and what it
was writing then is cleared away by the next one.

Source: git-gc(1), git-repack(1).
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from pathlib import Path

from lfssync.git.gitcommand import Git

TIME_LIMIT_S = 900.0
"""A repository that takes longer stays as it is, and works as before."""

_LOOSE_IN_ONE_FOLDER = 8
"""One of 256 folders stands for all, as in git's own `gc.auto`; each loose object takes a block of the disk."""
_PACKS = 50
_LEFT_FOR_S = 86400.0
"""What is being written may be somebody else's, in a remote of ours; after a day it is nobody's."""


def is_due(git_dir: Path) -> bool:
    """Whether there is enough to pack; costs two listings."""
    objects = git_dir / "objects"
    loose = sum(1 for _ in (objects / "17").glob("*"))
    packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
    return loose > _LOOSE_IN_ONE_FOLDER or packs > _PACKS


def tidy(git: Git, keep_since: str) -> None:
    """Pack everything, and drop what nothing refers to.

    Args:
        git: The git dir; under the mirror's lock, so that nobody of ours writes there. Its `stop` ends it.
        keep_since: How long what nothing refers to is kept, as git-gc(1) takes it for `--prune`.

    Raises:
        LfssyncError: Git failed, took too long, or was stopped; nothing is lost then.
    """
    clear_half_written(git.git_dir, time.time() - _LEFT_FOR_S)
    # Whoever ran before was killed, or else we would not have the lock: `--force` passes over what that left in gc.pid.
    git.run("gc", "--quiet", "--force", f"--prune={keep_since}", before=_gently(), timeout_s=TIME_LIMIT_S)


def clear_half_written(git_dir: Path, before: float) -> None:
    """Remove packs that a killed git was writing, which git itself never does.

    Args:
        git_dir: The git dir.
        before: Last written before this, in seconds since the epoch.
    """
    for leftover in (git_dir / "objects" / "pack").glob(".tmp-*"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.lstat().st_mtime < before:
                leftover.unlink()


@functools.cache
def _gently() -> tuple[str, ...]:
    """What stands before a command that has to leave processor and disk to everybody else."""
    words = (("nice", "-n", "19"), ("ionice", "-c", "3"))
    return tuple(word for command in words if shutil.which(command[0]) for word in command)
