"""Metrics over HTTP for a monitoring system that asks: one thread, several connections side by side, one address.

Run by `herald`, only where it is configured. The one thing to know: nobody keeps anybody else out. The thread never
waits for one connection alone; whoever connects gets a few seconds altogether, however slowly it talks; and when there
are too many, the one that came first is given up. Nothing but `GET /metrics` is answered.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from io import BytesIO

from lfssync.configuration.telling import Address
from lfssync.errors import LfssyncError, TransientError
from lfssync.telling.exposition import Form, form_for

PATH = "/metrics"
HEAD_BYTES = 16 << 10
HEAD_S = 3.0
"""So long the head of a request may take to come in."""

EXCHANGE_S = 5.0
"""So long a whole exchange may take."""

CONNECTIONS = 16
"""So many at a time; one more takes the place of the one that came first."""

STOP_TIMEOUT_S = 2.0
_BACKLOG = 64
_PAUSE_S = 0.1

_log = logging.getLogger("lfssync")


@dataclass(slots=True)
class _Caller:
    """Whoever connected.

    Args:
        connection: Without waiting.
        came: When it was accepted, in monotonic seconds.
        head: What came in of its request so far.
        answer: What is still to be sent; None until the head is whole.
    """

    connection: socket.socket
    came: float
    head: bytes = b""
    answer: bytes | None = None

    @property
    def until(self) -> float:
        """When it is given up, in monotonic seconds."""
        return self.came + (HEAD_S if self.answer is None else EXCHANGE_S)


class Endpoint:
    """Answers at an address.

    Args:
        address: Where.
        text: Gives the metrics in a form; called in the endpoint's thread.
    """

    def __init__(self, address: Address, text: Callable[[Form], str]) -> None:
        self.address = address
        self._text = text
        self._listener: socket.socket | None = None
        self._thread = threading.Thread()
        self._selector: selectors.BaseSelector
        self._bell: socket.socket
        self._callers: dict[socket.socket, _Caller] = {}  # in the order in which they came

    def start(self) -> None:
        """Begin to answer.

        Raises:
            TransientError: The address cannot be used now.
        """
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        with contextlib.ExitStack() as opened:
            try:
                listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.address.host, self.address.port))
                listener.listen(_BACKLOG)
                self._bell, heard = (opened.enter_context(end) for end in socket.socketpair())
                self._selector = opened.enter_context(selectors.DefaultSelector())
            except OSError as error:
                raise TransientError(
                    f"no metrics at {self.address}: {(error.strerror or str(error)).lower()}",
                    "choose another address for `metrics`, or end the program that uses this one",
                ) from error
            opened.pop_all()
        listener.setblocking(False)
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, args=(listener, heard), name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; within `STOP_TIMEOUT_S`."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._bell.close()  # which wakes the thread
        self._thread.join(STOP_TIMEOUT_S)

    def _serve(self, listener: socket.socket, heard: socket.socket) -> None:
        with listener, heard, self._selector:
            self._selector.register(listener, selectors.EVENT_READ)
            self._selector.register(heard, selectors.EVENT_READ)
            while self._listener is listener:
                until = min((caller.until for caller in self._callers.values()), default=None)
                ready = self._selector.select(None if until is None else max(until - time.monotonic(), 0.0))
                for key, _ in ready:
                    if key.data is not None:
                        self._go_on(key.data)
                now = time.monotonic()
                for caller in [one for one in self._callers.values() if one.until <= now]:
                    self._give_up(caller)
                if any(key.fileobj is listener for key, _ in ready):
                    self._accept(listener)
            for caller in list(self._callers.values()):
                self._give_up(caller)

    def _accept(self, listener: socket.socket) -> None:
        """Take in one more; those that are here already have been looked at before."""
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # it went away again
        except OSError:
            if self._listener is listener:
                time.sleep(_PAUSE_S)  # no descriptor is left, say
            return
        connection.setblocking(False)
        if len(self._callers) >= CONNECTIONS:
            self._give_up(next(iter(self._callers.values())))
        self._callers[connection] = caller = _Caller(connection, time.monotonic())
        self._selector.register(connection, selectors.EVENT_READ, caller)

    def _give_up(self, caller: _Caller) -> None:
        del self._callers[caller.connection]
        self._selector.unregister(caller.connection)
        caller.connection.close()

    def _go_on(self, caller: _Caller) -> None:
        """Read or write what can be at once."""
        try:
            is_over = self._is_over(caller)
        except BlockingIOError:
            return
        except OSError:
            is_over = True  # gone
        except LfssyncError as error:
            _log.debug("no metrics: %s", error)
            is_over = True
        except Exception:  # noqa: BLE001  a bug must not end the thread
            _log.exception("the metrics could not be told")
            is_over = True
        if is_over:
            self._give_up(caller)

    def _is_over(self, caller: _Caller) -> bool:
        if caller.answer is None:
            data = caller.connection.recv(HEAD_BYTES)
            caller.head += data
            if b"\r\n\r\n" in caller.head or b"\n\n" in caller.head:
                caller.answer = _Exchange(caller.head, self._text).answer()
            elif len(caller.head) >= HEAD_BYTES:
                caller.answer = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
            else:
                return not data
            self._selector.modify(caller.connection, selectors.EVENT_WRITE, caller)
        caller.answer = caller.answer[caller.connection.send(caller.answer) :]
        if caller.answer:
            return False
        with contextlib.suppress(OSError):
            caller.connection.shutdown(socket.SHUT_WR)
        return True


class _Exchange(BaseHTTPRequestHandler):
    """One request that came in whole, and its answer; the standard library reads and writes the heads."""

    server_version, sys_version, protocol_version = "lfssync", "", "HTTP/1.1"

    def __init__(self, head: bytes, text: Callable[[Form], str]) -> None:
        self.rfile = BytesIO(head)
        self.wfile = self._written = BytesIO()
        self.client_address = ("", 0)
        self._text = text

    def answer(self) -> bytes:
        """What to send back."""
        self.raw_requestline = self.rfile.readline(HEAD_BYTES + 1)
        if not self.parse_request():  # which has written why
            return self._written.getvalue()
        if self.path.partition("?")[0] != PATH:
            self._say(404, f"metrics are at {PATH}\n")
        elif self.command not in ("GET", "HEAD"):
            self._say(405, "GET is all there is\n", Allow="GET, HEAD")
        else:
            form = form_for(",".join(self.headers.get_all("Accept", [])))
            self._say(200, self._text(form), **{"Content-Type": form.value})
        return self._written.getvalue()

    def _say(self, status: int, text: str, **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        fixed = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(content)),
            "Connection": "close",
        }
        for name, value in (fixed | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks for metrics is no news."""
