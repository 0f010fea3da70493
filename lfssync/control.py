"""The unix socket between the command line and the daemon: one JSON document a line, one request a connection.

Used by `daemon` (serves) and `operations` (asks). The one thing to know: whoever connects is untrusted until the
kernel says it is the same user; lines, connections and waiting are bounded, and a request of another version gets a
clear answer.

Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lfssync.errors import AuthError, BlockedError, LfssyncError, NotDoneError, TransientError, UserError
from lfssync.model import Deferred, Monitor, PassResult, Plan, Progress, Receipt, Release, State

PROTOCOL = 1
LINE_BYTES = 1 << 16
CONNECTIONS = 16
CONNECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
_BACKLOG = 16

Document = dict[str, Any]
Handler = Callable[[Document, Monitor], Document]
"""Serves one request: takes it and a monitor, returns the result or raises one of our errors."""

_ERRORS = {kind.kind: kind for kind in (LfssyncError, UserError, AuthError, TransientError, BlockedError, NotDoneError)}


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
        self._thread: threading.Thread | None = None
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._busy: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to listen. A socket left behind by a daemon that died is replaced.

        Raises:
            UserError: The folder of the socket is not ours alone.
        """
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise UserError(f"{folder} is open to other users", f"close it: chmod 700 {folder}")
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._listener.listen(_BACKLOG)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop listening and wait for requests under way, at most `timeout_s` seconds each."""
        if self._listener is None or self._thread is None:
            return
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout_s)
        with self._lock:
            busy = list(self._busy)
        for thread in busy:
            thread.join(timeout_s)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed by stop()
            if not _is_same_user(connection) or not self._places.acquire(blocking=False):
                connection.close()
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="request", daemon=True)
            with self._lock:
                self._busy.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_TIMEOUT_S)
                _send(connection, self._answer(connection))
        except OSError:
            pass  # the asker went away; what was asked for is done all the same
        finally:
            with self._lock:
                self._busy.discard(threading.current_thread())
            self._places.release()

    def _answer(self, connection: socket.socket) -> Document:
        try:
            request = next(_lines(connection), None)
            if request is None or request.get("protocol") != PROTOCOL:
                raise UserError("the running daemon is of another version", "restart it")
            return {"result": self._handler(request, lambda event: _tell(connection, event))}
        except LfssyncError as error:
            return {"error": {"kind": error.kind, "message": error.message, "remedy": error.remedy}}


def ask(path: Path, request: Mapping[str, object], monitor: Monitor, timeout_s: float | None) -> Document | None:
    """Send a request to the daemon.

    Args:
        path: The daemon's socket.
        request: The command and its fields.
        monitor: Receives the progress that the daemon tells.
        timeout_s: How long the daemon may be silent, in seconds; None waits as long as it lives.

    Returns:
        Its result, or None when no daemon listens there.

    Raises:
        LfssyncError: What the daemon answered, as the same kind of error.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT_S)
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    with connection:
        try:
            connection.settimeout(timeout_s)
            _send(connection, {"protocol": PROTOCOL, **request})
            for line in _lines(connection):
                if "progress" in line:
                    monitor(_event(line["progress"]))
                elif "error" in line:
                    told = line["error"]
                    raise _ERRORS.get(told["kind"], LfssyncError)(told["message"], told["remedy"])
                else:
                    result: Document = line["result"]
                    return result
        except (OSError, ValueError, KeyError) as error:
            raise TransientError(
                f"the daemon did not answer properly: {error}", "look at its log, or restart it"
            ) from error
    raise TransientError("the daemon ended before it answered", "look at its log, start it again")


def _is_same_user(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return bool(uid in (os.geteuid(), 0))


def _lines(connection: socket.socket) -> Iterator[Document]:
    buffer = b""
    while True:
        line, newline, rest = buffer.partition(b"\n")
        if newline:
            buffer = rest
            document = json.loads(line)
            if not isinstance(document, dict):
                raise UserError("a request is a JSON object", "use the lfssync command")
            yield document
            continue
        if len(buffer) > LINE_BYTES:
            raise UserError("a request is too long", "use the lfssync command")
        data = connection.recv(LINE_BYTES)
        if not data:
            return
        buffer += data


def _send(connection: socket.socket, document: Mapping[str, object]) -> None:
    connection.sendall(json.dumps(document).encode() + b"\n")


def _tell(connection: socket.socket, event: Plan | Progress) -> None:
    with contextlib.suppress(OSError):  # nobody watches any more; the work goes on
        _send(connection, {"progress": _event_document(event)})


def _event_document(event: Plan | Progress) -> Document:
    if isinstance(event, Plan):
        return {"state": event.state.value, "files": event.files, "size": event.size_bytes}
    return {
        "state": event.state.value,
        "path": os.fsdecode(event.path),
        "done": event.done_bytes,
        "size": event.size_bytes,
    }


def _event(document: Document) -> Plan | Progress:
    state = State(document["state"])
    if "path" in document:
        return Progress(state, os.fsencode(document["path"]), document["done"], document["size"])
    return Plan(state, document["files"], document["size"])


def pass_document(result: PassResult) -> Document:
    """A pass result as it travels over the socket."""
    deferred = [
        {"path": os.fsdecode(one.path), "reason": one.reason, "size_bytes": one.size_bytes} for one in result.deferred
    ]
    return asdict(result) | {"deferred": deferred}


def pass_result(document: Document) -> PassResult:
    """The inverse of `pass_document`."""
    receipt = document["receipt"]
    fields = document | {
        "receipt": Receipt(**receipt) if receipt else None,
        "deferred": tuple(
            Deferred(os.fsencode(one["path"]), one["reason"], one["size_bytes"]) for one in document["deferred"]
        ),
        "warnings": tuple(document["warnings"]),
    }
    return PassResult(**fields)


def release_document(release: Release) -> Document:
    """A release as it travels over the socket."""
    return asdict(release)


def release_of(document: Document) -> Release:
    """The inverse of `release_document`."""
    return Release(document["version"], document["commit"], Receipt(**document["receipt"]))
