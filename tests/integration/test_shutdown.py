"""Told to end, the daemon takes and delivers what is complete, within its grace, and the next start goes on."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from lfssync.answers import LogKind
from lfssync.configuration import config
from lfssync.model import Mirror, State
from lfssync.rules.closing import LEFT
from lfssync.versions import history
from tests.contract.lfsserver import serving
from tests.helpers import objects_of_history, random_bytes, write
from tests.integration.daemons import (
    Daemon,
    Pair,
    configure,
    lfssync,
    litter,
    places,
    remote_tree,
    soon,
    state_is,
    status,
)

LONG = {"quiet": "1h", "max_wait": "2h"}
"""Nothing is due before anybody says so."""

HUGE_BYTES = 100 << 30
"""Holes, but hashing them takes far longer than the graces here."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "daemon.log")


def the_mirror() -> Mirror:
    (mirror,) = config.load(places()).mirrors
    return mirror


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_what_has_not_been_quiet_for_long_enough_still_arrives(
    pair: Pair, daemon: Daemon, tmp_path: Path, order: signal.Signals
) -> None:
    write(pair.directory / "config.json", b"{}")
    configure(pair.table(**LONG))
    with daemon.start():
        assert lfssync("sync").returncode == 0
        write(pair.directory / "model.safetensors", random_bytes(1, 2 << 20))
        soon(lambda: status().state is State.SETTLING, status)
        assert b"model.safetensors" not in remote_tree(pair.remote)
        daemon.signal(order)
        assert daemon.process
        assert daemon.process.wait(20) == 0
    assert "delivering what is complete" in daemon.said()
    pair.assert_delivered(tmp_path)
    assert status().state is State.IDLE


def test_a_checkpoint_that_was_written_just_now_arrives_within_the_grace(
    pair: Pair, daemon: Daemon, tmp_path: Path
) -> None:
    """Whether a checkpoint is whole can only be told once it has stood still for the quiet time: that is waited for."""
    write(pair.directory / "config.json", b"{}")
    configure(pair.table(quiet="2s", shutdown_grace="60s"))
    with daemon.start():
        assert lfssync("sync").returncode == 0
        write(pair.directory / "checkpoint-1" / "model.bin", random_bytes(1, 100_000))
        soon(lambda: status().state is State.SETTLING, status)
        daemon.signal(signal.SIGTERM)
        assert daemon.process
        assert daemon.process.wait(90) == 0
    pair.assert_delivered(tmp_path)


def test_with_nothing_to_do_it_ends_at_once(pair: Pair, daemon: Daemon) -> None:
    write(pair.directory / "config.json", b"{}")
    configure(pair.table(shutdown_grace="1m"))
    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        daemon.stop(5)
    assert "delivering what is complete" not in daemon.said()


def test_a_file_that_stays_open_does_not_hold_it_up(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(shutdown_grace="1m", max_wait="1s"))
    with (pair.directory / "events").open("wb") as file, daemon.start():
        file.write(b"1")
        file.flush()
        soon(lambda: status().deferred, status)
        daemon.stop(10)


def test_what_is_small_and_valuable_arrives_and_the_rest_is_written_down(
    pair: Pair, daemon: Daemon, tmp_path: Path
) -> None:
    """Its grace is too short for all of it, the next one is not."""
    write(pair.directory / "first", b"1")
    configure(pair.table(**LONG, shutdown_grace="8s"))
    with daemon.start():
        assert lfssync("sync").returncode == 0
        huge(pair.directory / "a-optimizer.pt")
        write(pair.directory / "model.safetensors", random_bytes(1, 2 << 20))
        write(pair.directory / "tokenizer.json", b"{}")
        soon(lambda: status().state is State.SETTLING, status)
        began = time.monotonic()
        daemon.stop(15)
        print(f"ended after {time.monotonic() - began:.1f} s")
    assert set(remote_tree(pair.remote)) == {b"first", b"model.safetensors", b"tokenizer.json"}
    assert "a-optimizer.pt (107.4 GB): left when lfssync was stopped" in daemon.said()
    found = status()
    assert found.head == found.pushed
    assert [(one.path, one.reason) for one in found.deferred] == [(b"a-optimizer.pt", LEFT)]
    assert (found.pending_files, found.pending_bytes) == (1, HUGE_BYTES)
    told = history.log(the_mirror(), places().mirror_state(pair.name), 10)
    assert (LogKind.STOPPED, "stopped with 1 file (107.4 GB) not delivered: a-optimizer.pt") in [
        (entry.kind, entry.text) for entry in told
    ]
    assert "stopped  stopped with 1 file" in lfssync("log").stdout
    assert litter(pair.remote) == []
    write(pair.directory / "a-optimizer.pt", random_bytes(2, 2 << 20))
    configure(pair.table())
    with daemon.start():
        pair.arrives()
    pair.assert_delivered(tmp_path)
    assert len(objects_of_history(pair.remote)) == 2


def test_over_a_slow_line_the_weights_arrive_first(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    """The line takes a second for the weights, and far longer than there is for the state of the optimizer."""
    with serving(tmp_path / "served") as server:
        lfs_url = f"{server.address}/model.git/info/lfs"
        configure(pair.table(**LONG, shutdown_grace="10s", rate_limit="2MB/s", lfs_url=lfs_url))
        write(pair.directory / "first", b"1")
        with daemon.start():
            assert lfssync("sync").returncode == 0
            write(pair.directory / "a-optimizer.bin", random_bytes(2, 100 << 20))
            write(pair.directory / "weights.bin", random_bytes(1, 2 << 20))
            soon(lambda: status().state is State.SETTLING, status)
            daemon.stop(20)
        assert set(remote_tree(pair.remote)) == {b"first", b"weights.bin"}
        assert [one.path for one in status().deferred] == [b"a-optimizer.bin"]
        assert [path.stat().st_size for path in server.objects.rglob("*") if path.is_file()] == [2 << 20]


def test_a_pass_under_way_makes_room_for_what_is_small(pair: Pair, daemon: Daemon) -> None:
    """It is in the middle of something large when the order comes; what is small came later."""
    configure(pair.table(shutdown_grace="8s"))
    huge(pair.directory / "a.pt")
    with daemon.start():
        soon(lambda: status().state.is_working, status)
        write(pair.directory / "config.json", b"{}")
        daemon.stop(15)
    assert set(remote_tree(pair.remote)) == {b"config.json"}
    assert [one.path for one in status().deferred] == [b"a.pt"]


def test_a_second_signal_ends_it_at_once(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(shutdown_grace="5m"))
    huge(pair.directory / "a.pt")
    with daemon.start():
        soon(lambda: status().state.is_working, status)
        daemon.signal(signal.SIGTERM)
        daemon.says("a second signal ends it at once")
        assert not daemon.ended()
        began = time.monotonic()
        daemon.stop(10)
        assert time.monotonic() - began < 5
    assert remote_tree(pair.remote) == {}
    assert status().state is State.SETTLING
    assert status().pending_files == 1
    assert litter(pair.remote) == []


def test_no_grace_is_none(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(shutdown_grace="0s"))
    huge(pair.directory / "a.pt")
    with daemon.start():
        soon(lambda: status().state.is_working, status)
        daemon.stop(5)
    assert remote_tree(pair.remote) == {}


def test_out_of_reach_it_is_committed_here(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    write(pair.directory / "config.json", b"{}")
    configure(pair.table(**LONG, headroom="0"))
    with daemon.start():
        assert lfssync("sync").returncode == 0
        pair.remote.rename(tmp_path / "away.git")
        write(pair.directory / "model.safetensors", random_bytes(1, 2 << 20))
        soon(lambda: status().state is State.SETTLING, status)
        daemon.stop(15)
    assert "committed here as" in daemon.said()
    (pair.directory / "model.safetensors").unlink()
    (tmp_path / "away.git").rename(pair.remote)
    assert lfssync("sync").returncode == 0
    assert len(objects_of_history(pair.remote)) == 1


def test_a_blocked_mirror_does_not_hold_it_up(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(shutdown_grace="1m"))
    write(pair.directory / "file", b"1")
    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        (pair.directory / "file").unlink()
        soon(state_is(State.BLOCKED), status)
        daemon.stop(5)


def test_the_service_manager_is_told_how_long_it_takes(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    configure(pair.table(**LONG, shutdown_grace="30s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with Daemon(daemon.log, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}).start() as started:
            assert manager.recv(1000).startswith(b"READY=1\n")
            write(pair.directory / "file", b"1")
            soon(lambda: status().state is State.SETTLING, status)
            started.signal(signal.SIGTERM)
            while not (said := manager.recv(1000)).startswith(b"STOPPING=1\n"):
                assert said.startswith(b"STATUS=")
            assert b"\nEXTEND_TIMEOUT_USEC=" in said


def test_what_only_a_person_can_decide_holds_nobody_up(pair: Pair, daemon: Daemon) -> None:
    for number in range(10):
        write(pair.directory / f"{number}", b"x")
    configure(pair.table(**LONG, shutdown_grace="1m"))
    with daemon.start():
        assert lfssync("sync").returncode == 0
        for file in pair.directory.iterdir():
            file.unlink()
        soon(lambda: status().state is State.SETTLING, status)
        daemon.signal(signal.SIGTERM)
        assert daemon.process
        assert daemon.process.wait(20) == 0
    assert status().state is State.BLOCKED
