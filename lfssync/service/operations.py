"""What the commands and the Python interface do, with or without a daemon.

Between `commands` and the line. What takes a pass (sync, wait, tag) goes to whomever `connect` of `executors` finds.
The one thing to know: `status`, `log` and `list` never need the daemon; they read the record that every pass leaves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.answers import DaemonInfo, LogEntry, MirrorStatus
from lfssync.errors import LfssyncError, NotDoneError, TransientError, UserError
from lfssync.model import Mirror, Monitor, show, silent
from lfssync.places import Places, mirror_name
from lfssync.records.lock import held
from lfssync.service.executors import Operations, connect, poke, stoppable
from lfssync.service.standing import PING_TIMEOUT_S, Onlooker, daemon_info

if TYPE_CHECKING:
    from lfssync.configuration.patterns import MirrorPattern
    from lfssync.hosts import Wish
    from lfssync.line.workbench import Session
    from lfssync.results import Difference, Login, Logout, PushResult, Revision, Scrubbed
    from lfssync.service.protocol import Document
    from lfssync.versions.restore import RestoreResult
    from lfssync.versions.retiring import Retirement
    from lfssync.versions.tags import Listing

__all__ = [
    "DaemonInfo", "Onlooker", "Operations", "connect", "daemon_info", "diff", "log", "login", "logout", "next_version",
    "page", "push", "remove", "restore", "retire", "run", "scrub", "show_revision", "status", "tags", "tell_of_pauses",
    "whoami",
]  # fmt: skip

PURGE_TIMEOUT_S = 60.0
"""How long a pass under way may take to end before its state is deleted."""

_log = logging.getLogger("lfssync")


def status(places: Places, mirrors: Sequence[Mirror]) -> list[MirrorStatus]:
    """What each mirror does; see `standing`."""
    return Onlooker(places).look(mirrors)[0]


def log(places: Places, mirror: Mirror, limit: int) -> list[LogEntry]:
    """What was committed, released and refused; newest first."""
    from lfssync.versions import history

    return history.log(mirror, places.mirror_state(mirror.name), limit)


def diff(places: Places, mirror: Mirror, old: str | None, new: str | None) -> list[Difference]:
    """What differs between two revisions."""
    from lfssync.versions import history

    session = _looking(places)
    return stoppable(session, lambda: history.diff(mirror, places.mirror_state(mirror.name), old, new, session))


def show_revision(places: Places, mirror: Mirror, revision: str) -> Revision:
    """What a revision is."""
    from lfssync.versions import history

    session = _looking(places)
    return stoppable(session, lambda: history.show(mirror, places.mirror_state(mirror.name), revision, session))


def tags(places: Places, mirror: Mirror, limit: int) -> Listing:
    """The tags of a mirror, the newest first."""
    from lfssync.versions import tags as tagging

    session = _looking(places)
    return stoppable(session, lambda: tagging.listing(mirror, places.mirror_state(mirror.name), limit, session))


def next_version(places: Places, mirror: Mirror, part: str) -> str:
    """The version that comes next; `part` is `major`, `minor` or `patch`."""
    from lfssync.rules.versionnumbers import Raise
    from lfssync.versions import tags as tagging

    session, what = _looking(places), Raise(part)
    return stoppable(session, lambda: tagging.next_version(mirror, places.mirror_state(mirror.name), what, session))


def retire(places: Places, mirror: Mirror, does: Operations | None, monitor: Monitor) -> Retirement:
    """Take checkpoints off the tip of the branch as the mirror's `keep` says.

    Args:
        places: Where state is.
        mirror: The mirror.
        does: Who syncs before and after; None only looks.
        monitor: Receives progress.
    """
    from lfssync.versions import retiring

    session, state_dir = _looking(places), places.mirror_state(mirror.name)
    if does is None:
        return stoppable(session, lambda: retiring.preview(mirror, state_dir, session))
    does.sync(mirror, False, monitor)
    done = stoppable(session, lambda: retiring.retire(mirror, state_dir, session))
    if done.commit is not None:
        does.sync(mirror, False, monitor)
    return done


def _looking(places: Places) -> Session:
    """For whoever looks only, but may have to ask the remote."""
    from lfssync.credentials.ladder import Ladder
    from lfssync.line.workbench import Session

    return Session(login=Ladder.configured(places, os.environ))


def restore(places: Places, mirror: Mirror, destination: Path, revision: str | None, monitor: Monitor) -> RestoreResult:
    """Write a revision into an empty folder."""
    from lfssync.credentials.ladder import Ladder
    from lfssync.git.programs import require_programs
    from lfssync.line.workbench import Session
    from lfssync.versions import restore as restoring

    require_programs()
    session = Session(monitor, login=Ladder.configured(places, os.environ))
    state_dir = places.mirror_state(mirror.name)
    return stoppable(session, lambda: restoring.restore(mirror, state_dir, destination, revision, session))


def scrub(places: Places, mirror: Mirror, sample: int | None, monitor: Monitor) -> Scrubbed:
    """Look at every LFS object on the remote, in this process; see `scrub.scrub`."""
    from lfssync.credentials.ladder import Ladder
    from lfssync.line import scrub as scrubbing
    from lfssync.line.workbench import Session

    session = Session(monitor, login=Ladder.configured(places, os.environ))
    return stoppable(session, lambda: scrubbing.scrub(mirror, places.mirror_state(mirror.name), sample, session))


def push(  # noqa: PLR0913 (keywords, as those of `lfssync.push`)
    directory: Path,
    remote: str,
    *,
    message: str | None,
    branch: str,
    tag: str | None,
    monitor: Monitor,
    wish: Wish | None = None,
    is_save: bool = False,
) -> PushResult:
    """Deliver a directory once, with nothing configured and nothing kept; see `lfssync.push`."""
    import tempfile

    from lfssync.credentials.ladder import Ladder
    from lfssync.line.pipeline import Order
    from lfssync.line.workbench import Session
    from lfssync.results import PushResult
    from lfssync.rules.refnames import check_branch, check_tag
    from lfssync.rules.remotes import parse_remote
    from lfssync.service import delivering
    from lfssync.service.adding import create, require_readable
    from lfssync.transfer.copying import workroom
    from lfssync.versions.releases import release

    check_branch(branch)
    if tag is not None:
        check_tag(tag)
    path = Path(os.path.abspath(directory.expanduser()))
    require_readable(path)
    places = Places.from_environment(os.environ)
    url = parse_remote(remote, places.home, places.hub).url
    mirror = Mirror(mirror_name(path.name), path, url, branch, offline_limit_bytes=0)  # nothing stays here
    session = Session(monitor, login=Ladder(places.state_dir, os.environ, lambda: [mirror.remote]))
    if wish is not None:
        create(mirror.remote, replace(wish, branch=branch), session.login)
    order = Order(message=message, replaces_weights=is_save)
    with workroom(Path(tempfile.gettempdir()), "lfssync-push-") as folder:
        result = stoppable(session, lambda: delivering.sync(mirror, folder, order, session))
        if result.deferred:
            one = result.deferred[0]
            raise NotDoneError(
                f"{show(one.path)}: {one.reason}; the rest was delivered", "push again when it is complete"
            )
        if result.commit is None or result.receipt is None:
            raise UserError(f"{path} holds no files", "put something into it first")
        released = release(mirror, folder, tag, message, None, session) if tag else None
    return PushResult(result.commit, result.added + result.changed, result.content_bytes, result.receipt, released)


def page(places: Places, mirror: Mirror, version: str, notes: str | None) -> str:
    """The page of a release on the mirror's host, made unless it is there.

    Raises:
        UserError: The host has no such pages.
    """
    from lfssync.credentials.ladder import Ladder
    from lfssync.hosts.creating import release_page

    login = Ladder.configured(places, os.environ)
    found = release_page(mirror.remote, version, notes or "", login, os.environ)
    if found is None:
        raise UserError(f"{mirror.remote} has no release pages", f"the tag {version} is there; leave out --page")
    return found


def remove(places: Places, mirror: Mirror, purge: bool) -> None:
    """Stop mirroring; the directory and the remote stay as they are.

    A mirror that a pattern made can be removed once its folder is gone.

    Args:
        places: Where the configuration is.
        mirror: Which one.
        purge: Also delete its state (never an embedded remote, which may hold the only copy).

    Raises:
        UserError: It is not in the configuration; nothing was changed then.
        TransientError: Its state could not be deleted.
    """
    import shutil

    from lfssync.configuration import config, configedit
    from lfssync.records import pausing, roster

    configuration = config.load(places)
    state_dir = places.mirror_state(mirror.name)
    if mirror.name in {one.name for one in configuration.mirrors}:
        configedit.remove_mirror(places.config_file, mirror.name, places)
    elif os.path.lexists(mirror.path):
        made_by = [one.glob for one in configuration.patterns if mirror.path.match(one.glob)]
        raise UserError(
            f"{mirror.name} is made by the pattern {' and '.join(made_by)}",
            f"remove that (lfssync remove '{made_by[0]}'), or the folder" if made_by else "look at the configuration",
        )
    if not os.path.lexists(mirror.path):
        roster.forget(state_dir)  # or a pattern that matches would keep it
    poke(places)  # first, or the daemon would deliver what was paused
    pausing.resume(state_dir, time.time())  # or it would be paused when it is added again, and nobody knows why
    if purge and state_dir.exists():
        with held(state_dir, PURGE_TIMEOUT_S, threading.Event()):
            shutil.rmtree(state_dir, ignore_errors=True)
        if state_dir.exists():
            raise TransientError(f"{state_dir} could not be deleted", "mend its permissions, then delete it")


def remove_pattern(places: Places, pattern: MirrorPattern) -> None:
    """Stop mirroring the folders of a pattern; the folders, their state and the remotes stay as they are.

    The pauses of its mirrors end, as in `remove`.

    Raises:
        UserError: It is not in the configuration; nothing was changed then.
    """
    from lfssync.configuration import config, configedit
    from lfssync.records import pausing, roster

    def names() -> set[str]:
        return {mirror.name for mirror in roster.roster(config.load(places), places).mirrors}

    before = names()
    configedit.remove_mirror(places.config_file, pattern.glob, places)
    poke(places)
    for name in sorted(before - names()):
        pausing.resume(places.mirror_state(name), time.time())


def login(
    places: Places,
    host: str | None,
    ask: Callable[[str], str],
    username: str | None,
    warn: Callable[[LfssyncError], None],
) -> Login:
    """Log in at a host: check what is given with the host, and keep it in the keyring.

    Args:
        places: Where the configuration is.
        host: `hf`, `gh`, `gl`, `HOST[:PORT]`, or None for the one that all mirrors are on.
        ask: Gives the token for a host, which it is told the name of.
        username: What goes with it; None lets the host say.
        warn: Is told what is doubtful about it, before it is kept.
    """
    from lfssync.credentials import login as logins

    site = logins.site_of(host, places, os.environ)
    done = logins.login(site, ask(site.host), username, places, os.environ, warn)
    _tell_logins_changed(places)
    return done


def logout(places: Places, host: str | None) -> Logout:
    """Delete the login for a host from the keyring."""
    from lfssync.credentials import login as logins

    site = logins.site_of(host, places, os.environ)
    done = logins.logout(site, places, os.environ)
    _tell_logins_changed(places)
    return done


def whoami(places: Places, host: str | None) -> Login:
    """Ask a host whose login it is that would be used there."""
    from lfssync.credentials import login as logins

    done = logins.whoami(logins.site_of(host, places, os.environ), places, os.environ)
    _tell_logins_changed(places)
    return done


def tell_of_pauses(places: Places) -> None:
    """Have a running daemon look at once who is paused; it does so by itself every second."""
    _tell(places, {"command": "pauses"})


def _tell_logins_changed(places: Places) -> None:
    """Have a running daemon try again at once where it was refused; it does so by itself sooner or later."""
    _tell(places, {"command": "logins"})


def _tell(places: Places, request: Document) -> None:
    from lfssync.service.control import ask, socket_of

    try:
        ask(socket_of(places), request, silent, PING_TIMEOUT_S)
    except LfssyncError as error:
        _log.debug("the running daemon does not hear of it: %s", error)


def run(places: Places) -> int:
    """Run the daemon in the foreground until it is told to stop."""
    from lfssync.service.daemon import Daemon

    return Daemon(places).run()
