"""The kernel's watches on one tree of folders: which folder each stands for, and the hints that their events mean.

The lower half of `watch`, which imports it only when watching starts, because watchdog takes 60 ms to load. watchdog
gives the descriptor, the wake-up pipe, the reading and the parsing (`InotifyFD`). Its observer on top of that is not
used, for what was seen with 7.1.0: an overflow with more folders than `max_queued_events` makes it reset all watches,
and the acknowledgements of that overflow the queue again, so one core is busy for ever; a folder that is moved out and
later deleted there can end the reader with a KeyError when its name was in use again meanwhile; a full watch table is
swallowed.
The one thing to know: events tell of the past, but watches are set on what is on the disk now. Every step is right
because a folder that appears is watched, listed and hinted, in that order, whatever was believed about its path before.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterable

from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

from lfssync.model import EVERYTHING, Hint

logger = logging.getLogger(__name__)

_APPEARS = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
# Opening, reading and closing without a write are not asked for: the kernel does not even queue them. Nor does it queue
# what happens to files that were deleted while open.
_MASK = Mask(
    _APPEARS
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_EXCL_UNLINK
    | InotifyConstants.IN_ONLYDIR
)
_MASK_BELOW_ROOT = Mask(_MASK | InotifyConstants.IN_DONT_FOLLOW)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_ROOT = b""


class WatchedTree(InotifyFD):
    """Watches a folder and all folders below it; one thread, one inotify instance, three descriptors.

    Relied on in watchdog's InotifyFD, beyond its public methods: the constructor opens `_inotify_fd` and a pipe, whose
    end `_kill_w` wakes the reader; `read_events` returns [] when woken, and after `_closed`; `_close_resources` closes
    all three; `_lock` guards `_closed`. Its own table of watches stays empty.

    The thread that constructs it calls `watch` once and then `start`; from then on the tables belong to the new thread.

    Args:
        root: The folder, which may be a symbolic link to one; links below it are never followed.
        emit: Receives the hints, in the watching thread.

    Raises:
        OSError: No inotify instance or no descriptor is left; nothing stays open then.
    """

    def __init__(self, root: bytes, emit: Callable[[Hint], None]) -> None:
        try:
            super().__init__()
        except OSError:
            # The constructor opens the instance first and then fails to open its pipe.
            instance = getattr(self, "_inotify_fd", None)
            if instance is not None:
                os.close(instance)
            raise
        os.set_inheritable(self._inotify_fd, False)  # watchdog leaves it open to children
        self.name = f"watch {os.fsdecode(root)}"
        self.failure: Exception | None = None
        """The first thing that may have cost hints, or None; set by the watching thread, read by others."""
        self._root = root
        self._emit = emit
        self._path_of: dict[WatchDescriptor, bytes] = {}
        self._watch_of: dict[bytes, WatchDescriptor] = {}
        self._denied: set[bytes] = set()

    @property
    def folders(self) -> int:
        """How many folders are watched."""
        return len(self._path_of)

    def watch(self) -> None:
        """Set the watches, before `start`.

        Raises:
            OSError: Some folder cannot be watched, other than for being unreadable (ENOSPC: no watch is left).
        """
        self._watch_tree(_ROOT)
        if isinstance(self.failure, OSError):
            raise self.failure

    def run(self) -> None:
        """Turn events into hints until `stop`; begins with EVERYTHING, as nothing is known of the time before."""
        try:
            self._tell([EVERYTHING])
            while self.should_keep_running():
                # A batch names the same few files over and over while they are written: one hint for each is enough.
                # Hints leave after the whole batch, so after every watch that it asked for is set.
                self._tell(dict.fromkeys(hint for event in self.read_events() if (hint := self._observe(event))))
        except OSError as error:
            self._note(error)
        finally:
            self.release()

    def on_thread_stop(self) -> None:
        """Wake the reader, which closes the descriptors itself: closing them here could hit it in a system call."""
        with self._lock:
            if not self._closed:
                os.write(self._kill_w, b"!")

    def release(self) -> None:
        """Close the descriptors, with which the kernel drops all watches; for a tree whose thread does not run."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_resources()

    def _observe(self, event: InotifyEvent) -> Hint | None:
        """Keep the watches in step with one event, and say what to look at because of it."""
        mask = event.mask
        if mask & InotifyConstants.IN_Q_OVERFLOW:
            logger.info("events on %s came too fast and were lost: looking at everything", os.fsdecode(self._root))
            self._watch_anew()
            return EVERYTHING
        if mask & InotifyConstants.IN_IGNORED:
            self._forget(event.wd)
            return None
        folder = self._path_of.get(event.wd)
        if folder is None or event.name == b".git":
            return None
        if not event.name:
            # A watched folder itself changed: the folder above it tells the same, except for the root.
            return EVERYTHING if folder == _ROOT and mask & InotifyConstants.IN_ATTRIB else None
        path = folder + b"/" + event.name if folder else event.name
        if mask & InotifyConstants.IN_ISDIR:
            self._follow(path, mask)
        return Hint(path)

    def _follow(self, path: bytes, mask: Mask) -> None:
        """A folder appeared, went, or changed its permissions."""
        if mask & InotifyConstants.IN_DELETE:
            self._denied.discard(path)  # its watch, if any, ends with IN_IGNORED
        elif mask & InotifyConstants.IN_MOVED_FROM:
            # Where it went is not known here. If it is inside the tree, its arrival sets the watches again.
            prefix = path + b"/"
            for moved in [known for known in self._watch_of if known == path or known.startswith(prefix)]:
                self._unwatch(self._watch_of.pop(moved))
        elif mask & _APPEARS or self._denied:
            self._watch_tree(path)

    def _watch_tree(self, top: bytes) -> None:
        folders = [top]
        while folders and self.should_keep_running():
            folder = folders.pop()
            try:
                self._watch(folder)
                # Listed after it is watched: what appears in between is then seen at least once.
                with os.scandir(self._absolute(folder)) as entries:
                    folders.extend(
                        folder + b"/" + entry.name if folder else entry.name
                        for entry in entries
                        if entry.name != b".git" and entry.is_dir(follow_symlinks=False)
                    )
            except OSError as error:
                if folder != _ROOT and isinstance(error, PermissionError):
                    # The scan warns about it; once its permissions change, it is tried again.
                    self._denied.add(folder)
                elif folder == _ROOT or error.errno not in _GONE:
                    self._note(error)
                    return

    def _watch(self, folder: bytes) -> None:
        """Watch one folder; a folder that is watched already, under whatever path, keeps its watch."""
        path = self._absolute(folder)
        watch = inotify_add_watch(self._inotify_fd, path, _MASK if folder == _ROOT else _MASK_BELOW_ROOT)
        if watch == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        known_as = self._path_of.get(watch)
        if known_as is not None and self._watch_of.get(known_as) == watch:
            del self._watch_of[known_as]
        replaced = self._watch_of.get(folder)
        if replaced is not None:
            self._unwatch(replaced)
        self._path_of[watch] = folder
        self._watch_of[folder] = watch
        self._denied.discard(folder)

    def _watch_anew(self) -> None:
        """After lost events: watch what is there now. Watches are taken away only where nothing is left to watch."""
        before = list(self._path_of)
        self._path_of, self._watch_of = {}, {}
        self._denied.clear()
        self._watch_tree(_ROOT)
        for watch in before:
            if watch not in self._path_of:
                inotify_rm_watch(self._inotify_fd, watch)

    def _unwatch(self, watch: WatchDescriptor) -> None:
        """Take a watch away; it fails when the folder is gone already, which is as good."""
        self._path_of.pop(watch, None)
        inotify_rm_watch(self._inotify_fd, watch)

    def _forget(self, watch: WatchDescriptor) -> None:
        """The kernel took a watch away, because its folder is gone or was unmounted, or as we asked for it."""
        folder = self._path_of.pop(watch, None)
        if folder is None:
            return
        if self._watch_of.get(folder) == watch:
            del self._watch_of[folder]
        if folder == _ROOT:
            self._note(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._root))

    def _tell(self, hints: Iterable[Hint]) -> None:
        for hint in hints:
            try:
                self._emit(hint)
            except Exception as error:
                logger.exception("a hint about %s was lost", os.fsdecode(self._root))
                self._note(error)

    def _note(self, failure: Exception) -> None:
        self.failure = self.failure or failure

    def _absolute(self, folder: bytes) -> bytes:
        return os.path.join(self._root, folder) if folder else self._root
