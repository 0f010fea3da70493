"""Brings commits and tags to the remote and asks it what it holds: look, fetch, push, verify.

Stands after `repository` at the end of the pass. Nothing is ever forced: a remote branch that moved is fetched and
merged, a tag that exists is never moved.
The one thing to know: before commits are pushed, every LFS object they name is known to be on the remote. For the
commit of this very pass that is so by construction; for any other (made offline, by the user, or pushed to a new or
emptied remote) the commits are read and each object is looked for.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass

from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, TransientError
from lfssync.git.addresses import fetched_from
from lfssync.git.fastimport import Ident
from lfssync.git.gitcommand import NETWORK_TIMEOUT_S, Output
from lfssync.git.giterrors import explain, telling_line
from lfssync.git.merging import merge
from lfssync.git.pushing import noted, on_disk, take_away
from lfssync.git.reffiles import tip_on_disk
from lfssync.git.repository import Refs, Repository
from lfssync.model import LfsObject

LOOK_TIMEOUT_S = 120.0
MERGE_TRIES = 8
MERGE_PAUSE_S = 0.05
"""After a lost race at most so long, doubled each time, so that several machines do not run into each other again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The remote side of one mirror.

    Args:
        repository: The local side.
        url: The remote's address, checked.
    """

    repository: Repository
    url: str

    def look(self, *refs: str) -> dict[str, str]:
        """What the remote says about refs: full name to 40-digit id; tags come with their `^{}` target as well."""
        output = self.repository.git.run(
            "ls-remote", "--quiet", self.url, *refs, timeout_s=LOOK_TIMEOUT_S, remote=self.url, accept=(0,)
        )
        lines = (line.split("\t", 1) for line in output.stdout.decode("utf-8", "surrogateescape").splitlines())
        return {name: oid for oid, name in lines}

    def _tip(self) -> str | None:
        """Where the remote's branch stands. One on this machine's disks is read there, as git itself would read it."""
        ref, git = self.repository.head_ref, self.repository.git
        here = on_disk(self.url) if fetched_from(self.url, git.settings()) == self.url else None
        known = tip_on_disk(here, ref) if here is not None else None
        return known or self.look(ref).get(ref)

    def refresh(self, refs: Refs, moves_head: bool) -> Refs:
        """Ask where the remote branch stands, fetch it if it moved, and go along where that needs no merge.

        Args:
            refs: Where the refs stand as far as we know.
            moves_head: Whether our branch may go along; a user's own working copy stays where it is.

        Returns:
            `tip` as the remote has it; `head` moved forward to it when we had nothing of our own beyond.
        """
        repository = self.repository
        take_away(repository.git.git_dir, self.url)
        tip = self._tip()
        if tip != refs.tip:
            if tip is not None:
                self._fetch(f"+{repository.head_ref}:{repository.tip_ref}")
            else:
                repository.update_refs({repository.tip_ref: (refs.tip, None)})
            refs = Refs(refs.head, repository.refs().tip, refs.mirrored)
        if (
            moves_head
            and refs.tip is not None
            and refs.tip != refs.head
            and (refs.head is None or repository.is_ancestor(refs.head, refs.tip))
        ):
            repository.update_refs({repository.head_ref: (refs.head, refs.tip)})
            refs = Refs(refs.tip, refs.tip, refs.mirrored)
        return refs

    def outgoing(self, head: str, tip: str | None) -> list[LfsObject]:
        """Every LFS object named by commits that the remote does not have yet, those of the oldest commit first.

        Costs what those commits changed.
        """
        return self.named(head, *([f"^{tip}"] if tip else []))

    def named(self, *revisions: str) -> list[LfsObject]:
        """Every LFS object that is named in these revisions, oldest commit first; `^` before one leaves out its own."""
        named = self.repository.git.run(
            "rev-list", "--reverse", "--in-commit-order", "--objects", "--no-object-names", "--filter=blob:limit=1024",
            "--stdin", given="".join(f"{revision}\n" for revision in revisions).encode(),
        ).stdout  # fmt: skip
        return list(self.repository.pointers(named.decode().split()).values())

    def undelivered(self, refs: Refs, besides: bytes) -> tuple[int, int]:
        """How much the remote does not have yet: paths that differ, and the bytes that have to go there.

        Args:
            refs: Where the refs stand.
            besides: A path that does not count.
        """
        if refs.head is None or refs.head == refs.tip:
            return 0, 0
        repository = self.repository
        since = repository.merge_base(refs.tip, refs.head) if refs.tip else repository.tree_oid(None)
        edits = [edit for edit in repository.differences(since, refs.head) if edit.path != besides]
        blobs = {edit.blob_oid for edit in edits if edit.blob_oid is not None}
        plain = sorted(blobs - repository.pointers(blobs).keys())
        objects = self.outgoing(refs.head, refs.tip)
        size_bytes = sum(lfs.size_bytes for lfs in objects) + sum(repository.sizes_bytes(plain).values())
        return len(edits), size_bytes

    def push(self, refs: Refs, who: Ident, tags: dict[str, str], moves_head: bool) -> Refs:
        """Push the branch, and tags with it, all or nothing; merge and try again when the remote moved meanwhile.

        Args:
            refs: `head` is what the remote branch shall hold.
            who: Who makes merge commits.
            tags: Short tag name to the 40-digit id of its tag object.
            moves_head: See `refresh`.

        Raises:
            BlockedError: The remote refuses, in its own words.
        """
        for lost in range(MERGE_TRIES):
            assert refs.head is not None
            if refs.tip is not None and not self.repository.is_ancestor(refs.tip, refs.head):
                refs = merge(self.repository, refs, who)
            with noted(self.repository.git.git_dir, self.url):
                refused = self._push_once(refs, tags)
            if refused is None:
                self.repository.update_refs({self.repository.tip_ref: (refs.tip, refs.head)})
                return Refs(refs.head, refs.head, refs.mirrored)
            seen = self.refresh(refs, moves_head)
            if seen.tip == refs.tip:
                raise refused
            refs = seen
            time.sleep(random.uniform(0, MERGE_PAUSE_S * 2**lost))  # noqa: S311  (jitter, not a secret)
        raise TransientError(
            f"{self.url}: its branch {self.repository.branch} moves faster than we can merge", "it is tried again"
        )

    def _push_once(self, refs: Refs, tags: dict[str, str], atomic: str = "--atomic") -> LfssyncError | None:
        specs = [f"{refs.head}:{self.repository.head_ref}", *(f"{oid}:refs/tags/{name}" for name, oid in tags.items())]
        output = self._pushed([atomic, self.url, *specs])
        if output.status == 0:
            return self._mistaken(output)
        if "does not support --atomic" in output.stderr:
            return self._push_once(refs, tags, "--no-atomic")
        return self._mistaken(output) or _refusal(output, self.url)

    def _mistaken(self, output: Output) -> LfssyncError | None:
        """Why a push went elsewhere, or might have; None if it did not.

        Git takes a tag or a branch whose short name is the full name of another ref for that one, or for one of two.
        Source: match_explicit in git's remote.c.
        """
        found = _NAMESAKE.search(f"{output.stderr}\n{output.stdout.decode('utf-8', 'replace')}")
        ref = found[1] or found[2] if found else ""
        for name in self.look(ref) if ref else ():
            kind, short = _spoken(name)
            if short == ref:
                return RefusedError(
                    f"{self.url} has a {kind} called {ref}, which git does not tell from the {' '.join(_spoken(ref))}",
                    f"delete that {kind} from any clone of it: git push {self.url} :{name}",
                )
        return None

    def _pushed(self, arguments: list[str]) -> Output:
        receive_pack = _DURABLE_RECEIVE_PACK if self.url.startswith(("/", "file://")) else _RECEIVE_PACK
        return self.repository.git.run(
            "push", "--porcelain", "--no-verify", "--receive-pack", receive_pack, *arguments,
            timeout_s=NETWORK_TIMEOUT_S, accept=range(256), remote=self.url,
        )  # fmt: skip

    def push_branch(self, name: str, commit: str, there: str | None, force: bool) -> None:
        """Have a branch of the remote other than the mirrored one point at a commit that the remote has.

        Args:
            name: The branch.
            commit: What it shall point at.
            there: What it points at now, as last seen, or None: if it is another by then, nothing moves.
            force: Whether it may leave commits behind.

        Raises:
            LfssyncError: The remote refuses, or the branch moved meanwhile.
        """
        ref = f"refs/heads/{name}"
        lease = [f"--force-with-lease={ref}:{there or ''}"] if force or there is None else []
        with noted(self.repository.git.git_dir, self.url):
            output = self._pushed([*lease, self.url, f"{commit}:{ref}"])
        if output.status:
            raise self._mistaken(output) or _refusal(output, self.url)

    def fetch_tag(self, version: str) -> None:
        """Have a tag of the remote under its own name here as well, in place of what had that name here."""
        self._fetch(f"+refs/tags/{version}:refs/tags/{version}")

    def fetch_named(self, name: str) -> str | None:
        """The commit that a tag or a branch of the remote points at, fetched; None when there is none of that name."""
        refs = (f"refs/tags/{name}", f"refs/heads/{name}")
        found = self.look(*refs, f"refs/tags/{name}^{{}}")
        for ref in refs:
            if ref in found:
                self._fetch(ref)
                return found.get(f"{ref}^{{}}") or found[ref]
        return None

    def _fetch(self, spec: str) -> None:
        self.repository.git.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            self.url,
            spec,
            timeout_s=NETWORK_TIMEOUT_S,
            remote=self.url,
        )

    def verify(self, head: str, moves_head: bool) -> None:
        """Prove that the remote branch holds our commit, or one built on it.

        Args:
            head: Our commit.
            moves_head: See `refresh`.

        Raises:
            TransientError: It does not; the pass has to be run again.
        """
        repository = self.repository
        if self._tip() != head:
            refs = self.refresh(repository.refs(), moves_head)
            if refs.tip is None or not repository.is_ancestor(head, refs.tip):
                raise TransientError(
                    f"{self.url}: its branch {repository.branch} does not hold {head[:7]}", "it is pushed again"
                )


_RECEIVE_PACK = "git-receive-pack"
_DURABLE_RECEIVE_PACK = "git -c core.fsync=committed,reference receive-pack"
"""For a repository on a disk of this machine: by itself git syncs neither refs nor loose objects there, so after a loss
of power a branch that was verified could be empty. Hosts decide for themselves, and know no other command."""


def _spoken(ref: str) -> tuple[str, str]:
    """What kind of ref that is, and its short name."""
    kind, _, short = ref.removeprefix("refs/").partition("/")
    return {"heads": "branch", "tags": "tag"}.get(kind, "ref"), short


_NAMESAKE = re.compile(
    r"dst refspec (refs/\S+) matches more than one|^.\t\S*:refs/(?:heads|tags)/(refs/(?:heads|tags)/\S+)\t",
    re.MULTILINE,
)
"""Where git says so, or names a ref that it was not told to push to."""


def _refusal(output: Output, url: str) -> LfssyncError:
    """What a failed push means. Source: git-push(1), "--porcelain"."""
    rejected = [
        line.split("\t") for line in output.stdout.decode("utf-8", "replace").splitlines() if line.startswith("!\t")
    ]
    reasons = [fields[2] for fields in rejected if len(fields) == 3 and "atomic push failed" not in fields[2]]
    if not reasons:
        return explain("push", output.status, output.stderr, url)
    told = " ".join(
        line.removeprefix("remote:").strip() for line in output.stderr.splitlines() if line.startswith("remote:")
    )
    reason = reasons[0] + (f" ({told[:500]})" if told else "")
    refusals = r"permission to .* denied|access denied|not allowed to push|not authori[sz]ed"
    if re.search(refusals, told, re.IGNORECASE) and "declined" not in reason:
        return AuthError(f"{url} refuses the push: {reason}", "use an account that may write there, or another branch")
    if "cannot create" in told:
        return RefusedError(f"{url} refuses the push: {reason}", "choose another name, or remove the one in the way")
    if re.search(
        r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to update ref|unpacker error|"
        r"couldn't (write|close|set) '|No space left on device|Disk quota exceeded",
        reason,
    ):
        return TransientError(f"{url} does not take the push: {reason}", "it is tried again")
    if "already exists" in reason:
        return BlockedError(f"{url}: a tag of that name is already there", "choose another version")
    return RefusedError(
        f"{url} refuses the push: {reason or telling_line(output.stderr)}", "do what the host says, then sync again"
    )
