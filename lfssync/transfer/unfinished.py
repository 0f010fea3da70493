"""Uploads in parts that are under way: what the server took, and what of it a later attempt need not send again.

Kept for `multipart`, in memory for as long as this runs, and in a small file for each object for after a restart. The
one thing to know: the address of a part is a key to the object for everybody who reads it, so addresses stay in memory.
After a restart an upload goes on only where the server, asked anew, names the same upload again; where each reply
begins a new one, nothing but the addresses could lead back to the parts, and all of them are sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import TransientError
from lfssync.model import LfsObject
from lfssync.transfer import Source
from lfssync.transfer.body import PartBody, Piece

if TYPE_CHECKING:
    from lfssync.transfer.parts import InParts, Span, Taken

KEPT_S = 7 * 86400.0
"""Servers throw away after about a week what was begun and not completed."""

KEPT_UPLOADS = 256
"""So many are remembered; of those whose files came to nothing the oldest are forgotten."""


class Proof:
    """Reads an object once, from its first byte to its last, and knows of each stretch what it must be.

    Parts leave in any order and the name of the object is a hash of all of it. So each part is held against this one
    reading, and this reading against the name: then what was sent is the object, whenever each byte of it was read.

    Args:
        lfs: The object.
        spans: Stretches that make it up.
    """

    def __init__(self, lfs: LfsObject, spans: Iterable[Span]) -> None:
        self.spans = tuple(sorted(spans))
        self._oid = lfs.oid
        self._digests: dict[Span, str] = {}
        self._hashed = hashlib.sha256()
        self._lock = threading.Lock()

    def digest(self, span: Span, source: Source) -> str:
        """The sha256 of a stretch, in hex; reads on up to its end where that was not read before.

        Raises:
            ContentChanged: The file is shorter than the object.
        """
        with self._lock:
            while span not in self._digests:
                at = self.spans[len(self._digests)]
                part, hashed = PartBody(Piece(source.fd, *at, source.path)), self._hashed.copy()
                while block := part.read():
                    hashed.update(block)
                self._digests[at], self._hashed = part.sha256, hashed
            return self._digests[span]

    @property
    def holds(self) -> bool:
        """Whether all that was read is the object."""
        return len(self._digests) == len(self.spans) and self._hashed.hexdigest() == self._oid


class Upload:
    """One object's upload; its parts may be in the hands of several threads.

    Args:
        plan: What the server wants; with fresher links each time it is asked.
        file: Where parts are noted.
        is_another: Whether the server was in the middle of another one of the same object.
    """

    def __init__(self, plan: InParts, file: Path, is_another: bool) -> None:
        self.plan = plan
        self.is_another = is_another
        self.taken = _noted(file, plan.upload)
        self.proof: Proof | None = None
        self.is_refused = False
        """Links to it are no longer good."""
        self.may_be_complete = False
        """The server was told to put it together, and its answer was lost."""
        self.strange: list[Span] | None = []
        """What the server had, when it was last asked, that nobody here has sent."""
        self._file = file
        self._lock = threading.Lock()

    def took(self, span: Span, taken: Taken) -> None:
        """Note a part that the server has."""
        line = json.dumps([self.plan.upload, *span, taken.etag, taken.sha256])
        with self._lock:
            self.taken[span] = taken
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a") as notes:
                    notes.write(f"{line}\n")
            except OSError as error:
                raise TransientError(
                    f"{self._file}: {(error.strerror or str(error)).lower()}", "free disk space; it is tried again"
                ) from error

    def forget(self) -> None:
        """Nothing of it counts any more."""
        with self._lock:
            self.taken.clear()
            self._file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._file.parent.rmdir()


class Unfinished:
    """The uploads in parts that are under way in this process."""

    def __init__(self) -> None:
        self._uploads: dict[Path, Upload] = {}
        self._lock = threading.Lock()

    def upload(self, lfs: LfsObject, plan: InParts, folder: Path) -> Upload:
        """The upload to go on with, when the server describes one.

        Args:
            lfs: The object.
            plan: What the server says now.
            folder: Where parts are noted.
        """
        file = folder / lfs.oid
        with self._lock:
            _clear_old(folder)
            upload = self._uploads.get(file)
            if upload is not None and upload.plan.upload == plan.upload:
                upload.plan, upload.is_refused = plan, False
            elif upload is None or upload.is_refused or not (upload.taken and plan.is_tagged):
                upload = self._uploads[file] = Upload(plan, file, upload is not None)
                for oldest in list(self._uploads)[:-KEPT_UPLOADS]:
                    del self._uploads[oldest]
            return upload

    def end(self, lfs: LfsObject, folder: Path) -> Upload | None:
        """The object is complete, or its upload is given up; gives what there was of it."""
        with self._lock:
            upload = self._uploads.pop(folder / lfs.oid, None)
            if upload:
                upload.forget()
            return upload


def _noted(file: Path, upload: str) -> dict[Span, Taken]:
    """What is noted about an upload; lines that are broken, or about another one, say nothing."""
    from lfssync.transfer.parts import Taken  # every pass has a place for such uploads, and few remotes take any

    taken: dict[Span, Taken] = {}
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                match json.loads(line):
                    case [str(name), int(at), int(size_bytes), str(etag), str(sha256)] if name == upload:
                        taken[(at, size_bytes)] = Taken(etag, sha256)
    if not taken:
        file.unlink(missing_ok=True)
    return taken


def _clear_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if file.stat().st_mtime < time.time() - KEPT_S:
                file.unlink()
