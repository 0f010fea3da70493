"""Mirrors that a person paused, and mirrors with hours of the day, under a daemon and without one."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lfssync.model import State
from lfssync.records.lock import is_held
from tests.contract.lfsserver import serving
from tests.helpers import assert_whole, objects_of_history, random_bytes, write
from tests.integration.daemons import Daemon, Pair, configure, lfssync, places, remote_tree, soon, state_is, status


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def told(name: str = "model") -> dict[str, Any]:
    """The mirror in `status --json`."""
    found = json.loads(lfssync("status", "--json", name).stdout)["mirrors"][0]
    assert isinstance(found, dict)
    return found


def hours(start_s: float, end_s: float) -> str:
    """A window from so many seconds from now to so many."""
    ends = [time.strftime("%H:%M", time.localtime(time.time() + seconds)) for seconds in (start_s, end_s)]
    return "-".join(ends)


def test_a_pause_lasts_over_a_restart_and_everything_arrives_afterwards(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    write(pair.directory / "a", b"1")
    with Daemon(tmp_path / "one.log").start() as daemon:
        pair.arrives()
        done = lfssync("pause", "model")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "model: paused until it is resumed; go on with: lfssync resume model\n"
        daemon.says("model: paused until it is resumed")
        write(pair.directory / "b", b"2")
        soon(state_is(State.SETTLING), status)
    with Daemon(tmp_path / "two.log").start() as daemon:
        daemon.says("mirroring 1 directory")
        assert b"b" not in remote_tree(pair.remote)
        found = told()
        assert found["paused"]["until"] is None
        assert found["paused"]["since"]
        assert found["state"] in {state.value for state in State}
        assert (found["pending"], found["looked"]) == ({"files": 1, "bytes": 1}, True)
        shown = lfssync("status").stdout
        assert "    pending  1 file, 1 B\n" in shown
        assert "paused   until lfssync resume model" in shown
        assert "lfssync resume model" in lfssync("doctor", "model").stdout
        waited = lfssync("wait", "model")
        assert waited.returncode == 4
        assert waited.stderr.startswith("error: model: it is paused until it is resumed; lfssync resume model")
        done = lfssync("resume", "model")
        assert (done.returncode, done.stdout) == (0, "model: goes on\n")
        pair.arrives()
        assert told()["paused"] is None


def test_what_is_under_way_is_broken_off(pair: Pair, tmp_path: Path) -> None:
    """The whole upload would take more than a minute."""
    with serving(tmp_path / "served") as server:
        table = pair.table(lfs_url=f"{server.address}/model.git/info/lfs")
        configure(table | {"rate_limit": "200kB/s"})
        write(pair.directory / "model.bin", random_bytes(1, 20 << 20))
        with Daemon(tmp_path / "log").start() as daemon:
            soon(state_is(State.UPLOADING), status)
            assert lfssync("pause").returncode == 0
            soon(lambda: not is_held(places().mirror_state("model")), "the pass goes on")
            assert status().error is None
            assert remote_tree(pair.remote) == {}
            configure(table)
            assert lfssync("resume").returncode == 0
            pair.arrives()
            assert "WARNING" not in daemon.said()


def test_without_a_daemon(pair: Pair) -> None:
    configure(pair.table())
    write(pair.directory / "a", b"1")
    assert lfssync("pause", "--for", "2h").stdout.startswith("model: paused until 2")
    found = told()["paused"]
    assert found["until"] > found["since"]
    waited = lfssync("wait", "--timeout", "1s")
    assert waited.returncode == 3
    assert waited.stderr.startswith("error: model is paused until 2")
    assert lfssync("sync").returncode == 0, "a person asks"
    pair.arrives()
    assert told()["paused"] == found
    assert lfssync("resume").stdout == "model: goes on\n"
    assert lfssync("resume").stdout == "model: was not paused\n"
    assert lfssync("wait").returncode == 0


def test_a_pause_that_ends_in_time_is_waited_for(pair: Pair) -> None:
    configure(pair.table())
    write(pair.directory / "a", b"1")
    assert lfssync("pause", "--for", "1s").returncode == 0
    assert lfssync("wait").returncode == 0
    pair.arrives()


@pytest.mark.parametrize("arguments", [("--for", "0s"), ("--for", "tomorrow"), ("nobody",)])
def test_what_makes_no_pause(pair: Pair, arguments: tuple[str, ...]) -> None:
    configure(pair.table())
    done = lfssync("pause", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert told()["paused"] is None


def test_a_mirror_that_was_removed_is_not_paused_when_it_is_added_again(pair: Pair) -> None:
    configure(pair.table())
    assert lfssync("pause").returncode == 0
    assert lfssync("remove", "model").returncode == 0
    assert not (places().mirror_state("model") / "paused.json").exists()
    configure(pair.table())
    assert told()["paused"] is None


def test_removing_a_pattern_ends_the_pauses_of_its_folders_and_of_no_others(tmp_path: Path) -> None:
    for name in ("runs/one", "runs/two", "runs/gone", "else/three"):
        write(tmp_path / name / "a", b"1")
    configure({"path": tmp_path / "runs/*"}, {"path": tmp_path / "else/*"})
    assert lfssync("sync", "gone").returncode == 0
    shutil.rmtree(tmp_path / "runs/gone")
    assert lfssync("pause").returncode == 0
    paused = places().state_dir / "mirrors"
    assert {file.parent.name for file in paused.glob("*/paused.json")} == {"one", "two", "gone", "three"}
    assert lfssync("remove", f"{tmp_path}/runs/*").returncode == 0
    assert {file.parent.name for file in paused.glob("*/paused.json")} == {"three"}


@pytest.mark.parametrize(
    ("keys", "why"),
    [({"commits_per_hour": 1}, "commits_per_hour"), ({"min_interval": "1h"}, "min_interval")],
)
def test_what_is_held_back_is_counted(pair: Pair, tmp_path: Path, keys: dict[str, object], why: str) -> None:
    configure(pair.table(**keys))
    write(pair.directory / "a", b"1")
    with Daemon(tmp_path / "log").start() as daemon:
        daemon.says("verified at")
        write(pair.directory / "b", b"22")
        soon(lambda: told()["waits"] is not None and told()["waits"]["why"] == why, told)
        assert told()["pending"] == {"files": 1, "bytes": 2}
        write(pair.directory / "c", b"333")
        assert told()["pending"] == {"files": 2, "bytes": 5}


def test_what_waits_for_its_hours_in_the_directory_is_counted(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table(only_between=hours(7200, 10800), offline_limit="0"))
    write(pair.directory / "a", b"1")
    with Daemon(tmp_path / "log").start():
        soon(lambda: told()["waits"] is not None, told)
        assert told()["pending"] == {"files": 1, "bytes": 1}
        assert remote_tree(pair.remote) == {}


def test_outside_of_its_hours_checkpoints_are_kept_here_and_arrive_when_they_begin(pair: Pair, tmp_path: Path) -> None:
    table = pair.table(headroom="0")
    configure(table | {"only_between": hours(7200, 10800)})
    with Daemon(tmp_path / "log").start() as daemon:
        for number in range(1, 4):
            write(pair.directory / f"checkpoint-{number}" / "model.bin", random_bytes(number, 2 << 20))
            daemon.says("committed here as", times=number)
            if number < 3:
                shutil.rmtree(pair.directory / f"checkpoint-{number}")
        found = told()
        assert found["error"] is None
        assert found["state"] == "settling"
        assert found["head"] != found["pushed"]
        assert remote_tree(pair.remote) == {}
        configure(table | {"only_between": hours(-3600, 3600)})
        soon(lambda: len(objects_of_history(pair.remote)) == 3, status)
        soon(state_is(State.IDLE), status)
        assert "WARNING" not in daemon.said()
    assert_whole(pair.remote)
