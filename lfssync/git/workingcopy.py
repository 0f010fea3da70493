"""A mirrored directory that is a git working copy itself: commits go to its branch, its `git status` stays clean.

Used by `pipeline` around `repository`. The mirror's own git dir (our configuration, no foreign hooks) writes its
objects into the working copy's object store; only the finished commit is published into the working copy: its branch
and its index.
The one thing to know: what others pushed is merged on the way to the remote only. The user's branch is never moved onto
commits whose files are not in the directory; `git pull` does that when the user wants it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import BlockedError, UserError
from lfssync.git.fastimport import Edit
from lfssync.git.gitcommand import Git
from lfssync.git.gitindex import Entry, Look, UnsupportedIndexError, patched, recover
from lfssync.model import Signature, Staged

_IN_PROGRESS = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a series of cherry-picks or reverts",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or an am",
    "BISECT_LOG": "a bisection",
}


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """Somebody's working copy.

    Args:
        directory: Its work tree.
        git_dir: Its git dir (of this worktree).
        common_dir: Where its refs and objects are.
    """

    directory: Path
    git_dir: Path
    common_dir: Path

    @property
    def objects(self) -> Path:
        """Its object store."""
        return self.common_dir / "objects"

    @property
    def git(self) -> Git:
        """Runs git on it: with our settings on top of its own, so that no hook or monitor of it runs."""
        return Git(self.git_dir)

    def branch(self) -> str:
        """The branch that is checked out.

        Raises:
            BlockedError: None is.
        """
        output = self.git.run("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
        if output.status or not output.text.startswith("refs/heads/"):
            raise BlockedError(f"{self.directory} has no branch checked out", "check one out there: git switch BRANCH")
        return output.text.removeprefix("refs/heads/")

    def head(self, branch: str) -> str | None:
        """The commit its branch points at, or None before the first one."""
        return (
            self.git.run("rev-parse", "--quiet", "--verify", f"refs/heads/{branch}^{{commit}}", accept=(0, 1)).text
            or None
        )

    def share_end_of_history(self, git_dir: Path) -> None:
        """Have a mirror's git dir know where the history of a shallow clone ends; commits beyond are not missing then.

        Args:
            git_dir: The mirror's own, which uses the objects of this working copy.
        """
        ours = git_dir / "shallow"
        try:
            ends = (self.common_dir / "shallow").read_bytes()
        except FileNotFoundError:
            ours.unlink(missing_ok=True)
            return
        if not ours.is_file() or ours.read_bytes() != ends:
            temporary = git_dir / "tmp_shallow"
            temporary.write_bytes(ends)
            os.replace(temporary, ours)

    def require_free(self, branch: str) -> None:
        """Make sure that it is ours to commit there now, and clear away what a killed run of ours left there.

        Args:
            branch: The branch that is mirrored.

        Raises:
            BlockedError: Something of the user's is in progress, or another branch is checked out.
        """
        self.require_at_rest(branch)
        recover(self._index, self.head(branch))
        sparse = (self.git_dir / "info" / "sparse-checkout").exists()
        if (
            sparse
            and self.git.run("config", "--get", "--type=bool", "core.sparseCheckout", accept=(0, 1)).text == "true"
        ):
            raise BlockedError(
                f"{self.directory} is a sparse checkout", "check it out whole: git sparse-checkout disable"
            )

    def require_at_rest(self, branch: str) -> None:
        """Make sure, without touching anything, that nothing of the user's is in progress on another branch.

        Raises:
            BlockedError: Something is in progress, or another branch is checked out.
        """
        for name, words in _IN_PROGRESS.items():
            if (self.git_dir / name).exists():
                raise BlockedError(f"{words} is in progress in {self.directory}", "finish or abort it there")
        if (current := self.branch()) != branch:
            raise BlockedError(
                f"{self.directory} is on branch {current}, but {branch} is mirrored",
                f"git switch {branch} there, or change the mirror's branch",
            )

    @property
    def _index(self) -> Path:
        return self.git_dir / "index"

    def publish(self, branch: str, old: str | None, new: str, edits: Sequence[Edit], staged: Iterable[Staged]) -> None:
        """Make a commit of ours the working copy's own: move its branch, bring its index up to date.

        Either both happens or nothing, and nothing else may happen there in between.

        Args:
            branch: Its branch.
            old: Where the branch was when the commit was made; it must still be there.
            new: The commit.
            edits: What the commit changed.
            staged: Under which signature the files were read.

        Raises:
            TransientError: The user moved the branch or holds the index meanwhile.
            BlockedError: The user began something else meanwhile.
        """
        read = {one.path: one for one in staged}
        self._wait_if_racy(read[edit.path] for edit in edits if edit.path in read)
        entries = {edit.path: self._entry(edit, read.get(edit.path)) for edit in edits if edit.blob_oid is not None}
        gone = [edit.path for edit in edits if edit.blob_oid is None]
        move = f"update refs/heads/{branch} {new} {old or '0' * 40}\n".encode()
        try:
            with patched(self._index, entries, gone, new):
                self.require_at_rest(branch)
                self.git.run("update-ref", "-m", "lfssync", "--stdin", given=move)
        except UnsupportedIndexError:
            self._update_index(entries, gone)
            self.git.run("update-ref", "-m", "lfssync", "--stdin", given=move)

    def _wait_if_racy(self, staged: Iterable[Staged]) -> None:
        """Let the second in which a file was last written pass before the index is written.

        Git does not trust an entry from the very second in which the index was written, because a later write in
        that second would not show in it, and reads such files again at each `git status`.
        """
        latest_s = max((one.signature.mtime_ns // 10**9 for one in staged), default=0)
        left_s = latest_s + 1 - time.time()
        if 0 < left_s <= 1:
            time.sleep(left_s)

    def _entry(self, edit: Edit, one: Staged | None) -> Entry:
        assert edit.git_mode is not None
        assert edit.blob_oid is not None
        try:
            status = os.lstat(os.path.join(os.fsencode(self.directory), edit.path))
        except OSError:
            if one is None:  # composed by us, and the user has no such file
                return Entry(edit.git_mode, edit.blob_oid, None, look=Look.ABSENT)
            return Entry(edit.git_mode, edit.blob_oid, None)
        now = Signature.of(status)
        owner = (status.st_dev, status.st_uid, status.st_gid)
        if one is None or one.blob_oid != edit.blob_oid:  # composed by us, from a file that stays as the user has it
            return Entry(edit.git_mode, edit.blob_oid, now, owner, Look.TRUST)
        return Entry(edit.git_mode, edit.blob_oid, now if now == one.signature else None, owner)

    def _update_index(self, entries: Mapping[bytes, Entry], gone: Iterable[bytes]) -> None:
        """Have git itself write its index, in whatever form that is; it will read the files again."""
        lines = [b"0 %b\t%b\0" % (b"0" * 40, path) for path in gone]
        lines += [b"%b %b\t%b\0" % (e.git_mode.encode(), e.blob_oid.encode(), path) for path, e in entries.items()]
        self.git.run("update-index", "-z", "--index-info", given=b"".join(lines))
        for look, option in ((Look.TRUST, "--assume-unchanged"), (Look.ABSENT, "--skip-worktree")):
            paths = [path + b"\0" for path, entry in entries.items() if entry.look is look]
            if paths:
                self.git.run("update-index", option, "-z", "--stdin", given=b"".join(paths))

    def keep(self, branch: str, commits: Mapping[str, str | None]) -> None:
        """Pin commits that only we refer to, so that a `git gc` of the user's does not drop their objects.

        Args:
            branch: The branch that is mirrored; several working copies may share one object store.
            commits: What to call them, and the commits.
        """
        folder = "refs/lfssync/" + branch.replace("/", "%2F")
        lines = [f"update {folder}/{name} {oid}\n" for name, oid in commits.items() if oid]
        if lines:
            self.git.run("update-ref", "--stdin", given="".join(lines).encode())


def find(directory: Path) -> WorkingCopy | None:
    """The working copy whose top is this directory, or None.

    Raises:
        UserError: It is of a kind that cannot be used.
    """
    entry = directory / ".git"
    if not os.path.lexists(entry):
        return None
    git_dir = entry
    try:
        if entry.is_file():  # a linked worktree or a submodule
            words = entry.read_bytes()[:4096]
            if not words.startswith(b"gitdir: "):
                raise UserError(f"{entry} is no git dir", "repair or remove it")
            git_dir = Path(os.path.normpath(directory / os.fsdecode(words[8:].rstrip(b"\n"))))
        common = git_dir / "commondir"
        common_dir = (
            Path(os.path.normpath(git_dir / os.fsdecode(common.read_bytes().rstrip(b"\n"))))
            if common.is_file()
            else git_dir
        )
    except OSError as error:
        raise UserError(f"{entry} cannot be read: {error.strerror}", "mend its permissions") from error
    if not (git_dir / "HEAD").is_file() or not (common_dir / "objects").is_dir():
        raise UserError(f"{entry} is no git dir", "repair or remove it")
    found = WorkingCopy(directory, git_dir, common_dir)
    if found.git.run("rev-parse", "--show-object-format").text != "sha1":
        raise UserError(
            f"{directory} is a repository with sha256 names, which git-lfs hosts do not take",
            "mirror a directory of its own",
        )
    return found
