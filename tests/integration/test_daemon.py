"""The daemon mirrors what happens while it runs, whatever it is not told, and ends in order whenever it is told to."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.model import State
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.daemons import (
    OWN_WORLD,
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
    write_configuration,
)

HUGE_BYTES = 3 << 30
"""Holes, but hashing and copying them takes a second or more."""

WRITER = """
import os, sys
folder, count, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for number in range(count):
    place = os.path.join(folder, f"d{number % 17}", seed)
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, f"f{number}"), "w") as file:
        file.write(f"{seed} {number}")
"""

APPENDER = """
import sys, time
while True:
    with open(sys.argv[1], "a") as file:
        file.write("another line\\n")
    time.sleep(0.02)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "daemon.log")


def nothing_happens(seconds: float) -> None:
    """Time passes: what is measured or cut off here has no other end."""
    threading.Event().wait(seconds)


@contextlib.contextmanager
def running(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program beside the test, killed in the end."""
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


# -- what happens in the directory ---------------------------------------------------------------------------------


def test_what_happens_while_it_runs_arrives_without_a_command(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    write(pair.directory / "before.txt", b"was there")
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        write(pair.directory / "model.bin", random_bytes(1, 3 << 20))
        write(pair.directory / "deep/er/and/deeper/config.json", b"{}")
        pair.arrives()
        (pair.directory / "before.txt").write_text("edited")
        (pair.directory / "model.bin").rename(pair.directory / "renamed.bin")
        (pair.directory / "link").symlink_to("renamed.bin")
        pair.arrives()
        (pair.directory / "deep").rename(pair.directory / "moved")
        (pair.directory / "before.txt").unlink()
        pair.arrives()
        shutil.move(str(outside(tmp_path)), pair.directory / "checkpoint-1")
        (pair.directory / "renamed.bin").chmod(0o755)
        pair.arrives()
        soon(state_is(State.IDLE), status)
        assert status().pushed == git("rev-parse", "main", cwd=pair.remote).decode().strip()
    pair.assert_delivered(tmp_path)
    assert "verified at" in daemon.said()
    assert "stopped" in daemon.said()


def outside(base: Path) -> Path:
    """A tree that is moved into the directory as a whole."""
    for number in range(20):
        write(base / "elsewhere" / f"layer{number}" / "weights.bin", random_bytes(number, 2000))
    return base / "elsewhere"


def test_many_files_from_several_processes_all_arrive(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    configure(pair.table())
    with daemon.start(), contextlib.ExitStack() as writers:
        children = [writers.enter_context(running(WRITER, pair.directory, "800", f"w{seed}")) for seed in range(4)]
        for child in children:
            assert child.wait(60) == 0
        pair.arrives()
        assert len(remote_tree(pair.remote)) == 3200
    pair.assert_delivered(tmp_path)


@pytest.fixture
def unwatched(pair: Pair, tmp_path: Path) -> Path:
    """A second name, outside of the directory, of a file in it: writes through it give no event inside."""
    os.link(write(pair.directory / "weights.bin", random_bytes(2, 10_000)), tmp_path / "weights")
    return tmp_path / "weights"


def test_a_change_that_gives_no_event_is_found_by_the_rescan(pair: Pair, unwatched: Path, daemon: Daemon) -> None:
    configure(pair.table(rescan="1s"))
    with daemon.start():
        pair.arrives()
        unwatched.write_bytes(b"changed behind its back")
        pair.arrives()


def test_until_the_rescan_such_a_change_is_brought_by_a_command(pair: Pair, unwatched: Path, daemon: Daemon) -> None:
    """The counter-proof of the test above, too: the change really gives no event."""
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        before = remote_tree(pair.remote)
        unwatched.write_bytes(b"changed behind its back")
        write(pair.directory / "marker", b"seen")
        soon(lambda: b"marker" in remote_tree(pair.remote), "the marker did not arrive")
        assert remote_tree(pair.remote)[b"weights.bin"] == before[b"weights.bin"]
        assert lfssync("sync").returncode == 0
        pair.arrives()


def test_a_write_through_a_mapping_arrives(pair: Pair, daemon: Daemon) -> None:
    path = write(pair.directory / "weights.bin", random_bytes(2, 10_000))
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:4] = b"mmap"
            write(pair.directory / "marker", b"seen")
            soon(lambda: b"marker" in remote_tree(pair.remote), "the marker did not arrive")
            memory[4:8] = b"more"
        pair.arrives()


def test_events_lost_while_it_stood_still_are_made_up_for(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table())
    first, second = (write(pair.directory / name, b"x") for name in ("first", "second"))
    with daemon.start():
        pair.arrives()
        daemon.signal(signal.SIGSTOP)
        # The queue of events fills up, so those of the files that come then are lost.
        for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
            os.utime(first)
            os.utime(second)
        for number in range(50):
            write(pair.directory / f"d{number % 7}" / f"f{number}", b"%d" % number)
        second.unlink()
        daemon.signal(signal.SIGCONT)
        pair.arrives()
        daemon.says("were lost")


def test_without_watches_it_looks_from_time_to_time(pair: Pair, tmp_path: Path) -> None:
    for number in range(5):
        write(pair.directory / f"folder{number}" / "file", b"x")
    configure(pair.table(rescan="1s"))
    limited = (*OWN_WORLD, "sh", "-c", 'echo 3 > /proc/sys/user/max_inotify_watches; exec "$@"', "sh")
    with Daemon(tmp_path / "daemon.log", limited).start() as daemon:
        daemon.says("looking from time to time instead of watching: no watch is left")
        pair.arrives()
        write(pair.directory / "folder3" / "another", b"y")
        pair.arrives()


# -- writers that do not rest --------------------------------------------------------------------------------------


def test_an_endless_appender_is_mirrored_at_the_pace_of_max_wait(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(quiet="1s", max_wait="2s"))
    with daemon.start(), running(APPENDER, pair.directory / "train.log"):
        soon(lambda: b"train.log" in remote_tree(pair.remote), status)
        first = remote_tree(pair.remote)[b"train.log"]
        soon(lambda: remote_tree(pair.remote)[b"train.log"] != first, status)


def test_a_file_held_open_waits_and_is_delivered_once_it_is_closed(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(max_wait="10m"))
    with daemon.start():
        with (pair.directory / "events.bin").open("wb") as writer:
            writer.write(b"half of it")
            writer.flush()
            write(pair.directory / "done.txt", b"complete")
            soon(lambda: b"done.txt" in remote_tree(pair.remote), "what is complete did not arrive")
            soon(lambda: status().deferred, "the open file is not shown")
            document = lfssync("status", "--json").stdout
            assert '"path": "events.bin"' in document
            assert '"reason": "open for writing"' in document
            assert '"state": "settling"' in document
            assert b"events.bin" not in remote_tree(pair.remote)
            writer.write(b", and the rest")
        pair.arrives()
        soon(state_is(State.IDLE), status)
        assert status().deferred == ()
        daemon.says("waiting for events.bin: open for writing")


def test_changes_that_settle_show_in_the_status(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(quiet="5m", max_wait="10m"))
    with daemon.start():
        soon(state_is(State.SETTLING), status)
        assert lfssync("sync").returncode == 0
        write(pair.directory / "file", b"x")
        soon(state_is(State.SETTLING), status)


# -- the process ---------------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_and_told_which_one_runs(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table())
    with daemon.start():
        second = lfssync("run")
        assert second.returncode == 4
        assert f"process {daemon.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        write(pair.directory / "file", b"the first one goes on")
        pair.arrives()


def test_a_daemon_of_another_state_folder_does_not_take_the_socket_away(
    pair: Pair, daemon: Daemon, tmp_path: Path
) -> None:
    configure(pair.table())
    with daemon.start():
        runtime = {"XDG_STATE_HOME": str(tmp_path / "other")}
        second = subprocess.run(
            [sys.executable, "-m", "lfssync", "run"], cwd=Path(__file__).parents[2], env=os.environ | runtime,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 4
        assert f"process {daemon.pid}" in second.stderr
        assert lfssync("sync").returncode == 0


def test_two_daemons_on_one_directory_and_remote_lose_nothing(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    own = {"XDG_STATE_HOME": str(tmp_path / "s2"), "XDG_RUNTIME_DIR": str(tmp_path / "r2")}
    with Daemon(tmp_path / "1.log").start() as one, Daemon(tmp_path / "2.log", environment=own).start() as other:
        for number in range(10):
            write(pair.directory / f"part{number}.bin", random_bytes(number, 20_000))
            pair.arrives()
        (pair.directory / "part0.bin").unlink()
        (pair.directory / "part1.bin").write_bytes(b"changed")
        pair.arrives()
        soon(state_is(State.IDLE), lambda: (one.said(), other.said()))
    pair.assert_delivered(tmp_path)


def test_two_directories_on_one_branch_both_arrive(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    configure(pair.table(into="one"), {"path": other, "remote": pair.remote, "into": "two"})
    with daemon.start():
        for number in range(5):
            write(pair.directory / f"{number}.bin", random_bytes(number, 5000))
            write(other / f"{number}.bin", random_bytes(number + 100, 5000))
        wanted = {b"%s/%d.bin" % (side, number) for side in (b"one", b"two") for number in range(5)}
        soon(lambda: wanted <= remote_tree(pair.remote).keys(), daemon.said)


def test_it_tells_the_service_manager(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    configure(pair.table())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with Daemon(daemon.log, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}).start() as started:
            assert manager.recv(1000).decode().splitlines() == ["READY=1", f"MAINPID={started.pid}"]
            assert lfssync("status").returncode == 0
        said = [b""]
        while not said[-1].startswith(b"STOPPING=1\n"):
            said.append(manager.recv(1000))
        assert b"STATUS=1 mirror: settling" in said


def test_it_is_not_ready_when_it_cannot_begin(daemon: Daemon, tmp_path: Path) -> None:
    write_configuration("[[mirror]]\npath = 3\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.2)
        done = lfssync("run", env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert done.returncode == 2
        assert "config.toml:2" in done.stderr
        with contextlib.suppress(TimeoutError):
            assert not manager.recv(1000).startswith(b"READY=1")


def test_an_order_to_end_in_the_middle_of_a_large_copy_is_followed(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    configure(pair.table(shutdown_grace="500ms"))
    with (pair.directory / "huge.bin").open("wb") as file:
        file.truncate(HUGE_BYTES)
    daemon.start()
    soon(state_is(State.UPLOADING), status)
    began = time.monotonic()
    daemon.stop(10)
    print(f"ended {time.monotonic() - began:.2f} s after SIGTERM in the middle of a copy")
    assert not remote_tree(pair.remote)
    assert litter(pair.remote) == []
    (pair.directory / "huge.bin").write_bytes(b"small after all")
    with daemon.start():
        pair.arrives()
    pair.assert_delivered(tmp_path)
    assert litter(places().state_dir) == []


def test_killed_in_the_middle_of_passes_it_finishes_after_a_restart(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    configure(pair.table())
    for number in range(6):
        for part in range(12):
            write(pair.directory / f"run{number}" / f"{part}.bin", random_bytes(number * 100 + part, 1 << 20))
        daemon.start()
        soon(lambda: status().state.is_working or state_is(State.IDLE)(), status)
        nothing_happens(source.uniform(0, 0.3))
        daemon.kill()
    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        write(pair.directory / "last.bin", random_bytes(7, 2 << 20))
        pair.arrives()
        soon(state_is(State.IDLE), status)
    pair.assert_delivered(tmp_path)
    assert litter(pair.remote) == []
    assert litter(places().state_dir) == []


# -- configuration -------------------------------------------------------------------------------------------------


def test_a_changed_configuration_takes_effect_without_a_restart(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    second = Pair.make(tmp_path, "second")
    write(pair.directory / "file", b"1")
    write(second.directory / "file", b"2")
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        configure(pair.table(), second.table())
        second.arrives()
        third = make_bare(tmp_path / "third.git")
        configure({"path": pair.directory, "remote": third}, second.table())
        Pair(pair.directory, third).arrives()
        daemon.says("model: has new settings")
        configure(second.table())
        daemon.says("model: no longer mirrored")
        write(pair.directory / "later", b"not mirrored")
        write(second.directory / "later", b"mirrored")
        second.arrives()
        assert b"later" not in remote_tree(third)


def test_add_and_remove_reach_the_running_daemon(pair: Pair, daemon: Daemon) -> None:
    write(pair.directory / "file", b"1")
    with daemon.start():
        added = lfssync("add", pair.directory, pair.remote, "--quiet", "200ms")
        assert added.returncode == 0, added.stderr
        pair.arrives()
        assert lfssync("remove", pair.name, "--purge").returncode == 0
        daemon.says("no longer mirrored")
        assert not places().mirror_state(pair.name).exists()
        assert remote_tree(pair.remote)
        assert (pair.directory / "file").exists()


def test_removing_a_mirror_breaks_its_pass_off(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table())
    with (pair.directory / "huge.bin").open("wb") as file:
        file.truncate(HUGE_BYTES)
    with daemon.start():
        soon(state_is(State.UPLOADING), status)
        removed = lfssync("remove", pair.name, "--purge")
        assert removed.returncode == 0, removed.stderr
        assert not places().mirror_state(pair.name).exists()
        soon(lambda: litter(pair.remote) == [], lambda: litter(pair.remote))
        assert not remote_tree(pair.remote)
    assert not places().mirror_state(pair.name).exists()


def test_a_broken_configuration_changes_nothing_and_is_told_once(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table())
    complaint = "the configuration stays as it was"
    with daemon.start():
        good = places().config_file.read_text()
        write_configuration(good + "\nnonsense")
        daemon.says(complaint)
        write(pair.directory / "file", b"1")
        pair.arrives()
        daemon.signal(signal.SIGHUP)
        write(pair.directory / "another", b"2")
        pair.arrives()
        assert daemon.said().count(complaint) == 1
        assert lfssync("sync").returncode == 2
        write_configuration(good)
        daemon.says("the configuration is in order again")
        write_configuration(good + "\nnonsense")
        daemon.says(complaint, 2)


def test_a_hangup_has_the_configuration_read_again(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table())
    with daemon.start():
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGHUP)
        write(pair.directory / "file", b"still here")
        pair.arrives()


# -- months --------------------------------------------------------------------------------------------------------


def test_an_idle_daemon_costs_next_to_nothing(pair: Pair, daemon: Daemon) -> None:
    for number in range(5000):
        write(pair.directory / f"d{number % 50}" / f"f{number}", b"%d" % number)
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        before, began = daemon.cpu_s(), time.monotonic()
        nothing_happens(10)
        used_s = daemon.cpu_s() - before
        print(f"{used_s:.2f} s of processor time in {time.monotonic() - began:.1f} s with 5,000 files")
        assert used_s < 0.5


def test_threads_and_descriptors_stay_bounded(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(quiet="0s"))
    with daemon.start():
        write(pair.directory / "model.bin", b"first")
        pair.arrives()
        soon(state_is(State.IDLE), status)
        soon(lambda: len(daemon.threads()) == len(("main", "control", "network", "watching")), daemon.threads)
        before = (daemon.threads(), daemon.descriptors())
        for number in range(50):
            write(pair.directory / "model.bin", random_bytes(number, 1000))
            daemon.says("verified at", number + 2)
        soon(lambda: (daemon.threads(), daemon.descriptors()) == before, lambda: (before, daemon.descriptors()))


def test_the_daemon_releases_by_its_rules(pair: Pair, daemon: Daemon) -> None:
    write(pair.directory / "a", b"1")
    rules = 'tag = [{when = "marker"}, {when = "push", branch = "latest"}]\n'
    write_configuration(f'[[mirror]]\npath = "{pair.directory}"\nremote = "{pair.remote}"\nquiet = "200ms"\n{rules}')
    with daemon.start():
        write(pair.directory / "RELEASE", b"v1.0.0\n")
        listed = ("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)")
        found = soon(lambda: [
            line.split() for line in git(*listed, "refs/tags/v1.0.0", cwd=pair.remote).decode().splitlines()
        ])  # fmt: skip
        commit = found[0][2]
        assert git("cat-file", "blob", f"{commit}:RELEASE", cwd=pair.remote) == b"v1.0.0\n"
        soon(lambda: commit in git(*listed, "refs/heads/latest", cwd=pair.remote).decode())
        soon(lambda: lfssync("status", "--json").stdout.count("v1.0.0"))
