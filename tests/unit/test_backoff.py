"""How long a mirror rests after a failure."""

from __future__ import annotations

import pytest

from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, TransientError, UserError
from lfssync.rules.backoff import pause_s


@pytest.mark.parametrize(
    ("error", "failures", "shortest_s", "longest_s"),
    [
        (TransientError("offline"), 1, 1, 2),
        (TransientError("offline"), 2, 2, 4),
        (TransientError("offline"), 100, 150, 300),
        (TransientError("rate limit", retry_after_s=77), 5, 77, 77),
        (LfssyncError("a fault"), 3, 4, 8),
        (AuthError("refused"), 1, 30, 60),
        (AuthError("refused"), 9, 900, 1800),
        (RefusedError("over quota"), 1, 30, 60),
        (RefusedError("over quota"), 10**6, 900, 1800),
        (BlockedError("all files are gone"), 1, 15, 15),
        (BlockedError("all files are gone"), 50, 15, 15),
        (UserError("no git"), 50, 15, 15),
    ],
)
def test_who_said_no_decides(error: LfssyncError, failures: int, shortest_s: float, longest_s: float) -> None:
    assert (pause_s(error, failures, 0.0), pause_s(error, failures, 1.0)) == (shortest_s, longest_s)
