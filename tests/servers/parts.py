"""`multipart-basic` on a plain disk, for giftless's own transfer adapter: what its LocalStorage only pretends to do.

giftless makes one of these inside its own process and asks it for the actions of an object; the requests of those
actions come back here. Parts lie beside the objects until they are committed, so an upload that was broken off goes on
with the parts that are missing. The one thing to know: it takes nothing on trust. A part needs its size, its checksum
and the action's header; a commit its method and its exact body; and a commit before all parts are there is answered
with 409.

Source: giftless docs/source/multipart-spec.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request, send_file, url_for
from giftless.storage import MultipartStorage, exc  # type: ignore[import-untyped]
from giftless.view import ViewProvider  # type: ignore[import-untyped]

_PARTS = ".parts"
_KEY_HEADER = "X-Part-Key"
_BLOCK_BYTES = 1 << 20

Action = dict[str, Any]


class PartsOnDisk(MultipartStorage, ViewProvider):  # type: ignore[misc]
    """Objects as `<path>/<owner>/<repository>/<oid>`, where giftless's LocalStorage has them, too.

    Args:
        path: The folder.
        key: What actions are signed with.
    """

    def __init__(self, path: str, key: str) -> None:
        self.path = Path(path)
        self.key = key.encode()
        self.lock = threading.Lock()

    def exists(self, prefix: str, oid: str) -> bool:
        return self._object(prefix, oid).is_file()

    def get_size(self, prefix: str, oid: str) -> int:
        if not self.exists(prefix, oid):
            raise exc.ObjectNotFoundError("Object was not found")
        return self._object(prefix, oid).stat().st_size

    def get_multipart_actions(
        self,
        prefix: str,
        oid: str,
        size: int,
        part_size: int,
        expires_in: int,
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        upload = f"{prefix}/{oid}"
        offsets = range(0, size, part_size)
        missing = [at for at in offsets if self._part_size(upload, at) != min(part_size, size - at)]
        actions: dict[str, Any] = {
            "commit": self._action("commit", upload, expires_in, method="PUT", body=_commit_body(size, part_size)),
            "abort": self._action("abort", upload, expires_in, method="DELETE"),
        }
        if not self._folder(upload).is_dir():
            actions["init"] = self._action("init", upload, expires_in, body=json.dumps({"oid": oid}))
        if missing:
            actions["parts"] = [self._part(upload, at, size, part_size, expires_in) for at in missing]
        return {"actions": actions}

    def _part(self, upload: str, at: int, size: int, part_size: int, expires_in: int) -> Action:
        """The action of a part; the place of the first and the size of the last are left to the defaults."""
        part = self._action(f"part/{at}/{min(part_size, size - at)}", upload, expires_in, want_digest="contentMD5")
        if at:
            part["pos"] = at
        if at + part_size < size:
            part["size"] = part_size
        return part

    def get_download_action(
        self, prefix: str, oid: str, size: int, expires_in: int, extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {"actions": {"download": self._action("content", f"{prefix}/{oid}", expires_in)}}

    def _action(self, step: str, upload: str, expires_in: int, **more: Any) -> Action:
        href = url_for("parts", upload=upload, step=step, _external=True)
        return {"href": href, "header": {_KEY_HEADER: self._signature(step, upload)}, "expires_in": expires_in, **more}

    def _signature(self, step: str, upload: str) -> str:
        return hmac.new(self.key, f"{step} {upload}".encode(), "sha256").hexdigest()

    def register_views(self, app: Flask) -> None:
        methods = ["GET", "PUT", "POST", "DELETE"]
        app.add_url_rule("/parts/<path:upload>/-/<path:step>", "parts", self._answer, methods=methods)

    def _answer(self, upload: str, step: str) -> Response:
        if not hmac.compare_digest(request.headers.get(_KEY_HEADER, ""), self._signature(step, upload)):
            return Response(status=403)
        match (request.method, *step.split("/")):
            case ("GET", "content"):
                return send_file(self._object(*upload.rsplit("/", 1)), "application/octet-stream", conditional=True)
            case ("POST", "init"):
                self._folder(upload).mkdir(parents=True, exist_ok=True)
                return Response(status=200 if request.get_data() == _init_body(upload) else 400)
            case ("PUT", "part", at, size):
                return self._take_part(upload, int(at), int(size))
            case ("PUT", "commit"):
                with self.lock:  # two clients may be at it
                    return self._commit(upload, request.get_data())
            case ("DELETE", "abort"):
                with self.lock:
                    shutil.rmtree(self._folder(upload), ignore_errors=True)
                return Response(status=204)
        return Response(status=405)

    def _take_part(self, upload: str, at: int, size: int) -> Response:
        if not self._folder(upload).is_dir():
            return Response("this upload was not begun", status=404)
        temporary = self.path / f"{at}.{os.urandom(8).hex()}{_PARTS}"
        md5 = hashlib.md5(usedforsecurity=False)
        with open(temporary, "wb") as file:
            while block := request.stream.read(_BLOCK_BYTES):
                md5.update(block)
                file.write(block)
        wrong = ""
        if request.headers.get("Content-MD5") != base64.b64encode(md5.digest()).decode():
            wrong = "Content-MD5 is not that of the body"
        elif temporary.stat().st_size != size:
            wrong = f"this part has {size} bytes"
        if wrong:
            temporary.unlink()
            return Response(wrong, status=400)
        with self.lock:
            if not self._folder(upload).is_dir():
                temporary.unlink()
                return Response("this upload came to its end", status=404)
            temporary.rename(self._folder(upload) / str(at))
        return Response(status=201)

    def _commit(self, upload: str, body: bytes) -> Response:
        asked: Mapping[str, int] = json.loads(body)
        offsets = range(0, asked["size"], asked["part_size"])
        if any(self._part_size(upload, at) < 0 for at in offsets):
            return Response("parts are missing", status=409)
        whole = self._folder(upload) / "whole"
        with open(whole, "wb") as file:
            for at in offsets:
                with open(self._folder(upload) / str(at), "rb") as part:
                    shutil.copyfileobj(part, file)
        whole.rename(self._object(*upload.rsplit("/", 1)))
        shutil.rmtree(self._folder(upload))
        return Response(status=200)

    def _part_size(self, upload: str, at: int) -> int:
        """The size of a part that is there, -1 when it is not."""
        part = self._folder(upload) / str(at)
        return part.stat().st_size if part.is_file() else -1

    def _object(self, prefix: str, oid: str) -> Path:
        return self.path / prefix / oid

    def _folder(self, upload: str) -> Path:
        prefix, _, oid = upload.rpartition("/")
        return self.path / prefix / f"{oid}{_PARTS}"


def _commit_body(size: int, part_size: int) -> str:
    return json.dumps({"size": size, "part_size": part_size})


def _init_body(upload: str) -> bytes:
    return json.dumps({"oid": upload.rpartition("/")[2]}).encode()
