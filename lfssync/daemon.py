"""The background process: one worker per mirror, a small pool for their passes, a control socket, signals.

What `lfssync run` runs. The main thread owns all workers and decides; the pool does the passes; watcher and request
threads only put things into queues or do what a command asked for.
The one thing to know: the daemon keeps nothing in memory that matters. Kill it, and the next one finds everything on
    disk, in git and on the remote.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lfssync import config, delivering, patterns
from lfssync.control import Document, Server, pass_document, release_document
from lfssync.debounce import Due
from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.gitcommand import require_programs
from lfssync.model import Mirror, Monitor
from lfssync.pipeline import Order
from lfssync.places import Places
from lfssync.workbench import Session
from lfssync.worker import Outcome, Worker

PASSES_AT_ONCE = 2
LOOK_EVERY_S = 0.5
"""How often the configuration file and the folders of patterns are looked at; one stat each."""

STOP_TIMEOUT_S = 20.0

_log = logging.getLogger("lfssync")


class Daemon:
    """The daemon of one user and one configuration.

    Args:
        places: Where configuration and state are.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._reload = threading.Event()
        self._since = time.time()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._workers: dict[str, Worker] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._looked_at: object = None
        self._complained: set[str] = set()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT.

        Returns:
            The exit code.

        Raises:
            UserError: Another daemon runs, or the configuration is wrong at the start.
        """
        require_programs()
        server = Server(self._places.control_socket, self._handle)
        with self._alone(), self._signals(), ThreadPoolExecutor(PASSES_AT_ONCE, thread_name_prefix="pass") as pool:
            self._configure(config.load(self._places))
            server.start()
            _notify("READY=1")
            _log.info("mirroring %d director%s", len(self._workers), "y" if len(self._workers) == 1 else "ies")
            try:
                while not self._stop.is_set():
                    self._turn(pool)
            finally:
                _notify("STOPPING=1")
                self._stop.set()
                for worker in self._workers.values():
                    worker.stop()
                server.stop(STOP_TIMEOUT_S)
        _log.info("stopped")
        return 0

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        """One turn of the main loop: outcomes, configuration, due passes; then sleep until there is more to do."""
        self._wake.clear()
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except queue.Empty:
                break
            outcome.worker.done(outcome, time.monotonic())
        self._look_at_configuration()
        now = time.monotonic()
        for worker in list(self._workers.values()):
            due = worker.tick(now)
            if due is not None:
                worker.busy = True
                pool.submit(self._work, worker, due)
        next_at = min((worker.next_at() for worker in self._workers.values()), default=now + LOOK_EVERY_S)
        self._wake.wait(max(0.0, min(next_at - time.monotonic(), LOOK_EVERY_S)))

    def _work(self, worker: Worker, due: Due) -> None:
        self._outcomes.put(worker.work(due))
        self._wake.set()

    def _look_at_configuration(self) -> None:
        """Read the configuration again if it, or a folder that a pattern looks into, has changed."""
        fresh = self._watched_stamps()
        if fresh == self._looked_at and not self._reload.is_set():
            return
        self._reload.clear()
        try:
            self._configure(config.load(self._places))
        except LfssyncError as error:
            self._looked_at = fresh
            self._complain(f"the configuration stays as it was: {error}")

    def _watched_stamps(self) -> object:
        folders = [point for pattern in self._patterns for point in patterns.watch_points(pattern)]
        return [_stamp(path) for path in (self._places.config_file, *folders)]

    _patterns: tuple[patterns.MirrorPattern, ...] = ()

    def _configure(self, configuration: config.Configuration) -> None:
        """Make the workers fit the configuration: those that did not change go on undisturbed."""
        self._patterns = configuration.patterns
        self._looked_at = self._watched_stamps()
        found = patterns.survey(configuration.patterns, self._places)
        for refusal in found.refused:
            self._complain(str(refusal))
        wanted = {mirror.name: mirror for mirror in (*configuration.mirrors, *found.mirrors)}
        made = {name for name in self._mirrors if name not in wanted and self._still_configured(self._mirrors[name])}
        for name in made:  # its folder vanished: that is for its own pass to tell, not a reason to forget it
            wanted[name] = self._mirrors[name]
        for name in [name for name, worker in self._workers.items() if wanted.get(name) != worker.mirror]:
            _log.info("%s: no longer mirrored as before", name)
            self._workers.pop(name).stop()
        for name, mirror in wanted.items():
            if name not in self._workers:
                worker = Worker(
                    mirror, self._places.mirror_state(name), Session(stop=self._stop), self._wake.set, _log.info
                )
                worker.start(time.monotonic())
                self._workers[name] = worker
                _log.info("%s: mirroring %s to %s", name, mirror.path, mirror.remote)
        self._mirrors = wanted

    def _still_configured(self, mirror: Mirror) -> bool:
        return any(Path(mirror.path).match(pattern.glob) for pattern in self._patterns)

    def _complain(self, words: str) -> None:
        """Log a complaint once, not at every look."""
        if words not in self._complained:
            self._complained.add(words)
            _log.warning("%s", words)

    # -- requests ------------------------------------------------------------------------------------------------

    def _handle(self, request: Document, monitor: Monitor) -> Document:
        command = request.get("command")
        if command == "ping":
            return {"pid": os.getpid(), "since": self._since}
        if command == "reload":
            same = request.get("file") == str(self._places.config_file)
            if same:
                self._reload_now()
            return {"same": same}
        mirror = self._mirrors.get(str(request.get("mirror")))
        if mirror is None:
            raise UserError(
                f"the running daemon does not mirror {request.get('mirror')}",
                "look at its log: the configuration may be wrong",
            )
        state_dir = self._places.mirror_state(mirror.name)
        session = Session(monitor, self._stop)
        if command == "sync":
            order = Order(accept_deletions=bool(request.get("accept_deletions")))
            return pass_document(delivering.sync(mirror, state_dir, order, session))
        if command == "wait":
            return pass_document(delivering.wait(mirror, state_dir, float(request["timeout_s"]), session))
        if command == "tag":
            asked = (str(request["version"]), request.get("message"), request.get("revision"))
            return release_document(delivering.tag(mirror, state_dir, *asked, session))
        raise UserError(
            f"the running daemon does not know the command {command}", "restart it: it is of another version"
        )

    def _reload_now(self) -> None:
        """Have the main thread read the configuration, and wait until it has."""
        self._reload.set()
        self._wake.set()
        deadline = time.monotonic() + 5
        while self._reload.is_set() and time.monotonic() < deadline and not self._stop.wait(0.005):
            pass

    # -- process -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one daemon at a time for a state folder."""
        try:
            self._places.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._places.state_dir / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(
                f"{error.filename}: {(error.strerror or '').lower()}",
                "make lfssync's state folder writable, or set LFSSYNC_STATE_DIR",
            ) from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                raise BlockedError(
                    f"another lfssync daemon runs already (process {pid})", f"end it first: kill {pid}"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def end(_: int, __: object) -> None:
            self._stop.set()
            self._wake.set()

        def again(_: int, __: object) -> None:
            self._reload.set()
            self._wake.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, again)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _notify(state: str) -> None:
    """Tell systemd how we are. Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, contextlib.suppress(OSError):
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
