"""The LFS servers of the stand-ins of GitHub, GitLab and Gitea, with what is particular about each.

Gitea hashes what it gets, answers 415 to another `Accept`, has empty or no `actions` and dates in the year 1, and hands
the login back in its headers; GitLab has no verify and hints at chunked uploads; GitHub finds out at verify that an
object is too large. The one thing to know: the object counts from the put on, the verify only asks about it.

Source: go-gitea/gitea, services/lfs/server.go; GitLab, lfs_api_controller.rb; GitHub Docs, about Git LFS.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.servers.forges import Forge, ForgeHandler, Person

LFS_JSON = "application/vnd.git-lfs+json"
ZERO_DATE = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class LfsOfForge:
    """The LFS server of one repository."""

    handler: ForgeHandler
    forge: Forge
    name: str

    def step(self, rest: str) -> tuple[str, Callable[[], None]]:
        """What is asked for below `/info/lfs/`, or GitLab's `/gitlab-lfs/`."""
        words = rest.split("/")
        match self.handler.command, *words:
            case "POST", "objects", "batch":
                return "batch", self._batch
            case "POST", "verify":
                return "verify", self._verify
            case "PUT", "objects", oid, size:
                return "put", lambda: self._put(oid, int(size))
            case "GET", "objects", oid, *_:
                return "download", lambda: self._download(oid)
            case _, "locks", *more:
                return "locks", lambda: self._locks(more)
        return "unknown", self.handler.nothing

    def _say(self, status: int, document: object, *headers: tuple[str, str]) -> None:
        self.handler.answer(status, json.dumps(document).encode(), LFS_JSON, *headers)

    def _refuse(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        if not self.handler.is_read:
            self.handler.drain()
        self._say(status, {"message": message}, *headers)

    def _place(self, oid: str) -> Path:
        return self.forge.repositories[self.name].object(oid)

    def _size(self, oid: str) -> int:
        return self.forge.repositories[self.name].object_size(oid)

    def _admitted(self, *, writes: bool) -> Person | None:
        """Who asks; None after a refusal was answered."""
        person = self.handler.person_of_git()
        if person is None:
            self._refuse(401, "Credentials needed", ("LFS-Authenticate", 'Basic realm="git lfs"'))
        elif self.name not in self.forge.repositories:
            self._refuse(404, "Not found")
        elif writes and not person.writes:
            self._refuse(403, "You may not write here")
        else:
            return person
        return None

    def _batch(self) -> None:
        accept = self.handler.headers.get("Accept", "").partition(";")[0]
        if self.handler.kind == "gitea" and accept != LFS_JSON:
            self._refuse(415, "Unsupported Media Type")
            return
        try:
            asked = json.loads(self.handler.body())
            uploads = {"upload": True, "download": False}[asked["operation"]]
        except (ValueError, KeyError):
            self._refuse(400, "Bad request")
            return
        if self._admitted(writes=uploads) is None:
            return
        if self.handler.kind == "gitlab" and not asked.get("objects"):
            self._refuse(404, "Not found.")
            return
        if self.handler.kind == "gitlab" and uploads and self.forge.is_read_only:
            self._refuse(403, "You cannot write to this read-only GitLab instance.")
            return
        row = self._to_upload if uploads else self._to_download
        reply: dict[str, Any] = {"objects": [row(one["oid"], one["size"]) for one in asked["objects"]]}
        if self.handler.kind == "github":
            reply["transfer"] = "basic"
        self._say(200, reply)

    def _to_upload(self, oid: str, size: int) -> dict[str, Any]:
        row: dict[str, Any] = {"oid": oid, "size": size}
        login = {"Authorization": self.handler.headers["Authorization"]}
        base = f"{self.forge.address}/{self.name}.git"
        match self.handler.kind:
            case "gitea" if size > self.forge.object_limit_bytes:
                return row | {"actions": None, "error": {"code": 422, "message": "Size must be less than the limit"}}
            case "gitea" if self._size(oid) == size:
                return row | {"actions": {}}
            case _ if self._size(oid) == size:
                return row
            case "gitea":
                put = login | {"Transfer-Encoding": "chunked"}
                verify = login | {"Accept": LFS_JSON}
                return row | {
                    "actions": {
                        "upload": _link(f"{base}/info/lfs/objects/{oid}/{size}", put, expires_at=ZERO_DATE),
                        "verify": _link(f"{base}/info/lfs/verify", verify, expires_at=ZERO_DATE),
                    }
                }
            case "gitlab":
                kind = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
                return row | {"actions": {"upload": _link(f"{base}/gitlab-lfs/objects/{oid}/{size}", login | kind)}}
        return row | {
            "authenticated": True,
            "actions": {
                "upload": _link(f"{base}/info/lfs/objects/{oid}/{size}", login, expires_in=3600),
                "verify": _link(f"{base}/info/lfs/verify", login, expires_in=3600),
            },
        }

    def _to_download(self, oid: str, size: int) -> dict[str, Any]:
        row: dict[str, Any] = {"oid": oid, "size": size}
        is_gitea = self.handler.kind == "gitea"
        if self._size(oid) != size:
            missing = {"error": {"code": 404, "message": "Object does not exist"}}
            return row | missing | ({"actions": None} if is_gitea else {})
        login = {"Authorization": self.handler.headers["Authorization"]}
        folder = "gitlab-lfs" if self.handler.kind == "gitlab" else "info/lfs"
        dates = {"expires_at": ZERO_DATE} if is_gitea else {}
        href = f"{self.forge.address}/{self.name}.git/{folder}/objects/{oid}"
        return row | {"actions": {"download": _link(href, login, **dates)}}

    def _put(self, oid: str, size: int) -> None:
        if self._admitted(writes=True) is None:
            return
        place = self._place(oid)
        place.parent.mkdir(parents=True, exist_ok=True)
        incoming = place.with_name(uuid.uuid4().hex)
        digest, taken = hashlib.sha256(), 0
        with open(incoming, "wb") as out:
            for block in self.handler.blocks():
                digest.update(block)
                taken += len(block)
                out.write(block)
        self.handler.is_read = True
        if digest.hexdigest() != oid or taken != size:
            incoming.unlink()
            self._refuse(422, "The content is not what its name says")
            return
        incoming.replace(place)
        self._say(200, {})

    def _verify(self) -> None:
        asked = json.loads(self.handler.body())
        if self._admitted(writes=True) is None:
            return
        if self.handler.kind == "github" and asked["size"] > self.forge.object_limit_bytes:
            self._refuse(422, "Size must be less than or equal to 2147483648")
        elif self._size(asked["oid"]) != asked["size"]:
            self._refuse(404, "Not found")
        else:
            self._say(200, {})

    def _download(self, oid: str) -> None:
        if self._admitted(writes=False) is None:
            return
        if self._size(oid) < 0:
            self._refuse(404, "Not found")
        else:
            self.handler.answer(200, self._place(oid).read_bytes(), "application/octet-stream")

    def _locks(self, more: list[str]) -> None:
        given = json.loads(self.handler.body() or b"{}")
        person = self._admitted(writes=self.handler.command == "POST")
        if person is None:
            return
        locks = self.forge.locks
        match self.handler.command, *more:
            case "GET", *_:
                self._say(200, {"locks": [_lock(path, owner) for path, owner in locks.items()]})
            case ("POST",):
                if given["path"] in locks:
                    lock = _lock(given["path"], locks[given["path"]])
                    self._say(409, {"lock": lock, "message": "already created lock"})
                else:
                    locks[given["path"]] = person.name
                    self._say(201, {"lock": _lock(given["path"], person.name)})
            case "POST", "verify":
                ours = [_lock(path, owner) for path, owner in locks.items() if owner == person.name]
                theirs = [_lock(path, owner) for path, owner in locks.items() if owner != person.name]
                self._say(200, {"ours": ours, "theirs": theirs})
            case "POST", number, "unlock":
                path = next((path for path in locks if _lock(path, "")["id"] == number), None)
                if path is None or (locks[path] != person.name and not given.get("force")):
                    self._refuse(403, "You must own the lock, or force")
                else:
                    self._say(200, {"lock": _lock(path, locks.pop(path))})
            case _:
                self._refuse(404, "Not found")


def _link(href: str, header: dict[str, str], **dates: object) -> dict[str, Any]:
    return {"href": href, "header": header, **dates}


def _lock(path: str, owner: str) -> dict[str, Any]:
    number = hashlib.sha256(path.encode()).hexdigest()[:8]
    return {"id": number, "path": path, "locked_at": "2026-01-02T03:04:05Z", "owner": {"name": owner}}
