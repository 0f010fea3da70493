"""One mirror under examination: what a pass would meet on the way from its directory to its remote.

Beside the line, for `doctor`: it uses what a pass uses, from an empty git dir of its own. The one thing to know:
nothing is changed anywhere. The remote is asked for its branches, for an object that nobody has, and whether it would
take a push (`--dry-run`, with the hooks off, because git-lfs would really upload then).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfssync.credentials.ladder import Ladder
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError
from lfssync.git import workingcopy
from lfssync.git.gitcommand import Git
from lfssync.line import findings
from lfssync.line.findings import Finding, Tree, failure
from lfssync.line.scan import scan
from lfssync.line.settle import Writer, probe
from lfssync.line.transfers import transfer_for
from lfssync.line.watch import polling_reason
from lfssync.model import LfsObject, Mirror, TransferKind, show
from lfssync.places import Places
from lfssync.records.pausing import paused
from lfssync.records.report import read_status
from lfssync.records.store import Store
from lfssync.rules.remotes import Remote, RemoteKind, parse_remote
from lfssync.transfer.bare import git_dir_of

if TYPE_CHECKING:
    from lfssync.web.client import Client

LOOK_TIMEOUT_S = 60.0
_COPIES_BYTES = 4 << 30
"""Stock git-lfs gets copies of so many bytes at a time; see `transfer.gitlfs`."""

_PUSHED = "refs/heads/lfssync-doctor"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(slots=True)
class Examination:
    """The examination of one mirror.

    Args:
        mirror: Which one.
        places: Where its state is.
        folder: A folder of our own, which is made.
        login: Who knows logins.
        sources: Gets who had the login.
        folders: How many folders have to be watched, when that is known.
        lacks_login: Whether the remote wants a login and nobody has one.
    """

    mirror: Mirror
    places: Places
    folder: Path
    login: Ladder
    sources: set[str]
    folders: int = 0
    lacks_login: bool = False

    def findings(self) -> Iterator[Finding]:
        """All that is to be said about it."""
        self.folder.mkdir()
        if (pause := paused(self.places.mirror_state(self.mirror.name), time.time())) is not None:
            yield findings.of_pause(pause.words(), self.mirror.name)
        tree = None
        try:
            tree = self._tree()
        except LfssyncError as error:
            yield failure("directory", error, self.mirror.name)
        if tree is not None:
            yield from self._directory(tree)
        try:
            remote = parse_remote(self.mirror.remote, Path.home())
        except LfssyncError as error:
            yield failure("remote", error, self.mirror.name)
            return
        wanted_bytes = self._undelivered(tree) if tree else 0
        if remote.kind is RemoteKind.LOCAL:
            yield from self._folder(Path(remote.path), wanted_bytes)
        else:
            if self.mirror.rate_limit_bytes and (remote.kind, self.mirror.transfer) == (
                RemoteKind.SSH,
                TransferKind.AUTO,
            ):
                yield findings.of_rate(self.mirror.name)
            yield from self._host(remote)
            copies_bytes = min(wanted_bytes, max(_COPIES_BYTES, tree.largest_bytes if tree else 0))
            yield self._state(copies_bytes if self.mirror.transfer is TransferKind.GIT_LFS else 0)

    def _tried(self, check: str, action: Callable[[], Finding]) -> Finding:
        try:
            return action()
        except LfssyncError as error:
            return failure(check, error, self.mirror.name)

    def _found(self, check: str, message: str, remedy: str = "") -> Finding:
        return Finding(check, True, message, remedy, self.mirror.name)

    # ---- the directory

    def _tree(self) -> Tree:
        """Read it as a first pass would."""
        root = os.fsencode(self.mirror.path)
        with Store(self.folder / "state.db") as store:
            changes = scan(root, None, store, self.mirror.ignore)
        plain = [change for change in changes.changed if not change.signature.is_link]
        unreadable = [change.path for change in plain if not os.access(os.path.join(root, change.path), os.R_OK)]
        folders = sum(1 for _ in _watched(root))
        sizes = [change.signature.size_bytes for change in changes.changed]
        readable = next((change.path for change in plain if change.path not in unreadable), None)
        return Tree(
            len(sizes),
            sum(sizes),
            max(sizes, default=0),
            folders,
            tuple(show(path) for path in (*unreadable, *changes.unreadable)),
            None if readable is None else _writers(os.path.join(root, readable)),
        )

    def _directory(self, tree: Tree) -> Iterator[Finding]:
        mirror = self.mirror
        yield findings.of_directory(tree, mirror.name)
        reason = polling_reason(mirror.path)
        yield findings.of_file_system(reason, f"{mirror.rescan_s:g} s", mirror.name)
        self.folders = 0 if reason else tree.folders
        if (found := findings.of_writers(tree, f"{mirror.quiet_s:g} s", mirror.name)) is not None:
            yield found
        if (copy := workingcopy.find(mirror.path)) is not None:
            yield self._tried("working-copy", lambda: self._at_rest(copy))

    def _at_rest(self, copy: workingcopy.WorkingCopy) -> Finding:
        copy.require_at_rest(self.mirror.branch)
        return self._found("working-copy", f"is on branch {self.mirror.branch}, and nothing is in progress there")

    def _undelivered(self, tree: Tree) -> int:
        """How many bytes the remote may still get, from the last record."""
        known = read_status(self.mirror, self.places.mirror_state(self.mirror.name))
        return tree.size_bytes if known.pushed is None else known.pending_bytes

    def _state(self, wanted_bytes: int) -> Finding:
        return self._tried("room", lambda: self._room("the state folder", self.places.state_dir, wanted_bytes))

    def _room(self, what: str, folder: Path, wanted_bytes: int) -> Finding:
        """Whether a folder that may have to be made can be written, and has room."""
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise TransientError(f"{what} {folder} cannot be written", f"mend the permissions of {there}")
        room = os.statvfs(there)
        inodes = room.f_favail if room.f_files else None
        return findings.of_room(
            f"{what} {folder}", room.f_bavail * room.f_frsize, inodes, wanted_bytes, self.mirror.name
        )

    # ---- a remote on a disk

    def _folder(self, repository: Path, wanted_bytes: int) -> Iterator[Finding]:
        known = read_status(self.mirror, self.places.mirror_state(self.mirror.name))
        if self.mirror.embedded and not (repository / "HEAD").exists() and known.pushed is None:
            yield self._found("remote", f"{repository} is made by the first pass")
        else:
            answered = self._tried("remote", lambda: self._answers(Git(self.folder / "none"), str(repository)))
            yield answered
            if not answered.ok:
                return
            yield self._tried("push", lambda: self._writable(git_dir_of(repository)))
        yield self._tried("room", lambda: self._room("the remote", repository, wanted_bytes))
        yield self._state(0)

    def _writable(self, git_dir: Path) -> Finding:
        for name in ("objects", "refs", "refs/heads", "lfs", "lfs/objects"):
            if (git_dir / name).is_dir() and not os.access(git_dir / name, os.W_OK | os.X_OK):
                raise AuthError(f"{git_dir / name} cannot be written", "mend its permissions")
        return self._found("push", f"{git_dir} can be written")

    # ---- a remote at a host

    def _host(self, remote: Remote) -> Iterator[Finding]:
        git = Git(self.folder / "repo.git", login=self.login)
        git.run("init", "--quiet", "--bare", "--template=", str(git.git_dir))
        answered = self._tried("remote", lambda: self._answers(git, remote.url))
        yield answered
        if answered.kind == TransientError.kind:
            return  # everything else would wait for the same network
        pushed = self._tried("push", lambda: self._takes_a_push(git, remote.url)) if answered.ok else answered
        if remote.kind is not RemoteKind.SSH:
            yield from self._over_http(git, remote, pushed)
        if answered.ok:
            yield pushed
            yield self._tried("lfs", lambda: self._lfs(git))

    def _answers(self, git: Git, url: str) -> Finding:
        branch = f"refs/heads/{self.mirror.branch}"
        there = git.run("ls-remote", "--quiet", url, branch, timeout_s=LOOK_TIMEOUT_S, remote=url).text
        return self._found("remote", f"{url} answers, {'with' if there else 'without a'} branch {self.mirror.branch}")

    def _takes_a_push(self, git: Git, url: str) -> Finding:
        """Have git do all of a push but the last step, with a commit of nothing to a branch that nobody has."""
        who = {"GIT_AUTHOR_NAME": "lfssync", "GIT_AUTHOR_EMAIL": "lfssync@localhost"}
        who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
        commit = git.run("commit-tree", "-m", "never pushed", _EMPTY_TREE, extra=who).text
        command = ("push", "--dry-run", "--no-verify", "--quiet", "--receive-pack", "git-receive-pack")
        git.run(*command, url, f"{commit}:{_PUSHED}", timeout_s=LOOK_TIMEOUT_S, remote=url)
        return self._found("push", f"{url} would take a push")

    def _lfs(self, git: Git) -> Finding:
        transfer = transfer_for(self.mirror, git)
        nobodys = LfsObject(os.urandom(32).hex(), 1)
        if transfer.missing([nobodys]) != [nobodys]:
            raise BlockedError(f"{transfer.endpoint} says that it has an object that nobody has", "ask who runs it")
        return self._found("lfs", f"{transfer.endpoint} answers")

    def _over_http(self, git: Git, remote: Remote, pushed: Finding) -> Iterator[Finding]:
        from lfssync.web.client import Client
        from lfssync.web.trust import Trust, git_settings

        with Client(Trust(os.environ, git_settings(git))) as client:
            try:
                ahead_s = _ahead_s(client, remote.url)
            except LfssyncError as error:
                yield failure("host", error, self.mirror.name)
                return
            checked = git.run("config", "--type=bool", "--get-urlmatch", "http.sslVerify", remote.url, accept=(0, 1))
            is_checked = checked.text != "false" and "GIT_SSL_NO_VERIFY" not in os.environ
            yield findings.of_certificates(is_checked, remote.host, self.mirror.name)
            if ahead_s is not None:
                yield findings.of_clock(ahead_s, remote.host, self.mirror.name)
            yield self._tried("login", lambda: self._login(client, remote, pushed))

    def _login(self, client: Client, remote: Remote, pushed: Finding) -> Finding:
        from lfssync.hosts.known import host_of, recognised

        host = recognised(host_of(remote.url, os.environ), client)
        credential = self.login.find(remote.url)
        if credential is None and pushed.ok:
            return self._found("login", f"{host.name} asks for none")
        if credential is None:
            self.lacks_login = True
            known = ", ".join(sorted({one.source for one in self.login.every(remote.url)}))
            message = f"{host.name} refused the login from {known}" if known else f"no login for {host.name} is known"
            raise AuthError(message, f"lfssync login {host.host}")
        self.sources.add(credential.source)
        identity = host.whoami(client, credential)
        if identity.may_write is False:
            raise AuthError(
                f"the login of {identity.name}, from {credential.source}, may only read at {host.name}",
                f"make a token that may write there, then: lfssync login {host.host}",
            )
        return self._found("login", f"{identity.name} at {host.name}, from {credential.source}")


def _watched(root: bytes) -> Iterator[bytes]:
    """The folders that get a watch: all but git dirs, also those whose files are left out."""
    for folder, below, _ in os.walk(root):
        below[:] = [name for name in below if name != b".git"]
        yield folder


def _writers(path: bytes) -> Writer | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return probe(fd)
    finally:
        os.close(fd)


def _ahead_s(client: Client, url: str) -> float | None:
    """How far our clock is ahead of a host's; None when the host does not tell the time."""
    from lfssync.web.messages import Request
    from lfssync.web.statuses import date_s

    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
    before = time.time()
    answer = client.send(Request("GET", origin, answer_timeout_s=LOOK_TIMEOUT_S))
    now = (before + time.time()) / 2
    sent = date_s(answer.headers)
    return None if sent is None else now - sent
