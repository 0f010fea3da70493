"""The background process: one worker per mirror, threads for their passes, a control socket, signals.

What `lfssync run` runs. The main thread owns all workers (`crew`) and decides; passes run in threads of their own
(`passes`); watchers and requests only tell the main thread what to do.
The one thing to know: the daemon keeps nothing in memory that matters. Kill it, and the next one finds everything on
disk, in git and on the remote.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from signal import SIGHUP, SIGINT, SIGTERM

from lfssync.errors import AuthError, LfssyncError, TransientError, UserError
from lfssync.git.programs import require_programs
from lfssync.lifeline import Lifeline
from lfssync.line.workbench import Session
from lfssync.model import Mirror, Monitor
from lfssync.places import Places
from lfssync.records.lock import DAEMON_LOCK, alone
from lfssync.records.told import keep
from lfssync.rules.told import told_of
from lfssync.service import delivering, memory
from lfssync.service.control import Server
from lfssync.service.crew import Crew
from lfssync.service.herald import Herald
from lfssync.service.journal import MirrorLog
from lfssync.service.notifying import Notifier, doing
from lfssync.service.passes import Passes
from lfssync.service.process import Job, allow_descriptors, on_signals, tell_where_it_hangs
from lfssync.service.protocol import Document, error_document, headway_document
from lfssync.service.surroundings import Network, Sleep

_CLOSING_TURN_S = 0.5
_GIVE_BACK_EVERY_S = 10.0

STOP_TIMEOUT_S = 20.0
"""So long passes may take to break off what they do, once the grace is over."""

STOP_AT_ONCE_S = 2.0
"""The same after a second order to end."""

RELOAD_TIMEOUT_S = 8.0

_log = logging.getLogger("lfssync")


class Daemon:
    """The daemon of one user and one configuration.

    Args:
        places: Where configuration and state are.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        # The only thing that signal handlers touch: `put` of a SimpleQueue may interrupt itself, an Event's `set` not.
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._orders_to_end = 0
        self._stop = Lifeline()
        self._notifier = Notifier(os.environ)
        self._since = time.time()
        self._crew = Crew(places, self._wake)
        self._herald = Herald(places, self._crew.complain)
        self._network = Network(lambda: self._jobs.put(lambda: self._crew.network_returned(time.monotonic())))
        self._sleep = Sleep()
        self._passes = Passes(self._jobs.put)
        self._look_at = self._turn_at = self._give_back_at = 0.0
        self._owes_memory = False
        self._live: Document = {}

    def run(self) -> int:
        """Run until SIGTERM or SIGINT.

        Returns:
            The exit code.

        Raises:
            UserError: The configuration is wrong at the start, or the state folder cannot be used.
            BlockedError: Another daemon runs.
        """
        require_programs()
        allow_descriptors()
        memory.keep_together()
        tell_where_it_hangs()
        server = Server(self._places.control_socket, self._handle)
        with (
            alone(self._places.state_dir / DAEMON_LOCK),
            on_signals({SIGTERM: self._shall_end, SIGINT: self._shall_end, SIGHUP: self._reload}, self._jobs.put),
        ):
            try:
                self._crew.begin()
                self._publish()
                server.start()
                self._network.start()
                self._notifier.ready()
                count = len(self._crew.workers)
                _log.info("mirroring %d director%s", count, "y" if count == 1 else "ies")
                while not self._orders_to_end:
                    self._turn(server)
                self._close()
            finally:
                self._notifier.stopping()
                finished = self._end(server)
        _log.info("stopped")
        if not finished:  # a thread hangs in the kernel, and would keep the interpreter from ending
            logging.shutdown()
            os._exit(1)
        return 0

    def _turn(self, server: Server) -> None:
        """One turn of the main loop: configuration, watchers, due passes; then sleep until there is more to do."""
        now = time.monotonic()
        if self._sleep.is_over():
            self._crew.woke(now)
            self._turn_at = now
        if now >= self._look_at:
            self._look_at = now + self._crew.look_every_s
            if self._crew.look(now):
                self._turn_at = now
            self._look_after(server)
            if self._passes:
                self._turn_at = now  # how far they are changes without a word
        if now >= self._turn_at:  # else it was the look alone, which costs next to nothing with any number of mirrors
            tick_at = self._crew.tick(now)
            next_at = self._passes.begin(self._crew.workers, now)
            self._turn_at = min(tick_at, next_at, self._tell_manager())
            self._publish()
            self._give_memory_back(now)
        self._herald.look(self._crew.telling, self._crew.workers, self._live, self._crew.complaints, now)
        if self._do_jobs(min(self._look_at, self._turn_at) - time.monotonic()):
            self._turn_at = float("-inf")

    def _tell_manager(self) -> float:
        """Tell the service manager how all mirrors do; says when to do so again at the latest."""
        others = {name: worker.session.stop for name, worker in self._passes.workers.items()}
        doings = [doing(worker) for worker in self._crew.workers.values()]
        return self._notifier.turn(doings, others | {"a command": self._stop}, self._crew.complaints)

    def _give_memory_back(self, now: float) -> None:
        """What a large pass needed goes back to the system, but not after each of many small ones."""
        self._owes_memory = self._passes.are_over() or (self._owes_memory and not self._passes)
        if self._owes_memory and now >= self._give_back_at:
            self._owes_memory, self._give_back_at = False, now + _GIVE_BACK_EVERY_S
            memory.give_back()

    def _look_after(self, server: Server) -> None:
        try:
            server.look_after()
            self._crew.complain("the control socket", set())
        except LfssyncError as error:
            self._crew.complain("the control socket", {f"commands do not reach this daemon: {error}"})

    def _close(self) -> None:
        """Let every mirror take and deliver what is complete, as long as its grace allows."""
        now = time.monotonic()
        closing = (worker.close(now, name in self._passes) for name, worker in self._crew.workers.items())
        until = max(closing, default=now)
        if until > now:
            self._notifier.stopping(until - now + STOP_TIMEOUT_S)
            _log.info("delivering what is complete, for at most %.0f s; a second signal ends it at once", until - now)
        while self._orders_to_end < 2 and now < until:
            self._crew.tick(now)
            next_at = self._passes.begin(self._crew.workers, now)
            self._publish()
            if not self._passes and not self._passes.waiting(self._crew.workers):
                return
            self._do_jobs(min(until, now + _CLOSING_TURN_S, next_at) - now)
            now = time.monotonic()

    def _do_jobs(self, timeout_s: float) -> bool:
        """Do what there is to do; wait for the first job, at most so many seconds. Says whether there was any."""
        try:
            self._jobs.get(timeout=max(0.0, timeout_s))()
        except queue.Empty:
            return False
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()()
        return True

    def _end(self, server: Server) -> bool:
        """Stop everything; False when a pass did not end in time."""
        timeout_s = STOP_TIMEOUT_S if self._orders_to_end < 2 else STOP_AT_ONCE_S
        deadline = time.monotonic() + timeout_s
        self._stop.set()
        for worker in (*self._crew.workers.values(), *self._passes.workers.values()):
            worker.session.stop.set()
        for worker in self._crew.workers.values():
            worker.stop()
        server.stop(deadline - time.monotonic())
        self._herald.stop()
        self._network.stop(max(deadline - time.monotonic(), 0.1))
        while self._passes and time.monotonic() < deadline:
            self._do_jobs(deadline - time.monotonic())
        for name in self._passes.workers:
            MirrorLog(name).warning("its pass did not end within %.0f s; the next start goes on", timeout_s)
        return not self._passes

    def _publish(self) -> None:
        """Say what only the daemon knows; the record that passes leave may be impossible to write."""
        live: Document = {}
        now = (time.monotonic(), time.time())
        for name, worker in self._crew.workers.items():
            trouble = worker.trouble
            error = None if trouble is None else error_document(trouble.error) | {"since": trouble.since}
            waits, headway = worker.waits(*now), worker.gauge.headway()
            live[name] = {
                "waiting": worker.is_waiting or name in self._passes,
                "error": error,
                "waits": waits and waits.document(),
                "progress": headway and headway_document(headway),
            }
        self._live = live  # replaced as a whole, for the threads that answer requests

    # -- requests, in threads of their own -----------------------------------------------------------------------

    def _handle(self, request: Document, monitor: Monitor) -> Document:
        command = request.get("command")
        if command == "ping":
            told = {"mirrors": self._live, "complaints": self._crew.complaints}
            return {"pid": os.getpid(), "since": self._since, **told}
        if command == "reload":
            same = request.get("file") == str(self._places.config_file)
            same = same and request.get("state") == str(self._places.state_dir)
            if same:
                self._have_done(self._crew.reload)
            return {"same": same}
        if command == "pauses":
            self._have_done(lambda: self._crew.look_at_pace(time.monotonic()))
            return {}
        if command == "logins":
            self._jobs.put(self._try_logins)
            return {}
        mirror = self._crew.mirrors.get(str(request.get("mirror")))
        if mirror is None:
            raise UserError(
                f"the running daemon does not mirror {request.get('mirror')}",
                "look at its log: the configuration may be wrong",
            )
        if command == "told":
            keep(self._places.mirror_state(mirror.name), told_of(request.get("told")))
            return {}
        worker = self._crew.workers.get(mirror.name)
        with worker.gauge.beside(monitor) if worker else contextlib.nullcontext(monitor) as counted:
            session = Session(counted, self._stop, login=self._crew.login)
            with self._stop.at_work():
                answer = delivering.serve(request, mirror, self._places.mirror_state(mirror.name), session)
        self._jobs.put(lambda: self._eased(mirror))
        return answer

    def _eased(self, mirror: Mirror) -> None:
        worker = self._crew.workers.get(mirror.name)
        if worker is not None and worker.mirror == mirror:
            worker.eased()
            worker.tally.served()

    def _try_logins(self) -> None:
        """Somebody logged in: what was refused is tried again now."""
        for worker in self._crew.workers.values():
            if worker.trouble is not None and isinstance(worker.trouble.error, AuthError):
                worker.eased()

    def _have_done(self, job: Job) -> None:
        """Have the main thread do something, and wait until it has."""
        done = threading.Event()

        def job_and_tell() -> None:
            try:
                job()
            finally:
                done.set()

        self._jobs.put(job_and_tell)
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while not done.wait(0.1):
            if self._stop.is_set() or time.monotonic() > deadline:
                raise TransientError("the daemon is busy or being stopped", "try again in a moment")

    def _reload(self) -> None:
        self._notifier.reloading()
        self._crew.reload()
        self._notifier.ready()

    # -- process -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._jobs.put(lambda: None)

    def _shall_end(self) -> None:
        """The first order gives what is complete the grace to arrive, the second ends everything at once."""
        self._orders_to_end += 1
