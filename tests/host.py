"""A git host on the loopback: smart HTTP through git's own `http-backend`, the LFS batch API, and one account.

It does what real hosts do for a stock client, in as few words as possible, and stores LFS objects where a bare
repository on disk has them. The one thing to know: whoever sends no login gets 401, for git and for LFS alike.

Source: git-lfs docs/api/batch.md, docs/api/basic-transfers.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.githttp import Handler, Server, serving

USER, PASSWORD = "me", "correct-horse"

_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_LFS_JSON = "application/vnd.git-lfs+json"


class _Server(Server):
    def __init__(self, root: Path) -> None:
        super().__init__(_Handler)
        self.root = root


class _Handler(Handler):
    server: _Server

    def handle_request(self) -> None:
        path, _, query = self.path.partition("?")
        repository, is_lfs, rest = path.partition("/info/lfs/")
        if self.headers.get("Authorization") != _AUTHORIZATION:
            self.drain()
            self.answer(401, b"", "text/plain", ("WWW-Authenticate", 'Basic realm="git"'))
        elif not is_lfs:
            self.answer_git(self.server.root, path, query, USER)
        elif rest == "objects/batch":
            self._batch(repository, json.loads(self.body()))
        elif rest.startswith("content/"):
            self._content(repository, rest.removeprefix("content/"), self.body())
        else:
            self.drain()
            self.answer(404, b'{"message": "not here"}', _LFS_JSON)

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
        self.answer(200, json.dumps({"transfer": "basic", "objects": objects}).encode(), _LFS_JSON)

    def _content(self, repository: str, oid: str, body: bytes) -> None:
        place = self._place(repository, oid)
        if self.command == "GET":
            self.answer(200, place.read_bytes(), "application/octet-stream")
        elif hashlib.sha256(body).hexdigest() != oid:
            self.answer(422, b'{"message": "the content is not what its name says"}', _LFS_JSON)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            self.answer(200, b"", _LFS_JSON)

    def _place(self, repository: str, oid: str) -> Path:
        name = repository.strip("/").removesuffix(".git")
        return self.server.root / name / "lfs" / "objects" / oid[:2] / oid[2:4] / oid


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serves the bare repositories below a folder; gives the host's address, such as `http://127.0.0.1:4711`."""
    with serving(_Server(root), "git host") as server:
        yield server.address
