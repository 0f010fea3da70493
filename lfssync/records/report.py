"""The last step of the pass: one record in the store, which `status`, `log` and everything else reads.

The one thing to know: a record of work under way is only true while its pass holds the mirror's lock; `read_status`
checks that, so a killed pass never shows as working.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfssync.answers import LogKind, MirrorStatus
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError
from lfssync.model import Change, Deferred, Mirror, PassResult, State, human_bytes, show
from lfssync.records.lock import is_held
from lfssync.records.store import REMOTES_FACT, Store, reading

if TYPE_CHECKING:
    from lfssync.results import LostObject

_FACT = "status"
_SCRUB_FACT = "scrub"

_TAGS = "refs/tags/"
_SHOWN_DEFERRED = 100
_NAMED = 3
_LASTING_S = 120.0
"""Trouble that passes by itself is no part of the history unless it lasted so long."""

_STATES: tuple[tuple[type[LfssyncError], State], ...] = (
    (AuthError, State.UNAUTHORIZED),
    (BlockedError, State.BLOCKED),
    (TransientError, State.OFFLINE),
)


def state_of(error: LfssyncError) -> State:
    """The state of a mirror whose last pass ended with an error."""
    return next((state for kind, state in _STATES if isinstance(error, kind)), State.FAILED)


class Report:
    """Writes the record of one mirror.

    Args:
        store: The mirror's store, opened.
        mirror: The mirror.
    """

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror

    def working(self, state: State, changes: Sequence[Change] = ()) -> None:
        """A phase of the pass begins, with so much before it."""
        pending = {"files": len(changes), "bytes": sum(change.signature.size_bytes for change in changes)}
        self._update({"state": state.value, "pending": pending})

    def committed(self, commit: str, message: str) -> None:
        """A commit was made."""
        with self._store.transaction():
            self._store.append(time.time(), LogKind.COMMIT, commit, message.partition("\n")[0])
        self._update({"head": commit})  # if it is killed now, status shows that this is not pushed

    def released(self, version: str, commit: str) -> None:
        """A tag is proven to be on the remote."""
        with self._store.transaction():
            self._store.append(time.time(), LogKind.RELEASE, commit, version)

    def refused_release(self, commit: str, text: str) -> None:
        """What a release rule wants cannot be; that stops nothing."""
        with self._store.transaction():
            self._store.append(time.time(), LogKind.REFUSED, commit, text)

    def warned(self, warnings: Sequence[str]) -> None:
        """What was left to say after the pass."""
        self._update({"warnings": list(warnings[:_SHOWN_DEFERRED])})

    def stopped(self, _: LfssyncError) -> None:
        """The pass was broken off in the middle, by us; what was before it is what is left."""
        self._update({"state": State.SETTLING.value, "error": None})
        pending = self._record().get("pending", {"files": 0, "bytes": 0})
        if pending["files"]:
            self._left(pending["files"], pending["bytes"], "")

    def _left(self, files: int, size_bytes: int, names: str) -> None:
        """Note in the history what a start has to go on with."""
        text = f"stopped with {files} file{'s'[: files != 1]} ({human_bytes(size_bytes)}) not delivered{names}"
        with self._store.transaction():
            self._store.append(time.time(), LogKind.STOPPED, None, text)

    def success(self, result: PassResult) -> None:
        """The pass came to its end."""
        from lfssync.rules.closing import LEFT

        waiting = result.deferred
        if left := [one for one in waiting if one.reason == LEFT]:
            names = ", ".join(show(one.path) for one in left[:_NAMED])
            self._left(len(left), sum(one.size_bytes for one in left), f": {names}" + ", ..." * (len(left) > _NAMED))
        record: dict[str, object] = {
            "state": (State.SETTLING if waiting else State.IDLE).value,
            "pending": {"files": len(waiting), "bytes": sum(one.size_bytes for one in waiting)},
            "error": None,
        } | _left(result)
        self._resumed(self._record().get("error"), time.time())
        if result.receipt:
            record |= {"pushed": result.receipt.commit, "verified_at": result.receipt.verified_at}
        self._update(record)

    def _resumed(self, before: dict[str, Any] | None, now: float) -> None:
        """Note in the history that trouble is over, if it was noted there, or lasted."""
        if before and (before["kind"] != TransientError.kind or now - before["since"] >= _LASTING_S):
            with self._store.transaction():
                self._store.append(now, LogKind.RESUMED, None, f"after {before['kind']}: {before['message']}")

    def out_of_reach(self, result: PassResult, undelivered: tuple[int, int]) -> None:
        """The pass went on without the remote, as far as that goes; `failure` says why.

        Args:
            result: What it did here.
            undelivered: How many files and bytes of its commits the remote does not have yet.
        """
        files, size_bytes = undelivered
        waiting = result.deferred
        pending = {"files": files + len(waiting), "bytes": size_bytes + sum(one.size_bytes for one in waiting)}
        self._update(_left(result) | {"pending": pending})

    def withheld(self, result: PassResult, undelivered: tuple[int, int]) -> None:
        """The pass went on without the remote, which is not to be asked now; what was wrong with it may be over.

        Args:
            result: What it did here.
            undelivered: See `out_of_reach`.
        """
        self.out_of_reach(result, undelivered)
        record = self._record()
        error = record.get("error")
        if error and error["kind"] != TransientError.kind:
            state = next((state for kind, state in _STATES if kind.kind == error["kind"]), State.FAILED)
            self._update({"state": state.value})
        else:
            state = State.SETTLING if record["pending"]["files"] else State.IDLE
            self._update({"state": state.value, "error": None})

    def failure(self, error: LfssyncError) -> None:
        """The pass broke off."""
        state = state_of(error)
        before = self._record().get("error")
        since = time.time()
        if before and before["kind"] == error.kind and before["message"] == error.message:
            since = before["since"]
        self._update(
            {
                "state": state.value,
                "error": _told(error, since),
            }
        )
        if not isinstance(error, TransientError):
            refused = isinstance(error, AuthError | BlockedError)
            with self._store.transaction():
                self._store.append(time.time(), LogKind.REFUSED if refused else LogKind.FAILED, None, error.message)

    def scrubbed(
        self, endpoint: str, at: float, since: float | None, lost: Sequence[LostObject], good: Collection[str]
    ) -> None:
        """LFS objects of the remote were looked at.

        Args:
            endpoint: The name under which evidence about it is recorded.
            at: Now, in seconds since the epoch.
            since: Since when all have been confirmed, in the same.
            lost: What the remote does not give, and nobody else has.
            good: Oids of those that are in order.
        """
        before = _scrub_record(self._store, self._mirror)
        told = {row[0]: row for row in before.get("lost", []) if row[0] not in good}
        told |= {one.oid: [one.oid, one.path, one.remedy, at, one.is_claimed] for one in lost}
        record = {
            "last": at,
            "since": since,
            "lost": list(told.values()),
            "endpoint": endpoint,
            "of": _place(self._mirror),
        }
        with self._store.transaction():
            self._store.record_facts({_SCRUB_FACT: record})
            if lost:
                self._store.append(at, LogKind.FAILED, None, _lost(list(told.values()))["message"])

    def _record(self) -> dict[str, Any]:
        record = self._store.fact(_FACT)
        return record if isinstance(record, dict) and record.get("of") == _place(self._mirror) else {}

    def _update(self, fields: dict[str, object]) -> None:
        with self._store.transaction():
            self._store.record_facts({_FACT: self._record() | fields | {"of": _place(self._mirror)}})


def _left(result: PassResult) -> dict[str, object]:
    """Where our branch stands after a pass, and what it left behind."""
    return {
        "deferred": [[show(one.path), one.reason, one.size_bytes] for one in result.deferred[:_SHOWN_DEFERRED]],
        "head": result.commit,
        "warnings": list(result.warnings[:_SHOWN_DEFERRED]),
    }


def _told(error: LfssyncError, since: float) -> dict[str, Any]:
    return {"kind": error.kind, "message": error.message, "remedy": error.remedy, "since": since}


def _scrub_record(store: Store, mirror: Mirror) -> dict[str, Any]:
    record = store.fact(_SCRUB_FACT)
    return record if isinstance(record, dict) and record.get("of") == _place(mirror) else {}


def _still_lost(store: Store, scrubs: dict[str, Any]) -> list[Sequence[Any]]:
    """The lost objects that the remote has not taken since; what it only claims to have counts for nothing."""
    rows: list[Sequence[Any]] = scrubs.get("lost", [])
    taken = store.confirmed(scrubs["endpoint"], (row[0] for row in rows)) if rows else set()
    return [row for row in rows if row[0] not in taken or row[4]]


def last_scrub(store: Store, mirror: Mirror) -> float | None:
    """When LFS objects of the remote were looked at last, in seconds since the epoch."""
    last = _scrub_record(store, mirror).get("last")
    return last if isinstance(last, int | float) else None


def _lost(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The error that stands in `status` for as long as the remote has lost objects."""
    names = ", ".join(f"{path} ({oid[:10]})" if path else oid[:10] for oid, path, *_ in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    message = f"LFS objects that commits name are missing or damaged on the remote: {names}{more}"
    return {"kind": "blocked", "message": message, "remedy": rows[0][2], "since": min(row[3] for row in rows)}


def _place(mirror: Mirror) -> list[str]:
    """What a record is about: it says nothing about the same mirror with another remote."""
    return [str(mirror.path), mirror.remote, mirror.branch, mirror.into]


def read_status(mirror: Mirror, state_dir: Path, tags: tuple[str, ...] = ()) -> MirrorStatus:
    """One mirror's line in `status`, from its record.

    Args:
        mirror: The mirror.
        state_dir: Its state folder, which need not exist yet.
        tags: Unused when the store knows the released tags.
    """
    record: dict[str, Any] = {}
    scrubs: dict[str, Any] = {}
    lost: list[Sequence[Any]] = []
    try:
        with reading(state_dir / "state.db") as store:
            if store is not None:
                found = store.fact(_FACT)
                if isinstance(found, dict) and found.get("of") == _place(mirror):  # else it tells of another remote
                    record = found
                scrubs = _scrub_record(store, mirror)
                lost = _still_lost(store, scrubs)
                tags = tuple(_releases(store, mirror)) if record else ()
    except TransientError as error:
        record = {"state": State.FAILED.value, "error": _told(error, time.time())}
    state = State(record.get("state", State.IDLE))
    if state.is_working and not is_held(state_dir):
        state = State.SETTLING  # its pass was killed; the next one takes up what is left
    if lost and not record.get("error") and not state.is_working:
        state, record = State.BLOCKED, record | {"error": _lost(lost)}
    pending = record.get("pending", {"files": 0, "bytes": 0})
    return MirrorStatus(
        mirror.name,
        str(mirror.path),
        mirror.remote,
        mirror.branch,
        state,
        pending["files"],
        pending["bytes"],
        tuple(Deferred(path.encode(), reason, size) for path, reason, size in record.get("deferred", ())),
        record.get("head"),
        record.get("pushed"),
        record.get("verified_at"),
        record.get("error"),
        tags,
        tuple(record.get("warnings", ())),
        scrubs.get("since"),
    )


def releases(mirror: Mirror, state_dir: Path) -> dict[str, str]:
    """The commits of the releases that the mirror's remote has confirmed, by version.

    Args:
        mirror: The mirror.
        state_dir: Its state folder, which need not exist yet.

    Raises:
        TransientError: The store cannot be read now.
    """
    with reading(state_dir / "state.db") as store:
        return {} if store is None else _releases(store, mirror)


def _releases(store: Store, mirror: Mirror) -> dict[str, str]:
    remotes = store.fact(REMOTES_FACT)
    if isinstance(remotes, list) and remotes[-1:] != [mirror.remote]:
        return {}  # those of another remote
    tags = [one for one in store.receipts() if one.ref.startswith(_TAGS)]
    return {one.ref.removeprefix(_TAGS): one.commit for one in tags}
