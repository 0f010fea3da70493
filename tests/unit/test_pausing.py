"""The record of a pause: what is written is read, and what cannot be read pauses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfssync.errors import LfssyncError
from lfssync.records.pausing import Pause, pause, paused, resume

FILE = "paused.json"


def test_until_it_is_resumed(tmp_path: Path) -> None:
    state = tmp_path / "mirrors" / "model"
    assert paused(state, 100.0) is None
    assert not resume(state, 100.0)
    assert pause(state, None, 100.0) == Pause(100.0, None) == paused(state, 1e9)
    assert [path.name for path in state.iterdir()] == [FILE]
    assert resume(state, 200.0)
    assert paused(state, 200.0) is None
    assert list(state.iterdir()) == []


def test_until_a_time(tmp_path: Path) -> None:
    pause(tmp_path, 160.0, 100.0)
    assert paused(tmp_path, 159.0) == Pause(100.0, 160.0)
    assert paused(tmp_path, 160.0) is None
    assert not resume(tmp_path, 160.0)


def test_paused_again_it_keeps_its_beginning(tmp_path: Path) -> None:
    pause(tmp_path, None, 100.0)
    assert pause(tmp_path, 500.0, 200.0) == Pause(100.0, 500.0) == paused(tmp_path, 300.0)
    assert pause(tmp_path, None, 600.0) == Pause(600.0, None), "that one was over"


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 60, b'{"since": 100', b"[]", b'{"since": "x", "until": null}', b'{"since": 100.0, "until": NaN}',
     b'{"since": 1e400, "until": 5}', b'{"since": 100.0, "until": 1e30}', b"[" * 4000, b"\xff\xfe"],
)  # fmt: skip
def test_what_cannot_be_read_pauses_until_it_is_resumed(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    assert paused(tmp_path, 1e9) == Pause()
    assert "until it is resumed" in Pause().words()
    assert resume(tmp_path, 1e9)
    assert paused(tmp_path, 1e9) is None


def test_what_a_kill_left_behind_never_counts(tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.new").write_bytes(b'{"since": 1')
    assert paused(tmp_path, 100.0) is None
    pause(tmp_path, None, 100.0)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_where_nothing_can_be_written_nothing_is_paused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    for folder in (tmp_path / "state", tmp_path / "state" / "model"):
        with pytest.raises(LfssyncError):
            pause(folder, None, 100.0)
    assert paused(tmp_path / "state", 100.0) is None
    assert not resume(tmp_path / "state", 100.0)
