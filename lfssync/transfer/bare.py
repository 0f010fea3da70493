"""LFS objects into a bare repository on disk, where stock git-lfs finds them: `<repository>/lfs/objects/aa/bb/<oid>`.

Used for embedded remotes and for any remote that is a path or a `file://` address.
The one thing to know: "it is there" is decided by hashing the object that is there, once per object, because a file
of the right size says nothing (stock git-lfs looks at the size alone and never repairs a damaged one).

Source: git-lfs docs/spec.md, "The server"; file agent in docs/custom-transfers.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.model import LfsObject, Monitor, Progress, State, show
from lfssync.transfer import Source, Uploaded
from lfssync.transfer.copying import clear_leftovers, copy_checked, holds, sync_file, temporary_name

_COPIERS = 2


class BareTransfer:
    """Objects of one bare repository.

    Args:
        repository: Path of the repository, bare or with a `.git` folder.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._objects = git_dir_of(repository) / "lfs" / "objects"
        self._temporary = self._objects.parent / "tmp"

    @property
    def endpoint(self) -> str:
        """The folder that holds the objects."""
        return str(self._objects)

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`; what is there is hashed, so a damaged object counts as missing."""
        with _translated(self._repository), ThreadPoolExecutor(_COPIERS, thread_name_prefix="check") as pool:
            there = list(pool.map(lambda lfs: holds(self._file(lfs), lfs), objects))
        return [lfs for lfs, good in zip(objects, there, strict=True) if not good]

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`. All are written before the first is synced: the disk then works in one go."""
        with _translated(self._repository):
            self._temporary.mkdir(parents=True, exist_ok=True)
            clear_leftovers(self._temporary)
            names = [temporary_name(self._temporary) for _ in sources]
            try:
                with ThreadPoolExecutor(_COPIERS, thread_name_prefix="copy") as pool:
                    good = list(pool.map(lambda source, name: _write(source, name, monitor), sources, names))
                folders: set[Path] = set()
                for source, name, whole in zip(sources, names, good, strict=True):
                    if whole:
                        sync_file(name)
                        folders |= self._publish(source.lfs, name)
                for folder in folders:
                    sync_file(folder)
            finally:
                for name in names:
                    name.unlink(missing_ok=True)
        return Uploaded(
            sum(source.lfs.size_bytes for source, whole in zip(sources, good, strict=True) if whole),
            tuple(source.lfs for source, whole in zip(sources, good, strict=True) if not whole),
        )

    def _publish(self, lfs: LfsObject, temporary: Path) -> set[Path]:
        target = self._file(lfs)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        return {target.parent, target.parent.parent, self._objects}

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`. Content was proven when it was written or found; this asks for presence and size."""
        with _translated(self._repository):
            for lfs in objects:
                try:
                    size_bytes = self._file(lfs).stat().st_size
                except FileNotFoundError:
                    size_bytes = -1
                if size_bytes != lfs.size_bytes:
                    raise TransientError(
                        f"{self._repository} does not hold the LFS object {lfs.oid}", "it is sent again"
                    )

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        path = os.fsencode(destination.name)
        with _translated(self._repository):
            try:
                fd = os.open(self._file(lfs), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise LfssyncError(
                    f"{self._repository} does not hold the LFS object {lfs.oid}",
                    "sync the mirror that still has the file",
                ) from None
            try:
                if not copy_checked(
                    fd, lfs, destination, lambda done: monitor(Progress(State.STAGING, path, done, lfs.size_bytes))
                ):
                    raise LfssyncError(
                        f"the LFS object {lfs.oid} at {self._repository} is damaged",
                        "sync the mirror that still has the file",
                    )
            finally:
                os.close(fd)

    def _file(self, lfs: LfsObject) -> Path:
        return self._objects / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid


def _write(source: Source, temporary: Path, monitor: Monitor) -> bool:
    size = source.lfs.size_bytes
    return copy_checked(
        source.fd, source.lfs, temporary, lambda done: monitor(Progress(State.UPLOADING, source.path, done, size))
    )


def git_dir_of(repository: Path) -> Path:
    """The git dir of a repository on disk: itself when bare, else its `.git`.

    Raises:
        BlockedError: There is no repository.
    """
    for candidate in (repository, repository / ".git"):
        if (candidate / "objects").is_dir() and (candidate / "HEAD").is_file():
            return candidate
    raise BlockedError(
        f"{show(os.fsencode(repository))} is no git repository",
        f"create one (git init --bare {repository}) or mount the disk it is on",
    )


@contextmanager
def _translated(repository: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = show(os.fsencode(error.filename)) if error.filename else str(repository)
        raise TransientError(
            f"{where}: {(error.strerror or str(error)).lower()}",
            "free disk space or mend the permissions there; it is tried again",
        ) from error
