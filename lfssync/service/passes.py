"""The passes under way in a daemon, and who is next: fair between mirrors, and between the places they go to.

Owned by `daemon`, whose main thread calls everything here. Who has been due longest is first. A pass that takes long
(a large upload, a host that does not answer) leaves its turn to others after a while and goes on beside them, and the
mirrors of one place never take all there is. So neither a hanging host nor endless changes hold anybody else up.
The one thing to know: a limit that keeps one mirror back does not keep those behind it back, if they go elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from lfssync.errors import TransientError
from lfssync.rules.debounce import Due
from lfssync.service.attempting import Outcome
from lfssync.service.worker import Worker

YOUNG_S = 30.0
"""So long a pass counts as one of those that have their turn; most are done in a second."""

YOUNG_AT_ONCE = 5
AT_ONCE = 16
_YOUNG_AT_ONE_PLACE = 4
_AT_ONE_PLACE = 8
_PATH_PARTS = 4
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A pass under way: where it goes to, and since when in monotonic seconds."""

    place: str
    began: float


def place_of(remote: str) -> str:
    """What mirrors share that wait for the same thing: a host, or the top of a path, which may be a disk of its own.

    Args:
        remote: The address as git gets it.
    """
    if remote.startswith("/"):
        return str(PurePosixPath(*PurePosixPath(remote).parts[:_PATH_PARTS]))
    if "://" in remote:
        return (urlsplit(remote).hostname or remote).lower()
    return remote.partition(":")[0].rpartition("@")[2].lower()


def may_begin(place: str, under_way: Iterable[Turn], now: float) -> bool:
    """Whether one more pass may begin.

    Args:
        place: Where it goes to.
        under_way: The others.
        now: Monotonic seconds.
    """
    everywhere = list(under_way)
    here = [turn for turn in everywhere if turn.place == place]
    young, young_here = (sum(now - turn.began < YOUNG_S for turn in turns) for turns in (everywhere, here))
    return (
        len(everywhere) < AT_ONCE
        and young < YOUNG_AT_ONCE
        and len(here) < _AT_ONE_PLACE
        and young_here < _YOUNG_AT_ONE_PLACE
    )


class Passes:
    """The passes under way, each in a thread of its own.

    Args:
        ended: Called from such a thread with what shall be done then by the main thread.
    """

    def __init__(self, ended: Callable[[Callable[[], None]], None]) -> None:
        self._ended = ended
        self._workers: dict[str, Worker] = {}
        self._turns: dict[str, Turn] = {}
        self._were_any = False

    def __contains__(self, name: str) -> bool:
        return name in self._workers

    def __len__(self) -> int:
        return len(self._workers)

    def are_over(self) -> bool:
        """Whether the last pass under way has ended since this was asked before."""
        is_now, self._were_any = self._were_any and not self._workers, bool(self._workers)
        return is_now

    @property
    def workers(self) -> Mapping[str, Worker]:
        """Whose passes are under way, by name; one may have been dismissed since."""
        return self._workers

    def waiting(self, workers: Mapping[str, Worker]) -> Sequence[tuple[float, str]]:
        """When the next pass of each mirror is due that has none under way, the longest due first."""
        return sorted(
            (due_at, name)
            for name, worker in workers.items()
            if name not in self._workers and (due_at := worker.due_at) is not None
        )

    def begin(self, workers: Mapping[str, Worker], now: float) -> float:
        """Begin what is due and may begin.

        Args:
            workers: All workers by name.
            now: Monotonic seconds.

        Returns:
            When to be called again at the latest, in monotonic seconds: when the next is due, or a turn is over.
        """
        held_back = False
        next_at = float("inf")
        for due_at, name in self.waiting(workers):
            if due_at > now:
                next_at = min(next_at, due_at)
                break
            worker = workers[name]
            place = place_of(worker.mirror.remote)
            if not may_begin(place, self._turns.values(), now):
                held_back = True
            elif (due := worker.take(now)) is not None:
                self._begin(worker, due, Turn(place, now))
            else:
                next_at = now + _AGAIN_S
        over_at = [turn.began + YOUNG_S for turn in self._turns.values() if turn.began + YOUNG_S > now]
        return min([next_at, *over_at]) if held_back else next_at

    def _begin(self, worker: Worker, due: Due, turn: Turn) -> None:
        name = worker.mirror.name
        self._workers[name], self._turns[name] = worker, turn
        thread = threading.Thread(target=self._work, args=(worker, due), name=f"pass {name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            failure = TransientError(f"no thread could be started: {error}", "it is tried again")
            self._end(worker, Outcome(due, None, failure, 0.0))

    def _work(self, worker: Worker, due: Due) -> None:
        with worker.session.stop.at_work():
            outcome = worker.work(due)
        self._ended(lambda: self._end(worker, outcome))

    def _end(self, worker: Worker, outcome: Outcome) -> None:
        del self._workers[worker.mirror.name], self._turns[worker.mirror.name]
        worker.done(outcome, time.monotonic())
