"""What every HTTP server of the tests stands on: a listener, one handler, and git's own `http-backend` behind it.

A server is a subclass of `Handler` that says what happens for a path, and `serving(Server(...))` around the test. The
one thing to know: bodies are streamed in both directions, so a model of any size passes through without being held in
memory; and a server ends at once, also when a client keeps its connections.

Source: git-http-backend(1); RFC 3875 (CGI).
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, TypeVar

TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 20


class Server(ThreadingHTTPServer):
    """A listener on a free port of the loopback.

    Args:
        handler: Its subclass of `Handler`.
        tls: What it shows to clients who speak TLS; None for plain HTTP.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, handler: type[Handler], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.tls = tls
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak with a client, in its own thread: one that never ends its handshake holds up nobody else."""
        with self._lock:
            self._open.add(request)
        try:
            if self.tls is None:
                super().finish_request(request, client_address)
                return
            request.settimeout(TIMEOUT_S)
            with contextlib.suppress(OSError), self.tls.wrap_socket(request.dup(), server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        finally:
            with self._lock:
                self._open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""

    def hang_up(self) -> None:
        """Break off with everybody who is still connected."""
        with self._lock:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


AnyServer = TypeVar("AnyServer", bound=Server)


@contextmanager
def serving(server: AnyServer, name: str) -> Iterator[AnyServer]:
    """Answer until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=name)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection. A subclass defines `handle_request`; it must read the body, or have `drain` read it."""

    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        """Answer the request in `command`, `path` and `headers`."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.handle_request()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def blocks(self) -> Iterator[bytes]:
        """The request's body, of known length or chunked, as it comes in."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield from self._exactly(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = self.headers.get("Content-Length", "0")
            if not length:  # nobody sends an empty one: the head was cut off right behind the name
                raise ConnectionResetError("the client ended in the middle of a head")
            yield from self._exactly(int(length))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, BLOCK_BYTES))
            if not block:
                raise ConnectionResetError("the client ended in the middle of a body")
            size -= len(block)
            yield block

    def body(self) -> bytes:
        """The request's body, for those that are known to be small."""
        return b"".join(self.blocks())

    def drain(self) -> None:
        """Read the body and forget it, so that the client gets to see the answer."""
        for _ in self.blocks():
            pass

    def answer(self, status: int, body: bytes = b"", kind: str = "text/plain", *headers: tuple[str, str]) -> None:
        """Send an answer that is in memory."""
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_blocks(self, status: int, blocks: Iterable[bytes], *headers: tuple[str, str]) -> None:
        """Send an answer of unknown length, chunked."""
        self.send_response(status)
        for name, value in (*headers, ("Transfer-Encoding", "chunked")):
            self.send_header(name, value)
        self.end_headers()
        for block in blocks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    def answer_git(self, root: Path, path: str, query: str, user: str = "") -> None:
        """Let `git http-backend` answer this request.

        Args:
            root: The folder with the bare repositories.
            path: The repository below it and what is asked of it: `/me/model.git/info/refs`.
            query: What stands after the `?`.
            user: Who asks; pushes are for those who have a name.
        """
        # A file, and no pipe: nobody has to write to git and read from it at the same time.
        with tempfile.TemporaryFile() as given:
            for block in self.blocks():
                given.write(block)
            given.seek(0)
            with _http_backend(given, self._cgi(root, path, query, user)) as output:
                head = dict(line.split(": ", 1) for line in iter(lambda: output.readline().decode().strip(), ""))
                status = int(head.pop("Status", "200").split()[0])
                self.answer_blocks(status, iter(lambda: output.read1(BLOCK_BYTES), b""), *head.items())

    def _cgi(self, root: Path, path: str, query: str, user: str) -> dict[str, str]:
        return {
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": user,
            "REQUEST_METHOD": self.command,
        }


@contextmanager
def _http_backend(given: IO[bytes], variables: dict[str, str]) -> Iterator[io.BufferedReader]:
    with subprocess.Popen(
        ["git", "http-backend"],
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | variables,
        start_new_session=True,
    ) as child:
        assert isinstance(child.stdout, io.BufferedReader)
        try:
            yield child.stdout
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)  # with what it started, which nobody would wait for
            raise
