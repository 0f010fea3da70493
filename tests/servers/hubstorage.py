"""Where the stand-in of the Hub keeps LFS objects: the batch API, signed addresses on another host, and parts.

`hub` sends everything below `/info/lfs/` here. The one thing to know: an object that was put is only taken in when it
is verified, or completed and verified, as the real one may do; before that the batch goes on asking for it. The storage
looks at no content, so a client that sends wrong bytes of the right size gets them stored.

Source: the sources named in the project's protocol reference for the Hub; S3 for what signed addresses refuse.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.servers.githttp import BLOCK_BYTES
from tests.servers.troubles import Seen, TroubledHandler, TroubledServer, Troubles

if TYPE_CHECKING:
    from tests.servers.hub import Hub, _Handler

LFS_JSON = "application/vnd.git-lfs+json"


class PartKeys(Enum):
    """How the addresses of parts are named."""

    PADDED = auto()  # 00001, as the Hub does
    UNPADDED = auto()  # 1, 10, 2, ...: in the order of their names
    SHUFFLED = auto()  # 3, 1, 2, ...: in no order


@dataclass
class Failures:
    """What goes wrong; all of it may be set at any time.

    Args:
        troubles: What is planned for the steps `batch`, `verify`, `complete`, `locks`, `put`, `part`, `get` and those
            of the interface: `whoami`, `auth-check`, `create`, `validate`, `revision`, `tree`, `refs`, `tag`, `branch`,
            `preupload`, `commit`, `paths`, `resolve`, `git`.
        object_errors: Objects that a batch refuses: oid, code and message.
        batch_edit: Changes the reply to a batch before it is sent.
        said_present: Objects that a batch says it has, whatever is true.
        said_absent: Objects that a batch says it has not.
        part_keys: How parts are named.
        other_keys: More in the header of an upload in parts.
        parts_more: So many parts more or less than there should be.
        chunk_size: What is said instead of the size of a part.
        no_etag_on: The part whose answer has no ETag.
        goes_on: A new batch goes on with the upload in parts that was begun before, instead of another one.
        link_lifetime_s: How long signed addresses are good for.
        put_status: What a successful upload answers.
        verify_header: Whether the verify action brings the login along. Without it a client has to know by itself that
            it may show the host's own address its login; git-lfs does not, huggingface_hub does.
        stores: What becomes of the bytes of a put: it may change the file before it is kept.
    """

    troubles: Troubles = field(default_factory=Troubles)
    object_errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    batch_edit: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    said_present: set[str] = field(default_factory=set)
    said_absent: set[str] = field(default_factory=set)
    part_keys: PartKeys = PartKeys.PADDED
    other_keys: dict[str, str] = field(default_factory=dict)
    parts_more: int = 0
    chunk_size: str = ""
    no_etag_on: int = 0
    goes_on: bool = False
    link_lifetime_s: float = 900.0
    put_status: int = 200
    verify_header: bool = False
    stores: Callable[[Path], None] | None = None
    key: bytes = field(default_factory=lambda: uuid.uuid4().bytes)

    def signed(self, path: str, use: str, **more: object) -> str:
        """An address that is good for one use, for a while."""
        expires = f"{time.time() + self.link_lifetime_s:.3f}"
        words = "".join(f"&{name}={value}" for name, value in more.items())
        return f"{path}?use={use}{words}&expires={expires}&signature={self._signature(path, use, words, expires)}"

    def is_signed(self, target: str, use: str) -> bool:
        """Whether an address is one that `signed` gave, and still good."""
        found = re.fullmatch(r"([^?]*)\?use=(\w+)((?:&\w+=[^&]*)*)&expires=([\d.]+)&signature=(\w+)", target)
        if not found or found[2] != use or float(found[4]) < time.time():
            return False
        return hmac.compare_digest(found[5], self._signature(*found.groups()[:4]))

    def _signature(self, *words: str | Any) -> str:
        return hmac.new(self.key, "|".join(words).encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class LfsOfHub:
    """The LFS server of one repository, below `/info/lfs/`."""

    handler: _Handler
    hub: Hub
    name: str

    def step(self, rest: str, query: str) -> tuple[str, Callable[[], None]]:
        """What is asked for."""
        steps = {"objects/batch": ("batch", self._batch), "objects/verify": ("verify", self._verify)}
        if rest == "complete":
            return "complete", lambda: self._complete({name: values[0] for name, values in parse_qs(query).items()})
        return steps.get(rest, ("locks", self._no_locks))

    def _no_locks(self) -> None:
        raise self.handler.refuse(404, "not here")

    def _say(self, status: int, document: object) -> None:
        self.handler.answer(status, json.dumps(document).encode(), LFS_JSON)

    def _batch(self) -> None:
        handler = self.handler
        asked = json.loads(handler.body())
        if handler.person() is None and asked["operation"] == "upload":
            challenge = ("LFS-Authenticate", 'Basic realm="Authentication required"')
            raise handler.refuse(401, "Invalid username or password.", "", challenge)
        handler.opened(self.name, writes=asked["operation"] == "upload")
        transfers = asked.get("transfers") or ["basic"]
        row = self._to_upload if asked["operation"] == "upload" else self._to_download
        objects = [row(one["oid"], one["size"], transfers) for one in asked["objects"]]
        in_parts = any("chunk_size" in one.get("actions", {}).get("upload", {}).get("header", {}) for one in objects)
        reply = {"transfer": "multipart" if in_parts else "basic", "objects": objects, "hash_algo": "sha256"}
        edit = self.hub.failures.batch_edit
        self._say(200, edit(reply) if edit else reply)

    def _to_upload(self, oid: str, size: int, transfers: list[str]) -> dict[str, Any]:
        failures = self.hub.failures
        row: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        if oid in failures.object_errors:
            code, message = failures.object_errors[oid]
            return row | {"error": {"code": code, "message": message}}
        is_here = self.hub.repositories[self.name].object_size(oid) == size
        if oid in failures.said_present or (is_here and oid not in failures.said_absent):
            return row
        in_parts = size > self.hub.multipart_above_bytes
        if in_parts and "multipart" not in transfers:
            hint = "You need to configure your repository to enable upload of files > 5GB."
            return row | {"error": {"code": 422, "message": hint}}
        put = {"href": self.hub.storage_address + failures.signed(f"/{self.name}/{oid}", "put")}
        verify: dict[str, Any] = {"href": f"{self.hub.address}/{self.name}.git/info/lfs/objects/verify"}
        if failures.verify_header:
            verify["header"] = {"Authorization": self.handler.headers["Authorization"]}
        return row | {"actions": {"upload": self._parts(oid, size) if in_parts else put, "verify": verify}}

    def _parts(self, oid: str, size: int) -> dict[str, Any]:
        failures, chunk = self.hub.failures, self.hub.chunk_bytes
        upload = oid if failures.goes_on else uuid.uuid4().hex
        count = -(-size // chunk) + failures.parts_more
        numbers = list(range(1, count + 1))
        if failures.part_keys is PartKeys.SHUFFLED:
            numbers = numbers[2:] + numbers[:2]
        width = 5 if failures.part_keys is PartKeys.PADDED else 1
        keys = {
            f"{number:0{width}}": self.hub.storage_address
            + failures.signed(f"/{self.name}/{oid}", "part", upload=upload, part=number)
            for number in numbers
        }
        if failures.part_keys is PartKeys.UNPADDED:
            keys = dict(sorted(keys.items()))
        done = failures.signed(f"/{self.name}.git/info/lfs/complete", "complete", oid=oid, upload=upload, size=size)
        header = {"chunk_size": failures.chunk_size or str(chunk)} | failures.other_keys | keys
        return {"href": self.hub.address + done, "header": header}

    def _to_download(self, oid: str, size: int, transfers: list[str]) -> dict[str, Any]:
        failures = self.hub.failures
        row: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        is_here = self.hub.repositories[self.name].object_size(oid) == size
        if not (oid in failures.said_present or (is_here and oid not in failures.said_absent)):
            return row | {"error": {"code": 404, "message": "Object does not exist on the server"}}
        href = self.hub.storage_address + failures.signed(f"/{self.name}/{oid}", "get")
        return row | {"actions": {"download": {"href": href}}}

    def _verify(self) -> None:
        asked = json.loads(self.handler.body())
        repository = self.handler.opened(self.name, writes=True)
        incoming = place_of(self.hub.root, self.name, asked["oid"])
        if incoming.is_file() and incoming.stat().st_size == asked["size"]:
            place = repository.object(asked["oid"])
            place.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(place)
        if repository.object_size(asked["oid"]) != asked["size"]:
            raise self.handler.refuse(404, "Object does not exist on the server")
        self._say(200, {})

    def _complete(self, words: dict[str, str]) -> None:
        asked = json.loads(self.handler.body())
        if not self.hub.failures.is_signed(self.handler.path, "complete"):
            raise self.handler.refuse(403, "The address has expired or is none of ours")
        folder = parts_of(self.hub.root, words["upload"])
        if not folder.is_dir():
            raise self.handler.refuse(404, "The specified upload does not exist")
        parts = [folder / str(part["partNumber"]) for part in asked["parts"]]
        ordered = [part["partNumber"] for part in asked["parts"]] == list(range(1, len(parts) + 1))
        right = ordered and all(
            part.is_file() and etag_of(part) == said["etag"] for part, said in zip(parts, asked["parts"], strict=True)
        )
        whole = right and sum(part.stat().st_size for part in parts) == int(words["size"])
        if not whole or asked["oid"] != words["oid"]:
            raise self.handler.refuse(400, "One or more of the specified parts could not be found")
        place = place_of(self.hub.root, self.name, asked["oid"])
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as out:
            for part in parts:
                out.write(part.read_bytes())
        shutil.rmtree(folder)
        self._say(200, {})


class Storage(TroubledServer):
    """The listener of the storage."""

    def __init__(self, root: Path, failures: Failures, seen: list[Seen]) -> None:
        super().__init__(_StorageHandler, failures.troubles, seen)
        self.root = root
        self.failures = failures


class _StorageHandler(TroubledHandler):
    server: Storage

    def handle_request(self) -> None:
        path, _, query = self.path.partition("?")
        words = {name: values[0] for name, values in parse_qs(query).items()}
        name, _, oid = path.strip("/").rpartition("/")
        use = words.get("use", "")
        actions = {
            "put": lambda: self._put(place_of(self.server.root, name, oid)),
            "part": lambda: self._part(parts_of(self.server.root, words["upload"]) / words["part"], words["part"]),
            "get": lambda: self._get(self.server.root / f"{name}.git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid),
        }
        if use not in actions:
            self._refuse(403, "AccessDenied")
            return
        self.play(use, lambda: self._if_signed(use, actions[use]))

    def _if_signed(self, use: str, action: Callable[[], None]) -> None:
        is_get = self.command in ("GET", "HEAD")
        if "Authorization" in self.headers:
            self._refuse(400, "Only one auth mechanism allowed")
        elif not self.server.failures.is_signed(self.path, use) or is_get != (use == "get"):
            self._refuse(403, "AccessDenied: Request has expired")
        elif not is_get and self.headers.get("Content-Length") is None:
            self._refuse(501, "A header you provided implies functionality that is not implemented")
        elif not is_get and self.headers["Content-Length"] == "0":
            self._refuse(501, "Transfer of nothing is not implemented")
        else:
            action()

    def _refuse(self, status: int, words: str) -> None:
        self.drain()
        self.answer(status, f"<Error><Message>{words}</Message></Error>".encode(), "application/xml")

    def _receive(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        incoming = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
        try:
            with open(incoming, "wb") as out:
                for block in self.blocks():
                    out.write(block)
            if self.server.failures.stores:
                self.server.failures.stores(incoming)
            incoming.replace(place)
        finally:
            incoming.unlink(missing_ok=True)

    def _put(self, place: Path) -> None:
        self._receive(place)
        self.answer(self.server.failures.put_status, b"", "text/plain", ("ETag", etag_of(place)))

    def _part(self, place: Path, number: str) -> None:
        self._receive(place)
        etag = () if self.server.failures.no_etag_on == int(number) else (("ETag", etag_of(place)),)
        self.answer(self.server.failures.put_status, b"", "text/plain", *etag)

    def _get(self, place: Path) -> None:
        if not place.is_file():
            self._refuse(404, "NoSuchKey")
            return
        size = place.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        if first >= size:
            self.answer(416, b"", "application/xml", ("Content-Range", f"bytes */{size}"))
            return
        last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", etag_of(place))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "GET":
            for block in _between(place, first, last + 1):
                self.wfile.write(block)


def place_of(root: Path, name: str, oid: str) -> Path:
    """Where an object waits until it is verified."""
    return root / f"{name}.git" / "lfs" / "incoming" / oid


def parts_of(root: Path, upload: str) -> Path:
    """Where the parts of an object wait until they are completed."""
    return root / "parts" / upload


def etag_of(file: Path) -> str:
    """What S3 says about a part: its MD5, in quotes."""
    with open(file, "rb") as content:
        return f'"{hashlib.file_digest(content, "md5").hexdigest()}"'


def _between(file: Path, first: int, end: int) -> Iterator[bytes]:
    with open(file, "rb") as content:
        content.seek(first)
        while first < end and (block := content.read(min(BLOCK_BYTES, end - first))):
            first += len(block)
            yield block
