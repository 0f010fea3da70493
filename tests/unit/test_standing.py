"""What the record, the daemon's word and a look at the directory say together about a mirror."""

from __future__ import annotations

from typing import Any

import pytest

from lfssync.answers import Headway, MirrorStatus
from lfssync.errors import BlockedError
from lfssync.line.glance import Glance
from lfssync.model import Deferred, State
from lfssync.records.pausing import Pause
from lfssync.service.protocol import headway_document
from lfssync.service.standing import is_unseen, seen, told

IDLE = MirrorStatus("m", "/m", "/r.git", "main", State.IDLE, head="c", pushed="c", verified_at=1.0)
WAITING = IDLE._replace(
    state=State.SETTLING, pending_files=1, pending_bytes=4, deferred=(Deferred(b"a", "still changing", 4),)
)
UNDELIVERED = IDLE._replace(state=State.OFFLINE, head="d", pending_files=3, pending_bytes=30, error={"message": "away"})
HEADWAY = Headway(State.UPLOADING, 1, 2, 3, 4, 5.0)


@pytest.mark.parametrize(
    ("recorded", "found", "state", "files", "size_bytes"),
    [
        (IDLE, Glance(0, 0), State.IDLE, 0, 0),
        (IDLE, Glance(2, 9), State.SETTLING, 2, 9),
        (WAITING, Glance(1, 4), State.SETTLING, 1, 4),
        (WAITING, Glance(0, 0), State.IDLE, 0, 0),
        (UNDELIVERED, Glance(0, 0), State.OFFLINE, 3, 30),
        (UNDELIVERED, Glance(2, 9), State.OFFLINE, 5, 39),
        (UNDELIVERED._replace(state=State.SETTLING, error=None), Glance(0, 0), State.SETTLING, 3, 30),
        (IDLE._replace(state=State.UPLOADING), Glance(2, 9), State.UPLOADING, 0, 0),
    ],
)
def test_a_look_tells_what_changed_since(
    recorded: MirrorStatus, found: Glance, state: State, files: int, size_bytes: int
) -> None:
    status = seen(recorded, found)
    assert (status.state, status.pending_files, status.pending_bytes, status.looked) == (state, files, size_bytes, True)


@pytest.mark.parametrize(
    ("live", "pause", "expected"),
    [
        (None, None, True),
        (None, Pause(1.0), True),
        ({"waiting": True, "waits": None}, None, False),
        ({"waiting": True, "waits": {"why": "night", "until": 7.0}}, None, True),
        ({"waiting": True, "waits": None}, Pause(1.0), True),
        ({"waiting": False, "waits": {"why": "paused", "until": None}}, Pause(1.0), False),
    ],
)
def test_whose_changes_no_pass_looks_at(live: dict[str, Any] | None, pause: Pause | None, expected: bool) -> None:
    assert is_unseen(live, pause) is expected


def test_what_took_too_long_was_not_looked_at() -> None:
    assert seen(IDLE, None) == IDLE._replace(looked=False)


def test_a_directory_that_is_gone_is_said_once() -> None:
    error = BlockedError("/m is gone", "put it back")
    status = seen(IDLE, Glance(0, 0, error))
    assert status.state is State.BLOCKED
    assert status.error is not None
    assert {**status.error, "since": 0} == {
        "kind": "blocked",
        "message": "/m is gone",
        "remedy": "put it back",
        "since": 0,
    }
    earlier = status._replace(error={**status.error, "since": 5.0})
    assert seen(earlier, Glance(0, 0, error)) == earlier


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        (IDLE, {"waiting": False}, IDLE),
        (IDLE, {"waiting": True}, IDLE._replace(state=State.SETTLING)),
        (IDLE, {"waits": {"why": "night", "until": 7.0}}, IDLE._replace(waits={"why": "night", "until": 7.0})),
        (IDLE, {"progress": headway_document(HEADWAY)}, IDLE),
        (
            IDLE._replace(state=State.UPLOADING),
            {"progress": headway_document(HEADWAY)},
            IDLE._replace(state=State.UPLOADING, progress=HEADWAY),
        ),
        (
            IDLE,
            {"waiting": True, "error": {"kind": "offline", "message": "m"}},
            IDLE._replace(state=State.OFFLINE, error={"kind": "offline", "message": "m"}),
        ),
    ],
)
def test_the_daemon_knows_better_than_the_record(
    recorded: MirrorStatus, live: dict[str, Any], expected: MirrorStatus
) -> None:
    assert told(recorded, live) == expected
