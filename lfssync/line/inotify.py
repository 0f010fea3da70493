"""The kernel's events for many trees of folders: a few threads read them, however many trees there are.

Under `watchedtree`, which knows what events mean for one tree; `watch` imports both only when watching starts, because
watchdog takes 60 ms to load. watchdog gives the descriptor, the wake-up pipe, the reading and the parsing
(`InotifyFD`). Its observer on top of that is not used, for what was seen with 7.1.0: an overflow with more folders than
`max_queued_events` makes it reset all watches, and the acknowledgements of that overflow the queue again, so one core
is busy for ever; a folder that is moved out and later deleted there can end the reader with a KeyError when its name
was in use again meanwhile; a full watch table is swallowed.
The one thing to know: trees share a reader only when there are more of them than `READERS`, because a storm of events
in one that overflows the kernel's queue costs its neighbours a look at everything, too.

Source: inotify(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

from lfssync.model import Hint

READERS = 8
"""At most so many threads and inotify instances; a system allows a user 128 instances for all programs together."""

_CLEARED_AT_ONCE = 4096
"""The kernel acknowledges each watch that is taken away by an event, and its queue holds 16384."""

logger = logging.getLogger(__name__)


class Tree(Protocol):
    """What a reader needs of a tree; all but `tell` is quick, and nothing raises but what has no remedy."""

    def has(self, watch: WatchDescriptor) -> bool:
        """Whether a watch is the tree's."""

    def observe(self, event: InotifyEvent) -> Hint | None:
        """Take in one event, and say what to look at because of it."""

    def begin(self) -> None:
        """All watches are set: hints may be told from now on. The first is EVERYTHING."""

    def tell(self, hints: Iterable[Hint]) -> None:
        """Hand hints on."""

    def note(self, failure: Exception) -> None:
        """Hints may be missing from now on."""


class Reader(InotifyFD):
    """Reads the events of some trees: one thread, one inotify instance, three descriptors.

    Relied on in watchdog's InotifyFD, beyond its public methods: the constructor opens `_inotify_fd` and a pipe, whose
    end `_kill_w` wakes the reader; `read_events` returns [] when woken, and after `_closed`; `_close_resources` closes
    all three; `_lock` guards `_closed`. Its own table of watches stays empty.

    Raises:
        OSError: No inotify instance or no descriptor is left; nothing stays open then.
    """

    def __init__(self) -> None:
        try:
            super().__init__()
        except OSError:
            # The constructor opens the instance first and then fails to open its pipe.
            instance = getattr(self, "_inotify_fd", None)
            if instance is not None:
                os.close(instance)
            raise
        os.set_inheritable(self._inotify_fd, False)  # watchdog leaves it open to children
        os.set_blocking(self._kill_r, False)
        os.set_blocking(self._kill_w, False)
        self.name = "watching"
        self.trees: tuple[Tree, ...] = ()
        """Replaced as a whole, by `Readers`."""
        self.tables = threading.RLock()
        """Held where a watch is set and noted, and where one is taken away: else that could hit another tree's."""
        self._fresh: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        self._doomed: deque[WatchDescriptor] = deque()

    def run(self) -> None:
        """Turn events into hints until `stop`."""
        try:
            while self.should_keep_running():
                self._hand_on(self.read_events())
                self._begin()
                self._clear_away()
        except OSError as error:
            for tree in self.trees:
                tree.note(error)
        finally:
            self.release()

    def on_thread_stop(self) -> None:
        """Wake the reader, which closes the descriptors itself: closing them here could hit it in a system call."""
        self._wake()

    def release(self) -> None:
        """Close the descriptors, with which the kernel drops all watches; for a reader whose thread does not run."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_resources()

    def add(self, path: bytes, mask: Mask) -> WatchDescriptor:
        """Watch a folder; hold `tables` until the watch is noted. One that is watched already keeps its watch.

        Raises:
            OSError: It cannot be watched.
        """
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), path)
            watch = inotify_add_watch(self._inotify_fd, path, mask)
            number = ctypes.get_errno()
        if watch == -1:
            raise OSError(number, os.strerror(number), path)
        return watch

    def remove(self, watch: WatchDescriptor, tree: Tree | None) -> None:
        """Take a watch of a tree away, unless another tree has it too; no matter if the kernel has done so before."""
        with self.tables, self._lock:
            if not self._closed and not any(one is not tree and one.has(watch) for one in self.trees):
                inotify_rm_watch(self._inotify_fd, watch)

    def welcome(self, tree: Tree) -> None:
        """Have the reading thread begin to tell hints of a tree, whose watches are set."""
        self._fresh.put(tree)
        self._wake()

    def dismiss(self, watches: Iterable[WatchDescriptor]) -> None:
        """Take watches away that nobody has any more, by and by."""
        self._doomed.extend(watches)
        self._wake()

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # it is full, so the reader is going to wake up
            if not self._closed:
                os.write(self._kill_w, b"!")

    def _hand_on(self, events: list[InotifyEvent]) -> None:
        # A batch names the same few files over and over while they are written: one hint for each is enough.
        # Hints leave after the whole batch, so after every watch that it asked for is set.
        hints: dict[Tree, dict[Hint, None]] = {}
        for event in events:
            is_lost = event.mask & InotifyConstants.IN_Q_OVERFLOW
            for tree in self.trees:
                if (is_lost or tree.has(event.wd)) and (hint := _observed(tree, event)):
                    hints.setdefault(tree, {})[hint] = None
        for tree, found in hints.items():
            tree.tell(found)
        if not events:
            with contextlib.suppress(BlockingIOError):
                os.read(self._kill_r, 4096)

    def _begin(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._fresh.get_nowait().begin()

    def _clear_away(self) -> None:
        for _ in range(min(len(self._doomed), _CLEARED_AT_ONCE)):
            self.remove(self._doomed.popleft(), None)
        if self._doomed:
            self._wake()


def _observed(tree: Tree, event: InotifyEvent) -> Hint | None:
    try:
        return tree.observe(event)
    except Exception as error:
        logger.exception("an event was lost")
        tree.note(error)
        return None


class Readers:
    """The readers of this process, and who is with which."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[Reader] = []

    def join(self, tree: Tree) -> Reader:
        """The reader for a new tree: one of its own, or that with the fewest trees.

        Raises:
            OSError: There is no reader, and no inotify instance or no descriptor is left for one.
            RuntimeError: The same for a thread.
        """
        with self._lock:
            self._readers = [reader for reader in self._readers if reader.is_alive()]
            if len(self._readers) < READERS:
                try:
                    self._readers.append(_started())
                except (OSError, RuntimeError):
                    if not self._readers:
                        raise
            reader = min(self._readers, key=lambda one: len(one.trees))
            reader.trees += (tree,)
            return reader

    def leave(self, tree: Tree, reader: Reader, watches: Iterable[WatchDescriptor]) -> bool:
        """Take a tree from its reader; a reader without trees ends. Says whether it does."""
        with self._lock:
            reader.trees = tuple(one for one in reader.trees if one is not tree)
            if reader.trees:
                reader.dismiss(watches)
                return False
            self._readers = [one for one in self._readers if one is not reader]
        reader.stop()
        return True


def _started() -> Reader:
    reader = Reader()
    try:
        reader.start()
    except RuntimeError:
        reader.release()
        raise
    return reader


ALL = Readers()
"""Those of this process."""
