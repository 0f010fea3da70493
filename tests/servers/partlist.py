"""A host without logins: git, locks, and an LFS server that speaks `multipart-basic` with all its freedoms.

giftless itself is in `giftless`; this one does what its storages may do but ours does not: steps that are missing,
other checksums, parts that get lost. The one thing to know: it puts together whatever it was sent, without a look at
it, so a client that sends a mix of two states gets it stored.

Source: giftless docs/source/multipart-spec.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.githttp import serving
from tests.servers.troubles import Seen, TroubledHandler, TroubledServer, Troubles

_JSON = "application/vnd.git-lfs+json"
Row = dict[str, Any]


@dataclass
class PartList:
    """A running server.

    Args:
        root: The folder with bare repositories; all of them share the LFS objects.
        address: Where it is; a repository is at `<address>/<path below root>`.
        part_bytes: How large a part is.
        want_digest: What it wants to know of each part.
        steps_left_out: Of `init`, `commit`, `abort` and `verify`.
        offers_nothing: It answers without actions, whatever it has.
        speaks_basic: It knows `basic`, too.
        loses_at_commit: Where parts begin that are gone at the next commit.
        changes_part: What is said instead about the second part.
        objects: What is complete, by oid.
        parts: What is not, by oid and place.
        aborted: The uploads that were given up.
        locks: What is answered to the question for locks, page by page; none means that there are no locks here.
        coming: The threads that take a part in now.
        troubles: What goes wrong at `batch`, `init`, `part`, `commit`, `abort`, `verify`, `locks`.
        seen: All requests.
    """

    root: Path
    address: str = ""
    part_bytes: int = 1 << 20
    want_digest: str = ""
    steps_left_out: frozenset[str] = frozenset()
    offers_nothing: bool = False
    speaks_basic: bool = True
    loses_at_commit: set[int] = field(default_factory=set)
    changes_part: Row = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    aborted: list[str] = field(default_factory=list)
    locks: list[Row] = field(default_factory=list)
    coming: set[int] = field(default_factory=set)
    assembling: threading.Lock = field(default_factory=threading.Lock)
    troubles: Troubles = field(default_factory=Troubles)
    seen: list[Seen] = field(default_factory=list)

    def steps(self, step: str) -> list[Seen]:
        """What was asked of one step."""
        return [one for one in self.seen if one.step == step]

    def whole(self, oid: str) -> bytes:
        """The parts of an object as they are now, one after the other."""
        return b"".join(part for _, part in sorted(self.parts.get(oid, {}).items()))


class _Server(TroubledServer):
    def __init__(self, state: PartList) -> None:
        super().__init__(_Handler, state.troubles, state.seen)
        self.state = state


@contextmanager
def part_list(root: Path, **settings: Any) -> Iterator[PartList]:
    """Serve the repositories below a folder until the block ends."""
    state = PartList(root, **settings)
    server = _Server(state)
    state.address = server.address
    with serving(server, "part list"):
        yield state


class _Handler(TroubledHandler):
    server: _Server

    def handle_request(self) -> None:
        path, _, query = self.path.partition("?")
        step, _, rest = path.strip("/").partition("/")
        self._words = rest.split("/")
        actions = {"init": self._init, "part": self._part, "put": self._put, "commit": self._commit,
                   "abort": self._abort, "verify": self._verify, "get": self._get}  # fmt: skip
        if path.endswith("/objects/batch"):
            self.play("batch", self._batch)
        elif path.endswith("/locks/verify"):
            self.play("locks", self._locks)
        elif path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack")):
            self.play("git", lambda: self.answer_git(self.server.state.root, path, query, "me"))
        else:
            self.play(step, actions.get(step, self._nothing))

    def _nothing(self) -> None:
        self.drain()
        self._say(404)

    def _locks(self) -> None:
        asked = json.loads(self.body())
        pages = self.server.state.locks
        if not pages:
            return self._say(404, {"message": "there are no locks here"})
        page = int(asked.get("cursor") or 0)
        following = {"next_cursor": str(page + 1)} if page + 1 < len(pages) else {}
        return self._say(200, {"ours": [], "theirs": []} | pages[page] | following)

    def _say(self, status: int, document: object = None) -> None:
        self.answer(status, json.dumps(document or {}).encode(), _JSON)

    def _batch(self) -> None:
        asked = json.loads(self.body())
        known = ("multipart-basic", *(("basic",) if self.server.state.speaks_basic else ()))
        transfer = next((name for name in asked["transfers"] if name in known), None)
        if transfer is None:
            return self._say(422, {"message": "no transfer that is known here"})
        rows = [self._row(asked["operation"], transfer, one["oid"], one["size"]) for one in asked["objects"]]
        return self._say(200, {"transfer": transfer, "objects": rows})

    def _row(self, operation: str, transfer: str, oid: str, size: int) -> Row:
        state, row = self.server.state, {"oid": oid, "size": size, "authenticated": True}
        is_here = len(state.objects.get(oid, b"")) == size
        if operation == "download":
            there = {"actions": {"download": self._action("get", oid)}}
            return row | (there if is_here else {"error": {"code": 404, "message": "not here"}})
        if is_here or (state.offers_nothing and transfer == "multipart-basic"):
            return row
        if transfer == "basic":
            return row | {"actions": {"upload": self._action("put", oid)}}
        taken = state.parts.get(oid)
        lacking = [at for at in range(0, size, state.part_bytes) if at not in (taken or {})]
        more = {"want_digest": state.want_digest} if state.want_digest else {}
        actions: Row = {
            "parts": [
                self._action("part", oid, at, pos=at, size=min(state.part_bytes, size - at), **more) for at in lacking
            ],
            "commit": self._action("commit", oid, size),
            "abort": self._action("abort", oid, method="DELETE"),
            "verify": self._action("verify", oid),
        }  # fmt: skip
        if len(actions["parts"]) > 1:
            actions["parts"][1] |= state.changes_part
        if taken is None:
            actions["init"] = self._action("init", oid)
        return row | {"actions": {name: one for name, one in actions.items() if name not in state.steps_left_out}}

    def _action(self, step: str, *words: object, **more: object) -> Row:
        path = "/".join(map(str, (step, *words)))
        return {"href": f"{self.server.state.address}/{path}?signature=s", "header": {"X-Step": step}, **more}

    def _init(self) -> None:
        self.drain()
        self.server.state.parts.setdefault(self._words[0], {})
        self._say(200)

    def _part(self) -> None:
        coming, me = self.server.state.coming, threading.get_ident()
        coming.add(me)
        try:
            self._take_part(self.body())
        finally:
            coming.discard(me)

    def _take_part(self, content: bytes) -> None:
        oid, at = self._words[0], int(self._words[1])
        taken = self.server.state.parts
        if "init" in self.server.state.steps_left_out:
            taken.setdefault(oid, {})
        if oid not in taken:
            return self._say(404)
        wanted = self.server.state.want_digest
        if wanted == "contentMD5":
            right = self.headers["Content-MD5"] == _b64(hashlib.md5(content).digest())
        else:
            right = not wanted or self.headers["Digest"] == f"SHA-256={_b64(hashlib.sha256(content).digest())}"
        if not right:
            return self._say(400, {"message": "another checksum"})
        with self.server.state.assembling:  # else a thread that saw fewer parts may have the last word
            taken[oid][at] = content
            if "commit" in self.server.state.steps_left_out:
                self.server.state.objects[oid] = self.server.state.whole(oid)
        return self._say(200)

    def _put(self) -> None:
        self.server.state.objects[self._words[0]] = self.body()
        self._say(200)

    def _commit(self) -> None:
        self.drain()
        state, oid, size = self.server.state, self._words[0], int(self._words[1])
        for at in state.loses_at_commit:
            state.parts[oid].pop(at, None)
        state.loses_at_commit = set()
        content = state.whole(oid)
        if len(content) != size:
            return self._say(409, {"message": "parts are missing"})
        state.objects[oid] = content
        del state.parts[oid]
        return self._say(200)

    def _abort(self) -> None:
        self.drain()
        self.server.state.aborted.append(self._words[0])
        self.server.state.parts.pop(self._words[0], None)
        self._say(204 if self.command == "DELETE" else 405)

    def _verify(self) -> None:
        asked = json.loads(self.body())
        self._say(200 if len(self.server.state.objects.get(asked["oid"], b"")) == asked["size"] else 404)

    def _get(self) -> None:
        content = self.server.state.objects.get(self._words[0])
        self.answer(404 if content is None else 200, content or b"", "application/octet-stream")


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
