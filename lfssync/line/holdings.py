"""The files of a directory as a commit has them, to be looked into: listed once, read in small ranges.

Beside the line: `composing` makes one of what a pass commits, the command `card` one of what the disk has. The one
thing to know: a file that is no longer the one that was listed counts as one that is not there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.formats.reading import Reader
from lfssync.line.opening import open_beneath
from lfssync.line.scan import scan
from lfssync.model import Signature
from lfssync.records.store import Store


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a directory holds.

    Args:
        root_fd: The directory.
        files: Its files by path, without links, each with the signature under which it counts.
        missed: Files that were wanted and were not what they had been listed as; added to.
    """

    root_fd: int
    files: Mapping[bytes, Signature]
    missed: set[bytes] = field(default_factory=set)

    @contextlib.contextmanager
    def reader(self, path: bytes) -> Iterator[Reader | None]:
        """A reader of one of the files, which is open within the block; None when it cannot be had."""
        fd = self._open(path) if path in self.files else None
        try:
            yield None if fd is None else Reader.of(fd, self.files[path].size_bytes)
        finally:
            if fd is not None:
                os.close(fd)

    def read(self, path: bytes, limit_bytes: int) -> bytes:
        """A whole file; nothing when it is larger than that, or cannot be had.

        Args:
            path: Relative to the directory.
            limit_bytes: How large it may be.
        """
        with self.reader(path) as reader, contextlib.suppress(OSError):
            if reader is not None and reader.size_bytes <= limit_bytes:
                return reader.at(0, reader.size_bytes)
        return b""

    def _open(self, path: bytes) -> int | None:
        try:
            fd = open_beneath(self.root_fd, path)
        except OSError:
            self.missed.add(path)
            return None
        if Signature.of(os.fstat(fd)) == self.files[path]:
            return fd
        os.close(fd)
        self.missed.add(path)
        return None


@contextlib.contextmanager
def of_directory(directory: Path, ignore: tuple[str, ...]) -> Iterator[Holdings]:
    """What a directory holds now, as far as a mirror would take it.

    Args:
        directory: Which one.
        ignore: The mirror's patterns.

    Raises:
        LfssyncError: It is gone or cannot be read.
    """
    root = os.fsencode(directory)
    with tempfile.TemporaryDirectory(prefix="lfssync-") as folder, Store(Path(folder) / "state.db") as nothing:
        found = scan(root, None, nothing, ignore).changed
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Holdings(root_fd, {one.path: one.signature for one in found if not one.signature.is_link})
    finally:
        os.close(root_fd)
