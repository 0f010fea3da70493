"""One training and its mirror: what all callbacks share.

A callback says `begin`, `tell`, `flush`; a thread of this module does the rest with the `partner` that it finds. The
one thing to know: nothing here waits but `flush` and `close`, which have a time limit, and nothing raises. A training
is worth more than its mirror: what goes wrong is one warning, and the training goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.errors import LfssyncError, NotDoneError, TransientError
from lfssync.integrations.partner import GoneError, Partner, find, start
from lfssync.model import PassResult, Receipt, show
from lfssync.places import Places
from lfssync.rules.told import Told

FLUSH_TIMEOUT_S = 300.0
LOOK_EVERY_S = 30.0
"""How often it is asked how the mirror gets on."""

TICK_S = 0.01
"""File systems stamp with the time of the last tick, so what is written now may look a little older."""

_RETRY_S = 2.0
_STARTS = 3
_MARGIN_S = 5.0
_WAITING = 256
"""So much may be told before the thread takes it; then the oldest is dropped."""

_log = logging.getLogger("lfssync")


@dataclass(slots=True)
class _Flush:
    deadline: float
    done: threading.Event = field(default_factory=threading.Event)


_Job = Told | _Flush | None
"""What the thread has to do; None is its end."""


class Training:
    """One training and its mirror.

    Args:
        remote: Where to mirror if no daemon does; None for where the configuration says.
        timeout_s: How long the end of the training may wait for the remote, in seconds.
        keys: More keys of a `[[mirror]]` for that case.
    """

    def __init__(self, remote: str | None, timeout_s: float, keys: Mapping[str, str]) -> None:
        self.receipt: Receipt | None = None
        self._remote = remote
        self._timeout_s = timeout_s
        self._keys = dict(keys)
        self._directory = Path()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._partner: Partner | None = None
        self._owner = 0
        self._starts = 0
        self._is_hopeless = False
        self._is_flushed = True
        self._said: set[str] = set()

    @property
    def is_running(self) -> bool:
        """Whether it has begun and was not closed."""
        return self._thread is not None and self._owner == os.getpid()

    def begin(self, directory: str | os.PathLike[str]) -> None:
        """Begin to have a directory mirrored; returns at once.

        Args:
            directory: What the training saves into.
        """
        directory = Path(os.path.abspath(directory))
        if self.is_running and directory != self._directory:
            self.close()
        self._is_flushed = False
        if self.is_running:
            return
        self._directory, self._owner = directory, os.getpid()
        self._partner, self._starts, self._is_hopeless = None, 0, False
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(self._jobs,), name="lfssync training", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._warn(f"no thread could be started, so {directory} is not mirrored: {error}")
            return
        atexit.register(self.close)

    def tell(
        self, step: int | None, epoch: float | None, metrics: Mapping[str, float], since: float | None = None
    ) -> None:
        """Hand on where the training stands; returns at once.

        Args:
            step: How many optimizer steps are done.
            epoch: How many epochs are done.
            metrics: Numbers by name.
            since: From when on that holds for new files, in seconds since the epoch; None for now.
        """
        if not self.is_running:
            return
        self._is_flushed = False
        now = time.time()
        if self._jobs.qsize() >= _WAITING:
            with contextlib.suppress(queue.Empty):
                dropped = self._jobs.get_nowait()
                if not isinstance(dropped, Told):
                    self._jobs.put(dropped)
        self._jobs.put(Told(now - TICK_S if since is None else since, now, step, epoch, dict(metrics)))

    def flush(self) -> Receipt | None:
        """Have everything delivered that is complete; returns when the remote has confirmed it, or time is up.

        Returns:
            The remote's evidence, which is also kept in `receipt`; None when there is none.
        """
        if not self.is_running:
            return None
        self._is_flushed = True
        self.receipt = None
        now = time.time()
        self._jobs.put(Told(now, now))  # what is written after the training is not of its last step
        job = _Flush(time.monotonic() + self._timeout_s)
        self._jobs.put(job)
        if not job.done.wait(self._timeout_s + _MARGIN_S):
            self._warn(
                f"{self._directory} was not delivered within {self._timeout_s:.0f} s; training ends all the same"
            )
        return self.receipt

    def close(self) -> None:
        """Flush if that was not done yet, and end what was started for this training; waits a limited time."""
        atexit.unregister(self.close)
        if not self.is_running or self._thread is None:
            self._thread = None
            return
        if not self._is_flushed:
            self.flush()
        self._jobs.put(None)
        self._thread.join(self._timeout_s + _MARGIN_S)
        self._thread = None
        partner, self._partner = self._partner, None
        if partner is not None:
            partner.end(self._timeout_s)

    # -- in the thread -------------------------------------------------------------------------------------------

    def _work(self, jobs: queue.SimpleQueue[_Job]) -> None:
        self._attempt(self._ready)
        while True:
            try:
                job = jobs.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                self._attempt(self._look)
                continue
            if job is None:
                return
            if isinstance(job, Told):
                self._attempt(lambda told=job: self._ready().tell(told))  # type: ignore[misc]
                continue
            try:
                self._attempt(lambda flush=job: self._deliver(flush.deadline))  # type: ignore[misc]
            finally:
                job.done.set()

    def _attempt(self, work: Callable[[], object]) -> None:
        """Do something; what goes wrong is one warning."""
        if self._is_hopeless:
            return
        try:
            work()
        except GoneError:
            self._forget()  # the next job looks for another one
        except LfssyncError as error:
            self._warn(f"{self._directory}: {error}")
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the training
            _log.debug("a training's mirror failed", exc_info=True)
            self._warn(f"{self._directory}: internal: {type(error).__name__}: {error}; please report it")

    def _ready(self) -> Partner:
        """Whoever mirrors the directory, found or started."""
        if self._partner is not None:
            return self._partner
        try:
            places = Places.from_environment(os.environ)
            self._partner = find(places, self._directory, self._remote)
            if self._partner is None:
                self._starts += 1
                self._partner = start(places, self._directory, self._remote, self._keys, self._timeout_s)
        except LfssyncError as error:  # the same would go wrong again
            self._is_hopeless = not isinstance(error, TransientError) or self._starts >= _STARTS
            raise
        return self._partner

    def _forget(self) -> None:
        partner, self._partner = self._partner, None
        if partner is not None:
            partner.end(0)

    def _look(self) -> None:
        """Say what is wrong with the mirror."""
        if trouble := self._ready().trouble():
            self._warn(f"{self._directory}: {trouble}")

    def _deliver(self, deadline: float) -> None:
        """Have everything delivered, again and again until it is or time is up."""
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise NotDoneError(
                    f"not everything was delivered within {self._timeout_s:.0f} s", "training ends all the same"
                )
            try:
                result = self._ready().sync(left_s)
            except GoneError:
                self._forget()
            except TransientError as error:
                pause_s = min(error.retry_after_s or _RETRY_S, max(deadline - time.monotonic(), 0))
                if pause_s <= 0:
                    raise
                time.sleep(pause_s)
            else:
                self._delivered(result)
                return

    def _delivered(self, result: PassResult) -> None:
        self.receipt = result.receipt
        if result.receipt is not None:
            _log.info(
                "%s: verified at %s, %d LFS objects", self._directory, result.receipt.commit[:7], result.receipt.objects
            )
        if result.deferred:
            first = result.deferred[0]
            more = f", and {len(result.deferred) - 1} more" if len(result.deferred) > 1 else ""
            self._warn(f"{self._directory}: not delivered yet: {show(first.path)}: {first.reason}{more}")

    def _warn(self, words: str) -> None:
        """Say what is wrong, once."""
        if words not in self._said:
            self._said.add(words)
            _log.warning("%s", words)
