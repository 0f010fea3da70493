"""The unix socket between the command line and the daemon: one JSON document a line, one request a connection.

Used by `daemon` (serves) and `operations` (asks). Both ends make sure by the kernel's word that the other one is the
same user; lines, connections and waiting are bounded, and a request of another version gets a clear answer.
The one thing to know: a request never waits for whoever asked. Progress that the asker does not read in time is left
out, because it is told from the threads that read and send files.

Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lfssync import __version__
from lfssync.errors import BlockedError, LfssyncError, TransientError, UserError
from lfssync.model import Monitor, Plan, Progress
from lfssync.places import Places
from lfssync.service.protocol import PROTOCOL, Document, error_document, error_of, event_document, event_of, line

REQUEST_BYTES = 1 << 16
ANSWER_BYTES = 1 << 28
"""An answer may name every file of a large directory; it comes from the user's own daemon."""

CONNECTIONS = 64
CONNECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
"""How long a request may take to arrive, and its answer to be read."""

_BACKLOG = 64
_PAUSE_S = 0.1
_TELL_EVERY_S = 0.05

Handler = Callable[[Document, Monitor], Document]
"""Serves one request: takes it and a monitor, returns the result or raises one of our errors."""

_log = logging.getLogger("lfssync")


class Server:
    """Answers requests on a socket, each in a thread of its own.

    Args:
        path: Where the socket is; its folder is made private to the user.
        handler: Serves requests.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread()
        self._identity: tuple[int, int] | None = None
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._under_way: dict[threading.Thread, socket.socket] = {}

    def start(self) -> None:
        """Begin to listen. A socket left behind by a daemon that died is replaced.

        Raises:
            UserError: The socket cannot be made, or its folder is not ours alone.
            BlockedError: Another daemon listens there.
        """
        try:
            self._listener = _listen(self._path)
            self._identity = _identity(self._path)
        except OSError as error:
            raise UserError(
                f"{self._path}: {(error.strerror or str(error)).lower()}",
                "take away what is in the way there, or set XDG_RUNTIME_DIR to a folder of your own",
            ) from error
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="control", daemon=True)
        self._acceptor.start()

    def look_after(self) -> None:
        """Listen anew when somebody took the socket's file away, such as whoever cleans temporary folders.

        Raises:
            UserError: As `start`.
            BlockedError: As `start`.
        """
        if _identity(self._path) != self._identity:
            self._close()
            self.start()

    def stop(self, timeout_s: float) -> None:
        """Stop listening, and wait for requests under way: at most `timeout_s` seconds for all together."""
        deadline = time.monotonic() + timeout_s
        if self._listener is not None:
            self._close()
            self._acceptor.join(timeout_s)
        with self._lock:
            under_way = list(self._under_way)
            for connection in self._under_way.values():
                with contextlib.suppress(OSError):  # the asker went away
                    connection.shutdown(socket.SHUT_RD)  # who has not asked yet is not waited for
        for thread in under_way:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if listener is not self._listener:
                    return  # closed
                time.sleep(_PAUSE_S)  # no descriptor is left, say
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        if _peer(connection).uid not in (os.geteuid(), 0):
            connection.close()
            return
        if not self._places.acquire(blocking=False):
            _refuse(connection, "the daemon has too many requests to answer")
            return
        thread = threading.Thread(target=self._serve, args=(connection,), name="request", daemon=True)
        try:
            with self._lock:  # which the thread needs to take itself out again
                thread.start()
                self._under_way[thread] = connection
        except RuntimeError:
            self._places.release()
            _refuse(connection, "the daemon cannot start another thread")

    def _serve(self, connection: socket.socket) -> None:
        teller = _Teller(connection)
        try:
            answer = self._answer(connection, teller)
            connection.settimeout(REQUEST_TIMEOUT_S)
            connection.sendall(teller.end() + line(answer))
        except OSError:
            pass  # the asker went away, or never asked; what was asked for is done all the same
        finally:
            with self._lock:
                del self._under_way[threading.current_thread()]
            connection.close()
            self._places.release()

    def _answer(self, connection: socket.socket, monitor: Monitor) -> Document:
        try:
            request = _request(connection)
        except UserError as error:
            return {"error": error_document(error)}
        try:
            _require_same(request.get("protocol"))
            return {"result": self._handler(request, monitor)}
        except LfssyncError as error:
            return {"error": error_document(error)}
        except Exception as error:  # noqa: BLE001  a bug is told to whoever asked, and logged
            _log.exception("a request failed")
            told = LfssyncError(f"internal: {type(error).__name__}: {error}", "please report it with the daemon's log")
            return {"error": error_document(told)}


class _Teller:
    """Tells the asker about progress, from any thread, without ever waiting for it.

    What does not fit into the socket now is left out. The kernel takes a short line whole or not at all, but does not
    promise to; what it may have left of one is owed, and goes first. A pass that goes on may still tell when the answer
    is sent, which nothing may come between.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._owed = b""
        self._connection = connection
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._has_ended = False

    def __call__(self, event: Plan | Progress) -> None:
        now = time.monotonic()
        is_step = isinstance(event, Progress) and event.done_bytes < event.size_bytes
        if is_step and now < self._next_at:
            return
        told = line({"progress": event_document(event)})
        with self._lock, contextlib.suppress(OSError):  # nobody reads, now or any more; the work goes on
            if self._has_ended:
                return
            self._next_at = now + _TELL_EVERY_S
            if self._owed:
                self._owed = self._owed[self._connection.send(self._owed) :]
            if not self._owed:
                self._owed = told[self._connection.send(told) :]

    def end(self) -> bytes:
        """Tell nothing any more; gives what is still owed."""
        with self._lock:
            self._has_ended = True
            return self._owed


def socket_of(places: Places) -> Path:
    """Where a daemon of these places listens: one that was given no runtime folder, as by the system, elsewhere."""
    below = places.without_runtime_dir().control_socket
    return below if os.path.exists(below) and not os.path.exists(places.control_socket) else places.control_socket


def ask(path: Path, request: Mapping[str, object], monitor: Monitor, timeout_s: float | None) -> Document | None:
    """Send a request to the daemon.

    Args:
        path: The daemon's socket.
        request: The command and its fields.
        monitor: Receives the progress that the daemon tells.
        timeout_s: How long it may take altogether, in seconds; None waits as long as the daemon lives.

    Returns:
        Its result, or None when no daemon of this user listens there.

    Raises:
        LfssyncError: What the daemon answered, as the same kind of error.
        TransientError: It ended, or did not answer in time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    connection = _connect(path)
    if connection is None:
        return None
    with connection:
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused; the answer says why
                connection.sendall(line({"protocol": PROTOCOL, **request}))
            for answer in _lines(connection, ANSWER_BYTES, deadline):
                if "progress" in answer:
                    monitor(event_of(answer["progress"]))
                elif "error" in answer:
                    raise error_of(answer["error"])
                else:
                    result: Document = answer["result"]
                    return result
        except TimeoutError as error:
            raise TransientError(f"the daemon was not done within {timeout_s:g} s", "wait longer") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TransientError(
                f"the daemon did not answer properly: {error}", "look at its log, or restart it"
            ) from error
    raise TransientError("the daemon ended before it answered", "look at its log, start it again")


def _connect(path: Path) -> socket.socket | None:
    """A connection to a daemon of this user, or None."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIMEOUT_S)
    while True:
        try:
            connection.connect(str(path))
            if _peer(connection).uid == os.geteuid():
                return connection
        except BlockingIOError:  # so many come at once that the kernel does not let more of them queue
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
                continue
        except OSError:
            pass  # nobody listens there
        connection.close()
        return None


class _Peer(NamedTuple):
    """Who is at the other end, as the kernel tells."""

    pid: int
    uid: int


def _peer(connection: socket.socket) -> _Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return _Peer(pid, uid)


def _listen(path: Path) -> socket.socket:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UserError(f"{folder} is not a folder of your own", "take it away, or set XDG_RUNTIME_DIR")
    if status.st_mode & 0o077:
        raise UserError(f"{folder} is open to other users", f"close it: chmod 700 {folder}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
            there.settimeout(CONNECT_TIMEOUT_S)
            if there.connect_ex(str(path)) == 0:
                pid = _peer(there).pid
                raise BlockedError(
                    f"another lfssync daemon (process {pid}) listens at {path}",
                    f"end it first: kill {pid}, or give this one an XDG_RUNTIME_DIR of its own",
                )
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse(connection: socket.socket, message: str) -> None:
    with connection, contextlib.suppress(OSError):
        connection.send(line({"error": error_document(TransientError(message, "try again in a moment"))}))


def _request(connection: socket.socket) -> Document:
    try:
        request = next(_lines(connection, REQUEST_BYTES, time.monotonic() + REQUEST_TIMEOUT_S), None)
    except (ValueError, RecursionError) as error:
        raise UserError(f"a request is one JSON object a line: {error}", "use the lfssync command") from error
    finally:
        connection.settimeout(0)
    if request is None:
        raise ConnectionAbortedError
    return request


def _require_same(protocol: object) -> None:
    """Refuse a command that would be misunderstood, in words that it shows whatever its version is."""
    if protocol == PROTOCOL:
        return
    if isinstance(protocol, int) and protocol > PROTOCOL:
        message, remedy = "is older than this command", "restart it"
    elif isinstance(protocol, int):
        message, remedy = "is newer than this command", "use the lfssync that the daemon was started with"
    else:
        message, remedy = "is of another version than this command", "restart it"
    raise UserError(f"the running daemon (lfssync {__version__}) {message}", remedy)


def _lines(connection: socket.socket, limit_bytes: int, deadline: float | None) -> Iterator[Document]:
    """The JSON objects that come in, until the other end closes.

    Raises:
        OSError: The connection broke, or the deadline (monotonic seconds) passed.
        ValueError: What came is no JSON object, or longer than `limit_bytes`.
    """
    buffer = bytearray()
    searched = 0
    while True:
        end = buffer.find(b"\n", searched)
        if end >= 0:
            document = json.loads(bytes(buffer[:end]))
            if not isinstance(document, dict):
                raise ValueError("it is no JSON object")
            del buffer[: end + 1]
            searched = 0
            yield document
            continue
        searched = len(buffer)
        if searched > limit_bytes:
            raise ValueError(f"it is longer than {limit_bytes} bytes")
        connection.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        data = connection.recv(REQUEST_BYTES)
        if not data:
            return
        buffer += data
