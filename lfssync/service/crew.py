"""The workers of a daemon, and the configuration that makes them.

Owned by `daemon`, whose main thread calls everything here. What changed in the configuration takes effect while the
daemon runs; what is wrong with it is complained about, and leaves everything as it was.
The one thing to know: a worker whose mirror did not change is never touched, so a reload costs a mirror nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.configuration import config, patterns
from lfssync.configuration.telling import Telling
from lfssync.credentials.ladder import Ladder
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror
from lfssync.places import Places
from lfssync.records.roster import roster
from lfssync.service.journal import MirrorLog
from lfssync.service.worker import CHECK_EVERY_S, Worker

LOOK_EVERY_S = 0.5
"""How often the configuration file and the folders of patterns are looked at, one stat each; more seldom if many."""

_LOOKS_A_SECOND = 100

SURVEY_EVERY_S = 30.0
"""How often patterns are followed even if no folder seems to have changed."""

_CHECKS_A_SECOND = 10
_CHECK_EVERY_AT_MOST_S = 20.0
"""Every watcher is looked after each second; with many mirrors more seldom, all at once."""

_RACY_S = 1.1
"""Time stamps of some file systems move once a second; what changed less than this ago may change again unseen."""

_log = logging.getLogger("lfssync")


class Crew:
    """One worker for each mirror of the configuration.

    Args:
        places: Where configuration and state are.
        wake: Called from watchers' threads when a hint came that nobody expects.
    """

    def __init__(self, places: Places, wake: Callable[[], None]) -> None:
        self.workers: dict[str, Worker] = {}
        self.mirrors: dict[str, Mirror] = {}
        """Replaced as a whole, for the threads that answer requests."""
        self.login = Ladder(places.state_dir, os.environ, lambda: [one.remote for one in self.mirrors.values()])
        self._places = places
        self._wake = wake
        self._configuration = config.Configuration(places.config_file)
        self._looks_at: Sequence[Path] = ()
        self._seen: list[_Stamp] = []
        self._noticed: list[_Stamp] = []
        self._survey_at = 0.0
        self._complaints: dict[str, set[str]] = {}

    @property
    def look_every_s(self) -> float:
        """How often `look` is to be called, in seconds."""
        return max(LOOK_EVERY_S, len(self._looks_at) / _LOOKS_A_SECOND)

    def begin(self) -> None:
        """Read the configuration for the first time, and begin to watch.

        Raises:
            UserError: It is wrong.
        """
        self._configure(self._load(), [])

    def look(self, now: float) -> bool:
        """Read the configuration again if it, or a folder that a pattern looks into, has changed; says whether it did.

        A file that has just changed is read at the next look, if it stands still by then: who writes it in place has
        it empty for a moment, and an empty one would end all mirrors.

        Args:
            now: Monotonic seconds.
        """
        stamps = self._stamps()
        noticed, self._noticed = self._noticed, stamps
        has_changed = stamps != self._seen or any(one.is_racy for one in self._seen)
        if not has_changed and now < self._survey_at:
            return False
        is_new = stamps[:1] not in (self._seen[:1], noticed[:1])
        if is_new and stamps[1:] == self._seen[1:]:
            return False
        self.reload()
        return True

    def tick(self, now: float) -> float:
        """Have every worker take in hints, and look after watcher and rescan.

        Args:
            now: Monotonic seconds.

        Returns:
            When there is something to do again at the latest, in monotonic seconds.
        """
        polling = sum(worker.is_polling for worker in self.workers.values())
        check_every_s = min(max(CHECK_EVERY_S, len(self.workers) / _CHECKS_A_SECOND), _CHECK_EVERY_AT_MOST_S)
        for worker in self.workers.values():
            worker.tick(now, polling, check_every_s)
        return min((worker.tick_at for worker in self.workers.values()), default=float("inf"))

    def reload(self) -> None:
        """Read the configuration; one that is wrong changes nothing, but its patterns are followed as before."""
        complaints = []
        configuration = self._configuration
        try:
            configuration = self._load()
            if self.workers and not configuration.mirrors and not configuration.patterns:
                self._require_file()
        except LfssyncError as error:
            configuration = self._configuration
            complaints.append(f"the configuration stays as it was: {error}")
        self._configure(configuration, complaints)

    @property
    def telling(self) -> Telling:
        """What the configuration says about metrics and notifications."""
        return self._configuration.telling

    @property
    def complaints(self) -> list[str]:
        """What is wrong with what all mirrors share, as far as it is not mended."""
        return sorted(words for about in list(self._complaints.values()) for words in about)

    def look_at_pace(self, now: float) -> None:
        """See which mirrors may go on, in monotonic seconds."""
        for worker in self.workers.values():
            worker.look_at_pace(now)

    def network_returned(self, now: float) -> None:
        """The network is back, or may be, in monotonic seconds."""
        for worker in self.workers.values():
            worker.network_returned(now)

    def woke(self, now: float) -> None:
        """The machine has slept, in monotonic seconds."""
        for worker in self.workers.values():
            worker.woke(now)

    def complain(self, about: str, complaints: set[str]) -> None:
        """Log complaints once, not at every look; and again when they come back after they were mended."""
        before = self._complaints.get(about, set())
        for words in sorted(complaints - before):
            _log.warning("%s", words)
        if before and not complaints:
            _log.info("%s is in order again", about)
        self._complaints[about] = complaints

    def _require_file(self) -> None:
        """Take a file that is gone, or a link that leads nowhere, for a mistake and not for a wish."""
        file = self._places.config_file
        if not file.exists():
            raise UserError(f"{file} is gone", "put it back, or stop mirrors with lfssync remove")

    def _load(self) -> config.Configuration:
        self._seen = self._stamps()  # before it is read: what changes meanwhile is then seen next time
        configuration = config.load(self._places)
        config.check_directories(configuration.mirrors)
        return configuration

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in (self._places.config_file, *self._looks_at)]

    def _configure(self, configuration: config.Configuration, complaints: list[str]) -> None:
        """Make the workers fit the configuration: those that did not change go on undisturbed."""
        self._configuration = configuration
        self._survey_at = time.monotonic() + (SURVEY_EVERY_S if configuration.patterns or complaints else float("inf"))
        looks_at = [point for pattern in configuration.patterns for point in patterns.watch_points(pattern)]
        if looks_at != self._looks_at:
            self._looks_at = looks_at
            self._seen = self._stamps()
        found = roster(configuration, self._places)
        self.complain("the configuration", {*complaints, *map(str, found.refused)})
        wanted = {mirror.name: mirror for mirror in found.mirrors}
        before = dict(self.workers)
        for name, worker in before.items():
            if wanted.get(name) != worker.mirror:
                self._dismiss(name, wanted.get(name))
        for name, mirror in wanted.items():
            if name not in self.workers:
                worker = Worker(mirror, self._places.mirror_state(name), self._wake, self.login)
                if name in before and not before[name].session.stop.is_set():
                    # The pass under way goes on, and nothing is read again for it.
                    worker.stand_in_for(before[name])
                worker.start(time.monotonic())
                self.workers[name] = worker
                MirrorLog(name).info("mirroring %s to %s", mirror.path, mirror.remote)
        self.mirrors = wanted

    def _dismiss(self, name: str, wanted: Mirror | None) -> None:
        """Give up a worker; its pass under way may only go on when it would do the same with the new settings."""
        worker = self.workers.pop(name)
        worker.stop()
        if wanted is None or not _same_but_for_times(worker.mirror, wanted):
            worker.session.stop.set()
        MirrorLog(name).info("no longer mirrored" if wanted is None else "has new settings")


def _same_but_for_times(one: Mirror, other: Mirror) -> bool:
    return one == other._replace(
        quiet_s=one.quiet_s,
        max_wait_s=one.max_wait_s,
        min_interval_s=one.min_interval_s,
        only_between=one.only_between,
        commits_per_hour=one.commits_per_hour,
        rescan_s=one.rescan_s,
        shutdown_grace_s=one.shutdown_grace_s,
    )


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What a stat says about a path, and whether it may change again without that being told."""

    says: tuple[int | None, ...]
    is_racy: bool = field(compare=False)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        return _Stamp((error.errno,), False)
    is_racy = abs(time.time() - status.st_ctime) < _RACY_S
    return _Stamp((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns), is_racy)
