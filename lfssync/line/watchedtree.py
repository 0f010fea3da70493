"""The kernel's watches on one tree of folders: which folder each stands for, and the hints that their events mean.

Between `inotify`, whose readers hand the events on, and `watch`.
The one thing to know: events tell of the past, but watches are set on what is on the disk now. Every step is right
because a folder that appears is watched, listed and hinted, in that order, whatever was believed about its path before.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterable

from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from lfssync.line.inotify import ALL, Reader
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


class WatchedTree:
    """Watches a folder and all folders below it, with a reader that it may share with others.

    The thread that constructs it calls `watch` once, `start` if that went well, and `stop` in any case; meanwhile
    events are taken in by the reading thread, from the first watch on.

    Args:
        root: The folder, which may be a symbolic link to one; links below it are never followed.
        emit: Receives the hints, in the reading thread, and none after `stop` returned True.

    Raises:
        OSError: No inotify instance or no descriptor is left; nothing stays open then.
        RuntimeError: No thread could be started; the same.
    """

    def __init__(self, root: bytes, emit: Callable[[Hint], None]) -> None:
        self.failure: Exception | None = None
        """The first thing that may have cost hints, or None; set by the reading thread, read by others."""
        self._root = root
        self._emit = emit
        self._path_of: dict[WatchDescriptor, bytes] = {}
        self._watch_of: dict[bytes, WatchDescriptor] = {}
        self._denied: set[bytes] = set()
        self._telling = threading.Lock()
        self._is_begun = False
        self._is_over = False
        self._reader: Reader = ALL.join(self)

    @property
    def folders(self) -> int:
        """How many folders are watched."""
        return len(self._path_of)

    @property
    def is_read(self) -> bool:
        """Whether the thread that reads its events is alive."""
        return self._reader.is_alive()

    def watch(self) -> None:
        """Set the watches.

        Raises:
            OSError: Some folder cannot be watched, other than for being unreadable (ENOSPC: no watch is left).
        """
        self._watch_tree(_ROOT)
        if isinstance(self.failure, OSError):
            raise self.failure

    def start(self) -> None:
        """Have hints told; the first is EVERYTHING, as nothing is known of the time before."""
        self._reader.welcome(self)

    def stop(self, timeout_s: float) -> bool:
        """Take the watches away; False when `emit` did not return in time, after which it is not called again."""
        with self._reader.tables:
            self._is_over = True
            watches = list(self._path_of)
        is_last = ALL.leave(self, self._reader, watches)
        if not self._telling.acquire(timeout=timeout_s):
            return False
        self._telling.release()
        if is_last:
            self._reader.join(timeout_s)
        return True

    def has(self, watch: WatchDescriptor) -> bool:
        """See `inotify.Tree`."""
        return watch in self._path_of

    def begin(self) -> None:
        """See `inotify.Tree`."""
        self._is_begun = True
        self.tell([EVERYTHING])

    def tell(self, hints: Iterable[Hint]) -> None:
        """See `inotify.Tree`; hints of the time before EVERYTHING are in that."""
        with self._telling:
            for hint in hints:
                if self._is_over or not self._is_begun:
                    return
                try:
                    self._emit(hint)
                except Exception as error:
                    logger.exception("a hint about %s was lost", os.fsdecode(self._root))
                    self.note(error)

    def note(self, failure: Exception) -> None:
        """See `inotify.Tree`."""
        self.failure = self.failure or failure

    def observe(self, event: InotifyEvent) -> Hint | None:
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
            with self._reader.tables:
                for moved in [known for known in self._watch_of if known == path or known.startswith(prefix)]:
                    self._unwatch(self._watch_of.pop(moved))
        elif mask & _APPEARS or self._denied:
            self._watch_tree(path)

    def _watch_tree(self, top: bytes) -> None:
        folders = [top]
        while folders and not self._is_over:
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
                    self.note(error)
                    return

    def _watch(self, folder: bytes) -> None:
        """Watch one folder; a folder that is watched already, under whatever path, keeps its watch."""
        mask = _MASK if folder == _ROOT else _MASK_BELOW_ROOT
        with self._reader.tables:
            if self._is_over:
                return
            watch = self._reader.add(self._absolute(folder), mask)
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
        with self._reader.tables:
            before = list(self._path_of)
            self._path_of, self._watch_of = {}, {}
            self._denied.clear()
        self._watch_tree(_ROOT)
        for watch in before:
            if watch not in self._path_of:
                self._reader.remove(watch, self)

    def _unwatch(self, watch: WatchDescriptor) -> None:
        """Take a watch away; it fails when the folder is gone already, which is as good."""
        self._path_of.pop(watch, None)
        self._reader.remove(watch, self)

    def _forget(self, watch: WatchDescriptor) -> None:
        """The kernel took a watch away, because its folder is gone or was unmounted, or as we asked for it."""
        with self._reader.tables:
            folder = self._path_of.pop(watch, None)
            if folder is None:
                return
            if self._watch_of.get(folder) == watch:
                del self._watch_of[folder]
        if folder == _ROOT:
            self.note(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._root))

    def _absolute(self, folder: bytes) -> bytes:
        return os.path.join(self._root, folder) if folder else self._root
