"""Brings one object from an LFS server into a new file: goes on where a connection broke, and hashes what it writes.

Stands under `http`, for `restore` and for objects that are nowhere else. The one thing to know: a server may give the
whole object when it was asked for the rest of it; then the file is begun anew.

Source: RFC 9110, section 14 (range requests).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from lfssync.errors import AuthError, LfssyncError, TransientError
from lfssync.model import LfsObject
from lfssync.transfer.api import Api
from lfssync.transfer.batch import Action, Failed, Operation, Wanted
from lfssync.transfer.body import Throttle
from lfssync.transfer.sending import LINK_REFUSALS, Standpoint, checked, failure, named, request
from lfssync.transfer.uploaders import Errand, LinkRefused
from lfssync.web.client import Stream
from lfssync.web.retrying import persist

_REMEDY = "sync the mirror that still has the file"
_BLOCK_BYTES = 128 << 10
"""What a connection brings is kept in steps of this size, and one that brought so much has earned new patience."""

_SKIPPED_BYTES = 8 << 20
"""A server that knows no ranges is listened to so far for the part that was asked of it."""


@dataclass(slots=True)
class Fetching:
    """One object on its way here.

    Args:
        api: The server.
        lfs: The object.
        destination: The new file.
        throttle: How fast.
        standpoint: Whom to tell how far it is.
    """

    api: Api
    lfs: LfsObject
    destination: Path
    throttle: Throttle
    standpoint: Standpoint
    _hashed: Any = field(default_factory=hashlib.sha256, init=False)
    _done_bytes: int = field(default=0, init=False)
    _best_bytes: int = field(default=0, init=False)
    _link_refusals: int = field(default=0, init=False)

    def fetch(self) -> None:
        """Bring it here, complete and with the right hash, or not at all.

        Raises:
            LfssyncError: The server does not have it, or has something else.
            FileExistsError: The destination is there already.
        """
        whole = False
        with self.destination.open("xb", buffering=0) as file:
            try:
                hashed = self._fill(file)
                if hashed != self.lfs.oid:
                    raise self._damaged()
                whole = True
            except OSError as error:
                raise TransientError(
                    f"{self.destination}: {(error.strerror or str(error)).lower()}",
                    "free disk space; it is tried again",
                ) from error
            finally:
                if not whole:
                    self.destination.unlink(missing_ok=True)
        self.standpoint.finish()

    def _fill(self, file: IO[bytes]) -> str:
        """Write all of it; gives the hash of what was written."""
        while self._done_bytes < self.lfs.size_bytes:
            persist(lambda: self._attempt(file), self.api.stop, self.api.patience)
        return str(self._hashed.hexdigest())

    def _attempt(self, file: IO[bytes]) -> None:
        """Go on until the connection breaks; when it brought something new, that is a success."""
        try:
            self._receive(file)
        except LinkRefused as error:
            self._link_refusals += 1
            if self._link_refusals >= LINK_REFUSALS:
                raise
            raise TransientError(error.message, "it is tried again with a new link") from error
        except TransientError:
            if self._done_bytes < self._best_bytes + _BLOCK_BYTES:
                raise
        self._best_bytes = max(self._best_bytes, self._done_bytes)

    def _receive(self, file: IO[bytes]) -> None:
        errand = Errand(self._link(), "GET", "does not give")
        if self._done_bytes:
            errand = replace(errand, headers={"Range": f"bytes={self._done_bytes}-"})
        with self.api.open(Operation.DOWNLOAD, request(errand), errand.action.authenticated) as stream:
            if self._done_bytes and (stream.status == 416 or (stream.status == 206 and not self._goes_on(stream))):
                self._restart(file)
                raise TransientError(f"{self._place} does not give the rest of {self._name}", "it is fetched anew")
            if not 200 <= stream.status < 300:
                checked(stream.answer(), errand, self._name)
            if stream.status != 206:
                self._restart(file)
            for block in stream.blocks(min(self.throttle.block_bytes, _BLOCK_BYTES)):
                self._take(block, file)
        if self._done_bytes < self.lfs.size_bytes:
            raise TransientError(f"{self._place} gives only a part of {self._name}", "it is tried again")

    def _link(self) -> Action:
        return _link(self.api, self.lfs, self._name)

    def _goes_on(self, stream: Stream) -> bool:
        """Whether an answer with a part begins where the file ends."""
        told = re.match(r"bytes (\d+)-", stream.headers.get("Content-Range", ""))
        return told is not None and int(told[1]) == self._done_bytes

    def _restart(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self._done_bytes = 0
        self._hashed = hashlib.sha256()

    def _take(self, block: bytes, file: IO[bytes]) -> None:
        self.throttle.take(len(block))
        if self._done_bytes + len(block) > self.lfs.size_bytes:
            raise self._damaged()
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
        self._hashed.update(block)
        self._done_bytes += len(block)
        self.standpoint.advance(self._done_bytes)

    def _damaged(self) -> LfssyncError:
        return LfssyncError(f"{self._name} at {self._place} is damaged", _REMEDY)

    @property
    def _place(self) -> str:
        return self.api.place(Operation.DOWNLOAD).url

    @property
    def _name(self) -> str:
        return named(self.lfs, os.fsencode(self.destination.name))


def _link(api: Api, lfs: LfsObject, name: str) -> Action:
    """Where the server gives an object."""
    standing = api.ask(Operation.DOWNLOAD, [lfs])[lfs]
    if isinstance(standing, Wanted):
        return standing.actions["download"]
    assert isinstance(standing, Failed)
    error = failure(standing, f"{api.place(Operation.DOWNLOAD).url} does not give {name}")
    raise error if isinstance(error, AuthError | TransientError) else LfssyncError(error.message, _REMEDY)


def peek(api: Api, lfs: LfsObject, offset: int, count: int) -> bytes:
    """Some bytes of an object, without the rest of it and without a proof.

    Args:
        api: The server.
        lfs: The object.
        offset: Where they begin, in bytes.
        count: How many, at most; fewer at its end.

    Raises:
        LfssyncError: The server does not have the object, or gives it only from its beginning and that is not asked.
    """
    count = min(count, lfs.size_bytes - offset)
    if count <= 0:
        return b""
    return persist(lambda: _peeked(api, lfs, offset, count), api.stop, api.patience)


def _peeked(api: Api, lfs: LfsObject, offset: int, count: int) -> bytes:
    name = named(lfs)
    errand = Errand(_link(api, lfs, name), "GET", "does not give")
    errand = replace(errand, headers={"Range": f"bytes={offset}-{offset + count - 1}"})
    place = api.place(Operation.DOWNLOAD).url
    found = bytearray()
    with api.open(Operation.DOWNLOAD, request(errand), errand.action.authenticated) as stream:
        if not 200 <= stream.status < 300:
            checked(stream.answer(), errand, name)
        told = re.match(r"bytes (\d+)-", stream.headers.get("Content-Range", ""))
        if stream.status == 206 and (told is None or int(told[1]) != offset):
            raise LfssyncError(f"{place} gives another part of {name} than was asked for", "ask who runs it")
        skipped = offset if stream.status != 206 else 0
        if skipped > _SKIPPED_BYTES:
            raise LfssyncError(f"{place} gives {name} only from its beginning", "restore it to look into it")
        for block in stream.blocks(_BLOCK_BYTES):
            found += block
            if len(found) >= skipped + count:  # leaving the block closes the connection, whatever else was to come
                return bytes(found[skipped : skipped + count])
    raise TransientError(f"{place} gives only a part of {name}", "it is tried again")
