"""What passes of one mirror came to, counted since its worker began.

Kept by `worker`, read by `herald`. The one thing to know: a mirror has trouble from a pass that failed until a pass
that went well. That it is tried again at once, because somebody logged in or the network is back, changes nothing yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lfssync.errors import LfssyncError
from lfssync.model import PassResult
from lfssync.records.lock import BusyError
from lfssync.rules.debounce import Debounce, Due
from lfssync.service.inbox import Inbox


@dataclass(slots=True)
class Tally:
    """Counts passes.

    Args:
        inbox: Where hints come in.
        debounce: Where changes wait.
        passes: How many ended.
        failures: How many failed, by the kind of the error.
        trouble: Why the last one failed; None if it went well.
        is_known: Whether any has ended.
        rescans: How often everything was looked at because it was time.
        news: Goes up with every pass, of whomever.
    """

    inbox: Inbox
    debounce: Debounce
    passes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    trouble: LfssyncError | None = None
    is_known: bool = False
    rescans: int = 0
    news: int = 0

    def count(self, due: Due, result: PassResult | None, error: LfssyncError | None) -> None:
        """A pass ended; one that only found another under way counts for nothing, nor does one that only prepared."""
        if error is not None and not isinstance(error, BusyError):
            self.passes += 1
            self.news += 1
            self.failures[error.kind] = self.failures.get(error.kind, 0) + 1
            self.is_known, self.trouble = True, error
        elif result is not None and not due.is_ahead:
            self.passes += 1
            self.served()

    def served(self) -> None:
        """Somebody else's pass went well."""
        self.news += 1
        self.is_known, self.trouble = True, None
