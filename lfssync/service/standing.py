"""How things stand: the daemon, and each mirror, for `status` and `list`.

Under `operations`, over `report` and the control socket. The one thing to know: `status` never needs the daemon. It
reads the record that every pass leaves. A running daemon adds what no record can tell: changes that still settle, how
far a pass is, what is waited for. Without one, and where one is held back and looks at nothing, the directories are
looked at, for a bounded time; and what it takes to talk to one is not even loaded where none runs, so that the answer
comes at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lfssync.answers import DaemonInfo, MirrorStatus
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror, State, silent
from lfssync.places import Places
from lfssync.records.lock import DAEMON_LOCK, running_daemon
from lfssync.records.pausing import Pause, paused
from lfssync.records.report import read_status
from lfssync.rules.pace import Waits, Why

if TYPE_CHECKING:
    from lfssync.line.glance import Glance
    from lfssync.service.protocol import Document

PING_TIMEOUT_S = 2.0

_LOOK_SHARE = 20
_LOOK_EVERY_S = 2.0
"""Whoever looks again and again looks so seldom at directories, and takes at most one part in so many of the time."""

_STATES = {"unauthorized": State.UNAUTHORIZED, "blocked": State.BLOCKED, "offline": State.OFFLINE}


class Onlooker:
    """Looks at how things stand, once or again and again.

    Args:
        places: Where everything is.
        clock: Gives monotonic seconds.
    """

    def __init__(self, places: Places, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._clock = clock
        self._found: dict[str, Glance] = {}
        self._looked_at: frozenset[str] = frozenset()
        self._look_at = float("-inf")

    def look(self, mirrors: Sequence[Mirror]) -> tuple[list[MirrorStatus], DaemonInfo]:
        """What each mirror does, and whether a daemon runs."""
        answer = _ping(self._places)
        live = answer.get("mirrors", {})
        now = time.time()
        pauses = {mirror.name: paused(self._places.mirror_state(mirror.name), now) for mirror in mirrors}
        found = self._glances([one for one in mirrors if is_unseen(live.get(one.name), pauses[one.name])])
        statuses = [
            self._status(mirror, live.get(mirror.name), found.get(mirror.name), pauses[mirror.name])
            for mirror in mirrors
        ]
        return statuses, _daemon_info(self._places, answer)

    def _glances(self, mirrors: Sequence[Mirror]) -> Mapping[str, Glance]:
        names = frozenset(mirror.name for mirror in mirrors)
        began = self._clock()
        if names and (began >= self._look_at or names != self._looked_at):
            from lfssync.line.glance import glances

            self._looked_at = names
            self._found = glances([(mirror, self._places.mirror_state(mirror.name)) for mirror in mirrors])
            took_s = self._clock() - began
            self._look_at = began + max(_LOOK_EVERY_S, took_s * _LOOK_SHARE)
        return self._found

    def _status(self, mirror: Mirror, live: Document | None, found: Glance | None, pause: Pause | None) -> MirrorStatus:
        status = read_status(mirror, self._places.mirror_state(mirror.name))
        if is_unseen(live, pause):
            status = seen(status, found)
        if live is not None:
            status = told(status, live)
        if pause is None:
            return status
        return status._replace(waits=Waits(Why.PAUSED, pause.until).document(), paused=pause.document())


def is_unseen(live: Document | None, pause: Pause | None) -> bool:
    """Whether changes may wait that no pass looks at, because no daemon runs, or because something holds it back.

    Args:
        live: What the running daemon says about the mirror; None without one.
        pause: The mirror's pause, if it is paused.
    """
    return live is None or bool(live.get("waiting") and (pause or live.get("waits")))


def told(status: MirrorStatus, live: Document) -> MirrorStatus:
    """The record together with what the running daemon says about the mirror."""
    if waits := live.get("waits"):
        status = status._replace(waits=waits)
    if status.state.is_working:
        from lfssync.service.protocol import headway_of

        progress = live.get("progress")
        return status._replace(progress=headway_of(progress)) if progress else status
    if error := live.get("error"):
        return status._replace(state=_STATES.get(error["kind"], State.FAILED), error=error)
    if live.get("waiting") and status.state is State.IDLE:
        return status._replace(state=State.SETTLING)
    return status


def seen(status: MirrorStatus, found: Glance | None) -> MirrorStatus:
    """The record together with what a look at the directory found; None when that took too long."""
    if status.state.is_working:
        return status  # a pass without a daemon is under way
    if found is None:
        return status._replace(looked=False)
    if found.error is not None:
        error = {"kind": found.error.kind, "message": found.error.message, "remedy": found.error.remedy}
        state = _STATES.get(found.error.kind, State.FAILED)
        is_same = status.error is not None and status.error["message"] == found.error.message
        return status if is_same else status._replace(state=state, error=error | {"since": time.time()})
    is_delivered = status.head == status.pushed
    if is_delivered:  # what waited is among what differs, if it still does
        files, size_bytes = found.files, found.size_bytes
    else:
        files = status.pending_files + found.files - min(len(status.deferred), found.files)
        waiting_bytes = sum(one.size_bytes for one in status.deferred)
        size_bytes = status.pending_bytes + max(found.size_bytes - waiting_bytes, 0)
    state = status.state
    if state in (State.IDLE, State.SETTLING):
        state = State.SETTLING if files or not is_delivered else State.IDLE
    deferred = status.deferred if found.files else ()
    return status._replace(state=state, pending_files=files, pending_bytes=size_bytes, deferred=deferred)


def daemon_info(places: Places) -> DaemonInfo:
    """Whether a daemon runs for these places; one that does not answer is known by its lock."""
    return _daemon_info(places, _ping(places))


def _daemon_info(places: Places, answer: Document) -> DaemonInfo:
    complaints = tuple(map(str, answer.get("complaints", ())))
    if "pid" in answer:
        return DaemonInfo(True, answer["pid"], answer["since"], complaints)
    pid = running_daemon(places.state_dir / DAEMON_LOCK)
    return DaemonInfo(pid is not None, pid or None, complaints=complaints)


def may_listen(places: Places) -> bool:
    """Whether there is the socket of a daemon, be it alive or dead. Where there is none, none need be asked."""
    return any(os.path.exists(one.control_socket) for one in (places, places.without_runtime_dir()))


def _ping(places: Places) -> Document:
    """What the running daemon says about itself; nothing but complaints when none answers properly."""
    if not may_listen(places):
        return {}
    from lfssync.service.control import ask, socket_of

    try:
        answer = ask(socket_of(places), {"command": "ping"}, silent, PING_TIMEOUT_S)
    except UserError as error:  # it is of another version
        return {"complaints": [str(error)]}
    except LfssyncError as error:
        import logging

        logging.getLogger("lfssync").debug("no word from the daemon: %s", error)
        return {}
    return answer if answer and {"pid", "since", "mirrors"} <= answer.keys() else {}
