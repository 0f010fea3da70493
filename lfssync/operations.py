"""What the commands and the Python interface do, with or without a daemon.

Between `commands` and the line. `connect` answers with something that can sync, wait and tag: the running daemon if
there is one, else this process. The mirror's lock keeps it to one pass at a time either way.
The one thing to know: `status`, `log` and `list` never need the daemon; they read the record that every pass leaves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lfssync.control import Document, ask, pass_result, release_of
from lfssync.errors import LfssyncError, NotDoneError, UserError
from lfssync.model import (
    Difference,
    LogEntry,
    Mirror,
    MirrorStatus,
    Monitor,
    PassResult,
    PushResult,
    Release,
    show,
    silent,
)
from lfssync.places import Places, mirror_name

if TYPE_CHECKING:
    from lfssync.config import Configuration
    from lfssync.restore import RestoreResult

PING_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """Whether a daemon runs; its process, and since when in seconds since the epoch."""

    running: bool
    pid: int | None = None
    since: float | None = None


class Operations(Protocol):
    """What can be asked for; both the daemon and this process can do it."""

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """One pass now, verified."""

    def wait(self, mirror: Mirror, timeout_s: float, monitor: Monitor) -> PassResult:
        """Return once everything is verified on the remote; `NotDoneError` when time runs out."""

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """Release a version."""


@dataclass(frozen=True, slots=True)
class Here:
    """Does the work in this process."""

    places: Places

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """See `Operations.sync`."""
        from lfssync import delivering
        from lfssync.pipeline import Order
        from lfssync.workbench import Session

        state_dir = self.places.mirror_state(mirror.name)
        return delivering.sync(mirror, state_dir, Order(accept_deletions=accept_deletions), Session(monitor))

    def wait(self, mirror: Mirror, timeout_s: float, monitor: Monitor) -> PassResult:
        """See `Operations.wait`."""
        from lfssync import delivering
        from lfssync.workbench import Session

        return delivering.wait(mirror, self.places.mirror_state(mirror.name), timeout_s, Session(monitor))

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """See `Operations.tag`."""
        from lfssync import delivering
        from lfssync.workbench import Session

        state_dir = self.places.mirror_state(mirror.name)
        return delivering.tag(mirror, state_dir, version, message, revision, Session(monitor))


@dataclass(frozen=True, slots=True)
class Asking:
    """Has the running daemon do the work; when it ended meanwhile, this process does it."""

    places: Places

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """See `Operations.sync`."""
        answer = self._ask({"command": "sync", "mirror": mirror.name, "accept_deletions": accept_deletions}, monitor)
        return pass_result(answer) if answer else Here(self.places).sync(mirror, accept_deletions, monitor)

    def wait(self, mirror: Mirror, timeout_s: float, monitor: Monitor) -> PassResult:
        """See `Operations.wait`."""
        answer = self._ask({"command": "wait", "mirror": mirror.name, "timeout_s": timeout_s}, monitor)
        return pass_result(answer) if answer else Here(self.places).wait(mirror, timeout_s, monitor)

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """See `Operations.tag`."""
        request = {
            "command": "tag",
            "mirror": mirror.name,
            "version": version,
            "message": message,
            "revision": revision,
        }
        answer = self._ask(request, monitor)
        return release_of(answer) if answer else Here(self.places).tag(mirror, version, message, revision, monitor)

    def _ask(self, request: Document, monitor: Monitor) -> Document | None:
        return ask(self.places.control_socket, request, monitor, None)


def connect(places: Places, configuration: Configuration) -> Operations:
    """Who does the work: the running daemon, after it was told to read this configuration, or else this process."""
    told = ask(
        places.control_socket, {"command": "reload", "file": str(configuration.file)}, silent, PING_TIMEOUT_S * 5
    )
    return Here(places) if told is None or not told["same"] else Asking(places)


def daemon_info(places: Places) -> DaemonInfo:
    """Whether a daemon runs for these places."""
    try:
        answer = ask(places.control_socket, {"command": "ping"}, silent, PING_TIMEOUT_S)
    except LfssyncError:
        return DaemonInfo(False)
    return DaemonInfo(False) if answer is None else DaemonInfo(True, answer["pid"], answer["since"])


def status(places: Places, mirrors: Sequence[Mirror]) -> list[MirrorStatus]:
    """What each mirror does, from its record."""
    from lfssync.report import read_status

    return [read_status(mirror, places.mirror_state(mirror.name)) for mirror in mirrors]


def log(places: Places, mirror: Mirror, limit: int) -> list[LogEntry]:
    """What was committed, released and refused; newest first."""
    from lfssync import history

    return history.log(mirror, places.mirror_state(mirror.name), limit)


def diff(places: Places, mirror: Mirror, old: str | None, new: str | None) -> list[Difference]:
    """What differs between two revisions."""
    from lfssync import history

    return history.diff(mirror, places.mirror_state(mirror.name), old, new)


def restore(places: Places, mirror: Mirror, destination: Path, revision: str | None, monitor: Monitor) -> RestoreResult:
    """Write a revision into an empty folder."""
    from lfssync import restore as restoring
    from lfssync.gitcommand import require_programs

    require_programs()
    return restoring.restore(mirror, places.mirror_state(mirror.name), destination, revision, monitor)


def push(
    directory: Path, remote: str, *, message: str | None, branch: str, tag: str | None, monitor: Monitor
) -> PushResult:
    """Deliver a directory once, with nothing configured and nothing kept; see `lfssync.push`."""
    from lfssync import delivering
    from lfssync.pipeline import Order
    from lfssync.refnames import check_branch, check_tag
    from lfssync.releases import release
    from lfssync.remotes import parse_remote
    from lfssync.workbench import Session

    check_branch(branch)
    if tag is not None:
        check_tag(tag)
    path = Path(os.path.abspath(directory.expanduser()))
    _require_readable(path)
    mirror = Mirror(mirror_name(path.name), path, parse_remote(remote, Path.home()).url, branch)
    session = Session(monitor)
    with tempfile.TemporaryDirectory(prefix="lfssync-") as folder:
        result = delivering.sync(mirror, Path(folder), Order(message=message), session)
        if result.deferred:
            one = result.deferred[0]
            raise NotDoneError(
                f"{show(one.path)} is {one.reason}; the rest was delivered", "push again when it is complete"
            )
        if result.commit is None or result.receipt is None:
            raise UserError(f"{path} holds no files", "put something into it first")
        released = release(mirror, Path(folder), tag, message, None, session) if tag else None
    return PushResult(result.commit, result.added + result.changed, result.content_bytes, result.receipt, released)


def add(places: Places, directory: Path, remote: str | None, **keys: str) -> Mirror:
    """Start mirroring a directory: check it and the remote, write the configuration, tell a running daemon.

    Args:
        places: Where the configuration is.
        directory: What to mirror.
        remote: Where to; None for an embedded repository.
        keys: More keys of the `[[mirror]]` table.

    Raises:
        UserError: Something is wrong with it; nothing was changed then.
    """
    from lfssync import config, configedit, patterns
    from lfssync.gitcommand import require_programs

    require_programs()
    path = os.path.abspath(directory.expanduser())
    before = {mirror.name for mirror in config.load(places).mirrors}
    table = {"path": path if patterns.is_pattern(path) else patterns.escape(path)}
    if not patterns.is_pattern(path):
        _require_readable(Path(path))
        keys = _working_copy_branch(Path(path), keys)
    if remote is not None:
        table["remote"] = remote if "{" in remote else _require_answer(remote)
    configedit.add_mirror(places.config_file, table | keys, places)
    added = [mirror for mirror in config.load(places).mirrors if mirror.name not in before]
    _poke(places)
    if added:
        return added[0]
    return Mirror(
        keys.get("name", path), Path(path), remote or "an embedded repository each", keys.get("branch", "main")
    )


def _working_copy_branch(path: Path, keys: dict[str, str]) -> dict[str, str]:
    """For a git working copy the branch that is checked out there is the one to mirror."""
    from lfssync import workingcopy

    copy = workingcopy.find(path)
    return keys if copy is None or "branch" in keys else keys | {"branch": copy.branch()}


def _require_readable(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} does not exist", "create it first, or check the spelling")
    if not path.is_dir():
        raise UserError(f"{path} is not a directory", "give the folder that holds the files")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"{path} cannot be read", "mend its permissions")


def _require_answer(remote: str) -> str:
    """Make sure that a repository answers at an address; gives the address to write down."""
    from lfssync.gitcommand import Git
    from lfssync.remotes import RemoteKind, parse_remote
    from lfssync.transfer.bare import git_dir_of

    parsed = parse_remote(remote, Path.home())
    try:
        if parsed.kind is RemoteKind.LOCAL:
            git_dir_of(Path(parsed.path))
        Git(Path(os.devnull)).run("ls-remote", "--quiet", parsed.url, timeout_s=60, remote=parsed.url)
    except LfssyncError as error:
        kind = type(error)
        raise (UserError if error.kind == "blocked" else kind)(error.message, error.remedy) from error
    return parsed.url if parsed.kind is RemoteKind.LOCAL else remote


def remove(places: Places, mirror: Mirror, purge: bool) -> None:
    """Stop mirroring; the directory and the remote stay as they are.

    Args:
        places: Where the configuration is.
        mirror: Which one.
        purge: Also delete its state (never an embedded remote, which may hold the only copy).
    """
    from lfssync import configedit

    configedit.remove_mirror(places.config_file, mirror.name, places)
    _poke(places)
    if purge:
        shutil.rmtree(places.mirror_state(mirror.name), ignore_errors=True)


def _poke(places: Places) -> None:
    """Have a running daemon read the configuration; it does so by itself within a second anyway."""
    ask(places.control_socket, {"command": "reload", "file": str(places.config_file)}, silent, PING_TIMEOUT_S * 5)


def run(places: Places) -> int:
    """Run the daemon in the foreground until it is told to stop."""
    from lfssync.daemon import Daemon

    return Daemon(places).run()
