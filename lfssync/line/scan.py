"""Looks at the disk and says what differs from what is recorded.

Second step of the pass, after `debounce`: hints say where to look, but only what `lstat` says here is true.
The one thing to know: the cost follows the hints. A hinted file costs one `lstat` and one look into the store, however
large the tree is; only "everything" walks it all. Symbolic links are never followed, neither as files nor on the way.
"""

from __future__ import annotations

import operator
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from lfssync.errors import BlockedError, TransientError
from lfssync.model import Change, Changes, Known, Signature, show
from lfssync.records.store import Row, Store, join, split
from lfssync.rules.ignore import IgnoreRules, is_git_name

IGNORE_FACT = "ignore"
"""The store's name for the ignore patterns under which its paths were recorded; `pipeline` records it after a pass."""

_GITIGNORE = b".gitignore"
_GITIGNORE_LIMIT_BYTES = 1 << 20

_FILES_OF_GIT = re.compile(
    rb"(\.git(?:modules|attributes)|git(?:mod|att)~[1-4])[. ]*(?::.*)?", re.IGNORECASE | re.DOTALL
)
"""Names under which git itself reads a file, on some file system."""


_CHECK_EVERY = 256
_NAME = operator.attrgetter("name")


class _Kind(Enum):
    """What is at a path."""

    DIRECTORY = auto()
    FILE = auto()
    LINK = auto()
    ODD = auto()
    NOTHING = auto()
    UNKNOWN = auto()
    """It cannot be looked at; what cannot be looked at is not gone."""


_ODD_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


def scan(
    root: bytes,
    paths: frozenset[bytes] | None,
    store: Store,
    ignore: tuple[str, ...],
    tracked_stays: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Changes:
    """Compare the disk with the store.

    Args:
        root: The mirrored directory.
        paths: Relative paths to look at (files or whole sub-trees), or None for everything.
        store: The recorded signatures.
        ignore: The mirror's own ignore patterns.
        tracked_stays: Git's own rule, for working copies: what is recorded stays so, also when a rule would ignore it.
        check: Called again and again; what it raises ends the scan.

    Returns:
        What is new, different or gone. Paths that became ignored count as gone.

    Raises:
        BlockedError: The directory itself is not there.
        TransientError: It cannot be read.
    """
    try:
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise BlockedError(f"{show(root)} is not a directory any more", "put it back, or remove the mirror")
    except FileNotFoundError:
        raise BlockedError(f"{show(root)} is gone", "put it back (mount it), or remove the mirror") from None
    except OSError as error:
        raise TransientError(f"{show(root)} cannot be read: {error.strerror}", "mend its permissions") from error
    walk = _Walk(root, store, IgnoreRules(root, ignore), tracked_stays, check)
    walk.distrust = not tracked_stays and store.fact(IGNORE_FACT) != list(ignore) and not store.is_empty
    if paths is None or walk.distrust:
        walk.directory(b"")
        walk.forget_unvisited(b"")
    else:
        for path in sorted(_outermost(paths)):
            walk.hinted(path)
    changed = sorted(walk.changed.values(), key=lambda change: change.path)
    removed = sorted(walk.removed - walk.changed.keys())
    tracked = store.count() if removed else None
    return Changes(tuple(changed), tuple(removed), tracked, tuple(walk.warnings), tuple(walk.unreadable))


def most_is_gone(changes: Changes, is_other_directory: bool) -> bool:
    """Whether so much vanished at once that a person should say if that is meant (an unmounted disk looks like this).

    Rotation must not trip it: one checkpoint leaves while another arrives.

    Args:
        changes: What the scan found.
        is_other_directory: Whether the directory is not the one that was mirrored before: then new files are no excuse.
    """
    if changes.tracked is None:
        return False
    gone = len(changes.removed)
    new = 0 if is_other_directory else sum(change.known is None for change in changes.changed)
    left = changes.tracked - gone + new
    return gone > 0 and (left == 0 or (gone >= 10 and left < changes.tracked / 2))


def _outermost(paths: Iterable[bytes]) -> set[bytes]:
    """Drop paths that lie beneath another one of the set."""
    wanted = set(paths)
    return {path for path in wanted if not any(parent in wanted for parent in _parents(path))}


def _parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


@dataclass
class _Walk:
    """One scan under way: what was found so far, and which directories were listed."""

    root: bytes
    store: Store
    rules: IgnoreRules
    tracked_stays: bool
    check: Callable[[], None]
    changed: dict[bytes, Change] = field(default_factory=dict)
    removed: set[bytes] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    visited: set[bytes] = field(default_factory=set)
    distrust: bool = False
    """True when ignore rules changed since the last scan: recorded files are checked against them again."""
    entered: set[bytes] = field(default_factory=set)
    """Directories whose ignore file was read in this scan."""
    passable: set[bytes] = field(default_factory=set)
    """Directories above a hinted path that were found to be directories, and not ignored, in this scan."""

    def hinted(self, path: bytes) -> None:
        """Look at one hinted path and everything beneath it."""
        if not path:
            self.directory(b"")
            self.forget_unvisited(b"")
            return
        for parent in _parents(path):
            if parent in self.passable:
                continue
            kind = self._kind(parent)
            if kind is not _Kind.DIRECTORY or self._ignored(parent, kind):
                self._look(parent, kind)
                return
            if self.store.known(parent):  # it was a file when it was recorded
                self.removed.add(parent)
            self.passable.add(parent)
        directory, name = split(path)
        if name == _GITIGNORE:  # new rules may concern everything beside and beneath it
            self.distrust = not self.tracked_stays
            self.directory(directory)
            self.forget_unvisited(directory)
            self.distrust = False
            return
        self._look(path, self._kind(path))

    def _look(self, path: bytes, kind: _Kind) -> None:
        if kind is _Kind.UNKNOWN:
            return
        ignored = self._ignored(path, kind)
        if kind is _Kind.DIRECTORY and not ignored:
            if self.store.known(path):
                self.removed.add(path)
            self.directory(path)
            self.forget_unvisited(path)
            return
        self.removed.update(self.store.below(path))
        known = self.store.known(path)
        if kind in (_Kind.FILE, _Kind.LINK) and (known is not None or not ignored):
            self._hinted_file(path, known)
        elif known is not None:
            self.removed.add(path)

    def _hinted_file(self, path: bytes, known: Known | None) -> None:
        try:
            signature = Signature.of(os.lstat(join(self.root, path)))
        except OSError:
            return  # gone again since it was looked at: its own event follows
        if known is None or known.signature != signature:
            self.changed[path] = Change(path, signature, known)

    def _kind(self, path: bytes) -> _Kind:
        try:
            mode = os.lstat(join(self.root, path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return _Kind.NOTHING
        except OSError as error:
            self._unreadable(path, error)
            return _Kind.UNKNOWN
        return _kind(mode)

    def _ignored(self, path: bytes, kind: _Kind) -> bool:
        directory, name = split(path)
        self._enter_above(path)
        return _impossible(path, kind) is not None or self.rules.verdict(directory, name, kind is _Kind.DIRECTORY)

    def _enter_above(self, path: bytes) -> None:
        """Read the ignore files of all directories above a path."""
        for parent in [b"", *_parents(path)]:
            if parent not in self.entered:
                self.entered.add(parent)
                self.rules.enter(parent, self._gitignore(parent))

    def _gitignore(self, directory: bytes) -> bytes | None:
        try:
            fd = os.open(
                join(self.root, join(directory, _GITIGNORE)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return None  # none there, a link (git does not follow it either), or unreadable: no rules
        try:
            return os.read(fd, _GITIGNORE_LIMIT_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def directory(self, top: bytes) -> None:
        """List a directory and all beneath it, comparing each entry with the store."""
        self._enter_above(top + b"/" if top else b"")
        pending = [(top, self.distrust)]
        while pending:
            self.check()
            directory, distrust = pending.pop()
            self.visited.add(directory)
            recorded = self.store.signatures(directory)
            try:
                with os.scandir(join(self.root, directory)) as entries:
                    listing = list(entries)
            except OSError as error:
                if isinstance(error, FileNotFoundError | NotADirectoryError) and directory:
                    self.removed.update(join(directory, name) for name in recorded)
                    continue
                self._unreadable(directory, error)
                if not directory:
                    raise TransientError(
                        f"{show(self.root)} cannot be read: {error.strerror}", "mend its permissions"
                    ) from error
                self.visited.update(self.store.directories(directory))  # unknown is not gone
                continue
            names = {entry.name for entry in listing}
            if _GITIGNORE in names:
                self.rules.enter(directory, self._gitignore(directory))
            distrust = distrust or (not self.tracked_stays and self._rules_changed(directory, recorded, names))
            if directory and b".git" in names:
                self.warnings.append(
                    f"{show(directory)}: a repository within the directory; its files are mirrored, its .git is not"
                )
            rest = listing if distrust else self._differing(listing, recorded)
            for entry in sorted(rest, key=_NAME):
                self.check()
                self._entry(directory, entry, recorded, distrust, pending)
            self.removed.update(join(directory, name) for name in recorded)

    def _differing(self, listing: list[os.DirEntry[bytes]], recorded: dict[bytes, Row]) -> list[os.DirEntry[bytes]]:
        """Take what is as it was recorded out of both; gives the rest. What nearly every entry of a scan gets done."""
        rest = []
        take = recorded.get
        for count, entry in enumerate(listing):
            if count % _CHECK_EVERY == 0:
                self.check()
            row = take(entry.name)
            if row is not None:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    status = None
                if status is not None and row == (
                    status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode
                ):  # fmt: skip
                    del recorded[entry.name]
                    continue
            rest.append(entry)
        return rest

    def _rules_changed(self, directory: bytes, recorded: dict[bytes, Row], names: set[bytes]) -> bool:
        row = recorded.get(_GITIGNORE)
        if _GITIGNORE not in names:
            return row is not None
        if row is None:
            return bool(recorded)
        try:
            return _row(os.lstat(join(self.root, join(directory, _GITIGNORE)))) != row
        except OSError:
            return True

    def _entry(
        self,
        directory: bytes,
        entry: os.DirEntry[bytes],
        recorded: dict[bytes, Row],
        distrust: bool,
        pending: list[tuple[bytes, bool]],
    ) -> None:
        name = entry.name
        path = join(directory, name)
        try:
            if entry.is_dir(follow_symlinks=False):
                if reason := _impossible(path, _Kind.DIRECTORY):
                    self._leave_out(path, reason)
                elif not self.rules.verdict(directory, name, True):
                    pending.append((path, distrust))
                return
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # gone since it was listed: it stays in `recorded` and so counts as removed
        except OSError as error:
            recorded.pop(name, None)
            self._unreadable(path, error)
            return
        row = recorded.get(name)
        if row is not None and not distrust and _row(status) == row:
            del recorded[name]
            return
        if reason := _impossible(path, _kind(status.st_mode)):
            self._leave_out(path, reason)
            return
        if (row is None or distrust) and self.rules.verdict(directory, name, False):
            return
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            kind = next((words for is_kind, words in _ODD_KINDS if is_kind(status.st_mode)), "no regular file")
            self._leave_out(path, kind)
            return
        recorded.pop(name, None)
        self._file(path, status, row)

    def _file(self, path: bytes, status: os.stat_result, row: Row | None) -> None:
        if row is None or _row(status) != row:
            self.changed[path] = Change(path, Signature.of(status), self.store.known(path) if row is not None else None)

    def forget_unvisited(self, beneath: bytes) -> None:
        """Count as gone what is recorded in directories that are not there any more (or are ignored now)."""
        for directory in self.store.directories(beneath):
            if directory not in self.visited:
                self.removed.update(join(directory, name) for name in self.store.signatures(directory))

    def _leave_out(self, path: bytes, reason: str) -> None:
        if split(path)[1] != b".git":
            self.warnings.append(f"{show(path)}: {reason}; left out")

    def _unreadable(self, path: bytes, error: OSError) -> None:
        self.unreadable.append(path)
        self.warnings.append(f"{show(path) or '.'}: {error.strerror}; left as it was")


def _kind(mode: int) -> _Kind:
    if stat.S_ISDIR(mode):
        return _Kind.DIRECTORY
    if stat.S_ISLNK(mode):
        return _Kind.LINK
    return _Kind.FILE if stat.S_ISREG(mode) else _Kind.ODD


def _impossible(path: bytes, kind: _Kind) -> str | None:
    """Why git, or a host that checks what is pushed, does not take an entry of that name; None when it does.

    Source: git-fsck(1), "FSCK MESSAGES"; a checkout fails altogether on a link called `.gitmodules`.
    """
    name = split(path)[1]
    if is_git_name(name):
        return "git refuses this name"
    if kind is _Kind.DIRECTORY and _FILES_OF_GIT.fullmatch(name):
        return "git refuses a folder of this name"
    if kind is _Kind.LINK and _FILES_OF_GIT.fullmatch(name) and b"mod" in name.lower():
        return "git refuses a link of this name"
    return None


def _row(status: os.stat_result) -> Row:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)
