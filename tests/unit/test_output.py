"""The lines that people read, for made-up values: nothing is left out, nothing lies, no text breaks a line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.answers import DaemonInfo, LogEntry, LogKind, MirrorStatus
from lfssync.commandline import output, statuslines, versionoutput
from lfssync.commandline.terminal import Line, plain
from lfssync.model import Deferred, Mirror, PassResult, Receipt, State
from lfssync.results import Difference, PushResult, Release, Version
from lfssync.versions.restore import RestoreResult

COMMIT = "3f2a91c" + 33 * "0"
OLDER = "81d02fe" + 33 * "0"
NOW = 1_795_000_000.0
RECEIPT = Receipt("refs/heads/main", COMMIT, objects=3, object_bytes=5_200_000_000, verified_at=NOW - 12)
OFF, ON = DaemonInfo(running=False, pid=None, since=None), DaemonInfo(running=True, pid=4242, since=NOW - 3600)
MIRROR = Mirror("my-model", Path("/data/my-model"), "https://huggingface.co/me/my-model")
IDLE = MirrorStatus(
    "my-model",
    "/data/my-model",
    "https://huggingface.co/me/my-model",
    "main",
    State.IDLE,
    head=COMMIT,
    pushed=COMMIT,
    verified_at=NOW - 12,
    tags=("v2.0.0", "v2.0.1"),
)


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Local times are the same on every machine."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def text(lines: list[Line]) -> str:
    return plain(lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (12_060, "3 h 21 min"),
        (352_800, "4 d 2 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert output.duration(seconds) == words


@pytest.mark.parametrize(
    ("passed_s", "words"),
    [(0, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago"), (-500, "0 s ago")],
)
def test_ages(passed_s: float, words: str) -> None:
    assert output.age(NOW - passed_s, NOW) == words


def test_status_of_a_mirror_at_rest() -> None:
    assert text(statuslines.status_lines([IDLE], ON, NOW)) == (
        "daemon running (pid 4242) since 2026-11-18 10:06:40\n"
        "\n"
        "✓ my-model  idle, verified at 3f2a91c 12 s ago\n"
        "    /data/my-model → https://huggingface.co/me/my-model (main)\n"
        "    tags     v2.0.1, v2.0.0\n"
    )


def test_status_says_what_is_wrong_and_what_to_do_on_lines_of_their_own() -> None:
    status = IDLE._replace(
        state=State.BLOCKED,
        head=OLDER,
        tags=(),
        pending_files=3,
        pending_bytes=5_200_000_000,
        deferred=tuple(Deferred(b"file-%d" % number, "open for writing") for number in range(7)),
        warnings=("a FIFO was left out: pipe",),
        error={
            "kind": "blocked",
            "message": "most files are gone",
            "remedy": "lfssync sync my-model --accept-deletions",
            "since": "2026-11-18T16:00:00Z",
        },
    )
    assert text(statuslines.status_lines([status], OFF, NOW)) == (
        "daemon not running; lfssync run keeps the mirrors up to date\n"
        "\n"
        "✗ my-model  blocked, verified at 3f2a91c 12 s ago\n"
        "    /data/my-model → https://huggingface.co/me/my-model (main)\n"
        "    head     81d02fe, not on the remote yet (there: 3f2a91c)\n"
        "    pending  3 files, 5.2 GB\n"
        "    waiting  file-0: open for writing\n"
        "    waiting  file-1: open for writing\n"
        "    waiting  file-2: open for writing\n"
        "    waiting  file-3: open for writing\n"
        "    waiting  file-4: open for writing\n"
        "             and 2 more\n"
        "    warning  a FIFO was left out: pipe\n"
        "    error    most files are gone (since 2026-11-18 16:00:00)\n"
        "    remedy   lfssync sync my-model --accept-deletions\n"
    )


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    status = IDLE._replace(state=State.FAILED, error={"message": "m", "remedy": "r", "since": "long ago"})
    assert "m (since long ago)" in text(statuslines.status_lines([status], OFF, NOW))


def test_many_tags_do_not_fill_the_screen() -> None:
    tags = tuple(f"v{number}" for number in range(9))
    assert "    tags     v8, v7, v6, v5, v4 and 4 more\n" in text(
        statuslines.status_lines([IDLE._replace(tags=tags)], OFF, NOW)
    )


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_face(state: State) -> None:
    lines = text(statuslines.status_lines([IDLE._replace(state=state)], ON, NOW)).splitlines()
    assert lines[2][0] in "✓…↑!✗"
    assert f"  {state.value}, " in lines[2]


@pytest.mark.parametrize(
    "unfinished",
    [
        IDLE._replace(pending_files=1, pending_bytes=1),
        IDLE._replace(deferred=(Deferred(b"a", "still changing"),)),
        IDLE._replace(verified_at=None, head=None, pushed=None),
    ],
)
def test_only_a_mirror_with_nothing_left_to_do_gets_the_mark_of_success(unfinished: MirrorStatus) -> None:
    assert "✓" not in text(statuslines.status_lines([unfinished], OFF, NOW))


def test_nothing_is_called_verified_that_never_was() -> None:
    lines = text(statuslines.status_lines([IDLE._replace(verified_at=None, head=None, pushed=None)], OFF, NOW))
    assert "never verified" in lines


def test_status_and_list_without_mirrors_say_how_to_start() -> None:
    assert "lfssync add DIR" in text(statuslines.status_lines([], OFF, NOW))
    assert "lfssync add DIR" in text(output.list_lines([]))


def test_list_stands_in_columns() -> None:
    other = MIRROR._replace(name="b", path=Path("/data/b"), remote="/srv/b.git", branch="dev")
    assert text(output.list_lines([MIRROR, other])) == (
        "my-model  /data/my-model  https://huggingface.co/me/my-model  main\n"
        "b         /data/b         /srv/b.git                          dev\n"
    )


def test_columns_are_as_wide_as_what_is_shown() -> None:
    odd = MIRROR._replace(path=Path("/data/\x1b[2J"))
    first, second = text(output.list_lines([odd, MIRROR])).splitlines()
    assert first.index("https") == second.index("https")


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            PassResult(COMMIT, RECEIPT, added=4, changed=1, content_bytes=5_200_000_000),
            "my-model: 4 files added, 1 changed (5.2 GB), verified at 3f2a91c in 12 s",
        ),
        (PassResult(COMMIT, RECEIPT, removed=1), "my-model: 1 file removed, verified at 3f2a91c in 12 s"),
        (
            PassResult(COMMIT, RECEIPT, changed=1, removed=2, content_bytes=12),
            "my-model: 1 file changed, 2 removed (12 B), verified at 3f2a91c in 12 s",
        ),
        (PassResult(COMMIT, RECEIPT), "my-model: nothing to do, verified at 3f2a91c"),
        (PassResult(None, None), "my-model: nothing to do, nothing is on the remote yet"),
        (
            PassResult(COMMIT, None, added=1, content_bytes=7),
            "my-model: 1 file added (7 B), committed as 3f2a91c but not verified on the remote in 12 s",
        ),
    ],
)
def test_a_pass_in_one_line(result: PassResult, line: str) -> None:
    assert text(output.pass_lines("my-model", result, 12.2)) == line + "\n"


def test_where_nothing_was_committed_other_words_may_be_right() -> None:
    for words in (output.ALL_IS_THERE, output.DELIVERED_MEANWHILE):
        shown = text(output.pass_lines("my-model", PassResult(COMMIT, RECEIPT), 12.2, words))
        assert shown == f"my-model: {words}, verified at 3f2a91c\n"
        shown = text(output.pass_lines("my-model", PassResult(COMMIT, RECEIPT, removed=1), 12.2, words))
        assert shown == "my-model: 1 file removed, verified at 3f2a91c in 12 s\n"


def test_a_pass_names_what_it_left_out_and_why() -> None:
    deferred = tuple(Deferred(b"f%d" % number, "still changing") for number in range(22))
    lines = text(
        output.pass_lines("m", PassResult(COMMIT, RECEIPT, deferred=deferred, warnings=("w",)), 1)
    ).splitlines()
    assert lines[1] == "    waiting  f0: still changing"
    assert lines[-2:] == ["             and 2 more", "    warning  w"]


def test_what_the_other_commands_say() -> None:
    release = Release("v2.0.1", COMMIT, RECEIPT)
    assert text(versionoutput.tagged_lines("my-model", release)) == "my-model: v2.0.1 → 3f2a91c, verified\n"
    pushed = PushResult(COMMIT, 12, 5_200_000_000, RECEIPT, release)
    assert text(output.pushed_lines("hf:me/my-model", "main", pushed)) == (
        "12 files (5.2 GB) → hf:me/my-model, branch main, released as v2.0.1, verified at 3f2a91c\n"
    )
    restored = RestoreResult(COMMIT, 12, 5_200_000_000)
    assert text(versionoutput.restored_lines("my-model", "./old", restored)) == (
        "my-model: 12 files (5.2 GB) of 3f2a91c written to ./old, every LFS file checked\n"
    )
    assert "stay as they are" in text(output.removed_lines(MIRROR))


@pytest.mark.parametrize(("daemon", "next_command"), [(OFF, "lfssync sync my-model"), (ON, "lfssync status")])
def test_add_names_the_next_command(daemon: DaemonInfo, next_command: str) -> None:
    lines = text(output.added_lines(MIRROR, daemon))
    assert lines.startswith(
        "my-model: /data/my-model will be mirrored to https://huggingface.co/me/my-model, branch main\n"
    )
    assert next_command in lines


def test_add_of_a_local_repository_and_of_a_pattern() -> None:
    local = MIRROR._replace(remote="/home/me/my-model.git", embedded=True)
    assert "to the local repository /home/me/my-model.git, branch main\n" in text(output.added_lines(local, OFF))
    pattern = MIRROR._replace(name="/data/*", path=Path("/data/*"), remote="hf:me/{name}")
    assert text(output.added_lines(pattern, OFF)).splitlines()[:2] == [
        "every folder that /data/* matches will be mirrored to hf:me/{name}, branch main",
        "Bring it there now:  lfssync sync",
    ]


def test_log() -> None:
    entries = [
        LogEntry(NOW, LogKind.RELEASE, COMMIT, "v2.0.1", ("v2.0.1", "latest")),
        LogEntry(NOW - 60, LogKind.FAILED, None, "no route to host"),
    ]
    assert text(versionoutput.log_lines(entries)) == (
        "2026-11-18 11:06:40  3f2a91c  release  v2.0.1  (latest)\n"
        "2026-11-18 11:05:40  -        failed   no route to host\n"
    )


def test_log_without_entries_says_so() -> None:
    assert text(versionoutput.log_lines([])) == "nothing has happened yet\n"


def test_diff() -> None:
    def lfs(size_bytes: int, digit: str, mode: str = "100644") -> Version:
        return Version(mode, size_bytes, 40 * "0", 64 * digit)

    git = Version("100644", 12, 40 * "e", None)
    differences = [
        Difference(b"big.bin", lfs(5_200_000_000, "4"), lfs(5_300_000_000, "9")),
        Difference(b"new\nname", None, git),
        Difference(b"old", git, None),
        Difference(b"tool", lfs(9, "1"), lfs(9, "1", "100755")),
    ]
    assert text(versionoutput.difference_lines(differences)) == (
        "M  big.bin    5.2 GB → 5.3 GB  lfs 4444444444 → lfs 9999999999\n"
        "A  new\\nname  12 B             git eeeeeee\n"
        "D  old        12 B             git eeeeeee\n"
        "M  tool       9 B              lfs 1111111111 → lfs 1111111111 (100755)\n"
    )
    assert text(versionoutput.difference_lines([])) == "no differences\n"


anything = st.text(st.characters(exclude_categories=()), max_size=20)
names = st.binary(max_size=20)


@given(name=anything, words=anything, path=names)
def test_no_text_from_outside_breaks_a_line(name: str, words: str, path: bytes) -> None:
    status = IDLE._replace(
        path=name,
        remote=words,
        tags=(words,),
        state=State.FAILED,
        deferred=(Deferred(path, words),),
        warnings=(words,),
        error={"kind": "failed", "message": words, "remedy": name or "x"},
    )
    blob = Version("100644", 1, COMMIT, None)
    for lines in (
        statuslines.status_lines([status], OFF, NOW),
        output.pass_lines("m", PassResult(COMMIT, RECEIPT, deferred=(Deferred(path, words),), warnings=(words,)), 1),
        versionoutput.log_lines([LogEntry(NOW, LogKind.COMMIT, COMMIT, words, (name,))]),
        versionoutput.difference_lines([Difference(path, None, blob)]),
    ):
        shown = plain(lines)
        assert shown.count("\n") == len(lines)
        assert all(row.isprintable() for row in shown.split("\n"))
