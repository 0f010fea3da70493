"""A small LFS server on the loopback that keeps its objects in a folder, laid out as git-lfs does, and can misbehave.

It answers the batch API with the basic transfer and nothing else, and decides by name and size like most servers.
`interfere` answers in its place. The one thing to know: what arrives is streamed into a file beside the objects, and
becomes an object only when all of it is there.

Source: git-lfs docs/api/batch.md, docs/api/basic-transfers.md.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.servers import githttp

_JSON = "application/vnd.git-lfs+json"


class Asked(NamedTuple):
    """A request that came in; the body of a POST is JSON, that of a PUT is not read yet."""

    method: str
    path: str
    headers: dict[str, str]
    document: dict[str, Any]


class Reply(NamedTuple):
    """An answer that a test wants instead of the real one; a document is made JSON."""

    status: int
    document: Any = None
    headers: Mapping[str, str] = MappingProxyType({})


def _no_reply(_: Asked) -> Reply | None:
    return None


@dataclass
class LfsServer:
    """A running server; a test may change it at any time.

    Args:
        objects: Where the objects lie.
        asked: What came in, in order.
        requests: Their methods and paths.
        refs: The refs that batches were for.
        put_status: What it answers to an upload that was well received; above 299 it keeps nothing.
        forgets: It says that it took an object, and drops it.
        batch_status: What it answers to a batch; above 299 without content.
        is_checking: Whether it looks at what it gets.
        is_verifying: Whether it wants to be asked afterwards.
        knows_ranges: Whether it can give the rest of an object.
        link: What goes into each action besides its address.
        ahead_s: How far its clock is ahead.
        links_at: Where links lead, when that is not the server's own address.
        interfere: Says for each request what shall be answered instead; None for the real answer.
    """

    objects: Path
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    put_status: int = 200
    forgets: bool = False
    batch_status: int = 200
    is_checking: bool = True
    is_verifying: bool = False
    knows_ranges: bool = True
    link: dict[str, Any] = field(default_factory=dict)
    ahead_s: float = 0.0
    links_at: str = ""
    interfere: Callable[[Asked], Reply | None] = _no_reply

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [(one.method, one.path) for one in self.asked]

    def count(self, method: str, part: str = "") -> int:
        """How many requests there were of a method, with something in their path."""
        return sum(one.method == method and part in one.path for one in self.asked)

    @property
    def incoming(self) -> Path:
        """Where what arrives lies until all of it is there."""
        return self.objects.parent / f"{self.objects.name}-incoming"

    def file(self, oid: str) -> Path:
        """Where an object lies."""
        return self.objects / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int:
        """Its size, -1 when it is not there."""
        return self.file(oid).stat().st_size if self.file(oid).is_file() else -1


@contextmanager
def serving(objects: Path, **settings: Any) -> Iterator[LfsServer]:
    """Serve until the block ends."""
    server = LfsServer(objects, **settings)
    with githttp.serving(_Server(server), "lfs server") as http:
        server.address = http.address
        yield server


class _Server(githttp.Server):
    def __init__(self, lfs: LfsServer) -> None:
        super().__init__(_Handler)
        self.lfs = lfs


class _Handler(githttp.Handler):
    server: _Server

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.lfs.ahead_s)

    def handle_request(self) -> None:
        lfs = self.server.lfs
        document = json.loads(self.body()) if self.command == "POST" else {}
        asked = Asked(self.command, self.path, dict(self.headers.items()), document)
        lfs.asked.append(asked)
        oid = self.path.rpartition("/")[2]
        if reply := lfs.interfere(asked):
            self.drain()
            kinds = dict(reply.headers)
            kind = kinds.pop("Content-Type", _JSON)
            body = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document or {}).encode()
            self.answer(reply.status, body, kind, *kinds.items())
        elif self.command == "POST" and self.path.endswith("/info/lfs/objects/batch"):
            self._batch(document)
        elif self.command == "POST" and self.path.startswith("/verify/"):
            self._json(200 if lfs.size(document["oid"]) == document["size"] else 422)
        elif self.command == "PUT" and self.path.startswith("/objects/"):
            self._put(oid)
        elif self.command == "GET" and self.path.startswith("/objects/") and lfs.file(oid).is_file():
            self._get(lfs.file(oid))
        else:
            self.drain()
            self._json(404)

    def drain(self) -> None:
        if self.command != "POST":  # whose body was read
            super().drain()

    def _json(self, status: int, document: object = None) -> None:
        self.answer(status, json.dumps(document or {}).encode(), _JSON)

    def _batch(self, asked: dict[str, Any]) -> None:
        lfs = self.server.lfs
        if lfs.batch_status > 299:
            self._json(lfs.batch_status)
            return
        lfs.refs.append(asked.get("ref", {}).get("name", ""))
        rows = [self._row(asked["operation"], one["oid"], one["size"]) for one in asked["objects"]]
        self._json(200, {"transfer": "basic", "objects": rows})

    def _row(self, operation: str, oid: str, size: int) -> dict[str, object]:
        lfs = self.server.lfs
        row: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
        there = lfs.size(oid) == size
        if operation == "download" and not there:
            row["error"] = {"code": 404, "message": "not here"}
        elif operation == "download" or not there:
            at = lfs.links_at or lfs.address
            actions = {operation: {"href": f"{at}/objects/{oid}", **lfs.link}}
            if operation == "upload" and lfs.is_verifying:
                actions["verify"] = {"href": f"{at}/verify/{oid}", **lfs.link}
            row["actions"] = actions
        return row

    def _put(self, oid: str) -> None:
        lfs = self.server.lfs
        if "Content-Length" not in self.headers:  # a head that was cut off looks like one that has ended
            raise ConnectionResetError
        hashed = hashlib.sha256()
        lfs.incoming.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=lfs.incoming, delete=False) as file:
            try:
                for block in self.blocks():
                    if lfs.is_checking:
                        hashed.update(block)
                    if lfs.is_checking or not lfs.forgets:
                        file.write(block)
                file.flush()
                if lfs.is_checking and hashed.hexdigest() != oid:
                    self._json(422)
                    return
                if lfs.put_status < 300 and not lfs.forgets:
                    lfs.file(oid).parent.mkdir(parents=True, exist_ok=True)
                    Path(file.name).rename(lfs.file(oid))
                self._json(lfs.put_status)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def _get(self, file: Path) -> None:
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not self.server.lfs.knows_ranges:
            asked = None
        start, end = (int(asked[1]), min(int(asked[2] or size), size - 1)) if asked else (0, size - 1)
        if asked and start >= size:
            self._json(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        left = end - start + 1
        with file.open("rb") as content:
            content.seek(start)
            while block := content.read(min(githttp.BLOCK_BYTES, left)):
                left -= len(block)
                self.wfile.write(block)
