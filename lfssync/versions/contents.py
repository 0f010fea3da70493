"""The first bytes of a file of some commit, without the file: from where they lie nearest.

Asked by `history` for the headers of safetensors files. In this order: git, when it is no LFS file; the mirrored
directory, when the file there is still the one that was read as this object; what is kept on this machine; the
remote, of which only these bytes are asked. The one thing to know: nothing proves bytes that come from the middle of an
object, so they are good for looking at, and for nothing that is kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.git.repository import Repository
from lfssync.line.opening import open_beneath
from lfssync.model import LfsObject, Signature
from lfssync.records.store import Store
from lfssync.results import Version
from lfssync.transfer import Transfer

_GIT_MAX_BYTES = 64 << 20
"""Nothing larger is read out of git, which gives whole files only."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Where to look.

    Args:
        repository: Its git dir.
        root: The mirrored directory.
        store: What is recorded about the directory, or None where nothing is.
        kept: Folders with LFS objects, laid out as git-lfs does.
        remote: Opens the way to the remote; called only when nothing nearer has the object.
    """

    repository: Repository
    root: Path
    store: Store | None
    kept: tuple[Path, ...]
    remote: Callable[[], Transfer]

    def part(self, version: Version, offset: int, count: int) -> bytes:
        """Some bytes of a file.

        Args:
            version: The file, as a commit has it.
            offset: Where they begin.
            count: How many, at most; fewer at its end.

        Raises:
            LfssyncError: Nobody gives them.
        """
        if version.lfs_oid is None:
            if version.size_bytes > _GIT_MAX_BYTES:
                raise LfssyncError("it lies in git, and is too large to be looked into there", "restore it")
            (content,) = self.repository.contents([version.blob_oid.encode()])
            return (content or b"")[offset : offset + count]
        lfs = LfsObject(version.lfs_oid, version.size_bytes)
        found = self._of_directory(lfs, offset, count) or self._kept(lfs, offset, count)
        if found is None:
            found = self.remote().part(lfs, offset, count)
        if found is None:
            raise LfssyncError("only the whole file can be had from the remote", "restore it")
        return found

    def _of_directory(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """From a file of the directory that is, before and after, the one that was read as this object."""
        places = self.store.places(lfs.oid) if self.store else []
        if not places:
            return None
        with _opened(lambda: os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd:
            if root_fd is None:
                return None
            for path, signature in places:
                with _opened(partial(open_beneath, root_fd, path)) as fd:
                    if fd is not None and Signature.of(os.fstat(fd)) == signature:
                        found = os.pread(fd, count, offset)
                        if Signature.of(os.fstat(fd)) == signature:
                            return found
        return None

    def _kept(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """From an object that is kept on this machine."""
        for folder in self.kept:
            name = folder / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid
            with _opened(partial(os.open, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
                if fd is not None and os.fstat(fd).st_size == lfs.size_bytes:
                    return os.pread(fd, count, offset)
        return None


@contextlib.contextmanager
def _opened(opening: Callable[[], int]) -> Iterator[int | None]:
    """A descriptor, or None where there is nothing to open."""
    try:
        fd = opening()
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
