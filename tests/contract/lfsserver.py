"""A small LFS server on the loopback that keeps its objects in a folder, laid out as git-lfs does, and can misbehave.

It answers the batch API with the basic transfer and nothing else, decides by name and size like most servers, and
hashes what it gets. Source: git-lfs docs/api/batch.md, docs/api/basic-transfers.md.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_JSON = "application/vnd.git-lfs+json"


@dataclass
class LfsServer:
    """A running server.

    Args:
        objects: Where the objects lie.
        requests: What was asked for: method and path.
        put_status: What it answers to an upload that was well received; above 299 it keeps nothing.
        forgets: It says that it took an object, and drops it.
        batch_status: What it answers to a batch; above 299 without content.
    """

    objects: Path
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    put_status: int = 200
    forgets: bool = False
    batch_status: int = 200

    def file(self, oid: str) -> Path:
        """Where an object lies."""
        return self.objects / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int:
        """Its size, -1 when it is not there."""
        return self.file(oid).stat().st_size if self.file(oid).is_file() else -1


@contextmanager
def serving(objects: Path) -> Iterator[LfsServer]:
    """Serve until the block ends."""
    server = LfsServer(objects)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, name="lfs server")
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _handler(server: LfsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _answer(self, status: int, body: bytes = b"{}", kind: str = _JSON) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            server.requests.append((self.command, self.path))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            asked = json.loads(self._body())
            if not self.path.endswith("/info/lfs/objects/batch"):
                return self._answer(404)
            if server.batch_status > 299:
                return self._answer(server.batch_status)
            server.refs.append(asked.get("ref", {}).get("name", ""))
            rows = [self._row(asked["operation"], one["oid"], one["size"]) for one in asked["objects"]]
            return self._answer(200, json.dumps({"transfer": "basic", "objects": rows}).encode())

        def _row(self, operation: str, oid: str, size: int) -> dict[str, object]:
            row: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
            there = server.size(oid) == size
            if operation == "download" and not there:
                row["error"] = {"code": 404, "message": "not here"}
            elif operation == "download" or not there:
                row["actions"] = {operation: {"href": f"{server.address}/objects/{oid}"}}
            return row

        def do_PUT(self) -> None:
            body = self._body()
            oid = self.path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                return self._answer(422)
            if server.put_status < 300 and not server.forgets:
                server.file(oid).parent.mkdir(parents=True, exist_ok=True)
                server.file(oid).write_bytes(body)
            return self._answer(server.put_status)

        def do_GET(self) -> None:
            self._body()
            oid = self.path.rpartition("/")[2]
            if self.path.startswith("/objects/") and server.file(oid).is_file():
                return self._answer(200, server.file(oid).read_bytes(), "application/octet-stream")
            return self._answer(404)

    return Handler
