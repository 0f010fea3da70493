"""What a push that was killed leaves in a repository on this machine's disks: git's locks and half-received objects.

Used by `delivery`. Git never takes away a lock that it finds, so without this one kill at the wrong moment would keep a
branch from being pushed for ever.
The one thing to know: a lock may be somebody else's, and held right now. So something is taken away only if a push of
this very mirror is known to have been cut off, and if it is ours and has not moved for longer than any push holds it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.rules.remotes import RemoteKind, parse_remote
from lfssync.transfer.bare import git_dir_of

STALE_S = 600.0
"""Git itself holds a lock on a branch for milliseconds, but a hook that looks at a push may take its time."""

_NOTE = "pushing"
"""Stands beside our git dir: that may have been damaged by the same loss of power."""

_LEFT = ("HEAD.lock", "refs/heads/**/*.lock", "refs/tags/**/*.lock", "objects/tmp_objdir-incoming-*")


@contextlib.contextmanager
def noted(git_dir: Path, url: str) -> Iterator[None]:
    """Leave a note beside the mirror's own git dir while a push runs, and longer if that leaves something behind.

    Args:
        git_dir: The mirror's own.
        url: Where the push goes; for other places than this machine's disks nothing is noted.
    """
    note = git_dir.with_name(_NOTE)
    remote = on_disk(url)
    if remote is None or note.exists():
        yield
        return
    before = _left(remote)
    note.touch()
    try:
        yield
    finally:
        if _left(remote) <= before:  # else git was killed there, or somebody else pushes just now
            note.unlink(missing_ok=True)


def take_away(git_dir: Path, url: str) -> None:
    """If a push was cut off, remove what it left there and nobody can be at any more.

    Args:
        git_dir: The mirror's own.
        url: Where the push went.
    """
    note = git_dir.with_name(_NOTE)
    if not note.exists():
        return
    remote = on_disk(url)
    gone = [_is_gone(path) for path in (_left(remote) if remote else ())]
    if all(gone):
        note.unlink(missing_ok=True)


def _left(remote: Path) -> set[Path]:
    return {path for pattern in _LEFT for path in remote.glob(pattern)}


def _is_gone(path: Path) -> bool:
    """Remove it if it is ours and old; whether it is not there any more."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > STALE_S:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return not os.path.lexists(path)


def on_disk(url: str) -> Path | None:
    """The git dir of a repository on this machine's disks; None for any other, and for none that can be found."""
    with contextlib.suppress(LfssyncError):
        remote = parse_remote(url, Path.home())
        if remote.kind is RemoteKind.LOCAL:
            return git_dir_of(Path(remote.path))
    return None
