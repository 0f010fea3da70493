"""Opens files beneath the mirrored directory and reads them: no link is followed, and nothing is read twice.

Below `stage`, which decides what the bytes mean. The one thing to know: a path is opened part by part, because any
folder on the way may be replaced by a link while we look.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType

from lfssync.records.store import split

BLOCK_BYTES = 1 << 20
_SMALL_BYTES = 64 << 10
"""Files up to this size are read in one go."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_beneath(root_fd: int, path: bytes, flags: int = 0) -> int:
    """Open a path beneath a directory, following no link on the way.

    Args:
        root_fd: The directory.
        path: Relative path.
        flags: Flags besides reading, such as `os.O_DIRECTORY`.

    Raises:
        OSError: As open(2); ELOOP or ENOTDIR when a part of the way is a link.
    """
    *parents, name = path.split(b"/")
    at = root_fd
    try:
        for part in parents:
            below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=at)
            if at != root_fd:
                os.close(at)
            at = below
        return os.open(name, _FLAGS | flags, dir_fd=at)
    finally:
        if at != root_fd:
            os.close(at)


class Content:
    """The bytes of an open file; of a small one all are read at once, and only once.

    Args:
        fd: The open file, which stays the caller's.
        size_bytes: How long it was when its signature was taken.
    """

    def __init__(self, fd: int, size_bytes: int) -> None:
        self.fd = fd
        self._all = os.pread(fd, size_bytes, 0) if size_bytes <= _SMALL_BYTES else None

    def at(self, count: int, offset: int) -> bytes:
        """So many bytes from an offset on, fewer at the end."""
        return os.pread(self.fd, count, offset) if self._all is None else self._all[offset : offset + count]


class Folder:
    """Opens files beneath a directory, as `open_beneath` does, and keeps the folder of the last one open for the next.

    Args:
        root_fd: The directory.
    """

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._path = b""
        self._fd = root_fd

    def open(self, path: bytes) -> int:
        """A descriptor to read a file with; see `open_beneath`."""
        folder, name = split(path)
        if folder != self._path:
            self.close()
            if folder:
                self._fd = open_beneath(self._root_fd, folder, os.O_DIRECTORY)
                self._path = folder
        return open_beneath(self._fd, name)

    def close(self) -> None:
        """Close what is open, but for the directory itself."""
        if self._fd != self._root_fd:
            os.close(self._fd)
        self._path, self._fd = b"", self._root_fd

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_blocks(fd: int, size_bytes: int) -> Iterator[bytes]:
    """Exactly `size_bytes` of a file; one that became shorter is filled up with zeros (its digest then tells)."""
    done = 0
    while done < size_bytes:
        block = os.pread(fd, min(BLOCK_BYTES, size_bytes - done), done)
        block = block or bytes(min(BLOCK_BYTES, size_bytes - done))
        done += len(block)
        yield block
