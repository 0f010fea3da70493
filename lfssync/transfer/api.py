"""Talks with one LFS server: finds it, logs in, asks in batches, and follows the links that it gives.

Stands under `http` and `locks`. The one thing to know: a login goes to the server's own address and, where a link
leads to the same host and brings no login of its own, to that; never to another host, which is what storage is.

Source: git-lfs docs/api/authentication.md, docs/api/batch.md.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lfssync.model import LfsObject
from lfssync.transfer.batch import (
    BASIC,
    MEDIA_TYPE,
    MULTIPART_BASIC,
    Failed,
    Operation,
    Present,
    Sent,
    Standing,
    Wanted,
    parse,
    request,
)
from lfssync.transfer.endpoint import Endpoint
from lfssync.transfer.logins import WANTED, Login
from lfssync.web.client import Client, Stream
from lfssync.web.messages import ANSWER_TIMEOUT_S, Answer, Request, origin
from lfssync.web.retrying import Patience, persist
from lfssync.web.statuses import date_s, refusal

HEADERS = {"Accept": MEDIA_TYPE, "Content-Type": f"{MEDIA_TYPE}; charset=utf-8"}


LOGINS = 2
"""So many logins are tried for one request: that there is, and the next when it is refused."""


class Finder(Protocol):
    """Who knows where the server is; see `endpoint.Discovery`."""

    @property
    def asks_ssh(self) -> bool:
        """Whether it may take a connection to find out."""

    def endpoint(self, operation: str) -> Endpoint:
        """The server for an operation."""

    def forget(self, operation: str) -> None:
        """The server did not take what it was told."""


@dataclass(slots=True)
class Api:
    """The LFS server of one mirror.

    Args:
        client: Sends the requests.
        finder: Knows where it is.
        login: Knows who we are.
        branch: What the objects are for.
        kinds: Transfers that we speak.
        stop: When set, nothing is tried again.
        patience: How long to try.
    """

    client: Client
    finder: Finder
    login: Login
    branch: str
    kinds: tuple[str, ...] = (BASIC,)
    stop: threading.Event = field(default_factory=threading.Event)
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    _links_want_login: bool = field(default=False, init=False)

    def place(self, operation: Operation) -> Endpoint:
        """Where the server is, and what it wants to be told."""
        return self.finder.endpoint(operation)

    def call(
        self,
        operation: Operation,
        path: str,
        document: Mapping[str, Any],
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        """Post a document to the server, with a login where it wants one; when it is refused, once more with the next.

        Args:
            operation: Which server, when there are two.
            path: Below its address, such as `objects/batch`.
            document: Becomes JSON.
            answer_timeout_s: How long the server may think.

        Returns:
            The answer, whatever its status.
        """
        wish = Request("POST", "", HEADERS, json.dumps(document).encode(), answer_timeout_s)
        logins, was_wanted = LOGINS, False
        while True:
            place = self.place(operation)
            own = {} if _has_login(place.headers) else self.login.first(place.url)
            headers = {**HEADERS, **place.headers, **own}
            answer = self.client.send(replace(wish, url=f"{place.url}/{path}", headers=headers))
            if answer.status in WANTED and not own and self._logs_in(place):
                was_wanted = True
                continue
            logins -= 1
            if answer.status != 401 or not self._is_another(operation, place, own) or not logins:
                if was_wanted and answer.status not in WANTED:
                    self.login.helped(place.url)
                return answer

    def _logs_in(self, place: Endpoint) -> bool:
        """Whether a server that was asked without a login can be asked with one, which is looked for now."""
        return not _has_login(place.headers) and bool(self.login.headers(place.url))

    def _is_another(self, operation: Operation, place: Endpoint, refused: Mapping[str, str]) -> bool:
        """Whether there is another login to try after one was refused."""
        if _has_login(place.headers):
            self.finder.forget(operation)
            return True
        return self.login.refused(place.url, refused)

    def batch(self, operation: Operation, objects: Sequence[LfsObject]) -> dict[LfsObject, Standing]:
        """Ask about objects until there is an answer.

        Args:
            operation: What for.
            objects: About which; no oid twice.

        Raises:
            LfssyncError: Of the kind that the server's refusal means, or because its reply makes no sense.
        """
        return persist(lambda: self.ask(operation, objects), self.stop, self.patience)

    def ask(self, operation: Operation, objects: Sequence[LfsObject]) -> dict[LfsObject, Standing]:
        """Ask about objects once; a server that finds the question too long is asked in halves.

        Raises:
            LfssyncError: See `batch`.
        """
        return self._ask(operation, objects, self.kinds)

    def _ask(
        self, operation: Operation, objects: Sequence[LfsObject], kinds: tuple[str, ...]
    ) -> dict[LfsObject, Standing]:
        was_open = self.login.is_open(self.place(operation).url)
        clock_s, epoch_s = self.clock(), time.time()
        answer = self.call(operation, "objects/batch", request(operation, objects, self.branch, kinds))
        if answer.status == 413 and len(objects) > 1:
            middle = len(objects) // 2
            return self._ask(operation, objects[:middle], kinds) | self._ask(operation, objects[middle:], kinds)
        if operation is Operation.DOWNLOAD and answer.status in (404, 422):  # giftless, when it has none of them
            return dict.fromkeys(objects, Failed(answer.status))
        if not answer.is_success:
            raise refusal(answer, f"{self.place(operation).url} refuses")
        told = date_s(answer.headers)
        sent = Sent(clock_s, epoch_s if told is None else told)
        reply = parse(answer.document(), operation, objects, kinds, sent)
        found = {lfs: reply.standings[lfs.oid] for lfs in objects}
        if was_open and _is_hidden(found) and self._logs_in(place := self.place(operation)):
            again = self._ask(operation, objects, kinds)
            if not _is_hidden(again):
                self.login.helped(place.url)
            return again
        return found | self._doubtful(found) if reply.transfer == MULTIPART_BASIC else found

    def _doubtful(self, found: Mapping[LfsObject, Standing]) -> dict[LfsObject, Standing]:
        """Have the yes of a `multipart-basic` proven: giftless says it, too, when its storage can take no parts."""
        claimed = [lfs for lfs, standing in found.items() if standing == Present()]
        if not claimed:
            return {}
        proven = self._ask(Operation.DOWNLOAD, claimed, (BASIC,))
        wanting = [lfs for lfs in claimed if not isinstance(proven[lfs], Wanted)]
        return self._ask(Operation.UPLOAD, wanting, (BASIC,)) if wanting else {}

    @contextlib.contextmanager
    def open(self, operation: Operation, wish: Request, is_authenticated: bool) -> Iterator[Stream]:
        """Send a request to a link that the server gave; the body of the answer is left to be read.

        Args:
            operation: What it was given for.
            wish: The request, with the headers of the link.
            is_authenticated: Whether the server said that these headers are enough.
        """
        if is_authenticated and not self._links_want_login:
            with self.client.open(wish) as stream:
                if stream.status != 401 or not self._link_login(operation, wish):
                    yield stream
                    return
            self._links_want_login = True
            if wish.body is not None and not isinstance(wish.body, bytes):
                wish.body.rewind()
        with self.client.open(replace(wish, headers={**wish.headers, **self._link_login(operation, wish)})) as stream:
            yield stream

    def follow(self, operation: Operation, wish: Request, is_authenticated: bool) -> Answer:
        """As `open`, with the whole answer, whatever its status."""
        with self.open(operation, wish, is_authenticated) as stream:
            return stream.answer()

    def _link_login(self, operation: Operation, wish: Request) -> dict[str, str]:
        place = self.place(operation)
        if _has_login(wish.headers) or _has_login(place.headers) or origin(wish.url) != origin(place.url):
            return {}
        return self.login.headers(place.url)


def _is_hidden(found: Mapping[LfsObject, Standing]) -> bool:
    """Whether an answer refuses an object in a way that a login may help with."""
    return any(isinstance(one, Failed) and one.code in WANTED for one in found.values())


def _has_login(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)
