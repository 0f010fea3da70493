"""Commits by `git fast-import`: exactly the changed paths, no index, no work tree, no second copy.

Stands between `stage` (which writes blobs through it while it reads files) and `repository` (which writes commits).
The one thing to know: nothing is visible before `finish` returns; a stream that is broken off leaves no ref moved.

Source: git-fast-import(1).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, NamedTuple

from lfssync.errors import LfssyncError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.git.giterrors import explain

_BLOCK_BYTES = 1 << 20
_ANSWER_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One path of a commit: `git_mode` and `blob_oid` to set it, or both None to delete it. Paths are from the root."""

    path: bytes
    git_mode: str | None = None
    blob_oid: str | None = None


@dataclass(frozen=True, slots=True)
class Ident:
    """Who and when: `when` is git's raw date, seconds since the epoch and the zone, such as `1732380000 +0100`."""

    name: str
    email: str
    when: str

    def line(self) -> bytes:
        """The form that commit and tag headers use; characters that would end a field are left out."""
        clean = [part.translate({ord(c): None for c in "<>\n\0\r"}).strip() for part in (self.name, self.email)]
        return f"{clean[0] or 'lfssync'} <{clean[1]}> {self.when}".encode("utf-8", "surrogateescape")


class Made(NamedTuple):
    """A commit that was written: 40-digit names of it and of its tree."""

    commit: str
    tree: str


_NOT_PLAIN = re.compile(rb'[^ -~]|["\\]')


def quote(path: bytes) -> bytes:
    """A path in git's C-style quotes: every byte that is not plain becomes an octal escape."""
    return b'"%b"' % _NOT_PLAIN.sub(lambda found: b"\\%03o" % ord(found[0]), path)


def blob_oid(size_bytes: int, blocks: Iterable[bytes]) -> str:
    """The name git gives to a blob. Source: git-hash-object(1)."""
    digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def edits_stream(edits: Iterable[Edit]) -> Iterator[bytes]:
    """The file commands of a commit; deletions first, so that a file may take a folder's place and the reverse."""
    later: list[Edit] = []
    for edit in edits:
        if edit.blob_oid is None:
            yield b"D %b\n" % quote(edit.path)
        else:
            later.append(edit)
    for edit in later:
        assert edit.git_mode is not None
        assert edit.blob_oid is not None
        yield b"M %b %b %b\n" % (edit.git_mode.encode(), edit.blob_oid.encode(), quote(edit.path))


class FastImport:
    """Runs of `git fast-import`, used as a context; blobs may come from several threads.

    Each run begins with the first thing that is written and ends with `finish`; leaving the block without it breaks
    the run off: git then keeps nothing of it and moves no ref.

    Args:
        git: The git dir to write into.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._written: set[str] = set()
        self._commits = 0

    def __enter__(self) -> FastImport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def blob(self, oid: str, size_bytes: int, blocks: Iterable[bytes]) -> None:
        """Write one blob. Git is started by the first one, so a pass without blobs starts nothing.

        Args:
            oid: Its name, computed by the caller; a blob already written in this run is not written again.
            size_bytes: Its exact size.
            blocks: Its content; the caller guarantees that they add up to `size_bytes`.

        Raises:
            LfssyncError: When git ended (disk full, say).
        """
        with self._lock:
            if oid in self._written:
                return
            self._written.add(oid)
            self._write(b"blob\ndata %d\n" % size_bytes)
            for block in blocks:
                self._write(block)
            self._write(b"\n")

    def commit(
        self,
        ref: str,
        parents: tuple[str, ...],
        who: Ident,
        message: str,
        edits: Iterable[Edit],
        base: str | None = None,
    ) -> None:
        """Write one commit onto a ref.

        Args:
            ref: Full name of one of our own refs (`refs/lfssync/...`); replaced only when `finish` succeeds.
            parents: 40-digit commit ids; the first gives the tree to start from.
            who: Author and committer.
            message: The commit message.
            edits: What differs from the first parent's tree (or from `base`).
            base: With no parents: a 40-digit tree id to start from.
        """
        text = message.encode("utf-8", "surrogateescape")
        with self._lock:
            self._write(b"reset %b\ncommit %b\n" % (ref.encode(), ref.encode()))
            self._commits += 1
            self._write(b"mark :%d\n" % self._commits)
            self._write(b"committer %b\ndata %d\n%b\n" % (who.line(), len(text), text))
            for position, parent in enumerate(parents):
                self._write(b"%b %b\n" % (b"merge" if position else b"from", parent.encode()))
            if base is not None:
                self._write(b'M 040000 %b ""\n' % base.encode())
            for line in edits_stream(edits):
                self._write(line)
            self._write(b'\nget-mark :%d\nls :%d ""\n' % (self._commits, self._commits))

    def finish(self) -> list[Made]:
        """End the stream and wait for git.

        Returns:
            The commits of this run, in the order in which they were written.

        Raises:
            LfssyncError: When git refused the stream; no ref has moved then.
        """
        if self._child is None:
            return []
        self._write(b"done\n")
        assert self._child.stdin is not None
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            self._fail()
        words = self._answer().split()
        if self._child.wait(60):
            self._fail()
        self._stack.close()
        self._child = None
        count, self._commits = self._commits, 0
        commits, trees = words[::4], words[3::4]  # `<commit>`, then `040000 tree <tree>`
        if len(words) != 4 * count:
            raise TransientError("git does not know the commit it just made", "it is tried again")
        return [Made(commit.decode(), tree.decode()) for commit, tree in zip(commits, trees, strict=True)]

    def _answer(self) -> bytes:
        """All that git has to say, to its end; `Popen.wait` would look ever more seldom whether it is over."""
        assert self._child is not None
        assert self._child.stdout is not None
        fd, said, deadline = self._child.stdout.fileno(), b"", time.monotonic() + _ANSWER_TIMEOUT_S
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while (left_s := deadline - time.monotonic()) > 0:
            if poll.poll(left_s * 1000):
                block = os.read(fd, _BLOCK_BYTES)
                if not block:
                    return said
                said += block
        raise TransientError(f"git did not write a commit within {_ANSWER_TIMEOUT_S:.0f} s", "it is tried again")

    def _write(self, data: bytes) -> None:
        if self._child is None:
            stderr = open(os.memfd_create("stderr"), "w+b")  # noqa: SIM115  (the stack closes it)
            self._stderr = self._stack.enter_context(stderr)
            self._child = self._stack.enter_context(
                self._git.start(
                    "fast-import",
                    "--quiet",
                    "--force",
                    "--done",
                    "--date-format=raw",
                    stderr=self._stderr,
                )
            )
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            self._fail()

    def _fail(self) -> None:
        assert self._child is not None
        assert self._stderr is not None
        status = self._child.wait(60)
        self._stderr.seek(0)
        said = self._stderr.read(65536).decode("utf-8", "replace")
        error: LfssyncError = explain("fast-import", status, said)
        raise error
