"""Tells what the daemon knows to monitoring and to people, as the configuration says.

Owned by `daemon`, whose main thread calls everything here but `_text`. The one thing to know: the main thread only
hands on values. Who asks for metrics is answered in the endpoint's thread, and who is notified has a sender's thread;
where nothing is configured there is no thread, and nothing is looked up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from lfssync.answers import MirrorStatus
from lfssync.configuration.telling import Occasion, Telling
from lfssync.errors import LfssyncError, TransientError
from lfssync.model import Mirror
from lfssync.places import Places
from lfssync.records.report import read_status, releases
from lfssync.rules.remotes import mask
from lfssync.service.protocol import Document
from lfssync.service.standing import told
from lfssync.service.worker import Worker
from lfssync.telling import metricsfile
from lfssync.telling.endpoint import Endpoint
from lfssync.telling.exposition import Form, text_of
from lfssync.telling.letters import letter
from lfssync.telling.measures import Measured, families
from lfssync.telling.notices import CONFIGURATION, Notice, Press, Trouble
from lfssync.telling.senders import Sender, send_to

LOOK_EVERY_S = 1.0
STOP_TIMEOUT_S = 3.0
_BIND_AGAIN_S = 30.0
_STATE = "notices.json"

_log = logging.getLogger("lfssync")


class Herald:
    """Metrics and notifications of a daemon.

    Args:
        places: Where the state is.
        complain: Takes what is wrong with the metrics now; an empty set when nothing is.
    """

    def __init__(self, places: Places, complain: Callable[[str, set[str]], None]) -> None:
        self._places = places
        self._complain = complain
        self._began_at = time.time()
        self._telling = Telling()
        # The endpoint's thread reads these, so they are replaced as a whole.
        self._workers: Mapping[str, Worker] = {}
        self._live: Document = {}
        self._complaints: tuple[str, ...] = ()
        self._tags: dict[str, tuple[int, frozenset[str]]] = {}
        self._released: dict[str, int] = {}
        self._records: dict[str, tuple[object, MirrorStatus]] = {}
        self._endpoint: Endpoint | None = None
        self._senders: list[tuple[frozenset[Occasion], Sender]] = []
        self._press = Press()
        self._noted = ""
        self._look_at = self._bind_at = self._write_at = float("-inf")

    def look(
        self, telling: Telling, workers: Mapping[str, Worker], live: Document, complaints: Collection[str], now: float
    ) -> None:
        """Tell what there is to tell; called again and again, and returns at once.

        Args:
            telling: What the configuration says.
            workers: The workers of all mirrors.
            live: What only the daemon knows about each.
            complaints: What is wrong with the daemon itself.
            now: Monotonic seconds.
        """
        if telling != self._telling:
            self._configure(telling)
        if telling == Telling() or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        self._workers, self._live, self._complaints = dict(workers), live, tuple(sorted(complaints))
        self._look_after_metrics(now)
        if telling.targets:
            self._notify()

    def stop(self) -> None:
        """Tell the last, and then nothing more; within `STOP_TIMEOUT_S`, however slow whoever is told."""
        if self._telling.targets:
            self._notify()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for _, sender in self._senders:
            sender.finish()
        for _, sender in self._senders:
            sender.stop(deadline)
        if self._endpoint is not None:
            self._endpoint.stop()
        if self._telling.metrics_file is not None:
            metricsfile.take_away(self._telling.metrics_file)

    def _configure(self, telling: Telling) -> None:
        before, self._telling = self._telling, telling
        if before.targets != telling.targets:
            for _, sender in self._senders:
                sender.finish()  # what waits is still sent
            self._senders = [(one.on, Sender(one.words, send_to(one, os.environ))) for one in telling.targets]
            for _, sender in self._senders:
                sender.start()
            if not before.targets:
                self._recall()
        if before.metrics != telling.metrics:
            if self._endpoint is not None:
                self._endpoint.stop()
                self._endpoint = None
            self._complain("the metrics", set())
        if before.metrics_file != telling.metrics_file:
            if before.metrics_file is not None:
                metricsfile.take_away(before.metrics_file)
            self._complain("the metrics file", set())
        self._look_at = self._bind_at = self._write_at = float("-inf")

    # -- metrics -------------------------------------------------------------------------------------------------

    def _look_after_metrics(self, now: float) -> None:
        address, file = self._telling.metrics, self._telling.metrics_file
        if address is not None and self._endpoint is None and now >= self._bind_at:
            self._bind_at = now + _BIND_AGAIN_S
            endpoint = Endpoint(address, self._text)
            if self._try("the metrics", endpoint.start):
                self._endpoint = endpoint
        if file is not None and now >= self._write_at:
            self._write_at = now + metricsfile.WRITE_EVERY_S
            self._try("the metrics file", lambda: metricsfile.write(file, self._text(Form.PROMETHEUS)))

    def _try(self, about: str, action: Callable[[], None]) -> bool:
        """Do something whose failure is complained about; says whether it went well."""
        complaints: set[str] = set()
        try:
            action()
        except TransientError as error:
            complaints.add(str(error))
        self._complain(about, complaints)
        return not complaints

    def _text(self, form: Form) -> str:
        """All metrics; in whichever thread asks."""
        now = (time.monotonic(), time.time())
        measured = {name: self._measured(name, worker, now) for name, worker in self._workers.items()}
        return text_of(families(measured, len(self._complaints), self._began_at), form)

    def _measured(self, name: str, worker: Worker, now: tuple[float, float]) -> Measured:
        since = worker.tally.debounce.pending_since
        return Measured(
            told(self._recorded(name, worker.mirror), self._live.get(name, {})),
            None if since is None else now[1] - (now[0] - since),
            worker.tally.passes,
            dict(worker.tally.failures),
            self._released.get(name, 0),
            worker.gauge.read_bytes,
            worker.gauge.sent_bytes,
            worker.tally.inbox.lost,
            worker.tally.rescans,
        )

    def _recorded(self, name: str, mirror: Mirror) -> MirrorStatus:
        """What the mirror's record says; read again only when its store has changed, for there may be hundreds."""
        state_dir = self._places.mirror_state(name)
        stamp = (mirror, _stamp(state_dir / "state.db"), _stamp(state_dir / "state.db-wal"))
        before, status = self._records.get(name, (None, None))
        if status is None or before != stamp or status.state.is_working:
            status = read_status(mirror, state_dir)
            self._records[name] = (stamp, status)
        return status

    # -- notifications -------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        now = time.time()
        troubles: dict[str, Trouble | None] = {"": self._own_trouble()}
        new: list[Notice] = []
        for name, worker in self._workers.items():
            if worker.tally.is_known:
                error = worker.tally.trouble
                troubles[name] = None if error is None else Trouble(error.kind, error.message, error.remedy)
            new += self._new_releases(name, worker)
        for name in self._tags.keys() - self._workers.keys():
            del self._tags[name]
        for notice in self._press.news([*self._workers, ""], troubles, new, now):
            self._send(notice, now)
        self._note()

    def _send(self, notice: Notice, now: float) -> None:
        worker = self._workers.get(notice.mirror)
        sheet = letter(notice, mask(worker.mirror.remote) if worker else "", socket.gethostname(), now)
        for on, sender in self._senders:
            if notice.occasion in on:
                sender.put(sheet)

    def _new_releases(self, name: str, worker: Worker) -> list[Notice]:
        """What was released since the last look, by whomever; what was there at the first look is no news."""
        seen, before = self._tags.get(name, (-1, None))
        if seen == worker.tally.news:
            return []
        try:
            found = releases(worker.mirror, self._places.mirror_state(name))
        except LfssyncError:
            return []
        self._tags[name] = (worker.tally.news, frozenset(found))
        new = [] if before is None else sorted(found.keys() - before)
        self._released[name] = self._released.get(name, 0) + len(new)
        return [
            Notice(Occasion.RELEASE, name, f"released {version}", version=version, commit=found[version])
            for version in new
        ]

    def _own_trouble(self) -> Trouble | None:
        if not self._complaints:
            return None
        more = f" and {len(self._complaints) - 1} more" if len(self._complaints) > 1 else ""
        return Trouble(CONFIGURATION, self._complaints[0] + more, "see lfssync status")

    @property
    def _file(self) -> Path:
        return self._places.state_dir / _STATE

    def _recall(self) -> None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            self._press.recall(json.loads(self._file.read_text()), time.time())

    def _note(self) -> None:
        """Leave to the next daemon what was told; if that is not possible it may tell it again."""
        text = json.dumps(self._press.document())
        if text == self._noted:
            return
        self._noted = text
        temporary = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_text(text)
            temporary.replace(self._file)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)
