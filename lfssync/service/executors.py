"""Who does the work that a command asks for: the running daemon, or else this process.

Between `operations` and the line. `connect` chooses; either way the mirror's lock keeps it to one pass at a time.
The one thing to know: work in this process runs in a thread of its own, and `stoppable` says why.

Either side is loaded when it is chosen: without a daemon nobody needs the socket, and with one nobody needs the line.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from lfssync.credentials import Credentials
from lfssync.errors import LfssyncError
from lfssync.model import Mirror, Monitor, PassResult, silent
from lfssync.places import Places
from lfssync.records.pausing import require_going
from lfssync.service.standing import may_listen

if TYPE_CHECKING:
    from lfssync.configuration.config import Configuration
    from lfssync.line.workbench import Session
    from lfssync.results import Release
    from lfssync.service.protocol import Document

ANSWER_TIMEOUT_S = 2.0
RELOAD_TIMEOUT_S = 10.0

T = TypeVar("T")
_log = logging.getLogger("lfssync")


def untold(_: str) -> None:
    """For what nobody is to be told."""


class Operations(Protocol):
    """What can be asked for; both the daemon and this process can do it."""

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """One pass now, verified."""

    def wait(
        self, mirror: Mirror, timeout_s: float, monitor: Monitor, waits: Callable[[str], None] = untold
    ) -> PassResult:
        """Return once everything is verified on the remote; `NotDoneError` when time runs out.

        What is in the way is told to `waits`, whenever that is waited for.
        """

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """Release a version."""


@dataclass(frozen=True, slots=True)
class Here:
    """Does the work in this process.

    Args:
        places: Where state is.
        login: Who knows logins.
    """

    places: Places
    login: Credentials

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """See `Operations.sync`."""
        from lfssync.line.pipeline import Order
        from lfssync.line.workbench import Session
        from lfssync.service import delivering

        session, order = Session(monitor, login=self.login), Order(accept_deletions=accept_deletions)
        return stoppable(
            session, lambda: delivering.sync(mirror, self.places.mirror_state(mirror.name), order, session)
        )

    def wait(
        self, mirror: Mirror, timeout_s: float, monitor: Monitor, waits: Callable[[str], None] = untold
    ) -> PassResult:
        """See `Operations.wait`."""
        from lfssync.line.workbench import Session
        from lfssync.service import delivering

        session, state_dir = Session(monitor, login=self.login), self.places.mirror_state(mirror.name)
        return stoppable(session, lambda: delivering.wait(mirror, state_dir, timeout_s, session, waits))

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """See `Operations.tag`."""
        from lfssync.line.workbench import Session
        from lfssync.service import delivering

        session, state_dir = Session(monitor, login=self.login), self.places.mirror_state(mirror.name)
        return stoppable(session, lambda: delivering.tag(mirror, state_dir, version, message, revision, session))


def here(places: Places) -> Here:
    """This process, with the logins of its user."""
    from lfssync.credentials.ladder import Ladder

    return Here(places, Ladder.configured(places, os.environ))


def stoppable(session: Session, work: Callable[[], T]) -> T:
    """Do work in a thread, so that Ctrl-C reaches the main one, and that one tells the work to stop.

    An exception in the middle of the work would have to wait for its threads, which would not know of it.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except BaseException:
            session.stop.set()
            raise


@dataclass(frozen=True, slots=True)
class Asking:
    """Has the running daemon do the work; when it ended meanwhile, this process does it."""

    places: Places

    def sync(self, mirror: Mirror, accept_deletions: bool, monitor: Monitor) -> PassResult:
        """See `Operations.sync`."""
        from lfssync.service.protocol import pass_result

        answer = self._ask({"command": "sync", "mirror": mirror.name, "accept_deletions": accept_deletions}, monitor)
        return pass_result(answer) if answer else here(self.places).sync(mirror, accept_deletions, monitor)

    def wait(
        self, mirror: Mirror, timeout_s: float, monitor: Monitor, waits: Callable[[str], None] = untold
    ) -> PassResult:
        """See `Operations.wait`. The daemon runs the passes, but the waiting is done here, where it can be ended."""
        from lfssync.service import delivering
        from lfssync.service.control import ask, socket_of
        from lfssync.service.protocol import pass_result

        def look(left_s: float) -> PassResult:
            require_going(mirror, self.places.mirror_state(mirror.name), left_s)
            request: Document = {"command": "look", "mirror": mirror.name, "wait_lock_s": left_s}
            answer = ask(socket_of(self.places), request, monitor, max(left_s, ANSWER_TIMEOUT_S))
            return pass_result(answer) if answer else here(self.places).wait(mirror, left_s, monitor, waits)

        return delivering.until_done(mirror, timeout_s, look, threading.Event(), waits)

    def tag(self, mirror: Mirror, version: str, message: str | None, revision: str | None, monitor: Monitor) -> Release:
        """See `Operations.tag`."""
        from lfssync.service.protocol import release_of

        request = {
            "command": "tag",
            "mirror": mirror.name,
            "version": version,
            "message": message,
            "revision": revision,
        }
        answer = self._ask(request, monitor)
        return release_of(answer) if answer else here(self.places).tag(mirror, version, message, revision, monitor)

    def _ask(self, request: Document, monitor: Monitor) -> Document | None:
        from lfssync.service.control import ask, socket_of

        return ask(socket_of(self.places), request, monitor, None)


def connect(places: Places, configuration: Configuration) -> Operations:
    """Who does the work: the running daemon, after it was told to read this configuration, or else this process."""
    told = have_it_read(places, configuration.file)
    return here(places) if told is None or not told["same"] else Asking(places)


def have_it_read(places: Places, file: Path) -> Document | None:
    """Have a running daemon read its configuration, if that is this one; None when no daemon runs."""
    if not may_listen(places):
        return None
    from lfssync.service.control import ask, socket_of

    request = {"command": "reload", "file": str(file), "state": str(places.state_dir)}
    return ask(socket_of(places), request, silent, RELOAD_TIMEOUT_S)


def poke(places: Places) -> None:
    """Have a running daemon read the configuration; it does so by itself within a second anyway."""
    try:
        have_it_read(places, places.config_file)
    except LfssyncError as error:
        _log.warning("the running daemon does not take in the change: %s", error)
