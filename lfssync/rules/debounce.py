"""When a pass is due, and which part of the tree it has to look at.

Second step of the line: `watch` gives hints, this collects them until writing rests, `scan` gets the `Due`. Nothing
here reads a clock or sleeps: moments are passed in as monotonic seconds, and `due_at` tells how long to wait.
The one thing to know: there are two bounds. The quiet time restarts with every hint; the cap (`max_wait_s` after the
first hint) does not, so a job that never stops writing is mirrored at the pace of the cap. While it goes on, it is
looked at now and then without being taken, so that files which are complete already can be sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lfssync.model import Hint

MAX_PATHS = 2000
"""More separate paths than this are looked at as one scan of everything, which is then cheaper than many small ones."""

_ROOT = b""


@dataclass(frozen=True, slots=True)
class Due:
    """What a pass has to look at.

    Args:
        paths: Files and folders (with all below), none inside another; None means everything.
        capped: True when it is due although writes go on, or when a deferred path has waited for `max_wait_s`.
        since: When the oldest change in it was noticed, in monotonic seconds.
        is_ahead: True for a look ahead: nothing was taken, and the pass that is due later looks at it all again.
    """

    paths: frozenset[bytes] | None
    capped: bool
    since: float
    is_ahead: bool = False


class Debounce:
    """Collects hints and says when a pass is due; belongs to one thread, and is no larger than `MAX_PATHS` paths.

    What arrives while a pass runs belongs to the next pass: `take` has emptied the collection by then. After a pass
    the caller says what is left: `defer` for paths that could not be taken yet, `pushed` when something was pushed,
    and, for a pass that failed, `put_back` and `hold`.

    Args:
        quiet_s: A pass is due once no hint has come for so long ...
        max_wait_s: ... but never later than this after the first hint.
        min_interval_s: At least this long from a push to the next pass.
        max_paths: How many separate paths are kept apart.
        ahead_s: A look ahead is due so long after the first hint, and again and again until the pass is due.
    """

    def __init__(
        self,
        quiet_s: float,
        max_wait_s: float,
        min_interval_s: float = 0.0,
        max_paths: int = MAX_PATHS,
        ahead_s: float = float("inf"),
    ) -> None:
        self._quiet_s = quiet_s
        self._max_wait_s = max_wait_s
        self._min_interval_s = min_interval_s
        self._ahead_s = ahead_s
        self._looked_ahead = float("-inf")
        self._not_before = float("-inf")
        self._hinted = _PathSet(max_paths)
        self._first: float | None = None
        self._last = float("-inf")
        self._owes_cap = False
        self._deferred = _Deferrals(max_paths)
        self._taken = _Taken(float("-inf"), {})

    @property
    def pending_since(self) -> float | None:
        """When the oldest change that waits was noticed, or None when nothing waits."""
        waiting = [wait.since for wait in self._deferred.waits()]
        if self._first is not None:
            waiting.append(self._first)
        return min(waiting, default=None)

    @property
    def due_at(self) -> float | None:
        """When the next pass is due as things stand, in monotonic seconds; None when nothing waits."""
        moments = [wait.at for wait in self._deferred.waits()]
        if self._first is not None:
            moments.append(self._hints_due_at(self._first))
        return max(min(moments), self._not_before) if moments else None

    @property
    def ahead_at(self) -> float | None:
        """When the next look ahead is due as things stand, in monotonic seconds; None when none is to come."""
        if self._first is None:
            return None
        at = max(max(self._first, self._looked_ahead) + self._ahead_s, self._not_before)
        return at if at < self._hints_due_at(self._first) else None

    def look_ahead(self, now: float) -> Due | None:
        """What to look at while writing goes on, if it is time for that; it stays to be taken."""
        at = self.ahead_at
        if at is None or now < at or self._first is None:
            return None
        self._looked_ahead = now
        return Due(self._hinted.paths(), capped=False, since=self._first, is_ahead=True)

    def add(self, hint: Hint, now: float) -> None:
        """Note that something may have changed at `now`."""
        self._hinted.add(_ROOT if hint.path is None else hint.path)
        self._first = now if self._first is None else self._first
        self._last = max(self._last, now)

    def take(self, now: float) -> Due | None:
        """The pass that is due at `now`, which the caller then runs; None when it is too early or nothing waits."""
        due_at = self.due_at
        if due_at is None or now < due_at:
            return None
        paths = _PathSet(self._hinted.limit)
        since, capped = now, False
        if self._first is not None and self._hints_due_at(self._first) <= now:
            since, capped = self._first, self._owes_cap or now < self._last + self._quiet_s
            paths, self._hinted = self._hinted, paths
            self._first, self._last, self._owes_cap = None, float("-inf"), False
        batch_since = since
        for path, wait in self._deferred.ripe(now).items():
            paths.add(path)
            since = min(since, wait.since)
            capped = capped or wait.since + self._max_wait_s <= now
        # Paths that wait for later but lie within this pass are looked at now: it defers them again if it has to.
        covered = self._deferred.remove(paths)
        # The cap is a pace: what had its turn because of it waits for another max_wait_s.
        self._taken = _Taken(now, {}) if capped else _Taken(batch_since, covered)
        return Due(paths.paths(), capped, since)

    def take_rest(self, now: float) -> Due | None:
        """All that waits, at once and for the last time, also what is to wait longer; None when nothing does."""
        since = self.pending_since
        if since is None:
            return None
        paths, self._hinted = self._hinted, _PathSet(self._hinted.limit)
        for path, _ in self._deferred.items():
            paths.add(path)
        self._taken = _Taken(now if self._first is None else self._first, dict(self._deferred.items()))
        self._first, self._last, self._owes_cap = None, float("-inf"), False
        self._deferred.clear()
        self._not_before = float("-inf")
        return Due(paths.paths(), capped=False, since=since)

    def take_everything(self, now: float) -> Due:
        """A pass over everything that someone asked for: due at once, and nothing is left waiting after it."""
        due = Due(None, capped=False, since=now if self.pending_since is None else self.pending_since)
        self._taken = _Taken(now if self._first is None else self._first, dict(self._deferred.items()))
        self._hinted = _PathSet(self._hinted.limit)
        self._first, self._last, self._owes_cap = None, float("-inf"), False
        self._deferred.clear()
        return due

    def defer(self, paths: Iterable[bytes], at: float) -> None:
        """Look at paths of the last pass again at `at`, even if nothing happens to them until then."""
        for path in paths:
            self._deferred.add(path, self._taken.since_of(path), at)

    def pushed(self, now: float) -> None:
        """Note a push at `now`: the next pass waits for `min_interval_s`."""
        self.hold(now + self._min_interval_s)

    def hold(self, until: float) -> None:
        """No pass before `until`, whatever happens: the back-off after a failure."""
        self._not_before = max(self._not_before, until)

    def put_back(self, due: Due) -> None:
        """Return what a failed pass was to look at; it keeps its age, and is due as soon as nothing holds it."""
        for path in [_ROOT] if due.paths is None else due.paths:
            self._hinted.add(path)
        self._first = due.since if self._first is None else min(self._first, due.since)
        self._last = max(self._last, due.since)
        self._owes_cap = self._owes_cap or due.capped

    def _hints_due_at(self, first: float) -> float:
        """The two bounds, without what holds every pass back."""
        return min(self._last + self._quiet_s, first + self._max_wait_s)


@dataclass(frozen=True, slots=True)
class _Wait:
    """A deferred path's times: waiting since when, and when to look again."""

    since: float
    at: float


@dataclass(frozen=True, slots=True)
class _Taken:
    """Since when the paths of the last pass had been waiting: the batch of hints, and paths deferred before."""

    batch_since: float
    deferred: dict[bytes, _Wait]

    def since_of(self, path: bytes) -> float:
        """Since when this path of the last pass waits."""
        before = self.deferred.get(path) or self.deferred.get(_ROOT)
        return self.batch_since if before is None else min(before.since, self.batch_since)


class _Deferrals:
    """Paths to look at again at a set time; too many become one entry for everything."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waits: dict[bytes, _Wait] = {}

    def waits(self) -> Iterable[_Wait]:
        return self._waits.values()

    def items(self) -> Iterable[tuple[bytes, _Wait]]:
        return self._waits.items()

    def clear(self) -> None:
        self._waits = {}

    def add(self, path: bytes, since: float, at: float) -> None:
        before = self._waits.get(path)
        self._waits[path] = _Wait(since, at) if before is None else _Wait(min(before.since, since), min(before.at, at))
        if len(self._waits) > self._limit:
            everything = _Wait(min(wait.since for wait in self.waits()), min(wait.at for wait in self.waits()))
            self._waits = {_ROOT: everything}

    def ripe(self, now: float) -> dict[bytes, _Wait]:
        return {path: wait for path, wait in self._waits.items() if wait.at <= now}

    def remove(self, paths: _PathSet) -> dict[bytes, _Wait]:
        """Forget, and return, what lies within `paths`."""
        covered = {path: wait for path, wait in self._waits.items() if paths.covers(path)}
        self._waits = {path: wait for path, wait in self._waits.items() if path not in covered}
        return covered


class _PathSet:
    """Paths of which none lies inside another; more than `limit` of them become everything.

    A tree of names: a hinted path is a node without children, so a folder that is hinted drops what is below it in one
    step, however many hints a storm of events brings.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._everything = False
        self._children: _Node = {}
        self._count = 0

    def add(self, path: bytes) -> None:
        if self._everything or self.covers(path):
            return
        node = self._children
        for name in path.split(b"/") if path else ():
            node = node.setdefault(name, {})
        self._count += 1 - _leaves(node)
        node.clear()
        if not path or self._count > self.limit:
            self._everything, self._children, self._count = True, {}, 0

    def covers(self, path: bytes) -> bool:
        """True when `path` or a folder above it was added."""
        node = self._children
        for name in path.split(b"/") if path else ():
            child = node.get(name)
            if child is None:
                return self._everything
            if not child:
                return True
            node = child
        return self._everything

    def paths(self) -> frozenset[bytes] | None:
        """The paths, or None for everything."""
        if self._everything:
            return None
        found = []
        stack = [(name, node) for name, node in self._children.items()]
        while stack:
            path, node = stack.pop()
            if node:
                stack.extend((path + b"/" + name, child) for name, child in node.items())
            else:
                found.append(path)
        return frozenset(found)


_Node = dict[bytes, "_Node"]


def _leaves(node: _Node) -> int:
    """How many hinted paths lie strictly below a node."""
    count = 0
    stack = list(node.values())
    while stack:
        child = stack.pop()
        count += not child
        stack.extend(child.values())
    return count
