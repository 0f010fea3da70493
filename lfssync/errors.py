"""The errors that lfssync raises: four kinds, each with a remedy.

Foreign exceptions (git's stderr, OSError, sqlite3.Error, ...) are translated once, at the boundary that met them,
into one of these. Only `cli` turns them into exit codes, and only `status` records turn them into words for people.
The one thing to know: the *kind* decides what happens next, the *message* says what and where, the *remedy* what to do.
"""

from __future__ import annotations

from typing import ClassVar


class LfssyncError(Exception):
    """Something failed; says what happened, to which file or remote, and what to do.

    Args:
        message: What happened and where, one line without a final full stop.
        remedy: What the user can do about it, one line; empty when nothing can be done but report it.
    """

    kind: ClassVar[str] = "failed"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def about(self, name: str) -> LfssyncError:
        """Have it say which mirror it is about; gives itself, of whatever kind and with all that it carries."""
        self.message = f"{name}: {self.message}"
        return self


class UserError(LfssyncError):
    """Wrong usage or configuration: nothing was changed, fix the input and try again."""

    kind = "usage"


class AuthError(LfssyncError):
    """The remote does not know us, or does not let us write."""

    kind = "unauthorized"


class TransientError(LfssyncError):
    """The network, the server or the disk said "not now": back off and run the pass again.

    Args:
        message: What happened and where.
        remedy: What the user can do to help, if anything.
        retry_after_s: Seconds the other side asked us to wait, or None when it did not say.
    """

    kind = "offline"

    def __init__(self, message: str, remedy: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s


class NetworkError(TransientError):
    """The network did not carry it there and back: worth another try as soon as the network has changed."""


class StoppedError(TransientError):
    """It was told to stop, so nothing is tried again; the next start goes on from here."""

    def __init__(self, what: str = "everything was delivered") -> None:
        super().__init__(f"stopped before {what}", "the next start goes on from here")


class BlockedError(LfssyncError):
    """Only a person can decide this: mass deletion, a tag that exists elsewhere, a refusing remote."""

    kind = "blocked"


class RefusedError(BlockedError):
    """A person must decide, and it was the remote that said no: it is asked again ever more seldom."""


class AbsentError(BlockedError):
    """There is no repository where the remote should be: a wrong path, or a disk that is not mounted."""


class NotDoneError(LfssyncError):
    """Time ran out, or files are still being written: nothing failed, it is just not finished yet."""

    kind = "unfinished"


def is_network(error: LfssyncError) -> bool:
    """Whether it was the network, and not somebody at its other end who asked to be left alone."""
    cause = getattr(error, "cause", error)
    return isinstance(cause, NetworkError) and cause.retry_after_s is None
