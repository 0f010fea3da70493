"""Looks at the disk and says what differs from what is recorded.

Second step of the pass, after `debounce`: hints say where to look, but only what `lstat` says here is true.
The one thing to know: the cost follows the hints. A hinted file costs one `lstat` and one look into the store, however
large the tree is; only "everything" walks it all. Symbolic links are never followed, neither as files nor on the way.
"""

from __future__ import annotations

import bisect
import os
import stat
from collections.abc import Callable, Container, Iterable

from lfssync.errors import BlockedError, TransientError
from lfssync.line.entries import Kind, impossible, kind_of, odd_words
from lfssync.model import Change, Changes, Known, Signature, show
from lfssync.records.store import Row, Store, join, split
from lfssync.rules.ignore import IgnoreRules
from lfssync.rules.signatures import signature_numbers

IGNORE_FACT = "ignore"
"""The store's name for the ignore patterns under which its paths were recorded; `pipeline` records it after a pass."""

_GITIGNORE = b".gitignore"
_GITIGNORE_LIMIT_BYTES = 1 << 20
_CHECK_EVERY = 256


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


class _Walk:
    """One scan under way: what was found so far, and which directories were listed."""

    def __init__(
        self, root: bytes, store: Store, rules: IgnoreRules, tracked_stays: bool, check: Callable[[], None]
    ) -> None:
        self.root = root
        self.store = store
        self.rules = rules
        self.tracked_stays = tracked_stays
        self.check = check
        self.changed: dict[bytes, Change] = {}
        self.removed: set[bytes] = set()
        self.warnings: list[str] = []
        self.unreadable: list[bytes] = []
        self.visited: set[bytes] = set()
        # True when ignore rules changed since the last scan: recorded files are checked against them again.
        self.distrust = False
        # Directories whose ignore file was read in this scan.
        self.entered: set[bytes] = set()
        # Directories above a hinted path that were found to be directories, and not ignored, in this scan.
        self.passable: set[bytes] = set()

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
            if kind is not Kind.DIRECTORY or self._ignored(parent, kind):
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

    def _look(self, path: bytes, kind: Kind) -> None:
        if kind is Kind.UNKNOWN:
            return
        ignored = self._ignored(path, kind)
        if kind is Kind.DIRECTORY and not ignored:
            if self.store.known(path):
                self.removed.add(path)
            self.directory(path)
            self.forget_unvisited(path)
            return
        self.removed.update(self.store.below(path))
        known = self.store.known(path)
        if kind in (Kind.FILE, Kind.LINK) and (known is not None or not ignored):
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

    def _kind(self, path: bytes) -> Kind:
        try:
            mode = os.lstat(join(self.root, path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return Kind.NOTHING
        except OSError as error:
            self._unreadable(path, error)
            return Kind.UNKNOWN
        return kind_of(mode)

    def _ignored(self, path: bytes, kind: Kind) -> bool:
        directory, name = split(path)
        self._enter_above(path)
        return impossible(path, kind) is not None or self.rules.verdict(directory, name, kind is Kind.DIRECTORY)

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
            rows = self.store.signatures(directory)
            try:
                with os.scandir(join(self.root, directory)) as entries:
                    listing = {entry.name: entry for entry in entries}
            except OSError as error:
                if isinstance(error, FileNotFoundError | NotADirectoryError) and directory:
                    self.removed.update(join(directory, row[0]) for row in rows)
                    continue
                self._unreadable(directory, error)
                if not directory:
                    raise TransientError(
                        f"{show(self.root)} cannot be read: {error.strerror}", "mend its permissions"
                    ) from error
                self.visited.update(self.store.directories(directory))  # unknown is not gone
                continue
            if _GITIGNORE in listing:
                self.rules.enter(directory, self._gitignore(directory))
            distrust = distrust or (not self.tracked_stays and self._rules_changed(directory, rows, listing))
            if directory and b".git" in listing:
                self.warnings.append(
                    f"{show(directory)}: a repository within the directory; its files are mirrored, its .git is not"
                )
            if rows and not distrust:
                rows = self._differing(directory, listing, rows)
            recorded = {row[0]: row for row in rows}
            for count, (_, entry) in enumerate(sorted(listing.items())):
                if count % _CHECK_EVERY == 0:
                    self.check()
                self._entry(directory, entry, recorded, distrust, pending)
            self.removed.update(join(directory, name) for name in recorded)

    def _differing(self, directory: bytes, listing: dict[bytes, os.DirEntry[bytes]], rows: list[Row]) -> list[Row]:
        """Take what is as it was recorded out of both; gives the other rows. What nearly every file gets done.

        Names are looked up from the open directory: the kernel takes a fifth longer for a whole path each time.
        """
        try:
            fd = os.open(join(self.root, directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return rows  # it was listed a moment ago: what is the matter shows at its entries
        rest = []
        look = os.lstat
        try:
            for start in range(0, len(rows), _CHECK_EVERY):
                self.check()
                for row in rows[start : start + _CHECK_EVERY]:
                    name = row[0]
                    if name in listing:
                        try:
                            status = look(name, dir_fd=fd)
                        except OSError:
                            rest.append(row)
                            continue
                        if row == (
                            name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode
                        ):  # fmt: skip
                            del listing[name]
                            continue
                    rest.append(row)
        finally:
            os.close(fd)
        return rest

    def _rules_changed(self, directory: bytes, rows: list[Row], listing: Container[bytes]) -> bool:
        at = bisect.bisect_left(rows, (_GITIGNORE,))
        row = rows[at] if at < len(rows) and rows[at][0] == _GITIGNORE else None
        if _GITIGNORE not in listing:
            return row is not None
        if row is None:
            return bool(rows)
        try:
            return _row(_GITIGNORE, os.lstat(join(self.root, join(directory, _GITIGNORE)))) != row
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
                if reason := impossible(path, Kind.DIRECTORY):
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
        if row is not None and not distrust and _row(name, status) == row:
            del recorded[name]
            return
        kind = kind_of(status.st_mode)
        if reason := impossible(path, kind):
            self._leave_out(path, reason)
            return
        if (row is None or distrust) and self.rules.verdict(directory, name, False):
            return
        if kind not in (Kind.FILE, Kind.LINK):
            self._leave_out(path, odd_words(status.st_mode))
            return
        recorded.pop(name, None)
        self._file(path, status, row)

    def _file(self, path: bytes, status: os.stat_result, row: Row | None) -> None:
        if row is None or _row(row[0], status) != row:
            self.changed[path] = Change(path, Signature.of(status), self.store.known(path) if row is not None else None)

    def forget_unvisited(self, beneath: bytes) -> None:
        """Count as gone what is recorded in directories that are not there any more (or are ignored now)."""
        for directory in self.store.directories(beneath):
            if directory not in self.visited:
                self.removed.update(join(directory, row[0]) for row in self.store.signatures(directory))

    def _leave_out(self, path: bytes, reason: str) -> None:
        if split(path)[1] != b".git":
            self.warnings.append(f"{show(path)}: {reason}; left out")

    def _unreadable(self, path: bytes, error: OSError) -> None:
        self.unreadable.append(path)
        self.warnings.append(f"{show(path) or '.'}: {error.strerror}; left as it was")


def _row(name: bytes, status: os.stat_result) -> Row:
    return (name, *signature_numbers(status))
