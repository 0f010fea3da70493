"""One HTTP exchange at a time over a shared pool of connections: what `requests` has to be told to be safe and fast.

Below the line; transfers and hosts send every request through here. The one thing to know: `requests` alone would
repeat an upload without its body after a redirect, take logins from `~/.netrc` and wait without end; so redirects are
followed here, nothing comes from the environment but what `trust` found there, and every wait has a limit.

Source: RFC 9110, section 15.4 (redirects); git-lfs follows them with method and body kept.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from lfssync.errors import BlockedError, TransientError
from lfssync.lifeline import silent
from lfssync.web.connections import BLOCK_BYTES, Live, session
from lfssync.web.failures import translated
from lfssync.web.messages import Answer, Body, Request, host_of, origin, require_safe
from lfssync.web.retrying import stopped_error
from lfssync.web.trust import Trust

__all__ = ["BLOCK_BYTES", "Answer", "Body", "Client", "Request", "Stream", "host_of"]

CONNECT_TIMEOUT_S = 15.0
ANSWER_LIMIT_BYTES = 32 << 20
REDIRECTS = 5
_LOOK_S = 0.1
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = ("authorization", "cookie", "private-token", "proxy-authorization")

T = TypeVar("T")
R = TypeVar("R")


class Stream:
    """An answer whose body is still to come; given by `Client.open`."""

    def __init__(self, response: requests.Response, where: str, stopped: Callable[[], bool]) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._where = where
        self._stopped = stopped

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """The body, in blocks of at most so many bytes."""
        with translated(self._where, self._stopped):
            yield from self._response.iter_content(size)

    def answer(self) -> Answer:
        """The whole of it, when it turned out to be no file."""
        content = b"".join(_bounded(self.blocks(), self._where))
        return Answer(self._response.url, self.status, self.headers, content)


class Client:
    """Sends requests; may be used by several threads at once. Use it as a context.

    Args:
        trust: Which certificates, proxies and client certificates count.
        stop: When set, no exchange is begun, and `each` breaks off those under way.
    """

    def __init__(self, trust: Trust | None = None, stop: threading.Event | None = None) -> None:
        self._trust = trust or Trust()
        self._stop = stop or threading.Event()
        self._live = Live()
        self._aborted = False
        self._session = session(self._live)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def send(self, request: Request) -> Answer:
        """One exchange, redirects followed; every status is an answer.

        Raises:
            TransientError: The network failed, or it was told to stop.
            BlockedError: The certificate does not convince, or a redirect leads where nothing may go.
        """
        with self.open(request) as stream:
            return stream.answer()

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[Stream]:
        """As `send`, but the body of the answer is left to be read block by block."""
        url, headers, method, body = request.url, dict(request.headers), request.method, request.body
        for _ in range(REDIRECTS + 1):
            require_safe(url)
            response = self._exchange(method, url, headers, body, request.answer_timeout_s)
            try:
                target = response.headers.get("Location")
                if response.status_code not in _REDIRECTED or not target:
                    yield Stream(response, host_of(url), self._is_stopped)
                    return
            finally:
                response.close()
            target = _joined(url, target)
            if origin(target) != origin(url):
                if request.stays:
                    raise BlockedError(f"{host_of(url)} redirects to {host_of(target)}", "give the new address")
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise BlockedError(
                    f"{host_of(url)} redirects to {host_of(target)} without encryption", "ask who runs it"
                )
            if response.status_code == 303 and method not in ("GET", "HEAD"):
                method, body = "GET", None
            if body is not None and not isinstance(body, bytes):
                body.rewind()
            url = target
        raise TransientError(f"{host_of(request.url)} redirects without end", "it is tried again; check the address")

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body | None, answer_timeout_s: float
    ) -> requests.Response:
        trust = self._trust.of(url)
        with translated(host_of(url), self._is_stopped):
            if self._is_stopped():
                raise stopped_error()
            with silent(self._stop, CONNECT_TIMEOUT_S + answer_timeout_s):
                return self._session.request(
                    method,
                    url,
                    headers={**trust.headers, **headers},
                    data=body,
                    timeout=(CONNECT_TIMEOUT_S, answer_timeout_s),
                    allow_redirects=False,
                    verify=trust.ca_file or True,
                    cert=trust.certificate,
                    proxies={urlsplit(url).scheme: trust.proxy} if trust.proxy else {},
                    stream=True,
                )

    def each(self, job: Callable[[T], R], items: Sequence[T], width: int = 4) -> list[R]:
        """Run a job for every item, several at a time.

        When one fails, those under way come to their end, no other is begun, and the first error is raised.

        Args:
            job: Called in threads of their own.
            items: What it is called with.
            width: So many at a time.

        Returns:
            The results, in the order of the items.
        """
        if not items:
            return []
        with ThreadPoolExecutor(min(width, len(items)), thread_name_prefix="web") as pool:
            futures: list[Future[R]] = [pool.submit(job, item) for item in items]
            try:
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, _LOOK_S, FIRST_COMPLETED)
                    if threading.Event.is_set(self._stop):  # no sign of life: that is for the jobs to give
                        self.abort()
                    if any(future.exception() for future in done if not future.cancelled()):
                        pending = {future for future in pending if not future.cancel()}
            except BaseException:
                self.abort()
                raise
            finally:
                for future in futures:
                    future.cancel()
        failed = next((future for future in futures if not future.cancelled() and future.exception()), None)
        if failed is not None:
            failed.result()
        return [future.result() for future in futures]

    def abort(self) -> None:
        """Break off every exchange under way; from now on none is begun."""
        self._aborted = True
        self._live.shut()

    def _is_stopped(self) -> bool:
        return self._aborted or self._stop.is_set()


def _joined(url: str, target: str) -> str:
    """Where a redirect leads."""
    try:
        joined = urljoin(url, target)
    except ValueError:
        joined = ""
    require_safe(joined)
    return joined


def _bounded(blocks: Iterator[bytes], where: str) -> Iterator[bytes]:
    total_bytes = 0
    for block in blocks:
        total_bytes += len(block)
        if total_bytes > ANSWER_LIMIT_BYTES:
            raise TransientError(f"{where} answers without end", "it is tried again; is that the right host?")
        yield block
