"""A git host on the loopback: smart HTTP through git's own `http-backend`, the LFS batch API, and one account.

It does what real hosts do for a stock client, in as few words as possible, and stores LFS objects where a bare
repository on disk has them. The one thing to know: whoever sends no login gets 401, for git and for LFS alike.

Source: git-http-backend(1); git-lfs docs/api/batch.md, docs/api/basic-transfers.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER, PASSWORD = "me", "correct-horse"
TIMEOUT_S = 60.0

_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_LFS_JSON = "application/vnd.git-lfs+json"


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        repository, is_lfs, rest = path.partition("/info/lfs/")
        if self.headers.get("Authorization") != _AUTHORIZATION:
            self._answer(401, b"", "text/plain", ("WWW-Authenticate", 'Basic realm="git"'))
        elif not is_lfs:
            self._git(path, query, body)
        elif rest == "objects/batch":
            self._batch(repository, json.loads(body))
        elif rest.startswith("content/"):
            self._content(repository, rest.removeprefix("content/"), body)
        else:
            self._answer(404, b'{"message": "not here"}', _LFS_JSON)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _batch(self, repository: str, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            is_here = self._place(repository, one["oid"]).exists()
            answer = {"oid": one["oid"], "size": one["size"]}
            link = {"href": f"{self.server.address}{repository}/info/lfs/content/{one['oid']}"}
            if is_here is (asked["operation"] == "download"):
                answer["actions"] = {asked["operation"]: link}
            elif not is_here:
                answer["error"] = {"code": 404, "message": "no such object"}
            objects.append(answer)
        self._answer(200, json.dumps({"transfer": "basic", "objects": objects}).encode(), _LFS_JSON)

    def _content(self, repository: str, oid: str, body: bytes) -> None:
        place = self._place(repository, oid)
        if self.command == "GET":
            self._answer(200, place.read_bytes(), "application/octet-stream")
        elif hashlib.sha256(body).hexdigest() != oid:
            self._answer(422, b'{"message": "the content is not what its name says"}', _LFS_JSON)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            self._answer(200, b"", _LFS_JSON)

    def _place(self, repository: str, oid: str) -> Path:
        name = repository.strip("/").removesuffix(".git")
        return self.server.root / name / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def _git(self, path: str, query: str, body: bytes) -> None:
        variables = {
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": USER,
            "REQUEST_METHOD": self.command,
        }
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
            timeout=TIMEOUT_S,
            check=False,
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        self._answer(status, answer, headers.pop("Content-Type", "text/plain"), *headers.items())

    def _answer(self, status: int, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serves the bare repositories below a folder; gives the host's address, such as `http://127.0.0.1:4711`."""
    server = _Server(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="git host")
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
