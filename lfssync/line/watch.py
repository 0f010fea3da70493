"""File system events become hints: which part of the tree to look at.

First step of the line; `debounce` collects what comes out of here. Events are hints and scans are truth: a lost event
costs time, never content, as long as the loss is known. So this module is mostly about knowing: an overflow means
"everything", `check` tells when hints may be missing, `polling_reason` and `watch_limit_reason` where none can be had.
The one thing to know: a reason, in words, always means the same to the caller: do not rely on hints. Restart the
watcher, and while that gives a reason too, look at the whole tree from time to time instead.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import TransientError
from lfssync.model import Hint, show

if TYPE_CHECKING:
    from lfssync.line.watchedtree import WatchedTree

STOP_TIMEOUT_S = 5.0
"""How long `Watcher.stop` waits for the watching thread, which ends at once unless `emit` blocks."""

PROC = Path("/proc")

_MIN_RAISED_WATCHES = 1 << 19

# Where another host (or, for FUSE, another program) changes files without this kernel knowing. fuseblk is a local disk.
_NETWORK = frozenset({"afs", "ceph", "cifs", "coda", "glusterfs", "ncpfs", "nfs", "nfs4", "smb", "smb3", "smbfs"})
_CLUSTER = frozenset({"acfs", "beegfs", "gfs2", "gpfs", "lustre", "ocfs2", "orangefs", "pvfs2"})
_SHARED_BY_A_HOST = frozenset({"9p", "drvfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs", "wslfs"})
_REPORTS_TOO_LITTLE = _NETWORK | _CLUSTER | _SHARED_BY_A_HOST | {"fuse"}


class Watcher:
    """Turns events below a mirrored directory into hints, in a thread that all watchers of many mirrors share.

    An idle one costs nothing but memory (some hundred bytes a folder). All methods belong to one supervising thread,
    which must not be the watching one.

    Args:
        root: The mirrored directory, absolute; may be a symbolic link to a directory.
        emit: Receives hints in the watching thread; must return soon. EVERYTHING comes first after each start, and
            whenever events were lost. What it raises is logged, kept for `check`, and ends nothing.
    """

    def __init__(self, root: Path, emit: Callable[[Hint], None]) -> None:
        self._root = root
        self._emit = emit
        self._tree: WatchedTree | None = None
        self._identity = (0, 0)

    def start(self) -> str | None:
        """Start watching; does nothing when started already.

        Returns:
            None when every folder is watched, else why that cannot be had: nothing runs and nothing is open then, and
            the caller polls.
        """
        if self._tree is not None:
            return self.check()
        # Only now: watchdog is slow to load.
        from lfssync.line.watchedtree import WatchedTree

        tree = None
        try:
            # Before the watches: a root that is replaced in between is then noticed by `check`.
            status = os.stat(self._root)
            tree = WatchedTree(os.fsencode(self._root), self._emit)
            tree.watch()
            tree.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            folders = tree.folders if tree else 0
            if tree is not None:
                tree.stop(STOP_TIMEOUT_S)
            return _reason(error, folders)
        self._tree, self._identity = tree, (status.st_dev, status.st_ino)
        return None

    def stop(self) -> None:
        """Stop watching, within `STOP_TIMEOUT_S`; with the last watcher its thread and descriptors are gone then.

        Raises:
            TransientError: The thread is stuck in `emit`, which is the last call of it.
        """
        tree, self._tree = self._tree, None
        if tree is not None and not tree.stop(STOP_TIMEOUT_S):
            raise TransientError(
                f"the watcher of {show(os.fsencode(self._root))} did not end within {STOP_TIMEOUT_S:g} s"
            )

    def restart(self) -> str | None:
        """The one answer to whatever `check` returned: stop, and start on the root as it is now; returns as `start`."""
        self.stop()
        return self.start()

    def check(self) -> str | None:
        """Whether hints can be relied on; costs one stat, meant to be called every second or so.

        Returns:
            None when all is well, else what is wrong; hints may be missing from then on until a restart.
        """
        tree = self._tree
        if tree is None:
            return "not watching"
        try:
            status = os.stat(self._root)
        except OSError as error:
            return _reason(error, tree.folders)
        # Inode numbers are used again: a root that was removed and made anew is also known by the watch that ended.
        if (status.st_dev, status.st_ino) != self._identity or isinstance(tree.failure, FileNotFoundError):
            return "root was replaced"
        if tree.failure is not None:
            return _reason(tree.failure, tree.folders)
        return None if tree.is_read else "watcher thread died"


def polling_reason(root: Path, procfs: Path = PROC) -> str | None:
    """Why events on `root` would not tell everything, by the type of its file system.

    Args:
        root: The mirrored directory; when it cannot be opened the answer is None, as that is for the scan to tell.
        procfs: Where proc(5) is mounted.

    Returns:
        None for local file systems, else a reason to look at the tree from time to time instead.

    Source: proc(5), /proc/pid/mountinfo and /proc/pid/fdinfo.
    """
    try:
        # Its mount's number says exactly which mount it is; comparing mount points would not, as they can be stacked.
        descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        details = (procfs / f"self/fdinfo/{descriptor}").read_text()
        mounts = (procfs / "self/mountinfo").read_text(errors="surrogateescape")
    except OSError as error:
        return f"the type of its file system is unknown ({error.strerror}: {error.filename})"
    finally:
        os.close(descriptor)
    mount_id = next((line.split()[1] for line in details.splitlines() if line.startswith("mnt_id:")), None)
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        if fields.split(" ", 1)[0] == mount_id:
            return file_system_reason(source.split(" ", 1)[0])
    return "the type of its file system is unknown (its mount is not listed)"


def file_system_reason(kind: str) -> str | None:
    """Why a file system of this type (as in mountinfo, such as `nfs4` or `fuse.sshfs`) has to be polled, or None."""
    if kind in _REPORTS_TOO_LITTLE or kind.startswith("fuse."):
        return f"{kind} does not report changes made elsewhere"
    return None


def watch_limit_reason(directories: int, procfs: Path = PROC) -> str | None:
    """Why the system's limits are too low to watch so many folders.

    Args:
        directories: How many folders are to be watched, by all watchers of this user together.
        procfs: Where proc(5) is mounted.

    Returns:
        None when the limits suffice, as far as can be told: other programs of this user share them. Else a reason that
        ends with the command that raises the limit.

    Source: inotify(7), /proc interfaces.
    """
    watches, instances = _limit("max_user_watches", procfs), _limit("max_user_instances", procfs)
    if watches is None or instances is None:
        return f"the limits of inotify cannot be read below {procfs}"
    if directories > watches:
        return (
            f"the directory has {directories} folders, the system allows {watches} watches; "
            f"raise it with: sysctl fs.inotify.max_user_watches={_raised(directories)}"
        )
    if instances < 1:
        return "the system allows no inotify instance; raise it with: sysctl fs.inotify.max_user_instances=128"
    return None


def _limit(name: str, procfs: Path) -> int | None:
    """One of inotify's limits; None without inotify or without proc(5)."""
    try:
        return int((procfs / "sys/fs/inotify" / name).read_text())
    except OSError:
        return None


def _raised(watches: int) -> int:
    """A limit with room to grow: a power of two, at least twice as many."""
    return max(_MIN_RAISED_WATCHES, 1 << (2 * watches - 1).bit_length())


def _reason(failure: Exception, folders: int) -> str:
    """What went wrong, in words; `folders` could be watched before it did."""
    match failure:
        case FileNotFoundError() | NotADirectoryError():
            return "root vanished"
        case OSError(errno=errno.ENOSPC):
            allowed = _limit("max_user_watches", PROC) or folders
            return (
                f"no watch is left after {folders} folders, the system allows {allowed} to each user; "
                f"raise it with: sysctl fs.inotify.max_user_watches={_raised(max(folders, allowed))}"
            )
        case OSError(errno=errno.EMFILE):
            allowed = _limit("max_user_instances", PROC) or 128
            return (
                f"no inotify instance (the system allows {allowed} to each user) or no descriptor is left; "
                f"raise it with: sysctl fs.inotify.max_user_instances={8 * allowed}, or: ulimit -n 4096"
            )
        case OSError():
            place = f": {show(os.fsencode(failure.filename))}" if failure.filename else ""
            return f"watching failed ({failure.strerror}{place})"
        case _:
            return f"watching failed ({failure})"
