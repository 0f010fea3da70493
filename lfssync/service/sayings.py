"""What the daemon's log says about the passes of one mirror.

Owned by `worker`. The one thing to know: what has to wait may do so for weeks, so it is said once an hour and no more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from lfssync.model import Deferred, PassResult, human_bytes, show
from lfssync.rules.closing import LEFT
from lfssync.service import journal
from lfssync.service.journal import MirrorLog

_SHOWN = 20
"""So many files that wait, and so many warnings, of one pass are logged; `status` shows more."""


class Sayings(MirrorLog):
    """Where is logged what passes of a mirror did; besides what `MirrorLog` can do."""

    def committed(self, result: PassResult, how: str) -> None:
        """Log a commit, and what became of it."""
        done = f"{result.added} added, {result.changed} changed, {result.removed} removed"
        commit = result.commit or ""
        self.info("%s, %s %s", done, how, commit[:7], fields={"COMMIT": commit, "MESSAGE_ID": journal.DELIVERED})

    def left(self, deferred: Iterable[Deferred]) -> None:
        """Log what there is no time for any more."""
        for one in [one for one in deferred if one.reason == LEFT][:_SHOWN]:
            self.warning("%s (%s): %s", show(one.path), human_bytes(one.size_bytes), LEFT)

    def waiting(self, deferred: Sequence[Deferred], warnings: Sequence[str], now: float) -> None:
        """Log what has to wait for longer, and what a pass warns about.

        Args:
            deferred: What waits.
            warnings: Lines for people.
            now: Monotonic seconds.
        """
        waits = (f"waiting for {show(one.path)}: {one.reason}" for one in deferred[:_SHOWN])
        for text in (*waits, *warnings[:_SHOWN]):
            self.say(logging.INFO, text, now)
