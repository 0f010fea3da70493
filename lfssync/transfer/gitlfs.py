"""LFS objects through the stock git-lfs program: for servers and authentication that only it speaks.

Used for `transfer = "git-lfs"` and wherever no transfer of ours speaks to the remote.
The one thing to know: git-lfs needs a copy of every object by path, sends it without looking at it, and exits with 0
when a server answers 422. So the copy is made and hashed by us, and "it is there" is only believed when git-lfs,
asked to send the object, has nothing to send.

Source: git-lfs-push(1), git-lfs-config(5), docs/spec.md.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lfssync.errors import LfssyncError, TransientError
from lfssync.gitcommand import NETWORK_TIMEOUT_S, Git
from lfssync.model import LfsObject, Monitor, Progress, State
from lfssync.transfer import Source, Uploaded
from lfssync.transfer.copying import copy_checked, holds, sync_file, temporary_name

_BATCH = 100


class GitLfsTransfer:
    """Objects of one remote, through git-lfs.

    Args:
        git: The mirror's git dir; copies live in its `lfs` folder until the remote has acknowledged them.
        url: The remote's address as git knows it.
    """

    def __init__(self, git: Git, url: str) -> None:
        self._git = git
        self._url = url
        self._storage = git.git_dir / "lfs"

    @property
    def endpoint(self) -> str:
        """The remote's address."""
        return f"git-lfs {self._url}"

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`. git-lfs cannot ask without pushing, so everything counts as missing until then."""
        return list(objects)

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`. Needs room for one batch of copies, which go as soon as the batch is acknowledged."""
        sent_bytes = 0
        changed: list[LfsObject] = []
        for start in range(0, len(sources), _BATCH):
            batch = sources[start : start + _BATCH]
            with self._copies(batch) as good:
                changed += [source.lfs for source in batch if source not in good]
                sent_bytes += self._push(good, monitor)
        return Uploaded(sent_bytes, tuple(changed))

    @contextlib.contextmanager
    def _copies(self, batch: Sequence[Source]) -> Iterator[list[Source]]:
        """Independent copies of the batch where git-lfs looks for them, each one hashed; removed afterwards."""
        good = []
        try:
            for source in batch:
                target = self._file(source.lfs)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not holds(target, source.lfs):
                    temporary = temporary_name(target.parent)
                    if not copy_checked(source.fd, source.lfs, temporary, lambda _: None):
                        continue
                    sync_file(temporary)
                    os.replace(temporary, target)
                good.append(source)
            yield good
        except OSError as error:
            raise TransientError(
                f"{error.filename or self._storage}: {(error.strerror or str(error)).lower()}",
                "git-lfs needs room for a copy of what it sends; free disk space, it is tried again",
            ) from error
        finally:
            for source in batch:
                self._file(source.lfs).unlink(missing_ok=True)

    def _push(self, sources: Sequence[Source], monitor: Monitor) -> int:
        """Send until git-lfs says there is nothing to send; returns the bytes of what it sent at first."""
        if not sources:
            return 0
        first = self._send(sources)
        if first:
            again = self._send(sources)
            if again:
                raise TransientError(
                    f"{self._url} took the LFS object {min(again)} but does not keep it",
                    "it is sent again; ask who runs the server",
                )
        for source in sources:
            monitor(Progress(State.UPLOADING, source.path, source.lfs.size_bytes, source.lfs.size_bytes))
        return sum(source.lfs.size_bytes for source in sources if source.lfs.oid in first)

    def _send(self, sources: Sequence[Source]) -> set[str]:
        """One `git lfs push`; returns the oids that it transferred, by its progress file."""
        with tempfile.TemporaryDirectory(prefix="lfssync-") as folder:
            progress = Path(folder) / "progress"
            named = ("-c", f"remote.lfssync.url={self._url}", *self._pinned())
            self._git.run(
                *named, "lfs", "push", "--object-id", "lfssync", *(source.lfs.oid for source in sources),
                extra={"GIT_LFS_PROGRESS": str(progress)}, timeout_s=NETWORK_TIMEOUT_S, remote=self._url,
            )  # fmt: skip
            lines = progress.read_bytes().splitlines() if progress.exists() else []
        names = {line.rpartition(b" ")[2].decode("ascii", "replace") for line in lines if line.startswith(b"upload ")}
        return {source.lfs.oid for source in sources if source.lfs.oid in names} or ({"unknown"} if names else set())

    def _pinned(self) -> list[str]:
        settings = (
            "lfs.locksverify=false",
            "lfs.allowincompletepush=false",
            "lfs.concurrenttransfers=4",
            f"lfs.storage={self._storage}",
        )
        return [word for setting in settings for word in ("-c", setting)]

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`: `upload` has already heard from the remote that nothing is left to send."""

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`; git-lfs's smudge filter fetches it."""
        with self._git.start("-c", f"remote.origin.url={self._url}", *self._pinned(), "lfs", "smudge") as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            child.stdin.write(lfs.pointer())
            child.stdin.close()
            done = 0
            with destination.open("xb") as file:
                while block := child.stdout.read(1 << 20):
                    file.write(block)
                    done += len(block)
                    monitor(Progress(State.STAGING, os.fsencode(destination.name), done, lfs.size_bytes))
            child.wait(60)
        self._file(lfs).unlink(missing_ok=True)
        if not holds(destination, lfs):
            destination.unlink()
            raise LfssyncError(
                f"{self._url} does not give the LFS object {lfs.oid}", "sync the mirror that still has the file"
            )

    def _file(self, lfs: LfsObject) -> Path:
        return self._storage / "objects" / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid
