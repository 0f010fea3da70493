"""The configuration of a running daemon: what happens to its file, and what becomes of the workers then.

Moments are passed in: a look every half second of a clock that the test moves, so nothing here waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lfssync.service.crew import LOOK_EVERY_S, Crew
from lfssync.service.worker import Worker
from tests.integration.daemons import configure, places, write_configuration

FINE = "no complaints"


class Looked:
    """A crew, and a clock for its looks."""

    def __init__(self) -> None:
        self.crew = Crew(places(), lambda: None)
        self.now = 1000.0

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += LOOK_EVERY_S
            self.crew.look(self.now)

    @property
    def workers(self) -> dict[str, Worker]:
        return dict(self.crew.workers)

    @property
    def names(self) -> set[str]:
        return set(self.crew.workers)

    @property
    def complaint(self) -> str:
        return "; ".join(self.crew.complaints) or FINE


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    configure({"path": tmp_path / "one"})
    return tmp_path


@pytest.fixture
def looked(base: Path) -> Iterator[Looked]:
    made = Looked()
    made.crew.begin()
    yield made
    for worker in made.workers.values():
        worker.stop()


def in_place(text: str) -> None:
    """Write as a simple editor does: the file is emptied, and stays the same file."""
    with places().config_file.open("w") as file:
        file.write(text)


def test_a_file_replaced_by_another_takes_effect(base: Path, looked: Looked) -> None:
    configure({"path": base / "one"}, {"path": base / "two"})
    looked.look(2)
    assert looked.names == {"one", "two"}
    configure({"path": base / "two"})
    looked.look(2)
    assert looked.names == {"two"}


def test_two_edits_of_the_same_length_within_one_second_both_take_effect(
    base: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Path.stat

    def coarse(path: Path, **keys: Any) -> SimpleNamespace:
        """As on a file system whose time stamps move every ten seconds."""
        found = exact(path, **keys)
        fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        coarsened = {name: value // 10**10 for name, value in fields.items() if name.endswith("time_ns")}
        return SimpleNamespace(**fields | coarsened)

    monkeypatch.setattr(Path, "stat", coarse)
    text = places().config_file.read_text()
    in_place(text.replace("/one", "/two"))
    looked.look(2)
    assert looked.names == {"two"}
    in_place(text)
    looked.look(2)
    assert looked.names == {"one"}


def test_who_did_not_change_is_not_touched(base: Path, looked: Looked) -> None:
    before = looked.workers
    configure({"path": base / "one"}, {"path": base / "two"})
    looked.look(2)
    assert looked.workers["one"] is before["one"]
    assert not before["one"].session.stop.is_set()


def test_a_file_that_is_empty_while_it_is_written_ends_nothing(base: Path, looked: Looked) -> None:
    before = looked.workers
    text = places().config_file.read_text()
    with places().config_file.open("w") as file:
        looked.look()
        file.write(text[:20])
        file.flush()
        looked.look()
        file.write(text[20:])
    looked.look(3)
    assert looked.workers == before
    assert looked.complaint == FINE


def test_a_file_that_stays_empty_ends_all_mirrors(looked: Looked) -> None:
    in_place("")
    looked.look(2)
    assert looked.names == set()
    assert looked.complaint == FINE


def test_a_file_that_is_gone_is_a_mistake_and_comes_back(base: Path, looked: Looked) -> None:
    before = looked.workers
    text = places().config_file.read_text()
    places().config_file.unlink()
    looked.look(2)
    assert looked.workers == before
    assert "config.toml is gone; put it back, or stop mirrors with lfssync remove" in looked.complaint
    looked.crew.reload()
    assert looked.workers == before
    write_configuration(text)
    looked.look(2)
    assert looked.workers == before
    assert looked.complaint == FINE


def test_a_file_that_is_a_link_is_followed_wherever_it_leads(base: Path, looked: Looked) -> None:
    file, text = places().config_file, places().config_file.read_text()
    for name in ("one", "two"):
        (base / f"{name}.toml").write_text(text.replace("/one", f"/{name}"))
        os.utime(base / f"{name}.toml", (1, 1))
    file.unlink()
    file.symlink_to(base / "one.toml")
    looked.look(2)
    assert looked.names == {"one"}
    file.unlink()
    file.symlink_to(base / "two.toml")
    looked.look(2)
    assert looked.names == {"two"}
    (base / "two.toml").write_text(text.replace("/one", "/three"))
    looked.look(2)
    assert looked.names == {"three"}
    (base / "two.toml").unlink()
    looked.look(2)
    assert looked.names == {"three"}
    assert "is gone" in looked.complaint


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_text("[[mirror]]\npath = 3\n"), "config.toml:2"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "is not UTF-8"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot read"),
        (lambda file: (file.unlink(), file.symlink_to(file)), "config.toml"),
    ],
)
def test_what_cannot_be_read_changes_nothing_and_is_told_until_it_is_mended(
    looked: Looked, spoil: object, words: str
) -> None:
    before, file = looked.workers, places().config_file
    text = file.read_text()
    assert callable(spoil)
    spoil(file)
    looked.look(2)
    assert looked.workers == before
    assert "the configuration stays as it was" in looked.complaint
    assert words in looked.complaint
    looked.look(5)
    assert looked.workers == before
    file.rmdir() if file.is_dir() else file.unlink()
    write_configuration(text)
    looked.look(2)
    assert looked.complaint == FINE


def test_other_times_do_not_break_off_what_is_under_way_and_other_places_do(base: Path, looked: Looked) -> None:
    first = looked.workers["one"]
    configure({"path": base / "one", "quiet": "1s", "rescan": "2m"})
    looked.look(2)
    second = looked.workers["one"]
    assert second is not first
    assert second.session is first.session
    assert not second.session.stop.is_set()
    for change in ({"branch": "dev"}, {"into": "sub"}, {"remote": str(base / "elsewhere.git")}, {"ignore": ["*.log"]}):
        before = looked.workers["one"]
        configure({"path": base / "one", **change})
        looked.look(2)
        assert before.session.stop.is_set(), change
        assert not looked.workers["one"].session.stop.is_set(), change


def test_a_mirror_that_is_renamed_is_given_up_and_begun_anew(base: Path, looked: Looked) -> None:
    before = looked.workers["one"]
    configure({"path": base / "one", "name": "another"})
    looked.look(2)
    assert looked.names == {"another"}
    assert before.session.stop.is_set()


def test_an_old_file_is_not_read_at_every_look(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 10
    monkeypatch.setattr("time.time", lambda: later)
    looked.look(2)
    asked: list[int] = []
    monkeypatch.setattr(looked.crew, "reload", lambda: asked.append(1))
    looked.look(20)
    assert asked == []


def test_many_mirrors_are_looked_after_together_and_more_seldom(base: Path, looked: Looked) -> None:
    for number in range(60):
        (base / f"m{number}").mkdir()
    configure(*({"path": base / f"m{number}"} for number in range(60)))
    looked.look(2)
    assert len(looked.names) == 60
    moments = set()
    now = 5000.0
    for _ in range(10):
        now = looked.crew.tick(now)
        moments.add(now)
    assert len(moments) == 10
    assert now - 5000.0 >= 9 * 6.0
