"""Which files of one pass are LFS, and what the committed `.gitattributes` says about it.

Stands beside `stage`: `pipeline` asks for the verdicts before files are read and for the text to commit afterwards.
git itself (`check-attr`) gives the verdicts, from exactly the attribute files that a clone of the next commit has.
The one thing to know: the committed `.gitattributes` is the user's text (the directory's, where that is new, else
what the branch has already) plus one marked block of ours; the file in the directory is never touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lfssync.git import facts
from lfssync.git.fastimport import blob_oid
from lfssync.git.repository import Repository, can_be
from lfssync.line.opening import open_beneath
from lfssync.line.settle import Writer, probe
from lfssync.model import STILL_CHANGING, Change, Changes, Deferred, Known, LfsObject, Signature, Staged, show
from lfssync.records.store import Store
from lfssync.rules.attributes import BINARY_LIMIT_BYTES, Block, Verdict, has_line, join, split

NAME = b".gitattributes"
RULES_FACT = "attributes"
"""The store's name for the attribute files under which everything was classified; `pipeline` records it."""

_LIMIT_BYTES = 8 << 20
_LFS = b" filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(slots=True)
class Classification:
    """The attribute rules in force for one pass.

    Args:
        repository: Asks git.
        head: The commit that the next one builds on.
        prefix: `into` with a `/` behind it, or empty.
        gone: Attribute files of the directory that leave the branch, or have no say any more (links).
        read: The directory's attribute files that differ from what was recorded, by path.
        expected: The blobs of all attribute files that the scan found to be new or touched, as these rules take them to
            be; None where that cannot be told yet.
        user_text: The part of the top-level `.gitattributes` that is not ours.
        block: Our part: the default patterns as they shall be, the paths as they are now.
        warnings: Lines for people, such as about paths that no attribute line can name.
    """

    repository: Repository
    head: str | None
    prefix: bytes
    gone: set[bytes]
    read: dict[bytes, bytes] = field(default_factory=dict)
    expected: dict[bytes, str | None] = field(default_factory=dict)
    user_text: bytes = b""
    block: Block = field(default_factory=Block)
    warnings: list[str] = field(default_factory=list)
    _on_branch: dict[bytes, bytes] = field(default_factory=dict)
    _asked: set[bytes] = field(default_factory=set)

    @property
    def committed(self) -> bytes:
        """The top-level `.gitattributes` as it is on the branch now."""
        return self._on_branch.get(self.prefix + NAME, b"")

    def verdicts(self, paths: Iterable[bytes]) -> dict[bytes, Verdict]:
        """What the attributes say about paths of the directory."""
        rules = join(self.user_text, Block(self.block.default_patterns, frozenset()))
        verdicts = self._verdicts(list(paths), rules)
        for path in self._beyond_lines([path for path, verdict in verdicts.items() if verdict is Verdict.UNSPECIFIED]):
            verdicts[path] = Verdict.REFUSED
        for path, verdict in verdicts.items():
            if path.rpartition(b"/")[2] == NAME:
                verdicts[path] = Verdict.REFUSED  # git reads them before any filter runs
            elif verdict is Verdict.UNSPECIFIED and not has_line(path):
                verdicts[path] = Verdict.REFUSED
                self.warnings.append(
                    f"{show(path)}: its name is too long for a line in .gitattributes; kept in git, not in LFS"
                )
        return verdicts

    def _beyond_lines(self, paths: list[bytes]) -> list[bytes]:
        """Paths that no line in the top-level file could make LFS, because a nested file says `!filter` about them."""
        if self._texts(paths).keys() <= {*self.names_over(), self.prefix + NAME}:
            return []
        with_lines = self._verdicts(paths, b"*" + _LFS)
        return [path for path, verdict in with_lines.items() if verdict is not Verdict.LFS]

    def _verdicts(self, paths: list[bytes], top: bytes) -> dict[bytes, Verdict]:
        """What git says about paths of the directory when `top` is its top-level `.gitattributes`."""
        texts = self._texts(paths)
        texts[self.prefix + NAME] = top
        found = self.repository.verdicts(texts, [self.prefix + path for path in paths])
        return {path: found[self.prefix + path] for path in paths}

    def _texts(self, paths: Iterable[bytes]) -> dict[bytes, bytes]:
        """The attribute files that have a say about paths of the directory, by path from the repository's root."""
        self.load(self.prefix + name for name in names_above(*paths))
        texts = dict(self._on_branch)
        for name in self.gone:
            texts.pop(self.prefix + name, None)
        return texts | {self.prefix + name: text for name, text in self.read.items()}

    def load(self, names: Iterable[bytes]) -> None:
        """Read attribute files of the branch, by their paths from the root, unless that was done before."""
        wanted = [name for name in names if name not in self._asked]
        self._asked.update(wanted)
        if self.head is not None:
            self._on_branch |= attribute_files(self.repository, self.head, wanted)

    def keep_others(self, head: str, ours: Iterable[bytes]) -> None:
        """See to it that what only others have on the branch stays LFS when the new rules do not say so any more.

        Args:
            head: The commit that the next one builds on.
            ours: Paths of the directory: where the rules change for them, they are read anew.
        """
        own = set(ours)
        entries = {
            path.removeprefix(self.prefix): oid
            for path, mode, oid in self.repository.entries(head)
            if path.startswith(self.prefix) and mode != "120000" and path.removeprefix(self.prefix) not in own
        }
        pointers = self.repository.pointers(entries.values())
        others = [path for path, oid in entries.items() if oid in pointers]
        before = self._verdicts(others, self.committed)
        after = self._verdicts(others, join(self.user_text, self.block))
        self.block = Block(self.block.default_patterns, self.block.paths | no_longer_lfs(before, after))

    def reclassified(self, store: Store, changes: Changes, root: bytes, lfs_threshold_bytes: int) -> list[Change]:
        """Files that did not change, but may be LFS now or be no longer, because attribute files changed.

        Args:
            store: What is recorded.
            changes: What the scan found.
            root: The mirrored directory.
            lfs_threshold_bytes: The mirror's.
        """
        if not (self.changes_rules or store.fact(RULES_FACT) != self.fact(self.committed)):
            return []
        touched = {change.path for change in changes.changed} | set(changes.removed)
        rest = {path: known for path, known in store.everything() if path not in touched and known.git_mode != "120000"}
        verdicts = self.verdicts(rest)
        limit_bytes = min(lfs_threshold_bytes, BINARY_LIMIT_BYTES)
        found = []
        for path, known in rest.items():
            if self._may_differ(path, known, verdicts[path], limit_bytes):
                try:
                    found.append(Change(path, Signature.of(os.lstat(os.path.join(root, path))), known))
                except OSError:
                    continue  # gone since the scan: its own event follows
        return found

    @property
    def changes_rules(self) -> bool:
        """Whether the next commit changes any rule."""
        return bool(self.read or self.gone) or split(self.committed) != (self.user_text, self.block)

    def _may_differ(self, path: bytes, known: Known, verdict: Verdict, limit_bytes: int) -> bool:
        if verdict is not Verdict.UNSPECIFIED:
            return (verdict is Verdict.LFS) is not (known.lfs is not None)
        if known.lfs is not None:
            return path not in self.block.paths
        return known.signature is None or known.signature.size_bytes > limit_bytes

    def late(self, staged: Iterable[Staged]) -> list[Deferred]:
        """Attribute files that were staged with another content than the rules are made of: they must wait.

        Args:
            staged: What the pass read.
        """
        return [
            Deferred(one.path, STILL_CHANGING, one.signature.size_bytes)
            for one in staged
            if one.path in self.expected and self.expected[one.path] != one.blob_oid
        ]

    def text(
        self,
        staged: Iterable[Staged],
        waiting: Mapping[bytes, Known | None],
        verdicts: Mapping[bytes, Verdict],
        gone: Iterable[bytes],
    ) -> bytes:
        """The top-level `.gitattributes` to commit.

        Args:
            staged: What the pass read.
            waiting: What it could not read yet, with what is recorded about it: on the branch it stays as it is.
            verdicts: As `verdicts` gave them.
            gone: Paths that leave the branch.
        """
        paths = set(self.block.paths) - set(gone)
        for one in staged:
            by_line = one.lfs is not None and verdicts.get(one.path) is Verdict.UNSPECIFIED
            paths.add(one.path) if by_line else paths.discard(one.path)
        paths |= {
            path
            for path, known in waiting.items()
            if known and known.lfs and verdicts.get(path) is not Verdict.LFS and has_line(path)
        }
        return join(self.user_text, Block(self.block.default_patterns, frozenset(paths)))

    def is_needed(self, text: bytes) -> bool:
        """Whether `text` has to be committed even if no file changes: it names files that nothing else makes LFS."""
        return bool(split(text)[1].paths - split(self.committed)[1].paths)

    def fact(self, top: bytes) -> str:
        """What to record about the rules when `top` is the top-level `.gitattributes` of the branch."""
        over = [self._on_branch.get(name, b"") for name in self.names_over()]
        return " ".join(blob_oid(len(text), [text]) for text in (*over, top))

    def names_over(self) -> list[bytes]:
        """The attribute files above `into`, from the top down."""
        folders = self.prefix.split(b"/")[:-1]
        return [b"/".join([*folders[:count], NAME]) for count in range(len(folders))]


def classification(
    repository: Repository, root_fd: int, into: bytes, head: str | None, changes: Changes, gone: Iterable[bytes],
    store: Store,
) -> Classification:  # fmt: skip
    """Read the attribute files that count.

    Args:
        repository: The mirror's.
        root_fd: The mirrored directory.
        into: The mirror's sub-folder of the repository, or empty.
        head: The commit that the next one builds on.
        changes: What the scan found.
        gone: Those of the removed paths that leave the branch.
        store: What is recorded.
    """
    rules = Classification(
        repository, head, into + b"/" if into else b"", gone={path for path in gone if _counts(path)}
    )
    for change in changes.changed:
        if _counts(change.path) and change.signature.is_link:
            rules.gone.add(change.path)  # git does not follow it
        elif _counts(change.path):
            text = _settled(root_fd, change.path)
            oid = None if text is None else blob_oid(len(text), [text])
            rules.expected[change.path] = oid
            if text is not None and (change.known is None or change.known.blob_oid != oid):
                rules.read[change.path] = text
    above = names_above(*(change.path for change in changes.changed))
    rules.load([*rules.names_over(), rules.prefix + NAME, *(rules.prefix + name for name in above)])
    committed_text, block = split(rules.committed)
    recorded = store.known(NAME)
    had_own = recorded is not None and recorded.git_mode != "120000"
    if NAME in rules.read:
        text, nul, _ = rules.read[NAME].partition(b"\0")
        if nul:
            rules.warnings.append(".gitattributes: git reads no further than its first NUL byte; cut off there")
        rules.user_text, own = split(text)
        rules.block = Block(own.default_patterns, block.paths | own.paths)
    elif NAME in rules.gone or NAME in changes.removed or not had_own:
        rules.user_text = b"" if had_own and NAME in rules.gone else committed_text
        rules.block = Block(True, block.paths)
    else:
        rules.user_text, rules.block = committed_text, block
    is_narrower = rules.user_text != committed_text or (block.default_patterns and not rules.block.default_patterns)
    if head is not None and is_narrower:
        rules.keep_others(head, {change.path for change in changes.changed} | {path for path, _ in store.everything()})
    return rules


def attribute_files(repository: Repository, revision: str, names: Iterable[bytes]) -> dict[bytes, bytes]:
    """Those attribute files of a revision that are there, by path from the root."""
    wanted = [name for name in names if can_be(name)]
    known = facts.ATTRIBUTES.get(revision) or {}
    asked = [name for name in wanted if name not in known]
    if asked:
        blobs = repository.contents([revision.encode() + b":" + name for name in asked])
        told = dict(zip(asked, blobs, strict=True))
        facts.tell_attributes(revision, told)
        known = {**known, **told}
    return {name: text for name in wanted if (text := known[name]) is not None}


def lfs_files(repository: Repository, commit: str) -> dict[bytes, LfsObject]:
    """The files of a commit that are LFS objects: pointers where its own attribute files say so."""
    oids = {path: oid for path, mode, oid in repository.entries(commit) if mode != "120000"}
    pointers = repository.pointers(oids.values())
    found = {path: pointers[oid] for path, oid in oids.items() if oid in pointers}
    names = [NAME, *names_above(*found)]
    verdicts = repository.verdicts(attribute_files(repository, commit, names), found)
    return {path: lfs for path, lfs in found.items() if verdicts[path] is Verdict.LFS}


def is_text_like_a_pointer(repository: Repository, head: str, lfs: LfsObject) -> bool:
    """Whether a history holds this pointer only where it is no LFS file, by the attribute files of that very commit."""
    pointer = lfs.pointer()
    return all(
        repository.verdicts(attribute_files(repository, commit, [NAME, *names_above(path)]), [path])[path]
        is not Verdict.LFS
        for commit, path in repository.appearances(head, blob_oid(len(pointer), [pointer]))
    )


def no_longer_lfs(before: Mapping[bytes, Verdict], after: Mapping[bytes, Verdict]) -> frozenset[bytes]:
    """Paths that were LFS and are not any more, as far as a line can say that they are."""
    return frozenset(
        path
        for path, verdict in before.items()
        if verdict is Verdict.LFS and after[path] is not Verdict.LFS and has_line(path)
    )


def names_above(*paths: bytes) -> list[bytes]:
    """The attribute files that there may be in all directories above the paths, without the top."""
    found: set[bytes] = set()
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition(b"/")[0]
    return [directory + b"/" + NAME for directory in found]


def _counts(path: bytes) -> bool:
    return path.rpartition(b"/")[2] == NAME


def _settled(root_fd: int, path: bytes) -> bytes | None:
    """The text of an attribute file of the directory; None while it is being written or cannot be read."""
    try:
        fd = open_beneath(root_fd, path)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or probe(fd) is Writer.PRESENT:
            return None
        return os.pread(fd, _LIMIT_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
