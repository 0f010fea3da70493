"""What a watched status shows, for made-up values and terminals of any size; see also `test_output`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.answers import DaemonInfo, Headway, MirrorStatus
from lfssync.commandline import statuslines
from lfssync.commandline.terminal import Line, Span, cells, line, plain
from lfssync.errors import UserError
from lfssync.model import State
from lfssync.rules.pace import Why

COMMIT = "3f2a91c" + 33 * "0"
NOW = 1_795_000_000.0
ON, OFF = DaemonInfo(running=True, pid=4242, since=NOW - 3600), DaemonInfo(running=False)
IDLE = MirrorStatus(
    *("my-model", "/data/my-model", "/srv/my-model.git", "main", State.IDLE),
    head=COMMIT,
    pushed=COMMIT,
    verified_at=NOW - 12,
)
PROGRESS = Headway(State.UPLOADING, 2, 5, 1_200_000_000, 4_800_000_000, 25_000_000.0)
BLOCKED = IDLE._replace(
    name="blocked",
    state=State.BLOCKED,
    error={"kind": "blocked", "message": "4 of 4 files are gone", "remedy": "bring them back", "since": NOW},
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local times are the same on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def block(status: MirrorStatus, daemon: DaemonInfo = ON) -> str:
    """The lines about one mirror, without the head."""
    return plain(statuslines.status_lines([status], daemon, NOW)[2:])


def test_an_upload_says_how_far_it_is_and_how_long_it_takes() -> None:
    uploading = IDLE._replace(state=State.UPLOADING, pending_files=9, pending_bytes=9, progress=PROGRESS)
    shown = block(uploading)
    assert "    sent     25 %, 2 of 5 files, 1.2 GB of 4.8 GB, 25.0 MB/s, 2 min 24 s left\n" in shown
    assert "pending" not in shown
    reading = uploading._replace(progress=PROGRESS._replace(state=State.STAGING, rate=None))
    assert "    read     25 %, 2 of 5 files, 1.2 GB of 4.8 GB\n" in block(reading)
    assert "nothing moves" in block(uploading._replace(progress=PROGRESS._replace(rate=0.0)))
    assert "0 of 1 file, 0 B of 0 B" in block(uploading._replace(progress=Headway(State.STAGING, 0, 1, 0, 0)))


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (None, "for the next try\n"),
        (NOW + 90, "for the next try, 11:08:10 (in 1 min 30 s)\n"),
        (NOW + 0.2, "for the next try, now\n"),
        (NOW + 300_000, "for the next try, 2026-11-21 22:26:40 (in 3 d 11 h)\n"),
    ],
)
def test_what_a_mirror_waits_for(until: float | None, words: str) -> None:
    shown = block(IDLE._replace(waits={"why": "back-off", "until": until}))
    assert f"    waits    {words}" in shown


def test_what_a_newer_daemon_waits_for_is_shown_by_its_word() -> None:
    assert "    waits    moonlight\n" in block(IDLE._replace(waits={"why": "moonlight", "until": None}))


@pytest.mark.parametrize("why", Why)
def test_every_reason_to_wait_has_words(why: Why) -> None:
    assert f"    waits    {why.value}\n" not in block(IDLE._replace(waits={"why": why.value, "until": None}))


def test_a_pause_is_shown_with_its_end_and_how_to_end_it() -> None:
    waits = {"why": "paused", "until": None}
    shown = block(IDLE._replace(waits=waits, paused={"since": NOW, "until": None}))
    assert "    paused   until lfssync resume my-model\n" in shown
    assert "waits" not in shown
    shown = block(IDLE._replace(waits=waits, paused={"since": NOW, "until": NOW + 90}))
    assert "    paused   until 2026-11-18 11:08:10, or until lfssync resume my-model\n" in shown


def test_without_a_daemon_nothing_settles_and_what_nobody_saw_is_not_called_done() -> None:
    settling = IDLE._replace(state=State.SETTLING, pending_files=1, pending_bytes=3)
    assert "• my-model  changed, verified at" in block(settling, OFF)
    assert "… my-model  settling, verified at" in block(settling, ON)
    assert "• my-model  new, never verified" in block(settling._replace(head=None, pushed=None, verified_at=None), OFF)
    unseen = block(IDLE._replace(looked=False), OFF)
    assert "✓" not in unseen
    assert "    changes  not looked at" in unseen


def test_what_the_daemon_complains_about_is_above_all() -> None:
    shown = plain(statuslines.status_lines([IDLE], ON._replace(complaints=("config.toml:3: odd",)), NOW))
    assert shown.splitlines()[1] == "    warning  config.toml:3: odd"


def test_too_many_mirrors_for_the_terminal_get_a_line_each_and_trouble_comes_first() -> None:
    many = [IDLE._replace(name=f"run-{number:02}") for number in range(50)]
    uploading = IDLE._replace(name="busy", state=State.UPLOADING, progress=PROGRESS)
    shown = plain(statuslines.screen_lines([*many, uploading, BLOCKED], ON, NOW, (80, 24))).splitlines()
    assert len(shown) == 24
    assert shown[3] == "✗ blocked  blocked: 4 of 4 files are gone; bring them back"
    assert shown[4].startswith("↑ busy  uploading 25 %, 2 of 5 files")
    assert shown[5].startswith("✓ run-00  idle, verified at 3f2a91c")
    assert shown[-1].startswith("… and 32 more")


def test_without_a_terminal_there_is_a_line_for_each_change() -> None:
    told: dict[str, str] = {}

    def change(statuses: list[MirrorStatus], daemon: DaemonInfo, now: float = NOW) -> list[str]:
        lines = plain(statuslines.change_lines(told, statuses, daemon, now)).splitlines()
        return [one[21:] for one in lines]

    assert len(change([IDLE, BLOCKED], ON)) == 3
    assert change([IDLE, BLOCKED], ON, NOW + 500) == []
    assert change([IDLE._replace(verified_at=NOW + 600), BLOCKED], ON, NOW + 700) == []
    uploading = IDLE._replace(state=State.UPLOADING, pending_files=1, pending_bytes=5, progress=PROGRESS)
    assert change([uploading, BLOCKED], ON) == ["↑ my-model  uploading, 1 file, 5 B pending"]
    more = uploading._replace(progress=PROGRESS._replace(done_bytes=2_000_000_000))
    assert change([more, BLOCKED], ON) == []
    assert change([IDLE], ON._replace(complaints=("odd",))) == [
        "warning: odd",
        "✓ my-model  idle, verified at 3f2a91c",
        "blocked: no longer mirrored",
    ]
    assert change([IDLE], OFF) == ["daemon not running; lfssync run keeps the mirrors up to date", "no longer so: odd"]


def test_trouble_with_the_looking_itself_has_its_remedy() -> None:
    assert plain(statuslines.trouble_lines(UserError("odd", "mend it"))) == "error: odd\n  → mend it\n"


TEXTS = st.text(st.sampled_from("ab 模\N{COMBINING ACUTE ACCENT}\x1b/é"), max_size=120)


@given(st.lists(st.lists(TEXTS, max_size=4), max_size=4), st.integers(26, 90))
def test_folded_lines_lose_no_letter_and_fit(texts: list[list[str]], columns: int) -> None:
    lines: list[Line] = [line(*(Span(text) for text in row)) for row in texts]
    found = statuslines.folded(lines, columns)
    for one in plain(found).splitlines():
        assert cells(one) <= columns
    letters = plain(lines).replace(" ", "").replace("\n", "")
    assert plain(found).replace(" ", "").replace("\n", "") == letters


@given(st.integers(1, 300), st.integers(1, 120), st.integers(0, 60))
def test_a_screen_never_has_more_lines_than_the_terminal(columns: int, rows: int, count: int) -> None:
    many = [BLOCKED._replace(name=f"run-{number:02}") for number in range(count)]
    found = statuslines.screen_lines(many, ON, NOW, (columns, rows))
    assert len(found) <= max(rows, len(statuslines.folded(statuslines.status_lines([], ON, NOW), columns)) + 2)
