"""The working copy: a mirror's own git dir, its refs, and commits of exactly the changed paths.

Stands between `stage` and `delivery`. Three refs tell everything: `refs/heads/<branch>` is what we want the remote to
hold, `refs/remotes/origin/<branch>` what it was last seen to hold, and `refs/lfssync/mirrored` a commit whose tree is
the mirrored directory alone. The last one is how a deletion in the directory is told from a file that only the remote
has, even after the store was lost.
The one thing to know: branch and `mirrored` move together in one ref transaction, or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lfssync.attributes import Verdict
from lfssync.errors import TransientError
from lfssync.fastimport import Edit, FastImport, Ident
from lfssync.gitcommand import Git

MIRRORED = "refs/lfssync/mirrored"
_NEXT = "refs/lfssync/next"
_NEXT_MIRRORED = "refs/lfssync/next-mirrored"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


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
        """Make the git dir if it is not there. It is bare: no file of the mirrored directory ever configures it."""
        if not (self.git.git_dir / "HEAD").is_file():
            self.git.git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(self.git.git_dir, ignore_errors=True)
            self.git.run(
                "init", "--quiet", "--bare", "--template=", "--initial-branch", self.branch, str(self.git.git_dir)
            )

    def clear_leftovers(self) -> None:
        """Remove what a killed run of ours left behind; call under the mirror's lock, so nobody of ours is at work."""
        folder = self.git.git_dir
        for lock in (*folder.glob("refs/**/*.lock"), *folder.glob("*.lock")):
            lock.unlink(missing_ok=True)
        for pattern in ("fast_import_crash_*", "objects/pack/tmp_*", "objects/??/tmp_obj_*", "tmp_*"):
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)

    def refs(self) -> Refs:
        """Where the refs stand, by one look."""
        names = (self.head_ref, self.tip_ref, MIRRORED)
        listed = self.git.run("for-each-ref", "--format=%(refname) %(objectname)", *names).stdout.decode().split()
        found = dict(zip(listed[::2], listed[1::2], strict=True))
        return Refs(*(found.get(name) for name in names))

    def update_refs(self, moves: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs in one transaction.

        Args:
            moves: For each full name the value it has and the value it gets; None stands for "not there".
        """
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

    def tree_oid(self, revision: str | None) -> str:
        """The tree of a revision; the empty tree for None."""
        return self.git.run("rev-parse", "--verify", f"{revision}^{{tree}}").text if revision else _EMPTY_TREE

    def contents(self, names: Iterable[bytes]) -> list[bytes | None]:
        """The blobs behind object names such as `<commit>:<path>` (without newlines); None where there is none."""
        given = b"".join(name + b"\n" for name in names)
        if not given:
            return []
        stdout = self.git.run("cat-file", "--batch", given=given).stdout
        blobs: list[bytes | None] = []
        at = 0
        while at < len(stdout):
            end = stdout.index(b"\n", at)
            words = stdout[at:end].rsplit(b" ", 2)
            if len(words) == 3 and words[1] == b"blob" and words[2].isdigit():
                size = int(words[2])
                blobs.append(stdout[end + 1 : end + 1 + size])
                at = end + size + 2
            elif len(words) == 3 and words[2].isdigit():  # a tree or a commit of that name
                blobs.append(None)
                at = end + int(words[2]) + 2
            else:
                blobs.append(None)
                at = end + 1
        return blobs

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or in its history; a commit that is not here is in nobody's history."""
        return old == new or self.git.run("merge-base", "--is-ancestor", old, new, accept=(0, 1, 128)).status == 0

    def verdicts(self, attributes: Mapping[bytes, bytes], paths: Iterable[bytes]) -> dict[bytes, Verdict]:
        """What git says about the `filter` attribute of paths.

        Args:
            attributes: Contents of the `.gitattributes` files that count, by their path from the repository's root.
            paths: Paths from the root.
        """
        given = b"".join(path + b"\0" for path in paths)
        if not given:
            return {}
        with tempfile.TemporaryDirectory(prefix="lfssync-") as folder:
            for path, text in attributes.items():
                file = Path(folder) / path.decode("utf-8", "surrogateescape")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text)
            alone = ("-c", "core.attributesFile=/dev/null", "-c", "core.bare=false", f"--work-tree={folder}")
            asked = (*alone, "check-attr", "--stdin", "-z", "filter")
            stdout = self.git.run(*asked, given=given, extra={"GIT_ATTR_NOSYSTEM": "1"}).stdout
        fields = stdout.split(b"\0")[:-1]
        return {
            path: _VERDICTS.get(value, Verdict.REFUSED) for path, value in zip(fields[::3], fields[2::3], strict=True)
        }

    def ident(self, fallback: Git | None = None) -> Ident:
        """Author and committer: the name in the user's git configuration, else `lfssync`; now, in the local zone."""
        found: dict[str, str] = {}
        asked = (fallback or self.git).run("config", "-z", "--get-regexp", r"^user\.(name|email)$", accept=(0, 1))
        for line in asked.stdout.decode("utf-8", "surrogateescape").split("\0"):
            name, _, value = line.partition("\n")
            found[name] = value
        now = time.localtime()
        minutes = now.tm_gmtoff // 60
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
        return Ident(
            found.get("user.name") or "lfssync",
            found.get("user.email") or "lfssync@localhost",
            f"{int(time.time())} {zone}",
        )

    def commit(self, refs: Refs, edits: list[Edit], mirrored: list[Edit], who: Ident, message: str) -> Refs:
        """Commit changes onto the branch and bring `mirrored` up to date, both or none.

        Args:
            refs: Where the refs stand now.
            edits: What changes on the branch, by paths from the root; may turn out to be nothing new.
            mirrored: What changes in the picture of the directory.
            who: Author and committer.
            message: The commit message.

        Returns:
            Where the refs stand afterwards; `head` is unchanged when the edits changed nothing.
        """
        base = self.tree_oid(refs.mirrored)
        with FastImport(self.git) as stream:
            stream.commit(_NEXT, (refs.head,) if refs.head else (), who, message, edits)
            stream.commit(_NEXT_MIRRORED, (), who, "mirrored\n", mirrored, base=base)
            stream.finish()
        fresh, fresh_tree, old_tree, fresh_mirrored = self._rev_parse(
            _NEXT, f"{_NEXT}^{{tree}}", f"{refs.head}^{{tree}}" if refs.head else _EMPTY_TREE, _NEXT_MIRRORED
        )
        head = refs.head if fresh_tree == old_tree else fresh
        self.update_refs(
            {self.head_ref: (refs.head, head), MIRRORED: (refs.mirrored, fresh_mirrored)}
            if head
            else {MIRRORED: (refs.mirrored, fresh_mirrored)}
        )
        return Refs(head, refs.tip, fresh_mirrored)

    def merge(self, refs: Refs, who: Ident) -> Refs:
        """Bring together our branch and a remote branch that went its own way.

        Both commits become parents. Path by path: what we changed since the common ancestor is as we have it, all
        else is as the remote has it. A path changed on both sides so keeps the local bytes, and the remote's version
        stays in history.

        Args:
            refs: `head` and `tip` are both there and neither contains the other.
            who: Author and committer.
        """
        assert refs.head is not None
        assert refs.tip is not None
        base = self.git.run("merge-base", refs.head, refs.tip, accept=(0, 1)).text or _EMPTY_TREE
        edits = list(self._differences(base, refs.head))
        with FastImport(self.git) as stream:
            stream.commit(_NEXT, (refs.tip, refs.head), who, f"Merge what is new on {self.branch}\n", edits)
            stream.finish()
        (merged,) = self._rev_parse(_NEXT)
        self.update_refs({self.head_ref: (refs.head, merged)})
        return Refs(merged, refs.tip, refs.mirrored)

    def _differences(self, old: str, new: str) -> Iterator[Edit]:
        fields = self.git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new).stdout.split(
            b"\0"
        )[:-1]
        for words, path in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, oid, status = words.decode().split()
            yield Edit(path) if status == "D" else Edit(path, mode, oid)

    def _rev_parse(self, *names: str) -> list[str]:
        oids = self.git.run("rev-parse", *names).stdout.decode().split()
        if len(oids) != len(names):
            raise TransientError("git does not know the commit it just made", "it is tried again")
        return oids


_VERDICTS = {b"lfs": Verdict.LFS, b"unspecified": Verdict.UNSPECIFIED}
