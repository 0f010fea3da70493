"""Trouble on demand: what a server does to a request instead of what it should.

Every stand-in names its steps (`batch`, `put`, `verify`, ...); a test plans what happens at the next requests of one.
The one thing to know: `is_done` is the reply that got lost. The server does the work first and then plays its trouble.
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.servers.githttp import Handler, Server

ALWAYS = 1 << 30
"""As the number of times: for ever."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to a request.

    Args:
        status: What is answered; 0 breaks the connection off instead.
        body: The content of the answer.
        headers: What else the answer says; `Content-Type` is JSON where it is not given.
        takes_bytes: How much of the request's body is read before; None reads all of it.
        stall_s: How long nothing happens before the answer; ended early when the server stops.
        is_done: The real work is done first, and only its answer is replaced.
        times: To how many requests it happens.
    """

    status: int = 0
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_bytes: int | None = None
    stall_s: float = 0.0
    is_done: bool = False
    times: int = 1


def html(status: int) -> Trouble:
    """What a proxy in front of a host answers."""
    return Trouble(status, b"<html><body><h1>Try again</h1></body></html>", {"Content-Type": "text/html"})


class Troubles:
    """The trouble that is planned, by step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[str, list[Trouble]] = {}

    def plan(self, step: str, *troubles: Trouble) -> None:
        """Have these happen at the next requests of a step, one after the other; after them all is well again."""
        with self._lock:
            self._planned[step] = list(troubles)

    def next(self, step: str) -> Trouble | None:
        """What happens now, if anything."""
        with self._lock:
            planned = self._planned.get(step)
            if not planned:
                return None
            now = planned[0]
            planned[:1] = [replace(now, times=now.times - 1)] if now.times > 1 else []
            return now


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in; names of headers in lower case."""

    step: str
    method: str
    url: str
    headers: Mapping[str, str]


class TroubledServer(Server):
    """A server that remembers what it was asked, and that can be told to misbehave."""

    def __init__(self, handler: type[Handler], troubles: Troubles, seen: list[Seen]) -> None:
        super().__init__(handler)
        self.troubles = troubles
        self.seen = seen
        self.is_over = threading.Event()

    def shutdown(self) -> None:
        """End, and let nobody who stalls go on."""
        self.is_over.set()
        super().shutdown()


class TroubledHandler(Handler):
    """A connection whose steps can be made to fail."""

    server: TroubledServer

    def play(self, step: str, action: Callable[[], None]) -> None:
        """Do one step, or what is planned instead of it."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(step, self.command, self.path, headers))
        trouble = self.server.troubles.next(step)
        if trouble is None:
            action()
            return
        if trouble.is_done:
            self._in_silence(action)
        else:
            self._take(trouble.takes_bytes)
        if trouble.stall_s:
            self.server.is_over.wait(trouble.stall_s)
        if trouble.status == 0:
            self.break_off()
            return
        headers = {"Content-Type": "application/json"} | dict(trouble.headers)
        if trouble.takes_bytes is not None:
            self.close_connection = True  # the rest of the body is in the way
        self.answer(trouble.status, trouble.body, headers.pop("Content-Type"), *headers.items())

    def _in_silence(self, action: Callable[[], None]) -> None:
        out, self.wfile = self.wfile, io.BytesIO()
        try:
            action()
        finally:
            self.wfile = out

    def _take(self, size: int | None) -> None:
        if size is None:
            self.drain()
            return
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while taken < size and (block := self.rfile.read1(size - taken)):
                taken += len(block)

    def break_off(self) -> None:
        """End the connection in the way that a crashed peer does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = io.BytesIO()


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Look again and again, for a bounded time."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
