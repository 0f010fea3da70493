"""LFS objects into a bare repository on disk, where stock git-lfs finds them: `<repository>/lfs/objects/aa/bb/<oid>`.

Used for embedded remotes and for any remote that is a path or a `file://` address.
The one thing to know: "it is there" is decided by hashing the object that is there, once per object, because a file
of the right size says nothing (stock git-lfs looks at the size alone and never repairs a damaged one).

Source: git-lfs docs/spec.md, "The server"; file agent in docs/custom-transfers.md; git-config(1),
core.sharedRepository.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import AbsentError, BlockedError, LfssyncError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.model import LfsObject, Monitor, Progress, State, show
from lfssync.transfer import Source, Uploaded
from lfssync.transfer.copying import clear_leftovers, copy_checked, holds, sync_file, workroom

_COPIERS = 2
_SHARED = {"group": 0o060, "true": 0o060, "1": 0o060, "all": 0o064, "world": 0o064, "everybody": 0o064, "2": 0o064}
_REMEDY = "sync the mirror that still has the file"


@dataclass(frozen=True, slots=True)
class BareTransfer:
    """Objects of one bare repository; made by `open_bare`.

    Args:
        repository: The repository as the user named it, for messages.
        git_dir: Its git dir, which is never made here.
    """

    repository: Path
    git_dir: Path

    @property
    def endpoint(self) -> str:
        """The folder that holds the objects."""
        return str(self._objects)

    @property
    def _objects(self) -> Path:
        return self.git_dir / "lfs" / "objects"

    def file(self, lfs: LfsObject) -> Path:
        """Where an object belongs."""
        return self._objects / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`; what is there is hashed, so a damaged object counts as missing."""
        with _translated(self.repository), ThreadPoolExecutor(_COPIERS, thread_name_prefix="check") as pool:
            if objects and self._objects.is_dir():
                clear_leftovers(self._objects)
            there = list(pool.map(lambda lfs: holds(self.file(lfs), lfs), objects))
        return [lfs for lfs, good in zip(objects, there, strict=True) if not good]

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`. All are written before the first is synced: the disk then works in one go."""
        wanted = list({source.lfs: source for source in sources}.values())
        shared = self._shared_mode() if wanted else 0
        with _translated(self.repository):
            self._make_folder(self._objects, shared)
            # Beside the objects and not in `lfs/tmp`: that may be on another disk, and git-lfs clears it away.
            with workroom(self._objects) as room:
                names = [room / source.lfs.oid for source in wanted]
                with ThreadPoolExecutor(_COPIERS, thread_name_prefix="copy") as pool:
                    good = list(pool.map(lambda source, name: _write(source, name, monitor), wanted, names))
                folders = {self._objects, self._objects.parent, self.git_dir}
                for source, name, whole in zip(wanted, names, good, strict=True):
                    if whole:
                        sync_file(name)
                        folders |= self._publish(source.lfs, name, shared)
            for folder in folders:
                sync_file(folder)
        return Uploaded(
            sum(source.lfs.size_bytes for source, whole in zip(wanted, good, strict=True) if whole),
            tuple(source.lfs for source, whole in zip(wanted, good, strict=True) if not whole),
        )

    def _shared_mode(self) -> int:
        """The permission bits that others get on files there besides what the umask gives."""
        config = str(self.git_dir / "config")
        asked = Git(self.git_dir).run("config", "--file", config, "--get", "core.sharedRepository", accept=(0, 1))
        return shared_mode(asked.text)

    def _publish(self, lfs: LfsObject, temporary: Path, shared: int) -> set[Path]:
        target = self.file(lfs)
        self._make_folder(target.parent, shared)
        if shared:
            temporary.chmod(stat.S_IMODE(temporary.stat().st_mode) | shared)
        os.replace(temporary, target)
        return {target.parent, target.parent.parent}

    def _make_folder(self, folder: Path, shared: int) -> None:
        """Make a folder and those above it; never the repository itself, which may have been taken away."""
        if folder.is_dir():
            return
        if folder.parent != self.git_dir:
            self._make_folder(folder.parent, shared)
        folder.mkdir(exist_ok=True)
        if shared:
            bits = shared | (shared & 0o444) >> 2 | stat.S_ISGID
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | bits)

    def locked(self) -> None:
        """See `Transfer.locked`."""

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`. Content was proven when it was written or found; this asks for presence and size."""
        with _translated(self.repository):
            for lfs in objects:
                try:
                    size_bytes = self.file(lfs).stat().st_size
                except FileNotFoundError:
                    size_bytes = -1
                if size_bytes != lfs.size_bytes:
                    raise TransientError(
                        f"{self.repository} does not hold the LFS object {lfs.oid}", "it is sent again"
                    )

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        path = os.fsencode(destination.name)
        with _translated(self.repository):
            try:
                fd = os.open(self.file(lfs), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise LfssyncError(f"{self.repository} does not hold the LFS object {lfs.oid}", _REMEDY) from None
            try:
                if not copy_checked(
                    fd, lfs, destination, lambda done: monitor(Progress(State.STAGING, path, done, lfs.size_bytes))
                ):
                    raise LfssyncError(f"the LFS object {lfs.oid} at {self.repository} is damaged", _REMEDY)
            finally:
                os.close(fd)

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes:
        """See `Transfer.part`."""
        with _translated(self.repository):
            try:
                fd = os.open(self.file(lfs), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise LfssyncError(f"{self.repository} does not hold the LFS object {lfs.oid}", _REMEDY) from None
            try:
                return os.pread(fd, count, offset)
            finally:
                os.close(fd)


def _write(source: Source, temporary: Path, monitor: Monitor) -> bool:
    size = source.lfs.size_bytes
    return copy_checked(
        source.fd, source.lfs, temporary, lambda done: monitor(Progress(State.UPLOADING, source.path, done, size))
    )


def open_bare(repository: Path) -> BareTransfer:
    """The transfer for a repository on disk, with its own rule for who may write there.

    Raises:
        BlockedError: There is no repository.
    """
    return BareTransfer(repository, git_dir_of(repository))


def shared_mode(setting: str) -> int:
    """The permission bits that a value of `core.sharedRepository` adds to files; none for an unset one."""
    if setting.startswith("0") and setting.strip("01234567") == "" and setting.strip("0"):
        return int(setting, 8) & 0o666
    return _SHARED.get(setting.lower(), 0)


def git_dir_of(repository: Path) -> Path:
    """The git dir of a repository on disk, looked for where git itself looks.

    Raises:
        BlockedError: There is no repository, or it may not be read.
    """
    where = show(os.fsencode(repository))
    for suffix in ("/.git", "", ".git/.git", ".git"):
        candidate = Path(f"{repository}{suffix}")
        try:
            if (candidate / "objects").is_dir() and (candidate / "HEAD").is_file():
                return candidate
        except PermissionError:
            raise BlockedError(f"{where} may not be read", "mend its permissions") from None
    remedy = f"create one (git init --bare {where}) or mount the disk it is on"
    with contextlib.suppress(OSError):
        if os.listdir(repository):  # somebody's files, such as another training run
            remedy = "name a repository's path, or one where there is nothing yet"
    raise AbsentError(f"{where} is no git repository", remedy)


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
