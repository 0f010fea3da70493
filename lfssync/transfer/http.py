"""LFS objects to and from a server that speaks the LFS protocol over HTTP, straight from the open files.

Used for https and ssh remotes. The one thing to know: the server is asked once, by the same batch, what it lacks and
where that shall go; so what `missing` finds is sent by the very links that came with the answer, unless they have
become too old meanwhile.

Source: git-lfs docs/api.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lfssync.credentials import Credential
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError, UserError
from lfssync.git.gitcommand import Git
from lfssync.hosts.api import basic
from lfssync.hosts.huggingface import HuggingFace
from lfssync.hosts.known import host_of
from lfssync.model import LfsObject, Mirror, Monitor, State
from lfssync.rules.remotes import Remote
from lfssync.shares import SENDING
from lfssync.transfer import Source, Uploaded, over_http
from lfssync.transfer.api import Api
from lfssync.transfer.batch import OFFERED, Operation, Present, Standing, Wanted, batches
from lfssync.transfer.body import ContentChanged, Throttle
from lfssync.transfer.endpoint import Discovery
from lfssync.transfer.fetching import Fetching, peek
from lfssync.transfer.locks import locked
from lfssync.transfer.logins import WANTED_FILE, Login, Wishes
from lfssync.transfer.multipart import uploaders as in_parts
from lfssync.transfer.sending import Halted, Sending, Standpoint
from lfssync.transfer.unfinished import Unfinished
from lfssync.transfer.uploaders import Basic, Uploader
from lfssync.web.client import Client
from lfssync.web.retrying import Patience
from lfssync.web.trust import Trust, git_settings

UPLOADS_AT_ONCE = 4
BATCHES_AT_ONCE = 2

FRESH_S = 10.0
"""A link must be good for at least so long when it is used."""

TRUSTED_S = 300.0
"""A link that does not say how long it is good is used for so long."""

TROUBLES = 3
"""When so many objects could not be sent because of what passes, the others are not tried."""

_WORST_FIRST = (AuthError, BlockedError, LfssyncError)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the server said about an object, and until when its links are good."""

    standing: Wanted
    good_until: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one object."""

    lfs: LfsObject
    sent_bytes: int = 0
    has_changed: bool = False
    error: LfssyncError | None = None


class HttpTransfer:
    """Objects of one LFS server; made by `open_http`. Its connections are closed when it is not used any more.

    Args:
        endpoint: The name under which evidence about it is recorded.
        api: The server.
        throttle: How fast, both ways.
        keep: A folder of the mirror's for uploads that a later run goes on with.
        uploaders: The ways to send that it may use.
    """

    def __init__(self, endpoint: str, api: Api, throttle: Throttle, keep: Path, uploaders: Sequence[Uploader]) -> None:
        self._endpoint = endpoint
        self._api = api
        self._throttle = throttle
        self._keep = keep
        self._uploaders = {one.kind: one for one in uploaders}
        self._offers: dict[LfsObject, _Offer] = {}
        self._troubles: list[TransientError] = []
        weakref.finalize(self, api.client.close)

    def close(self) -> None:
        """Close its connections now; it opens new ones when it is used again."""
        self._api.client.close()

    def get_ready(self) -> None:
        """Look for the login where the server wanted one before, unless ssh has to be asked where that is."""
        if not self._api.finder.asks_ssh:
            self._api.login.first(self._api.place(Operation.UPLOAD).url)

    @property
    def endpoint(self) -> str:
        """The remote's address, and that it was asked over HTTP."""
        return self._endpoint

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`; the answer is kept for the upload that follows."""
        standings = self._ask(Operation.UPLOAD, objects)
        return [lfs for lfs in objects if not isinstance(standings[lfs], Present)]

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`: the server has to offer each of them for download."""
        standings = self._ask(Operation.DOWNLOAD, objects)
        for lfs in objects:
            if not isinstance(standings[lfs], Wanted):
                raise TransientError(f"{self._place} does not hold the LFS object {lfs.oid}", "it is sent again")

    def locked(self) -> Mapping[bytes, str] | None:
        """See `Transfer.locked`."""
        return self._api.client.each(locked, [self._api])[0]

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`. One that fails does not keep the others from being sent."""
        wanted = {source.lfs: source for source in sources}
        self._troubles = []
        outcomes: list[_Outcome] = []
        try:
            for batch in batches(wanted):
                self._ask(Operation.UPLOAD, [lfs for lfs in batch if not self._is_fresh(lfs)])
                outcomes += self._api.client.each(
                    lambda lfs: self._sent(wanted[lfs], monitor), batch, width=UPLOADS_AT_ONCE
                )
        except Halted as halted:
            raise halted.error from None
        _raise_worst([one.error for one in outcomes if one.error is not None])
        changed = tuple(one.lfs for one in outcomes if one.has_changed)
        return Uploaded(sum(one.sent_bytes for one in outcomes), changed)

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        standpoint = Standpoint(monitor, State.STAGING, os.fsencode(destination.name), lfs.size_bytes)
        fetching = Fetching(self._api, lfs, destination, self._throttle, standpoint)
        try:
            self._api.client.each(lambda one: one.fetch(), [fetching])
        except Halted as halted:
            raise halted.error from None

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes:
        """See `Transfer.part`."""
        return self._api.client.each(lambda one: peek(self._api, one, offset, count), [lfs])[0]

    def _ask(self, operation: Operation, objects: Sequence[LfsObject]) -> dict[LfsObject, Standing]:
        """Ask about any number of objects; what the server wants to have is kept for sending it."""
        found: dict[LfsObject, Standing] = {}
        asked_at = self._api.clock()

        def ask(batch: list[LfsObject]) -> dict[LfsObject, Standing]:
            return self._api.batch(operation, batch)

        for standings in self._api.client.each(ask, batches(objects), BATCHES_AT_ONCE):
            found |= standings
        if operation is Operation.UPLOAD:
            for lfs, standing in found.items():
                if isinstance(standing, Wanted):
                    known = standing.expires_at
                    self._offers[lfs] = _Offer(standing, asked_at + TRUSTED_S if known is None else known - FRESH_S)
        return found

    def _is_fresh(self, lfs: LfsObject) -> bool:
        return lfs in self._offers and self._api.clock() < self._offers[lfs].good_until

    def _sent(self, source: Source, monitor: Monitor) -> _Outcome:
        """Send one object; runs in a thread of its own."""
        lfs = source.lfs
        if len(self._troubles) >= TROUBLES:
            raise self._troubles[-1]
        is_fresh, offer = self._is_fresh(lfs), self._offers.pop(lfs, None)
        standing = offer.standing if offer and is_fresh else None
        standpoint = Standpoint(monitor, State.UPLOADING, source.path, lfs.size_bytes)
        sending = Sending(self._api, source, standing, self._uploaders, self._throttle, self._keep, standpoint)
        try:
            with SENDING.one(urlsplit(self._api.place(Operation.UPLOAD).url).netloc, self._api.stop):
                return _Outcome(lfs, sending.send())
        except ContentChanged:
            return _Outcome(lfs, has_changed=True)
        except AuthError:
            raise
        except TransientError as error:
            self._troubles.append(error)
            if len(self._troubles) >= TROUBLES or self._api.stop.is_set():
                raise
            return _Outcome(lfs, error=error)
        except LfssyncError as error:
            return _Outcome(lfs, error=error)

    @property
    def _place(self) -> str:
        return self._api.place(Operation.DOWNLOAD).url


def _raise_worst(errors: Sequence[LfssyncError]) -> None:
    """Raise the error that a person has to know first, if there is any."""
    for kind in _WORST_FIRST:
        for error in errors:
            if isinstance(error, kind):
                if len(errors) > 1:
                    error.message += f" (and {len(errors) - 1} more)"
                raise error


def _authorization(url: str, credential: Credential) -> str:
    """A login for an LFS server: as every server takes it, but the Hub knows tokens of applications as Bearer only."""
    hub = _hub(url)
    return basic(credential) if hub is None else hub.authorization(credential)


def _hub(url: str) -> HuggingFace | None:
    """The Hub, where an address is on it: it knows nobody without a login who may write, and gives strangers little."""
    try:
        host = host_of(url, os.environ)
    except UserError:  # an address that no remote could have: ssh named it
        return None
    return host if isinstance(host, HuggingFace) else None


def open_http(
    mirror: Mirror,
    remote: Remote,
    git: Git,
    patience: Patience | None = None,
    unfinished: Unfinished | None = None,
) -> HttpTransfer:
    """The transfer over HTTP for a mirror; nothing is asked yet.

    Args:
        mirror: Its `branch`, `lfs_url` and `rate_limit` count.
        remote: Where git goes.
        git: The mirror's git dir. The user's own settings for HTTP are asked of it, its `login` is ours, and its `stop`
            ends everything.
        patience: How long to try.
        unfinished: Uploads that were begun before.
    """
    stop, lfs = git.stop or threading.Event(), git.git_dir / "lfs"
    client = Client(Trust(os.environ, git_settings(git)), stop)
    api = Api(
        client,
        Discovery(remote, git, mirror.lfs_url),
        Login(git.login, _authorization, Wishes(git.git_dir / WANTED_FILE), lambda url: _hub(url) is not None),
        mirror.branch,
        OFFERED,
        stop,
        patience or Patience(),
    )
    throttle = Throttle(mirror.rate_limit_bytes, time.monotonic, stop.wait)
    uploaders = (Basic(), *in_parts(unfinished or Unfinished()))
    return HttpTransfer(over_http(mirror, remote), api, throttle, lfs / "uploads", uploaders)
