"""Reads files: opens them safely, hashes them, decides what is LFS, and proves that they did not change meanwhile.

Stands between `settle` and the transfers. Small plain files go straight into the object database through the blob
writer; an LFS file stays open, and its descriptor is what will be uploaded, whatever rotation does to its name.
The one thing to know: a file is opened part by part without following links, and only counts as staged if its
signature is the same before and after the read and nobody has it open for writing: so what was hashed is one state it
really had. What somebody has had open for `max_wait`, such as a log, is taken as far as it goes: as many bytes as there
were before the first read, read twice and found equal.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from lfssync.formats import Reader, check
from lfssync.git.fastimport import blob_oid
from lfssync.hosts.preflight import CARD_LIMIT_BYTES, NO_PREFLIGHT, Preflight
from lfssync.line.opening import BLOCK_BYTES, Content, Folder, open_beneath, read_blocks
from lfssync.line.pins import Share
from lfssync.line.settle import Seen, is_appended, judge, probe, wait_if_racy
from lfssync.line.waiting import Waiting
from lfssync.model import (
    STILL_CHANGING,
    Change,
    Deferred,
    IncompletePolicy,
    LfsObject,
    Monitor,
    Progress,
    Signature,
    Staged,
    State,
    show,
)
from lfssync.records.store import split
from lfssync.rules.attributes import Storage, Verdict, decide, is_binary, looks_like_pointer, parse_pointer
from lfssync.rules.closing import LEFT, LastCall, TimeIsUp
from lfssync.shares import hash_block

HEAD_BYTES = 8000
HASHERS = 2
_TASK_FILES = 32
"""Small files are hashed in handfuls: handing single ones to a thread would cost more than reading them."""

_AHEAD = 6
"""How many handfuls may be read before the receiver took the first."""

BlobWriter = Callable[[str, int, Iterable[bytes]], None]
"""Takes a git blob: its name, its size in bytes, and blocks that add up to it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What staging needs to know besides the files: sizes in bytes, times in seconds.

    Args:
        lfs_threshold_bytes: Larger files become LFS objects.
        quiet_s: Where the kernel cannot tell about writers, signatures must stand still so long.
        in_checkout: The directory is a git working copy, where a pointer may stand for a file that was not fetched.
        preflight: What the host would refuse.
        max_wait_s: What is open, or incomplete, for so long may be taken after all.
        incomplete: Whether files that are incomplete then are taken.
    """

    lfs_threshold_bytes: int
    quiet_s: float
    in_checkout: bool = False
    preflight: Preflight = NO_PREFLIGHT
    max_wait_s: float = float("inf")
    incomplete: IncompletePolicy = IncompletePolicy.WAIT


@dataclass(slots=True)
class Stage:
    """Stages the changes of one pass. Use `run`; close what it gives with `release`.

    Args:
        root_fd: Open descriptor of the mirrored directory.
        policy: See `Policy`.
        verdicts: What the attributes say about each path.
        blobs: Where plain content and pointers go.
        monitor: Receives progress.
        seen: Signatures of earlier looks, by path; kept between passes by the caller.
        waiting: What earlier passes left behind.
        hashed: What files were found to be that could not be secured, and under which signature; kept like `seen`.
        last_call: Until when files may be taken.
        warnings: Lines for people about files that were taken although something is wrong with them.
    """

    root_fd: int
    policy: Policy
    verdicts: dict[bytes, Verdict]
    blobs: BlobWriter
    monitor: Monitor
    seen: dict[bytes, Seen] = field(default_factory=dict)
    waiting: Waiting = field(default_factory=Waiting)
    hashed: dict[bytes, tuple[Signature, LfsObject]] = field(default_factory=dict)
    last_call: LastCall = field(default_factory=LastCall)
    warnings: list[str] = field(default_factory=list)

    def run(self, changes: Iterable[Change], share: Share) -> Iterator[Staged | Deferred | None]:
        """Stage files in the order given, two at a time.

        Args:
            changes: The files.
            share: How many of them may be open at a time.

        Yields:
            For each change either what was read, or why it must wait. LFS files come with an open descriptor which the
            receiver closes. None when time is short and the next one is not read yet: send what there is.
        """
        handfuls = _handfuls(changes, lambda: max(share.reads // HASHERS, 1))
        under_way: deque[tuple[Future[_Results], int]] = deque()
        with ThreadPoolExecutor(HASHERS, thread_name_prefix="hash") as pool:
            try:
                while True:
                    while _may_read(share, len(under_way)) and (handful := next(handfuls, None)):
                        share.read += len(handful)
                        under_way.append((pool.submit(self._handful, handful), len(handful)))
                    if not under_way:
                        return
                    if self.last_call.was_given and not under_way[0][0].done():
                        yield None
                    task, count = under_way.popleft()
                    yield from task.result()
                    share.read -= count
            finally:  # a receiver that stopped early leaves no descriptor behind
                for task, _ in under_way:
                    if not task.cancel() and task.exception() is None:
                        task.result().close_rest()

    def _handful(self, changes: list[Change]) -> _Results:
        results: list[Staged | Deferred] = []
        try:
            with Folder(self.root_fd) as folder:
                results.extend(self._one(change, folder) for change in changes)
        except BaseException:
            release(result for result in results if isinstance(result, Staged))
            raise
        return _Results(results)

    def _one(self, change: Change, folder: Folder) -> Staged | Deferred:
        if self.last_call.is_over:
            return self._deferred(change, LEFT)
        try:
            if change.signature.is_link:
                return self._link(change)
            fd = folder.open(change.path)
        except OSError as error:
            return self._deferred(change, _reason(error))
        keep = False
        try:
            result = self._file(change, fd)
            keep = isinstance(result, Staged) and result.fd is not None
            return result
        except TimeIsUp:
            return self._deferred(change, LEFT)
        except OSError as error:
            return self._deferred(change, _reason(error))
        finally:
            if not keep:
                os.close(fd)

    def _deferred(self, change: Change, reason: str) -> Deferred:
        return Deferred(change.path, reason, change.signature.size_bytes)

    def _link(self, change: Change) -> Staged | Deferred:
        directory, name = split(change.path)
        parent = open_beneath(self.root_fd, directory, os.O_DIRECTORY) if directory else os.dup(self.root_fd)
        try:
            target = os.readlink(name, dir_fd=parent)
            signature = Signature.of(os.lstat(name, dir_fd=parent))
        finally:
            os.close(parent)
        if signature != change.signature:
            return self._deferred(change, STILL_CHANGING)
        oid = blob_oid(len(target), [target])
        self.blobs(oid, len(target), [target])
        return Staged(change.path, signature, oid)

    def _file(self, change: Change, fd: int) -> Staged | Deferred:
        still = wait_if_racy(fd)
        status = still or os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return self._deferred(change, STILL_CHANGING)
        signature = Signature.of(status)
        reason = self._unsettled(change.path, fd, signature) or (None if still else STILL_CHANGING)
        is_prefix = reason is not None and self._has_waited(change) and is_appended(change, signature.size_bytes)
        if reason and not is_prefix:
            return self._deferred(change, reason)
        content = Content(fd, signature.size_bytes)
        if not is_prefix and (reason := self._incomplete(change, signature, content)):
            return self._deferred(change, reason)
        staged = self._read(change, signature, content)
        if not isinstance(staged, Staged):
            return staged or self._deferred(change, STILL_CHANGING)
        if is_prefix:
            is_proven = os.fstat(fd).st_size >= signature.size_bytes and _oid_again(staged, fd) == _oid(staged)
        else:
            is_proven = Signature.of(os.fstat(fd)) == signature and not self._unsettled(change.path, fd, signature)
        return staged._replace(is_prefix=is_prefix) if is_proven else self._deferred(change, STILL_CHANGING)

    def _has_waited(self, change: Change) -> bool:
        return self.waiting.has_waited(change.path, time.time(), self.policy.max_wait_s)

    def _incomplete(self, change: Change, signature: Signature, content: Content) -> str | None:
        """Why a file that nobody writes has to wait all the same, if it has to."""
        finding = check(change.path, Reader(signature.size_bytes, content.at))
        if not finding.is_incomplete:
            return None
        is_old = time.time() - signature.ctime_ns / 1e9 >= self.policy.max_wait_s or self._has_waited(change)
        if self.policy.incomplete is IncompletePolicy.COMMIT and is_old:
            self.warnings.append(f"{show(change.path)}: {finding.reason}; committed as it is")
            return None
        return finding.reason

    def _read(self, change: Change, signature: Signature, content: Content) -> Staged | Deferred | None:
        """Read a file as the attributes and its content say; None when it became shorter meanwhile."""
        head = content.at(HEAD_BYTES, 0)
        verdict = self.verdicts.get(change.path, Verdict.UNSPECIFIED)
        pointer = looks_like_pointer(content.at(1024, 0)) if signature.size_bytes <= 1024 else False
        if pointer and self.policy.in_checkout and (kept := self._pointer_as_it_was(change, signature, content)):
            return kept
        preflight, size_bytes = self.policy.preflight, signature.size_bytes
        threshold_bytes = preflight.lfs_threshold_bytes(self.policy.lfs_threshold_bytes)
        storage = decide(verdict, size_bytes, is_binary(head), pointer, threshold_bytes, preflight.binary_limit_bytes)
        text = content.at(CARD_LIMIT_BYTES, 0) if change.path == preflight.card else head
        if reason := preflight.refusal(change.path, size_bytes, text, storage is not Storage.PLAIN):
            return self._deferred(change, reason)._replace(is_refused=True)
        if storage is Storage.PLAIN:
            return self._plain(change, signature, content)
        return self._lfs(change, signature, content.fd)

    def _unsettled(self, path: bytes, fd: int, signature: Signature) -> str | None:
        now_s = time.monotonic()
        earlier = self.seen.get(path)
        seen = earlier if earlier and earlier.signature == signature else Seen(signature, now_s)
        reason = judge(probe(fd), seen, now_s, self.policy.quiet_s)
        if reason:
            self.seen[path] = seen
        return reason

    def _pointer_as_it_was(self, change: Change, signature: Signature, content: Content) -> Staged | None:
        """An unsmudged checkout: the file *is* the pointer that is recorded for it, so nothing has changed."""
        text = content.at(signature.size_bytes, 0)
        oid = blob_oid(len(text), [text])
        if change.known is None or change.known.blob_oid != oid:
            return None
        return Staged(change.path, signature, oid, parse_pointer(text))

    def _plain(self, change: Change, signature: Signature, content: Content) -> Staged | None:
        size = signature.size_bytes
        if size <= BLOCK_BYTES:
            text = content.at(size, 0)
            if len(text) != size:
                return None
            oid = blob_oid(size, [text])
            blocks: Iterable[bytes] = [text]
        else:
            oid = blob_oid(size, read_blocks(content.fd, size))
            blocks = read_blocks(content.fd, size)
        if change.known is None or change.known.blob_oid != oid:
            self.blobs(oid, size, blocks)
        self.monitor(Progress(State.STAGING, change.path, size, size))
        return Staged(change.path, signature, oid)

    def _lfs(self, change: Change, signature: Signature, fd: int) -> Staged | None:
        seen, earlier = self.hashed.get(change.path, (None, None))
        known = self.waiting.was_read(change.path, signature) or (earlier if seen == signature else None)
        lfs = known or self._hash(change, signature.size_bytes, fd)
        if lfs is None:
            return None
        self.hashed[change.path] = (signature, lfs)
        pointer = lfs.pointer()
        oid = blob_oid(len(pointer), [pointer])
        if change.known is None or change.known.blob_oid != oid:
            self.blobs(oid, len(pointer), [pointer])
        return Staged(change.path, signature, oid, lfs, fd)

    def _hash(self, change: Change, size: int, fd: int) -> LfsObject | None:
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        digest = hashlib.sha256()
        buffer = bytearray(BLOCK_BYTES)
        view = memoryview(buffer)
        done = 0
        while done < size and (count := os.preadv(fd, [view[: size - done]], done)):
            hash_block(digest, view[:count])
            done += count
            self.monitor(Progress(State.STAGING, change.path, done, size))
        return LfsObject(digest.hexdigest(), size) if done == size else None


class _Results:
    """The results of a handful; those that nobody took are closed."""

    def __init__(self, results: list[Staged | Deferred]) -> None:
        self._results = results

    def __iter__(self) -> Iterator[Staged | Deferred]:
        while self._results:
            yield self._results.pop(0)

    def close_rest(self) -> None:
        release(result for result in self if isinstance(result, Staged))


def release(staged: Iterable[Staged]) -> None:
    """Close the descriptors of staged files."""
    for one in staged:
        if one.fd is not None:
            os.close(one.fd)


def _oid(staged: Staged) -> str:
    return staged.lfs.oid if staged.lfs else staged.blob_oid


def _oid_again(staged: Staged, fd: int) -> str:
    """What `_oid` is by a second read of as many bytes."""
    size = staged.signature.size_bytes
    if staged.lfs is None:
        return blob_oid(size, read_blocks(fd, size))
    digest = hashlib.sha256()
    for block in read_blocks(fd, size):
        hash_block(digest, block)
    return digest.hexdigest()


def _may_read(share: Share, tasks: int) -> bool:
    """Whether another handful may be read before the receiver took the first."""
    reads = share.reads
    return tasks == 0 or (tasks < _AHEAD and share.read + max(reads // HASHERS, 1) <= reads)


def _handfuls(changes: Iterable[Change], most: Callable[[], int]) -> Iterator[list[Change]]:
    """Cut the changes into tasks of at most so many files: a large file is one of its own."""
    handful: list[Change] = []
    limit = 0
    for change in changes:
        limit = limit if handful else min(_TASK_FILES, most())
        handful.append(change)
        if len(handful) >= limit or change.signature.size_bytes > BLOCK_BYTES:
            yield handful
            handful = []
    if handful:
        yield handful


def _reason(error: OSError) -> str:
    """Words for what keeps a file from being read."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ESTALE):
        return STILL_CHANGING  # vanished or replaced since the scan: the next look says what it is now
    return (error.strerror or str(error)).lower()
