"""What stands in for a remote that cannot be reached, and what a pass says that had to go on without it.

Below the line: `workbench` asks `reached` for the transfer, `pipeline` raises `OutOfReachError` at the end of its work,
`worker` and people read what was done from it. The one thing to know: a repository on a disk is out of reach when it
confirmed something once and is not there now (a disk that is not mounted); one that never was there is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lfssync.errors import AbsentError, LfssyncError, NetworkError, TransientError
from lfssync.model import LfsObject, Monitor, PassResult
from lfssync.transfer import Source, Transfer, Uploaded

LATER = "what has settled is committed here and delivered later"
_LOOK_AGAIN_S = 10.0
"""A disk that somebody mounts is noticed within so many seconds."""


class WithheldError(TransientError):
    """The remote is not asked now, because the configuration says so: nothing is wrong."""


class OutOfReachError(TransientError):
    """The remote is out of reach; the pass did what can be done without it.

    Args:
        error: What is wrong with the remote; stays readable as `cause`.
        result: What the pass did here; its commit is not on the remote.
    """

    def __init__(self, error: LfssyncError, result: PassResult) -> None:
        is_told = result.commit is None or LATER in error.remedy
        remedy = error.remedy if is_told else f"{error.remedy}; {LATER}" if error.remedy else LATER
        super().__init__(error.message, remedy, getattr(error, "retry_after_s", None))
        self.result = result
        self.cause = error


def again(error: LfssyncError) -> TransientError:
    """What keeps a remote out of reach, to be raised once more."""
    cause = getattr(error, "cause", error)
    kind = next((kind for kind in (NetworkError, WithheldError) if isinstance(cause, kind)), TransientError)
    return kind(error.message, error.remedy, getattr(error, "retry_after_s", None))


@dataclass(frozen=True, slots=True)
class Unreached:
    """A transfer to nowhere: whatever is asked of it is answered with the reason.

    Args:
        error: Why the remote cannot be reached.
        endpoint: Under which name evidence about the remote is recorded.
    """

    error: TransientError
    endpoint: str = ""

    def _refuse(self) -> NoReturn:
        raise again(self.error)

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """See `Transfer.missing`."""
        self._refuse()

    def locked(self) -> None:
        """See `Transfer.locked`."""

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """See `Transfer.upload`."""
        self._refuse()

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """See `Transfer.confirm`."""
        self._refuse()

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """See `Transfer.download`."""
        self._refuse()

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes:
        """See `Transfer.part`."""
        self._refuse()


def reached(make: Callable[[], Transfer], was_there: bool, endpoint: str) -> Transfer | Unreached:
    """The transfer to a remote, or what stands in for it.

    Args:
        make: Makes the transfer.
        was_there: Whether this remote has confirmed something before.
        endpoint: Under which name that was recorded.

    Raises:
        LfssyncError: The remote is not what it should be, and no waiting mends that.
    """
    try:
        return make()
    except TransientError as error:
        return Unreached(error, endpoint)
    except AbsentError as error:
        if not was_there:
            raise
        gone = TransientError(error.message, "mount the disk it is on, or put it back", _LOOK_AGAIN_S)
        return Unreached(gone, endpoint)
