"""Metrics over HTTP for a monitoring system that asks: one thread, one connection at a time, one address.

Run by `herald`, only where it is configured. The one thing to know: whoever connects gets a few seconds altogether,
however slowly it talks, so nobody can keep the thread, and nothing but `GET /metrics` is answered.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BytesIO

from lfssync.configuration.telling import Address
from lfssync.errors import LfssyncError, TransientError
from lfssync.telling.exposition import Form, form_for

PATH = "/metrics"
HEAD_BYTES = 16 << 10
EXCHANGE_S = 5.0
"""So long a whole exchange may take."""

STOP_TIMEOUT_S = 2.0
_BACKLOG = 8

_log = logging.getLogger("lfssync")


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
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer.

        Raises:
            TransientError: The address cannot be used now.
        """
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address.host, self.address.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise TransientError(
                f"no metrics at {self.address}: {(error.strerror or str(error)).lower()}",
                "choose another address for `metrics`, or end the program that uses this one",
            ) from error
        self._listener = listener
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; within `STOP_TIMEOUT_S`."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()
        self._thread.join(STOP_TIMEOUT_S)

    def _serve(self) -> None:
        while (listener := self._listener) is not None:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._listener is None:
                    return
                time.sleep(0.1)  # no descriptor is left, say
                continue
            with connection:
                try:
                    self._exchange(connection)
                except OSError:
                    continue  # too slow, or gone
                except LfssyncError as error:
                    _log.debug("no metrics: %s", error)
                except Exception:  # noqa: BLE001  a bug must not end the thread
                    _log.exception("the metrics could not be told")

    def _exchange(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + EXCHANGE_S
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) >= HEAD_BYTES:
                connection.sendall(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
                return
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = connection.recv(HEAD_BYTES)
            if not data:
                return
            head += data
        answer = _Exchange(head, self._text).answer()
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        connection.sendall(answer)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)


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
