"""How long a mirror rests after a pass failed, by who said no and how often.

Used by `worker`; pure, with chance passed in. The one thing to know: what a person changes on this machine is noticed
within seconds, but a host that said no is asked ever more seldom, for it locks accounts that try too often, and what it
refuses may have been uploaded before it did.
"""

from __future__ import annotations

from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, TransientError, UserError

DECISION_S = 15.0
"""What a person must decide here is looked at again so often: the person may have decided."""

PASSING_S = (1.0, 300.0)
"""The first and the longest pause after troubles that pass by themselves."""

REFUSED_S = (30.0, 1800.0)
"""The first and the longest pause after the remote said no."""


def pause_s(error: LfssyncError, failures: int, draw: float) -> float:
    """Seconds until the next try.

    Args:
        error: Why the pass failed.
        failures: How many have failed in a row, this one included.
        draw: From 0 to 1, at random: machines that failed together shall not come back together.
    """
    if isinstance(error, BlockedError | UserError) and not isinstance(error, RefusedError):
        return DECISION_S
    if isinstance(error, TransientError) and error.retry_after_s is not None:
        return error.retry_after_s
    first_s, last_s = REFUSED_S if isinstance(error, AuthError | RefusedError) else PASSING_S
    ceiling_s = min(first_s * 2.0 ** min(failures, 16), last_s)
    return ceiling_s * (1 + draw) / 2
