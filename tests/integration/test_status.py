"""`lfssync status` in real processes: without a daemon, beside one, and watched on terminals and through pipes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lfssync.configuration import config
from lfssync.line.glance import glances
from lfssync.model import Plan, Progress, State
from lfssync.records.roster import roster
from lfssync.service import executors
from tests.contract.lfsserver import serving
from tests.helpers import make_bare, random_bytes, write
from tests.integration.daemons import LFSSYNC, PROJECT, Daemon, Pair, configure, lfssync, places, soon, status
from tests.terminals import PATIENCE_S, Session, running


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A mirror with one file that was delivered, and no daemon."""
    made = Pair.make(tmp_path)
    write(made.directory / "first", b"1")
    configure(made.table())
    assert lfssync("sync").returncode == 0
    return made


def document() -> Any:
    """What a script is told about the only mirror."""
    return json.loads(lfssync("status", "--json").stdout)["mirrors"][0]


def test_without_a_daemon_the_directory_is_looked_at(pair: Pair) -> None:
    assert (document()["state"], document()["looked"]) == ("idle", True)
    write(pair.directory / "sub" / "second", b"22")
    write(pair.directory / "ignored.tmp", b"333")
    found = document()
    assert (found["state"], found["pending"]) == ("settling", {"files": 1, "bytes": 2})
    shown = lfssync("status").stdout
    assert "• model  changed, verified at" in shown
    assert "    pending  1 file, 2 B\n" in shown
    assert lfssync("sync").returncode == 0
    assert document()["state"] == "idle"
    (pair.directory / "first").unlink()
    assert document()["pending"] == {"files": 1, "bytes": 0}
    pair.directory.rename(pair.directory.with_name("aside"))
    gone = document()
    assert (gone["state"], gone["error"]["kind"]) == ("blocked", "blocked")
    assert "is gone" in gone["error"]["message"]


def test_what_was_never_delivered_is_counted(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    write(pair.directory / "first", b"1")
    configure(pair.table())
    assert document()["pending"] == {"files": 1, "bytes": 1}
    assert "• model  new, never verified on the remote" in lfssync("status").stdout
    assert not places().mirror_state("model").exists(), "a look leaves nothing behind"


def test_a_look_ends_in_time(pair: Pair) -> None:
    mirrors = [
        (mirror, places().mirror_state(mirror.name)) for mirror in roster(config.load(places()), places()).mirrors
    ]
    assert glances(mirrors)["model"].files == 0
    assert glances(mirrors, timeout_s=0.0) == {}


def test_the_tags_of_an_earlier_remote_are_not_shown_for_the_new_one(pair: Pair, tmp_path: Path) -> None:
    assert lfssync("tag", "v1").returncode == 0
    assert document()["tags"] == ["v1"]
    configure(pair.table(remote=make_bare(tmp_path / "other.git")))
    assert document()["tags"] == []
    write(pair.directory / "first", b"11")
    assert lfssync("sync").returncode == 0
    assert document()["tags"] == []
    assert lfssync("tag", "v2").returncode == 0
    assert document()["tags"] == ["v2"]


def test_an_upload_under_way_says_how_far_it_is(pair: Pair, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as server, Daemon(tmp_path / "log").start() as daemon:
        lfs_url = f"{server.address}/model.git/info/lfs"
        configure(pair.table(rate_limit="400kB/s", lfs_url=lfs_url, shutdown_grace="0s"))
        daemon.says("model: has new settings")
        write(pair.directory / "weights.bin", random_bytes(1, 30 << 20))
        seen: list[object] = []

        def has_a_rate() -> bool:
            found = status()
            seen.append((found.state, found.progress))
            return found.progress is not None and bool(found.progress.rate)

        soon(has_a_rate, lambda: f"{seen[-1]} {daemon.said()}")
        found = document()
        assert found["state"] in ("uploading", "pushing")  # the latter if the old worker was quicker than the settings
        assert found["progress"]["files"] == {"done": 0, "total": 1}
        assert 0 < found["progress"]["bytes"]["done"] < found["progress"]["bytes"]["total"] == 30 << 20
        assert found["progress"]["bytes_per_second"] > 0
        assert found["progress"]["seconds_left"] > 0
        assert "    sent     " in lfssync("status").stdout
        daemon.stop(30)


def test_what_commits_of_earlier_passes_lack_is_planned_before_it_is_sent(pair: Pair, tmp_path: Path) -> None:
    write(pair.directory / "weights.bin", random_bytes(1, 3 << 20))
    assert lfssync("sync").returncode == 0
    events: list[Plan | Progress] = []
    with serving(tmp_path / "served") as server:
        configure(pair.table(lfs_url=f"{server.address}/model.git/info/lfs"))
        configuration = config.load(places())
        executors.connect(places(), configuration).sync(configuration.mirrors[0], False, events.append)
    sent = [event for event in events if event.state is State.UPLOADING]
    assert sent[0] == Plan(State.UPLOADING, 1, 3 << 20)
    assert isinstance(sent[-1], Progress)
    assert sent[-1].done_bytes == 3 << 20


def watched(pair: Pair) -> subprocess.Popen[str]:
    """`status --watch` whose output goes into a pipe."""
    return subprocess.Popen(
        [*LFSSYNC, "status", "--watch"], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_watch_without_a_terminal_tells_each_change_in_a_line(pair: Pair, tmp_path: Path) -> None:
    process = watched(pair)
    assert process.stdout is not None
    rows = iter(process.stdout.readline, "")
    assert any("✓ model  idle, verified at" in row for row in rows)
    with Daemon(tmp_path / "log").start():
        assert any("daemon running (pid" in row for row in rows)
        good = places().config_file.read_text()
        places().config_file.write_text("[defaults")
        assert any("error: " in row and "config.toml:1" in row for row in rows)
        places().config_file.write_text(good)
    assert any("daemon not running" in row for row in rows)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")
    assert len(rest.splitlines()) <= 2


def look(session: Session, text: str) -> str:
    """What the watch painted until it painted this."""
    return session.screen.shown_until(text)


def test_a_watch_on_a_terminal_stays_in_place_and_leaves_the_last_view(pair: Pair, tmp_path: Path) -> None:
    with running([*LFSSYNC, "status", "--watch"], PROJECT, {}) as session:
        look(session, "\x1b[?1049h")  # the other screen
        look(session, "✓")
        with Daemon(tmp_path / "log").start() as daemon:
            look(session, f"daemon running (pid {daemon.pid})")
        look(session, "daemon not running")
        session.screen.press("\x03")
        rest = session.screen.rest()
        assert session.exit_code() == 130
    assert "\x1b[?1049l" in rest
    after = rest.partition("\x1b[?1049l")[2]
    assert "daemon not running" in after
    assert "\x1b[?25h" in rest


def test_a_watch_ends_when_its_terminal_goes_away(pair: Pair) -> None:
    with running([*LFSSYNC, "status", "--watch"], PROJECT, {}) as session:
        look(session, "✓")
        session.screen.close()
        assert session.exit_code() in (0, 1, 130)
