"""Killed at any of its calls that change a file, lfssync finishes the work at its next start and leaves nothing behind.

Fault 1, and 8 for its children. `make soak` kills at other calls each time. The one thing to know: what is
on the remote must be whole right after the kill, too, and not only once the next run has mended it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest

from tests.faults.dice import spread, tally
from tests.faults.places import REMOTES, Site, site, sync
from tests.faults.scenes import SCENES, besides
from tests.faults.tracing import Traced
from tests.integration.daemons import LFSSYNC, lfssync

KILLS_EACH = {"bare": 4, "git host": 2}
"""So many calls of a pass, evenly spread over it, that it is killed at."""


class Victim(Enum):
    """Who is killed."""

    ALL = "lfssync and all that it started, as when a container is ended"
    LFSSYNC = "lfssync alone: what it had started works on beside the next run"
    CALLER = "whoever made the call, git in most cases"


_KILL: dict[Victim, Callable[[Traced], None]] = {
    Victim.ALL: Traced.kill_all,
    Victim.LFSSYNC: Traced.kill_first,
    Victim.CALLER: Traced.kill_caller,
}


@pytest.fixture(params=REMOTES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with site(kind, tmp_path) as made:
        yield made


@pytest.mark.parametrize("victim", Victim)
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_any_call_it_finishes_at_the_next_start(
    kind: str, place: Site, scene: str, victim: Victim, tmp_path: Path
) -> None:
    SCENES[scene](place, tmp_path)
    place.keep(tmp_path / "start")
    log = tmp_path / "log"
    whole = Traced([*LFSSYNC, "sync"], log).run()
    assert whole.status == 0, log.read_text()
    place.assert_mirrored(besides(scene))
    for at in spread(len(whole.calls), KILLS_EACH[kind]):
        tally("kills")
        place.put_back(tmp_path / "start")
        killed = Traced([*LFSSYNC, "sync"], log, at, _KILL[victim])
        try:
            with killed.going_on():
                if victim is Victim.LFSSYNC:
                    beside = lfssync("sync")
                    assert beside.returncode == 0, beside.stderr
            place.assert_whole()
            place.grow_old()
            sync()
            place.assert_mirrored(besides(scene))
        except BaseException as error:
            error.add_note(f"killed at call {at} of {len(whole.calls)}: {killed.calls[-1]}")
            raise
