"""The bytes of a file on their way to a server: exactly those that were hashed, at the speed that was asked for.

Stands under the transfers over HTTP. The one thing to know: what is handed out is hashed, and the last block is kept
back unless the whole is what it should be. A file that is overwritten in place meanwhile can therefore never become a
complete object, not even on a server that checks nothing.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lfssync.errors import TransientError
from lfssync.model import show
from lfssync.shares import hash_block
from lfssync.transfer import Source
from lfssync.web.retrying import stopped_error

BLOCK_BYTES = 1 << 20
_SMALLEST_BLOCK_BYTES = 1 << 10
_BLOCKS_A_SECOND = 10
"""At a limited speed, blocks are so small that at least so many leave in a second: no server sees a pause."""

Advance = Callable[[int], None]
"""Told how many bytes have been handed out."""


class ContentChanged(Exception):
    """The file is not what was hashed before; it is no error of the server's or the user's."""


class Throttle:
    """A limit for the speed of everything that shares it.

    Args:
        bytes_per_s: The limit; 0 for none.
        clock: Seconds that only run forward.
        pause: Waits so many seconds and says whether it was told to stop.
    """

    def __init__(
        self,
        bytes_per_s: int = 0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._pause = pause or threading.Event().wait
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def block_bytes(self) -> int:
        """How much to move at a time."""
        if not self._bytes_per_s:
            return BLOCK_BYTES
        return max(_SMALLEST_BLOCK_BYTES, min(BLOCK_BYTES, self._bytes_per_s // _BLOCKS_A_SECOND))

    def take(self, count: int) -> None:
        """Wait for the turn of so many bytes.

        Raises:
            TransientError: It was told to stop while it waited.
        """
        if not self._bytes_per_s:
            return
        with self._lock:  # turns are given in the order of asking; the wait itself holds up nobody
            now = self._clock()
            turn = max(self._free_at, now)
            self._free_at = turn + count / self._bytes_per_s
        if turn > now and self._pause(turn - now):
            raise stopped_error()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an open file.

    Args:
        fd: Open descriptor; its position is not used.
        offset: Where the piece begins.
        size_bytes: How long it is.
        path: The file, for messages.
    """

    fd: int
    offset: int
    size_bytes: int
    path: bytes

    @classmethod
    def whole(cls, source: Source) -> Piece:
        """All of an object."""
        return cls(source.fd, 0, source.lfs.size_bytes, source.path)


class PartBody:
    """A piece of a file as the body of a request (`web.messages.Body`), hashed as it goes.

    Args:
        piece: What to send.
        throttle: How fast.
        advance: Told how many bytes of the piece have been handed out; starts anew when it is sent again.
        digest: The sha256 that the piece must have, in hex, or empty for any.
    """

    def __init__(
        self, piece: Piece, throttle: Throttle | None = None, advance: Advance = lambda _: None, digest: str = ""
    ) -> None:
        self._piece = piece
        self._throttle = throttle or Throttle()
        self._advance = advance
        self._digest = digest
        self.rewind()

    def __len__(self) -> int:
        return self._piece.size_bytes

    def rewind(self) -> None:
        """Start again from the first byte."""
        self._done_bytes = 0
        self._hashed = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of what has been handed out since the start, in hex."""
        return self._hashed.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, empty at the end; never more than a block.

        Raises:
            ContentChanged: The file has become shorter, or the whole would not be what it should be.
            TransientError: The file cannot be read, or it was told to stop.
        """
        left = self._piece.size_bytes - self._done_bytes
        count = min(left, self._throttle.block_bytes, size if size >= 0 else left)
        if count == 0:
            return b""
        block = self._block(count)
        hash_block(self._hashed, block)
        if count == left and self._digest and self.sha256 != self._digest:
            raise ContentChanged
        self._throttle.take(count)
        self._done_bytes += count
        self._advance(self._done_bytes)
        return block

    def _block(self, count: int) -> bytes:
        at = self._piece.offset + self._done_bytes
        try:
            block = os.pread(self._piece.fd, count, at)
            while len(block) < count:  # a network file system may give less than was asked for
                more = os.pread(self._piece.fd, count - len(block), at + len(block))
                if not more:
                    raise ContentChanged
                block += more
        except OSError as error:
            raise TransientError(
                f"{show(self._piece.path)} cannot be read: {(error.strerror or str(error)).lower()}",
                "check the disk; it is tried again",
            ) from error
        return block


class GuardedBody(PartBody):
    """A whole object, whose last block leaves only if the digest of all equals its oid."""

    def __init__(self, source: Source, throttle: Throttle | None = None, advance: Advance = lambda _: None) -> None:
        super().__init__(Piece.whole(source), throttle, advance, source.lfs.oid)
