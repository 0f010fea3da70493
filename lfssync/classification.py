"""Which files of one pass are LFS, and what the committed `.gitattributes` says about it.

Stands beside `stage`: `pipeline` asks for the verdicts before files are read and for the text to commit afterwards.
git itself (`check-attr`) gives the verdicts, from exactly the attribute files that a clone will have.
The one thing to know: the committed `.gitattributes` is the user's text (the directory's, or else what the branch
    already has) plus one marked block of ours; the file in the directory is never touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from lfssync.attributes import Block, Verdict, join, line_for_path, split
from lfssync.model import Change, Changes, Signature, Staged, show
from lfssync.repository import Repository
from lfssync.stage import open_beneath
from lfssync.store import Store

NAME = b".gitattributes"
_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Classification:
    """The attribute rules in force for one pass.

    Args:
        repository: Asks git.
        root_fd: The mirrored directory.
        prefix: `into` with a `/` behind it, or empty.
        user_text: The part of `.gitattributes` that is not ours.
        block: Our part as it is committed now (or empty).
        above: Attribute files of the branch above `into`, by path from the repository's root.
        own: True when the directory has a `.gitattributes` of its own.
    """

    repository: Repository
    root_fd: int
    prefix: bytes
    user_text: bytes
    block: Block
    above: dict[bytes, bytes]
    own: bool

    def verdicts(self, paths: Iterable[bytes]) -> tuple[dict[bytes, Verdict], list[str]]:
        """What the attributes say about paths of the directory.

        Returns:
            A verdict for each path, and warnings about paths that no attribute line can name.
        """
        paths = list(paths)
        texts = dict(self.above)
        texts[self.prefix + NAME] = join(self.user_text, Block(self.block.default_patterns, frozenset()))
        for directory in _ancestors(paths):
            text = _read(self.root_fd, directory + b"/" + NAME)
            if text is not None:
                texts[self.prefix + directory + b"/" + NAME] = text
        found = self.repository.verdicts(texts, [self.prefix + path for path in paths])
        verdicts = {path: found[self.prefix + path] for path in paths}
        warnings = []
        for path, verdict in verdicts.items():
            if verdict is Verdict.UNSPECIFIED and line_for_path(path) is None:
                verdicts[path] = Verdict.REFUSED
                warnings.append(
                    f"{show(path)}: its name is too long for a line in .gitattributes; kept in git, not in LFS"
                )
        return verdicts, warnings

    def committed(self, staged: Iterable[Staged], verdicts: dict[bytes, Verdict], gone: Iterable[bytes]) -> bytes:
        """The `.gitattributes` to commit.

        Args:
            staged: What the pass read.
            verdicts: As `verdicts` gave them.
            gone: Paths that leave the branch.
        """
        paths = set(self.block.paths) - set(gone)
        for one in staged:
            by_line = one.lfs is not None and verdicts.get(one.path) is Verdict.UNSPECIFIED
            paths.add(one.path) if by_line else paths.discard(one.path)
        return join(self.user_text, Block(self.block.default_patterns, frozenset(paths)))


def classification(
    repository: Repository, root_fd: int, into: bytes, head: str | None, was_mirrored: bool
) -> Classification:
    """Read the attribute files that count.

    Args:
        repository: The mirror's.
        root_fd: The mirrored directory.
        into: The mirror's sub-folder of the repository, or empty.
        head: The commit that the next one builds on.
        was_mirrored: Whether a `.gitattributes` of the directory is recorded: the branch's text is then no one else's.
    """
    folders = [b"", *_chain(into)] if into else [b""]
    names = [folder + b"/" + NAME if folder else NAME for folder in folders]
    blobs = repository.contents(f"{head}:".encode() + name for name in names) if head else [None] * len(names)
    prefix = into + b"/" if into else b""
    committed = blobs[-1] or b""
    own = _read(root_fd, NAME)
    committed_text, block = split(committed)
    if own is None:
        text = b"" if was_mirrored else committed_text
        block = Block(True, block.paths)
    else:
        text, own_block = split(own)
        block = Block(own_block.default_patterns, block.paths | own_block.paths)
    above = {name: blob for name, blob in zip(names[:-1], blobs[:-1], strict=True) if blob is not None}
    return Classification(repository, root_fd, prefix, text, block, above, own is not None)


def _chain(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _ancestors(paths: Iterable[bytes]) -> set[bytes]:
    """All directories above the paths, without the top."""
    found: set[bytes] = set()
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition(b"/")[0]
    return found


def _read(root_fd: int, path: bytes) -> bytes | None:
    """A `.gitattributes` of the directory; git does not follow links here, so neither do we."""
    try:
        fd = open_beneath(root_fd, path)
    except OSError:
        return None
    try:
        return os.pread(fd, _LIMIT_BYTES, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def reclassified(store: Store, rules: Classification, changes: Changes, root: bytes) -> list[Change]:
    """Files that did not change, but are LFS now or are no longer, because a `.gitattributes` changed.

    Args:
        store: What is recorded.
        rules: The rules now.
        changes: What the scan found.
        root: The mirrored directory.
    """
    touched = {change.path for change in changes.changed} | set(changes.removed)
    if not any(path.rpartition(b"/")[2] == NAME for path in touched):
        return []
    rest = {path: known for path, known in store.everything() if path not in touched and known.git_mode != "120000"}
    verdicts, _ = rules.verdicts(rest)
    found = []
    for path, known in rest.items():
        wanted = {Verdict.LFS: True, Verdict.REFUSED: False}.get(verdicts[path])
        if wanted is not (known.lfs is not None):
            try:
                found.append(Change(path, Signature.of(os.lstat(os.path.join(root, path))), known))
            except OSError:
                continue  # gone since the scan: its own event follows
    return found
