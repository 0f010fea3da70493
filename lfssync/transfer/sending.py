"""Brings one object to an LFS server: asks, sends, has it verified, and asks anew before anything is sent again.

Stands under `http`, which does this for several objects at a time. The one thing to know: whatever goes wrong, the
server is asked again before the next attempt, because a lost answer may have been a yes, and a link may be too old;
and a yes after an attempt that failed is believed only when the server also gives the object back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.errors import AuthError, LfssyncError, TransientError
from lfssync.model import LfsObject, Monitor, Progress, State, show
from lfssync.transfer import Source
from lfssync.transfer.api import Api
from lfssync.transfer.batch import MEDIA_TYPE, Action, Failed, Operation, Present, Standing, Wanted
from lfssync.transfer.body import Throttle
from lfssync.transfer.uploaders import Errand, Further, LinkRefused, Tools, Uploader, answer_timeout_s
from lfssync.web.messages import Answer, Request, host_of
from lfssync.web.retrying import Patience, persist
from lfssync.web.statuses import refusal

LINK_REFUSALS = 3
"""So often a link may say 401 or 403, each time a new one, before it is taken for a no."""

VERIFICATIONS = 2
"""So often an object is sent that the server afterwards says it does not have."""

_VERIFY_PATIENCE = Patience(tries=3)
_NOT_THERE = frozenset({404, 409, 422})


class Halted(Exception):
    """Whoever watches the progress wants it to end; goes past everything that would try again."""

    def __init__(self, error: LfssyncError) -> None:
        super().__init__(str(error))
        self.error = error


class Standpoint:
    """How far one object is, told to a monitor so that it only grows, and is whole only when the object is.

    Args:
        monitor: Whom to tell.
        state: What is going on.
        path: The file.
        size_bytes: The size of the object.
    """

    def __init__(self, monitor: Monitor, state: State, path: bytes, size_bytes: int) -> None:
        self._monitor = monitor
        self._state = state
        self._path = path
        self._size_bytes = size_bytes
        self._told_bytes = -1
        self._lock = threading.Lock()

    def advance(self, done_bytes: int) -> None:
        """So many bytes are on their way."""
        self._tell(min(done_bytes, self._size_bytes - 1))

    def finish(self) -> None:
        """It has arrived."""
        self._tell(self._size_bytes)

    def _tell(self, done_bytes: int) -> None:
        with self._lock:
            if done_bytes <= self._told_bytes:
                return
            self._told_bytes = done_bytes
            try:
                self._monitor(Progress(self._state, self._path, done_bytes, self._size_bytes))
            except LfssyncError as error:
                raise Halted(error) from error


def checked(answer: Answer, errand: Errand, name: str) -> Answer:
    """The answer to an errand if it is one of 2xx, or expected.

    Raises:
        LinkRefused: 401 or 403.
        LfssyncError: Of the kind that any other status means.
    """
    if answer.is_success or answer.status in errand.expected:
        return answer
    error = refusal(answer, f"{host_of(errand.action.href)} {errand.what} {name}")
    raise LinkRefused(error.message, error.remedy) if isinstance(error, AuthError) else error


def request(errand: Errand) -> Request:
    """The request of an errand; what the server says about it goes before what the kind of transfer says."""
    own = {name.lower() for name in errand.action.headers}
    headers = {name: value for name, value in (errand.headers or {}).items() if name.lower() not in own}
    return Request(
        errand.action.method or errand.method,
        errand.action.href,
        {**headers, **errand.action.headers},
        errand.body if errand.action.body is None else errand.action.body,
        errand.answer_timeout_s,
    )


def named(lfs: LfsObject, path: bytes = b"") -> str:
    """An object in messages."""
    return f"the LFS object {lfs.oid}" + (f" ({show(path)})" if path else "")


def failure(failed: Failed, what: str) -> LfssyncError:
    """The error for an object that the server refuses in a batch: of the kind that such a status means."""
    return refusal(Answer("", failed.code, {}, json.dumps({"message": failed.message}).encode()), what)


@dataclass(slots=True)
class Sending:
    """One object on its way.

    Args:
        api: The server.
        source: The object.
        standing: What the server said about it, when that is fresh.
        uploaders: The ways that we know, by their kind.
        throttle: How fast.
        keep: See `Tools.keep`.
        standpoint: Whom to tell how far it is.
    """

    api: Api
    source: Source
    standing: Standing | None
    uploaders: Mapping[str, Uploader]
    throttle: Throttle
    keep: Path
    standpoint: Standpoint
    _link_refusals: int = field(default=0, init=False)
    _unverified: int = field(default=0, init=False)
    _was_tried: bool = field(default=False, init=False)

    def send(self) -> int:
        """Bring it there; gives how many bytes the server took.

        Raises:
            ContentChanged: The file is not the object any more; nothing was completed.
            LfssyncError: It could not be brought there.
        """
        while not persist(self._attempt, self.api.stop, self.api.patience):
            continue  # with new patience
        self.standpoint.finish()
        return self.source.lfs.size_bytes if self._was_tried else 0

    def _attempt(self) -> bool:
        """Ask and send, once; False when it is further than before, but not there yet."""
        lfs = self.source.lfs
        standing = self.standing or self.api.ask(Operation.UPLOAD, [lfs])[lfs]
        self.standing = None
        if isinstance(standing, Failed):
            raise failure(standing, f"{self._place} does not take {self._name}")
        if isinstance(standing, Present):
            if self._was_tried:
                self._require_given_back()
            for uploader in self.uploaders.values():
                uploader.forget(lfs, self._tools())
            return True
        if (way := self.uploaders.get(standing.kind)) is None:
            raise LfssyncError(f"{self._place} wants {self._name} as {standing.kind!r}", "ask who runs it")
        self._was_tried = True
        try:
            way.send(self.source, standing, self._tools())
            if "verify" in standing.actions:
                self._verify(standing.actions["verify"])
            return True
        except Further:
            return False
        except LinkRefused as error:
            self._link_refusals += 1
            if self._link_refusals >= LINK_REFUSALS:
                raise
            raise TransientError(error.message, "it is tried again with a new link") from error

    def _verify(self, action: Action) -> None:
        """Have the server look whether it has the object."""
        lfs = self.source.lfs
        body = json.dumps({"oid": lfs.oid, "size": lfs.size_bytes}).encode()
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        timeout_s = answer_timeout_s(lfs.size_bytes)
        errand = Errand(action, "POST", "does not confirm", body, headers, timeout_s, _NOT_THERE)
        answer = persist(lambda: self._run(errand), self.api.stop, _VERIFY_PATIENCE)
        if not answer.is_success:
            self._unverified += 1
            error = refusal(answer, f"{host_of(action.href)} took {self._name}, but does not have it")
            raise error if self._unverified >= VERIFICATIONS else TransientError(error.message, "it is sent again")

    def _require_given_back(self) -> None:
        lfs = self.source.lfs
        if not isinstance(self.api.ask(Operation.DOWNLOAD, [lfs])[lfs], Wanted):
            raise TransientError(
                f"{self._place} says that it has {self._name}, but does not give it", "it is sent again"
            )

    def _run(self, errand: Errand) -> Answer:
        answer = self.api.follow(Operation.UPLOAD, request(errand), errand.action.authenticated)
        return checked(answer, errand, self._name)

    def _tools(self) -> Tools:
        api = self.api
        return Tools(
            self._run, self.throttle, self.standpoint.advance, self.keep, api.client.each, api.stop, api.patience
        )

    @property
    def _place(self) -> str:
        return self.api.place(Operation.UPLOAD).url

    @property
    def _name(self) -> str:
        return named(self.source.lfs, self.source.path)
