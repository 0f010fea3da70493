"""LFS objects through the stock git-lfs program: for servers and authentication that only it speaks.

Used for `transfer = "git-lfs"` and wherever no transfer of ours speaks to the remote.
The one thing to know: git-lfs says that all went well when a server refused an object (422), and does not look at what
it sends. So it gets copies that we hashed, and what the remote holds is asked separately: git-lfs is to push a
commit of nothing but pointers, from a git dir that has no objects, and names those that it would have to send.
It works in a git dir of its own that is made anew each time: there it meets no `.lfsconfig`, no object of anybody
else's, and nothing that an earlier run left.

Source: git-lfs-push(1), git-lfs-config(5), git-lfs-smudge(1), docs/spec.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.git.fastimport import Edit, FastImport, Ident, blob_oid
from lfssync.git.gitcommand import NETWORK_TIMEOUT_S, Git
from lfssync.model import LfsObject, Monitor, Progress, State
from lfssync.transfer import Source, Uploaded
from lfssync.transfer.bare import BareTransfer
from lfssync.transfer.copying import copy_checked, holds, workroom

_BATCH = 100
_BATCH_BYTES = 4 << 30
"""So much room the copies may take at a time, unless a single object is larger."""

_PINNED = (
    "lfs.locksverify=false",
    "lfs.skipdownloaderrors=false",
    "lfs.fetchinclude=",
    "lfs.fetchexclude=",
    "lfs.remote.autodetect=false",
    "lfs.remote.searchall=false",
    "lfs.activitytimeout=600",  # a server may hash a large object for minutes before it answers
)
_MISSING = re.compile(r"^\s*\(missing\) .*\(([0-9a-f]{64})\)\s*$", re.MULTILINE)
_NOBODY = Ident("lfssync", "lfssync@localhost", "0 +0000")
_LOOK_S = 0.2
_SHORT_BYTES = 1 << 20
"""The progress file is emptied when it gets longer than this."""


class GitLfsTransfer:
    """Objects of one remote, through git-lfs.

    Args:
        git: The mirror's git dir; git-lfs's own is made below it.
        url: The remote's address as git knows it.
        branch: The branch that the objects are for; some servers ask.
        folder: For a remote on disk, its objects: they are looked at directly, because git-lfs takes any file of the
            right size there for good.
    """

    def __init__(self, git: Git, url: str, branch: str, folder: BareTransfer | None = None) -> None:
        self._git = git
        self._url = url
        self._branch = branch
        self._folder = folder

    @property
    def endpoint(self) -> str:
        """The remote's address."""
        return f"git-lfs {self._url}"

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`."""
        if self._folder is not None:
            return self._folder.missing(objects)
        if not objects:
            return []
        with self._own_git_dir() as git:
            said = self._push(git, objects, "lfs.allowincompletepush=true")
        lacking = set(_MISSING.findall(said))
        return [lfs for lfs in objects if lfs.oid in lacking]

    def locked(self) -> None:
        """See `Transfer.locked`."""

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`: git-lfs succeeds only if it has nothing to send."""
        if self._folder is not None:
            self._folder.confirm(objects)
        elif objects:
            try:
                with self._own_git_dir() as git:
                    self._push(git, objects, "lfs.allowincompletepush=false")
            except LfssyncError as error:
                for lfs in self.missing(objects):
                    raise TransientError(
                        f"{self._url} does not hold the LFS object {lfs.oid}", "it is sent again"
                    ) from error
                raise

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`. Needs room for a batch of copies, which go as soon as it is sent."""
        sent_bytes = 0
        changed: list[LfsObject] = []
        for batch in _batches(list({source.lfs: source for source in sources}.values())):
            good: dict[str, Source] = {}

            def advance(oid: str, done_bytes: int, good: dict[str, Source] = good) -> None:
                if (source := good.get(oid)) and done_bytes < source.lfs.size_bytes:
                    monitor(Progress(State.UPLOADING, source.path, done_bytes, source.lfs.size_bytes))

            with self._own_git_dir() as git, _progress(advance) as extra:
                good |= {source.lfs.oid: source for source in batch if _copied(source, git)}
                objects = [source.lfs for source in good.values()]
                if objects:
                    self._push(git, objects, "lfs.allowincompletepush=false", extra)
            changed += [source.lfs for source in batch if source.lfs.oid not in good]
            self._require_kept(objects)
            for source in good.values():
                size = source.lfs.size_bytes
                sent_bytes += size
                monitor(Progress(State.UPLOADING, source.path, size, size))
        return Uploaded(sent_bytes, tuple(changed))

    def _push(
        self, git: Git, objects: Sequence[LfsObject], setting: str, extra: Mapping[str, str] | None = None
    ) -> str:
        """Have git-lfs push a commit with a pointer to each object, called by its name; returns what it says."""
        ref = f"refs/heads/{self._branch}"
        with FastImport(git) as stream:
            edits = []
            for lfs in dict.fromkeys(objects):
                pointer = lfs.pointer()
                oid = blob_oid(len(pointer), [pointer])
                stream.blob(oid, len(pointer), [pointer])
                edits.append(Edit(lfs.oid.encode(), "100644", oid))
            stream.commit(ref, (), _NOBODY, "", edits)
            stream.finish()
        output = git.run(
            *self._settings("lfssync", setting), "lfs", "push", "lfssync", ref,
            extra=extra, timeout_s=NETWORK_TIMEOUT_S, remote=self._url,
        )  # fmt: skip
        return output.stdout.decode("utf-8", "replace") + output.stderr

    def _require_kept(self, objects: Sequence[LfsObject]) -> None:
        """Believe in an upload only when the remote says that it has nothing left to get."""
        for lfs in self.missing(objects):
            if self._folder is not None and self._folder.file(lfs).exists():
                raise BlockedError(
                    f"{self._folder.file(lfs)} is damaged, and git-lfs does not replace it",
                    'delete that file, or leave out transfer = "git-lfs"',
                )
            raise TransientError(
                f"{self._url} took the LFS object {lfs.oid} but does not keep it",
                "it is sent again; ask who runs the server",
            )

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`; git-lfs's smudge filter fetches it."""
        path = os.fsencode(destination.name)

        def advance(_: str, done_bytes: int) -> None:
            monitor(Progress(State.STAGING, path, min(done_bytes, lfs.size_bytes - 1), lfs.size_bytes))

        whole = False
        with destination.open("xb") as file:
            try:
                with self._own_git_dir() as git, _progress(advance) as extra:
                    git.run(
                        *self._settings("origin", "lfs.allowincompletepush=false"), "lfs", "smudge",
                        given=lfs.pointer(), stdout=file.fileno(),
                        extra=extra, timeout_s=NETWORK_TIMEOUT_S, remote=self._url,
                    )  # fmt: skip
                whole = holds(destination, lfs)
            except LfssyncError as error:
                if type(error) is not LfssyncError:  # of a kind that says more than "not there"
                    raise
            finally:
                if not whole:
                    destination.unlink()
        if not whole:
            raise LfssyncError(
                f"{self._url} does not give the LFS object {lfs.oid}", "sync the mirror that still has the file"
            )
        monitor(Progress(State.STAGING, path, lfs.size_bytes, lfs.size_bytes))

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """See `Transfer.part`: git-lfs knows whole objects only."""
        return self._folder.part(lfs, offset, count) if self._folder is not None else None

    def _settings(self, remote: str, setting: str) -> list[str]:
        settings = (f"remote.{remote}.url={self._url}", setting, *_PINNED)
        return [word for one in settings for word in ("-c", one)]

    @contextlib.contextmanager
    def _own_git_dir(self) -> Iterator[Git]:
        """A git dir for git-lfs alone; what a killed run left in it is cleared away first."""
        folder = self._git.git_dir / "git-lfs"
        git = Git(folder, stop=self._git.stop, login=self._git.login)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            git.run("init", "--quiet", "--bare", "--template=", "--initial-branch", self._branch, str(folder))
            # Not with `-c`: git-lfs hands that on to its agent for remotes on disk, as the place of *their* objects.
            with (folder / "config").open("a") as config:
                config.write("[lfs]\n\tstorage = lfs\n")
            yield git
        except OSError as error:
            raise TransientError(
                f"{error.filename or folder}: {(error.strerror or str(error)).lower()}",
                "git-lfs needs room for a copy of what it moves; free disk space, it is tried again",
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    for source in sources:
        if batch and (len(batch) == _BATCH or sum(one.lfs.size_bytes for one in [*batch, source]) > _BATCH_BYTES):
            yield batch
            batch = []
        batch.append(source)
    if batch:
        yield batch


def _copied(source: Source, git: Git) -> bool:
    """Make an independent copy where git-lfs looks for it; False when the file is not the object any more."""
    oid = source.lfs.oid
    target = git.git_dir / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    target.parent.mkdir(parents=True, exist_ok=True)
    return copy_checked(source.fd, source.lfs, target, lambda _: None)


@contextlib.contextmanager
def _progress(advance: Callable[[str, int], None]) -> Iterator[dict[str, str]]:
    """Follow git-lfs's progress file; gives the environment that has it written. Source: git-lfs-config(5)."""
    with workroom(_memory()) as room:
        (room / "progress").touch()
        ended = threading.Event()
        follower = threading.Thread(target=_follow, args=(room / "progress", advance, ended), name="git-lfs progress")
        follower.start()
        try:
            yield {"GIT_LFS_PROGRESS": str(room / "progress")}
        finally:
            ended.set()
            follower.join()


def _memory() -> Path:
    """A folder in memory: git-lfs up to 3.4 syncs its progress file every 32 KiB, which only there costs nothing."""
    places = (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", tempfile.gettempdir())  # noqa: S108 (made with 0700)
    return Path(next(place for place in places if os.path.isabs(place) and os.access(place, os.W_OK | os.X_OK)))


def _follow(file: Path, advance: Callable[[str, int], None], ended: threading.Event) -> None:
    with file.open("r+b") as lines:
        rest = b""
        while not ended.wait(_LOOK_S):
            *whole, rest = (rest + lines.read()).split(b"\n")
            if lines.tell() > _SHORT_BYTES:  # git-lfs appends, so it goes on at the start; a line or two may get lost
                lines.truncate(0)
                lines.seek(0)
                rest = b""
            latest = {}
            for line in whole:  # "upload 1/3 32768/3000000 <name>"
                words = line.split(b" ", 3)
                if len(words) == 4 and (done := words[2].partition(b"/")[0]).isdigit():
                    latest[words[3].decode("utf-8", "replace")] = int(done)
            try:
                for name, done_bytes in latest.items():
                    advance(name, done_bytes)
            except LfssyncError:
                return  # told to stop; the command itself notices that, too
