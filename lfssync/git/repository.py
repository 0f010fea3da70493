"""The working copy: a mirror's own git dir, its refs, and commits of exactly the changed paths.

Stands between `stage` and `delivery`. Three refs tell everything: `refs/heads/<branch>` is what we want the remote to
hold, `refs/remotes/origin/<branch>` what it was last seen to hold, and `refs/lfssync/mirrored` a commit whose tree is
the mirrored directory alone. The last one is how a deletion in the directory is told from a file that only the remote
has, even after the store was lost.
The one thing to know: branch and `mirrored` move together in one ref transaction, or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfssync.git import facts, reffiles
from lfssync.git.addresses import last_value
from lfssync.git.fastimport import Edit, FastImport, Ident, blob_oid
from lfssync.git.gitcommand import Git
from lfssync.git.upkeep import clear_half_written
from lfssync.model import LfsObject
from lfssync.rules.attributes import Verdict, classify, parse_pointer

MIRRORED = "refs/lfssync/mirrored"
_NEXT = "refs/lfssync/next"
_NEXT_MIRRORED = "refs/lfssync/next-mirrored"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

Publish = Callable[[str | None, str], None]
"""Told the commit that the branch is about to get (it may be the one before), and the new picture of the directory."""
_POINTER_SIZES_BYTES = range(100, 1024)
_REMEMBERED_AT_ONCE = 1000
"""More paths than these are a first look, and not what the next pass asks about again."""
_ROOM = "lfssync-"
"""How the names of our own folders for temporary files begin."""


@dataclass(frozen=True, slots=True)
class Refs:
    """Where the refs of a mirror stand: 40-digit commit ids, or None where there is none yet."""

    head: str | None
    tip: str | None
    mirrored: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """One mirror's git dir.

    Args:
        git: Runs git there.
        branch: The branch that is mirrored.
    """

    git: Git
    branch: str

    @property
    def head_ref(self) -> str:
        """Full name of our branch."""
        return f"refs/heads/{self.branch}"

    @property
    def tip_ref(self) -> str:
        """Full name of the remote's branch as last seen."""
        return f"refs/remotes/origin/{self.branch}"

    def create(self) -> None:
        """Make the git dir if it is not there, all of it or nothing.

        It is bare: no file of the mirrored directory ever configures it.
        """
        git_dir = self.git.git_dir
        if not (git_dir / "HEAD").is_file():
            git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            set_aside(git_dir)
            fresh = git_dir.with_name(f"{git_dir.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            init = ("init", "--quiet", "--bare", "--template=", "--initial-branch", self.branch)
            replace(self.git, git_dir=fresh).run(*init, str(fresh))
            os.rename(fresh, git_dir)

    def clear_leftovers(self) -> None:
        """Remove what a killed run of ours left behind; call under the mirror's lock, so nobody of ours is at work."""
        folder = self.git.git_dir
        for lock in (*folder.glob("refs/**/*.lock"), *folder.glob("*.lock")):
            lock.unlink(missing_ok=True)
        for pattern in ("fast_import_crash_*", "objects/pack/tmp_*", "objects/??/tmp_obj_*", "tmp_*"):
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)
        clear_half_written(folder, float("inf"))
        for room in (*folder.glob(f"{_ROOM}*"), *folder.glob(f"lfs/objects/{_ROOM}*"), folder / "git-lfs"):
            shutil.rmtree(room, ignore_errors=True)

    def refs(self) -> Refs:
        """Where the refs stand, by one look."""
        names = (self.head_ref, self.tip_ref, MIRRORED)
        if (read := reffiles.read(self.git.git_dir, names)) is not None:
            return Refs(*(read.get(name) for name in names))
        listed = self.git.run("for-each-ref", "--format=%(refname) %(objectname)", *names).stdout.decode().split()
        found = dict(zip(listed[::2], listed[1::2], strict=True))
        return Refs(*(found.get(name) for name in names))

    def update_refs(self, moves: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs in one transaction.

        Args:
            moves: For each full name the value it has and the value it gets; None stands for "not there".
        """
        if reffiles.move(self.git.git_dir, moves):
            return
        lines = []
        for name, (old, new) in moves.items():
            zero = "0" * 40
            lines.append(f"update {name} {new} {old or zero}\n" if new else f"delete {name} {old or ''}\n")
        self.git.run("update-ref", "--stdin", given="".join(lines).encode())

    def entries(self, revision: str) -> Iterator[tuple[bytes, str, str]]:
        """All files of a revision: path, git mode, blob oid. Cost is the size of the tree."""
        for line in self.git.run("ls-tree", "-r", "-z", "--full-tree", revision).stdout.split(b"\0"):
            if line:
                words, _, path = line.partition(b"\t")
                mode, _, oid = words.decode().split()
                yield path, mode, oid

    def modes(self, revision: str, paths: Sequence[bytes]) -> dict[bytes, str]:
        """The git modes of files and links of a revision; what it does not have is left out."""
        if not paths:
            return {}
        names = [os.fsdecode(path) for path in paths]
        stdout = self.git.run("ls-tree", "-z", "--full-tree", revision, "--", *names).stdout
        rows = (line.partition(b"\t") for line in stdout.split(b"\0") if line)
        return {path: words.split()[0].decode() for words, _, path in rows}

    def tree_oid(self, revision: str | None) -> str:
        """The tree of a revision; the empty tree for None."""
        if revision is None:
            return _EMPTY_TREE
        objects = self.git.object_dir or self.git.git_dir / "objects"
        known = facts.TREES.get(revision) or reffiles.tree_of(objects, revision)
        return known or self.git.run("rev-parse", "--verify", f"{revision}^{{tree}}").text

    def note(self, commit: str) -> str:
        """The message of a commit, or nothing when it is not there."""
        output = self.git.run("log", "-1", "--format=%B", commit, accept=(0, 128))
        return output.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    def contents(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The blobs behind object names such as `<commit>:<path>`; None where there is no blob of that name."""
        return [content if kind == b"blob" else None for kind, _, content in self._ask("--batch", names)]

    def texts(self, oids: Sequence[str]) -> list[tuple[bytes, bytes]]:
        """Kind and raw content of objects, such as commits and tags; an empty kind where there is none."""
        return [(kind, content) for kind, _, content in self._ask("--batch", [oid.encode() for oid in oids])]

    def kinds(self, names: Sequence[bytes]) -> list[bytes]:
        """What is behind object names: `blob`, `tree` or `commit`; empty where there is nothing."""
        return [kind for kind, _, _ in self._ask("--batch-check", names)]

    def oids(self, names: Sequence[bytes]) -> list[str]:
        """The 40-digit names of what is behind object names; empty where there is nothing."""
        return [oid.decode() for _, _, oid in self._ask("--batch-check", names)]

    def sizes_bytes(self, oids: Sequence[str]) -> dict[str, int]:
        """How large objects are; what is not here is left out."""
        asked = zip(oids, self._ask("--batch-check", [oid.encode() for oid in oids]), strict=True)
        return {oid: size for oid, (kind, size, _) in asked if kind}

    def pointers(self, oids: Iterable[str]) -> dict[str, LfsObject]:
        """Which of these objects are LFS pointers, and to what; costs what the small blobs among them hold."""
        asked = list(dict.fromkeys(oids))
        known = zip(asked, self._ask("--batch-check", [oid.encode() for oid in asked]), strict=True)
        small = [oid for oid, (kind, size, _) in known if kind == b"blob" and size in _POINTER_SIZES_BYTES]
        blobs = zip(small, self.contents([oid.encode() for oid in small]), strict=True)
        return {oid: lfs for oid, blob in blobs if blob is not None and (lfs := parse_pointer(blob)) is not None}

    def _ask(self, how: str, names: Sequence[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        """Kind, size and content (with `--batch-check` the 40-digit name) of objects, in the order asked for.

        Source: git-cat-file(1), "BATCH OUTPUT". Names go in with a NUL behind them, but come back with a line feed.
        """
        if not names:
            return
        stdout = self.git.run("cat-file", how, "-z", given=b"".join(name + b"\0" for name in names)).stdout
        at = 0
        for name in names:
            missing = name + b" missing\n"
            if stdout.startswith(missing, at):
                at += len(missing)
                yield b"", 0, b""
                continue
            end = stdout.index(b"\n", at)
            oid, kind, words = stdout[at:end].split(b" ")
            at, size = end + 1, int(words)
            if how == "--batch-check":
                yield kind, size, oid
            else:
                yield kind, size, stdout[at : at + size]
                at += size + 1

    def appearances(self, head: str, blob_oid: str) -> Iterator[tuple[str, bytes]]:
        """The commits of a history, each with a path, that brought in a blob. Cost is the size of the history."""
        raw = (
            "log",
            "-m",
            "--raw",
            "-z",
            "--no-renames",
            "--no-abbrev",
            f"--find-object={blob_oid}",
            "--format=%x00%H",
        )
        commit = ""
        fields = iter(self.git.run(*raw, head).stdout.split(b"\0"))
        for field in fields:
            words = field.strip(b"\n")
            if words.startswith(b":"):
                path = next(fields)
                if words.split()[3].decode() == blob_oid:
                    yield commit, path
            elif words:
                commit = words.decode()

    def had(self, head: str, path: bytes) -> bool:
        """Whether a path is, or ever was, in a history. Cost is the size of the history."""
        return bool(self.git.run("rev-list", "-1", "--full-history", head, "--", path).text)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or in its history; a commit that is not here is in nobody's history."""
        if old == new:
            return True
        known = facts.is_known_ancestor(old, new)
        if known is not None:
            return known
        return self.git.run("merge-base", "--is-ancestor", old, new, accept=(0, 1, 128)).status == 0

    def verdicts(self, attributes: Mapping[bytes, bytes], paths: Iterable[bytes]) -> dict[bytes, Verdict]:
        """What git says about the `filter` attribute of paths.

        Args:
            attributes: Contents of the `.gitattributes` files that count, by their path from the repository's root.
            paths: Paths from the root. Those that no checkout could have, which a hostile branch may hold, are REFUSED.
        """
        found = dict.fromkeys(paths, Verdict.REFUSED)
        rules = facts.digest(attributes)
        known = facts.verdicts(rules, found)
        given = b"".join(path + b"\0" for path in found if path not in known and can_be(path))
        found |= known
        if not given:
            return found
        # Not in the system's folder for such: there nobody takes away what a killed run leaves.
        with tempfile.TemporaryDirectory(prefix=_ROOM, dir=self.git.git_dir) as folder:
            for path, text in attributes.items():
                if not can_be(path) or b"/.gitattributes/" in b"/" + path:
                    continue
                file = Path(folder) / path.decode("utf-8", "surrogateescape")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.partition(b"\0")[0])  # as in a checkout, where git reads no further
            alone = ("-c", "core.attributesFile=/dev/null", "-c", "core.bare=false", f"--work-tree={folder}")
            asked = (*alone, "check-attr", "--stdin", "-z", "filter")
            stdout = self.git.run(*asked, given=given, extra={"GIT_ATTR_NOSYSTEM": "1"}).stdout
        fields = stdout.split(b"\0")[:-1]
        told = {path: classify(value) for path, value in zip(fields[::3], fields[2::3], strict=True)}
        for path, verdict in told.items() if len(told) <= _REMEMBERED_AT_ONCE else ():
            facts.VERDICTS.tell((rules, path), verdict)
        return found | told

    def ident(self, fallback: Git | None = None) -> Ident:
        """Author and committer: the name in the user's git configuration, else `lfssync`; now, in the local zone."""
        settings = (fallback or self.git).settings()
        now = time.localtime()
        minutes = now.tm_gmtoff // 60
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
        return Ident(
            last_value(settings, "user.name") or "lfssync",
            last_value(settings, "user.email") or "lfssync@localhost",
            f"{int(time.time())} {zone}",
        )

    def commit(
        self,
        refs: Refs,
        edits: list[Edit],
        mirrored: list[Edit],
        who: Ident,
        texts: tuple[str, str],
        stream: FastImport,
        publish: Publish | None = None,
    ) -> Refs:
        """Commit changes onto the branch and bring `mirrored` up to date, both or none.

        Args:
            refs: Where the refs stand now.
            edits: What changes on the branch, by paths from the root; may turn out to be nothing new. A deletion is of
                a file: where the branch has a folder by now, that is somebody else's and stays.
            mirrored: What changes in the picture of the directory.
            who: Author and committer.
            texts: The commit's message, and what to note about the picture.
            stream: Where the blobs of the edits went, unless they were there before; its run is finished here.
            publish: Called when the commits are made and before the refs move; an exception of it drops them.

        Returns:
            Where the refs stand afterwards; `head` is unchanged when the edits changed nothing.
        """
        base = self.tree_oid(refs.mirrored)
        on_branch = self._without_folders(edits, refs.head)
        stream.commit(_NEXT, (refs.head,) if refs.head else (), who, texts[0], on_branch)
        stream.commit(_NEXT_MIRRORED, (), who, texts[1], mirrored, base=base)
        old_tree = self.tree_oid(refs.head)
        *_, fresh, picture = stream.finish()
        for made in (fresh, picture):
            facts.TREES.tell(made.commit, made.tree)
        facts.PARENTS.tell(fresh.commit, (refs.head,) if refs.head else ())
        if refs.head is not None:
            facts.carry_attributes(refs.head, fresh.commit, {edit.path: edit.blob_oid for edit in on_branch}, blob_oid)
        head = refs.head if fresh.tree == old_tree else fresh.commit
        if publish is not None:
            publish(head, picture.commit)
        self.update_refs(
            {self.head_ref: (refs.head, head), MIRRORED: (refs.mirrored, picture.commit)}
            if head
            else {MIRRORED: (refs.mirrored, picture.commit)}
        )
        return Refs(head, refs.tip, picture.commit)

    def merge(self, refs: Refs, edits: list[Edit], texts: Mapping[bytes, bytes], who: Ident) -> Refs:
        """Commit our edits on top of the remote's branch; both commits become parents.

        Args:
            refs: `head` and `tip` are both there and neither contains the other.
            edits: What to change in the tree of `tip`.
            texts: Files that get another content than the edits say, by path.
            who: Author and committer.
        """
        assert refs.head is not None
        assert refs.tip is not None
        oids = {path: blob_oid(len(text), [text]) for path, text in texts.items()}
        edits = [edit for edit in self._without_folders(edits, refs.tip) if edit.path not in texts]
        edits += [Edit(path, "100644", oid) for path, oid in oids.items()]
        with FastImport(self.git) as stream:
            for path, text in texts.items():
                stream.blob(oids[path], len(text), [text])
            stream.commit(_NEXT, (refs.tip, refs.head), who, f"Merge what is new on {self.branch}\n", edits)
            (merged,) = stream.finish()
        facts.PARENTS.tell(merged.commit, (refs.tip, refs.head))
        self.update_refs({self.head_ref: (refs.head, merged.commit)})
        return Refs(merged.commit, refs.tip, refs.mirrored)

    def merge_base(self, one: str, other: str) -> str:
        """The best common ancestor of two commits, or the empty tree where their histories have nothing in common."""
        return self.git.run("merge-base", one, other, accept=(0, 1)).text or _EMPTY_TREE

    def before(self, commit: str) -> str:
        """The first parent of a commit, or the empty tree for a first one."""
        first = f"{commit}^1"
        return self.git.run("rev-parse", "--quiet", "--verify", first, accept=(0, 1)).text or _EMPTY_TREE

    def differences(self, old: str, new: str) -> list[Edit]:
        """What leads from one tree (or commit) to another, path by path."""
        raw = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev")
        fields = self.git.run(*raw, old, new).stdout.split(b"\0")[:-1]
        edits = []
        for words, path in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, oid, status = words.decode().split()
            edits.append(Edit(path) if status == "D" else Edit(path, mode, oid))
        return edits

    def _without_folders(self, edits: list[Edit], revision: str | None) -> list[Edit]:
        """The edits without deletions of what is a folder in a revision: git would delete all that is in it."""
        gone = [edit.path for edit in edits if edit.blob_oid is None]
        if not gone or revision is None:
            return edits
        kinds = self.kinds([revision.encode() + b":" + path for path in gone])
        folders = {path for path, kind in zip(gone, kinds, strict=True) if kind == b"tree"}
        return [edit for edit in edits if edit.blob_oid is not None or edit.path not in folders]


def can_be(path: bytes) -> bool:
    """Whether a path can be in a checkout at all: it leads nowhere else."""
    return not any(part in (b"", b".", b"..") for part in path.split(b"/"))


def set_aside(git_dir: Path) -> None:
    """Rename a git dir that is broken beyond use; it is kept until the next one breaks."""
    if git_dir.exists():
        shutil.rmtree(damaged := git_dir.with_name(f"{git_dir.name}.damaged"), ignore_errors=True)
        os.rename(git_dir, damaged)
