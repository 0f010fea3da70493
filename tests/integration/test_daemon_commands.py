"""Commands with a running daemon and without one, and troubles: each shows in status, exit code and log, and passes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
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

from lfssync.configuration import config
from lfssync.errors import BlockedError, NotDoneError
from lfssync.model import Plan, Progress, State, silent
from lfssync.service import executors, operations
from lfssync.service.executors import Asking, Here
from tests.contract.lfsserver import serving
from tests.helpers import clone, git, random_bytes, tree, write
from tests.integration.daemons import (
    LFSSYNC,
    OWN_WORLD,
    PROJECT,
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
from tests.terminals import running

SLOW = {"quiet": "10m", "max_wait": "20m"}
"""A daemon with these would by itself do nothing while a test runs, so what happens is the command's doing."""

LOOK_S = 60.0
"""A trouble has to show within so long."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "daemon.log")


@pytest.fixture(params=["with a daemon", "alone"])
def helped(request: pytest.FixtureRequest, pair: Pair, daemon: Daemon) -> Iterator[bool]:
    """Whether a daemon runs, which leaves the mirror alone; every test with this runs both ways."""
    configure(pair.table(**SLOW))
    if request.param == "alone":
        yield False
        return
    with daemon.start():
        yield True


# -- the same answers either way -----------------------------------------------------------------------------------


def test_sync_delivers(helped: bool, pair: Pair, tmp_path: Path) -> None:
    write(pair.directory / "model.bin", random_bytes(1, 3 << 20))
    write(pair.directory / "config.json", b"{}")
    done = lfssync("sync", "--json")
    assert done.returncode == 0, done.stderr
    (mirror,) = json.loads(done.stdout)["mirrors"]
    assert mirror["files"] == {"added": 2, "changed": 0, "removed": 0}
    assert mirror["commit"] == git("rev-parse", "main", cwd=pair.remote).decode().strip()
    pair.assert_delivered(tmp_path)


def test_who_does_the_work(helped: bool, pair: Pair) -> None:
    assert isinstance(executors.connect(places(), config.load(places())), Asking if helped else Here)


def test_progress_is_told(helped: bool, pair: Pair) -> None:
    write(pair.directory / "model.bin", random_bytes(1, 3 << 20))
    configuration = config.load(places())
    events: list[Plan | Progress] = []
    executors.connect(places(), configuration).sync(configuration.mirrors[0], False, events.append)
    plans = [event.state for event in events if isinstance(event, Plan)]
    assert plans == [State.STAGING, State.UPLOADING]
    ends = [event for event in events if isinstance(event, Progress) and event.done_bytes == event.size_bytes]
    assert {(event.state, event.path) for event in ends} == {
        (State.STAGING, b"model.bin"),
        (State.UPLOADING, b"model.bin"),
    }


def test_tag_releases_and_refuses_to_move(helped: bool, pair: Pair, tmp_path: Path) -> None:
    write(pair.directory / "model.bin", random_bytes(1, 2 << 20))
    done = lfssync("tag", "v1", "-m", "the first")
    assert done.returncode == 0, done.stderr
    released = tree(clone(pair.remote, tmp_path / "v1", "v1"))
    write(pair.directory / "model.bin", random_bytes(2, 2 << 20))
    again = lfssync("tag", "v1")
    assert again.returncode == 4
    assert "the tag v1 exists" in again.stderr
    assert tree(clone(pair.remote, tmp_path / "again", "v1")) == released
    assert lfssync("tag", "..").returncode == 2


def test_wait_returns_when_all_is_verified_and_gives_up_in_time(helped: bool, pair: Pair) -> None:
    write(pair.directory / "complete.bin", b"complete")
    assert lfssync("wait", "--timeout", "30s").returncode == 0
    assert b"complete.bin" in remote_tree(pair.remote)
    with (pair.directory / "events.bin").open("wb"):
        late = lfssync("wait", "--timeout", "1s")
        assert late.returncode == 3
        assert "events.bin: open for writing" in late.stderr
    configure(pair.table(**SLOW | {"quiet": "100ms"}))
    assert lfssync("wait", "--timeout", "30s").returncode == 0
    assert b"events.bin" in remote_tree(pair.remote)


def test_wait_gives_up_in_time_though_a_transfer_takes_longer(helped: bool, pair: Pair) -> None:
    with (pair.directory / "huge.bin").open("wb") as file:
        file.truncate(3 << 30)
    began = time.monotonic()
    late = lfssync("wait", "--timeout", "1s")
    assert late.returncode == 3
    assert time.monotonic() - began < 6
    assert "model is not done" in late.stderr


@pytest.mark.parametrize("command", ["wait", "sync"])
def test_a_terminal_shows_what_the_daemon_delivers_meanwhile(
    pair: Pair, daemon: Daemon, tmp_path: Path, command: str
) -> None:
    with serving(tmp_path / "served") as server:
        lfs_url = f"{server.address}/model.git/info/lfs"
        configure(pair.table(quiet="100ms", rate_limit="400kB/s", lfs_url=lfs_url))
        with daemon.start():
            write(pair.directory / "weights.bin", random_bytes(1, 3 << 20))
            soon(state_is(State.UPLOADING), daemon.said)
            script = subprocess.Popen([*LFSSYNC, command], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with running([*LFSSYNC, command], PROJECT, {"PYTHONPATH": str(PROJECT)}) as session:
                session.screen.shown_until("model: uploading 0 of 1")
                session.screen.shown_until("weights.bin")
                last = session.screen.rest().splitlines()[-1]
                assert session.exit_code() == 0
            pair.arrives()
            commit = git("rev-parse", "--short=7", "main", cwd=pair.remote).decode().strip()
            assert last.endswith(f"model\x1b[0m: delivered meanwhile, verified at {commit}"), last
            assert script.communicate(timeout=60) == (f"model: nothing to do, verified at {commit}\n".encode(), b"")
            with running([*LFSSYNC, command], PROJECT, {"PYTHONPATH": str(PROJECT)}) as session:
                words = "everything is there" if command == "wait" else "nothing to do"
                assert f": {words}, verified at {commit}" in session.screen.rest()


def test_a_terminal_shows_what_is_in_the_way(helped: bool, pair: Pair) -> None:
    with (
        (pair.directory / "events.bin").open("wb"),
        running([*LFSSYNC, "wait"], PROJECT, {"PYTHONPATH": str(PROJECT)}) as session,
    ):
        session.screen.shown_until("model: waiting: events.bin: open for writing")
        session.screen.press("\x03")
        assert session.exit_code() == 130


def test_wait_ends_early_when_what_was_in_the_way_is_gone(helped: bool, pair: Pair) -> None:
    configure(pair.table(**SLOW | {"quiet": "100ms"}))
    file = (pair.directory / "events.bin").open("wb")
    configuration = config.load(places())
    threading.Timer(1.0, file.close).start()
    executors.connect(places(), configuration).wait(configuration.mirrors[0], 60, silent)
    pair.arrives()


def test_errors_keep_their_words_and_exit_codes(helped: bool, pair: Pair) -> None:
    write(pair.directory / "file", b"x")
    shutil.rmtree(pair.remote)
    gone = lfssync("sync")
    assert gone.returncode == 4
    assert re.fullmatch(r"error: model: .*model\.git is no git repository; create one .*\n", gone.stderr), gone.stderr
    unknown = lfssync("sync", "modle")
    assert unknown.returncode == 2
    assert "did you mean model?" in unknown.stderr


def test_many_files_in_the_way_are_all_named(helped: bool, pair: Pair) -> None:
    """The answer is far longer than a request may be."""
    count = 400
    writers = []
    try:
        for number in range(count):
            writers.append((pair.directory / f"{number:04}{'x' * 200}").open("wb"))
        done = lfssync("sync", "--json")
    finally:
        for writer in writers:
            writer.close()
    assert done.returncode == 3
    assert len(json.loads(done.stdout)["mirrors"][0]["deferred"]) == count


# -- a daemon that is not there, or goes away ----------------------------------------------------------------------


def test_a_daemon_of_another_configuration_is_left_alone(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    configure()
    other = tmp_path / "other.toml"
    other.write_text(f'[[mirror]]\npath = "{pair.directory}"\nremote = "{pair.remote}"\n')
    write(pair.directory / "file", b"x")
    with daemon.start():
        done = lfssync("--config", other, "sync")
        assert done.returncode == 0, done.stderr
        pair.arrives()


def test_a_command_goes_on_alone_when_the_daemon_dies(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(**SLOW))
    write(pair.directory / "file", b"x")
    configuration = config.load(places())
    daemon.start()
    does = executors.connect(places(), configuration)
    daemon.kill()
    assert isinstance(does, Asking)
    does.sync(configuration.mirrors[0], False, silent)
    pair.arrives()


def test_an_order_to_end_does_not_wait_for_those_who_wait(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(**SLOW))
    daemon.start()
    with (pair.directory / "events.bin").open("wb"):
        waiting = [
            subprocess.Popen(
                [*LFSSYNC, "wait", "--timeout", "10m"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(3)
        ]
        soon(lambda: status().deferred, status)
        daemon.stop(10)
        for child in waiting:
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 130
            child.communicate()


def test_a_daemon_that_stands_still_is_shown_as_running(pair: Pair, daemon: Daemon) -> None:
    configure(pair.table(**SLOW))
    with daemon.start():
        daemon.signal(signal.SIGSTOP)
        document = json.loads(lfssync("status", "--json").stdout)["daemon"]
        daemon.signal(signal.SIGCONT)
        assert document == {"running": True, "pid": daemon.pid, "since": None, "complaints": []}
    assert not operations.daemon_info(places()).running


def test_ctrl_c_ends_a_sync_in_the_middle_of_a_large_file(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    with (pair.directory / "huge.bin").open("wb") as file:
        file.truncate(64 << 30)  # a hole, read for a minute: the signal comes in time on the busiest machine
    child = subprocess.Popen([*LFSSYNC, "sync"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        soon(lambda: status().state.is_working, status)
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    finally:
        child.kill()
        _, said = child.communicate()
    assert b"interrupted" in said
    assert litter(pair.remote) == []
    assert not remote_tree(pair.remote)


def test_killed_between_commit_and_push_it_shows_as_not_delivered(pair: Pair) -> None:
    write(pair.directory / "file", b"1")
    configure(pair.table())
    assert lfssync("sync").returncode == 0
    delivered = status().pushed
    hook = write(pair.remote / "hooks/pre-receive", b"#!/bin/sh\ntouch arrived\nsleep 3\n")
    hook.chmod(0o755)
    write(pair.directory / "file", b"2")
    child = subprocess.Popen([*LFSSYNC, "sync"], cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        soon((pair.remote / "arrived").exists, status)
    finally:
        child.kill()
        child.wait()
    now = status()
    assert (now.pushed, now.state.is_working) == (delivered, False)
    assert now.head not in (None, delivered)
    time.sleep(3)  # the remote's own hook
    hook.unlink()
    assert lfssync("sync").returncode == 0
    assert status().pushed == status().head


# -- a person must decide ------------------------------------------------------------------------------------------


def filled(pair: Pair, count: int = 30) -> None:
    for number in range(count):
        write(pair.directory / f"{number}.bin", random_bytes(number, 1000))


def blocked(pair: Pair, daemon: Daemon, words: str) -> None:
    """The mirror is blocked by itself, in status, log and exit code, and the remote has everything that it had."""
    before = remote_tree(pair.remote)
    soon(state_is(State.BLOCKED), status, LOOK_S)
    error = status().error
    assert error is not None
    assert re.search(words, error["message"])
    assert error["remedy"]
    daemon.says(error["message"])
    done = lfssync("sync")
    assert done.returncode == 4
    assert re.search(words, done.stderr)
    assert remote_tree(pair.remote) == before


def test_an_emptied_directory_is_a_question(pair: Pair, daemon: Daemon) -> None:
    filled(pair)
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        for file in pair.directory.iterdir():
            file.unlink()
        blocked(pair, daemon, "30 of 30 files are gone")
        approved = lfssync("sync", "--accept-deletions", pair.name)
        assert approved.returncode == 0, approved.stderr
        assert not remote_tree(pair.remote)
        soon(state_is(State.IDLE), status)
        write(pair.directory / "new", b"goes on at once")
        pair.arrives(10)


def test_a_directory_that_went_away_is_a_question_until_it_comes_back(pair: Pair, daemon: Daemon) -> None:
    filled(pair)
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        pair.directory.rename(pair.directory.with_name("elsewhere"))
        blocked(pair, daemon, "is gone")
        pair.directory.with_name("elsewhere").rename(pair.directory)
        write(pair.directory / "new", b"x")
        pair.arrives()
        soon(state_is(State.IDLE), status)
        daemon.says("model: goes on again")
        daemon.says("model: watching again")


def test_a_directory_that_was_removed_and_made_anew_is_a_question(pair: Pair, daemon: Daemon) -> None:
    filled(pair)
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        shutil.rmtree(pair.directory)
        pair.directory.mkdir()
        blocked(pair, daemon, "(30 of 30 files are|is) gone")


def test_an_unmounted_disk_is_a_question(pair: Pair, tmp_path: Path) -> None:
    """The directory is a disk of its own, in a world that only the daemon sees."""
    configure(pair.table())
    mounting = 'mount -t tmpfs none "$0" && seq 1 30 | while read n; do echo $n > "$0/$n"; done && exec "$@"'
    wrapper = (*OWN_WORLD, "sh", "-c", mounting, str(pair.directory))
    with Daemon(tmp_path / "daemon.log", wrapper).start() as daemon:
        soon(lambda: len(remote_tree(pair.remote)) == 30, status)
        soon(state_is(State.IDLE), status)
        inside = ("nsenter", "--target", str(daemon.pid), "--user", "--mount", "--preserve-credentials")
        subprocess.run([*inside, "umount", "--lazy", str(pair.directory)], check=True)
        blocked(pair, daemon, "30 of 30 files are gone")
        assert len(remote_tree(pair.remote)) == 30


# -- troubles that pass --------------------------------------------------------------------------------------------


def test_a_remote_out_of_reach_is_told_and_recovered_from(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    write(pair.directory / "first", b"1")
    configure(pair.table())
    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        pair.remote.rename(tmp_path / "away")
        write(pair.directory / "second.bin", random_bytes(2, 1 << 20))
        soon(lambda: status().state in (State.OFFLINE, State.BLOCKED), status, LOOK_S)
        error = status().error
        assert error is not None
        assert error["remedy"]
        daemon.says(error["message"])
        (tmp_path / "away").rename(pair.remote)
        assert lfssync("sync").returncode == 0
        soon(state_is(State.IDLE), status, 10)
        write(pair.directory / "third", b"not held back any longer")
        pair.arrives(10)
        daemon.says("model: goes on again")


def test_a_remote_that_comes_back_is_found_without_a_command(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    write(pair.directory / "file", b"1")
    configure(pair.table())
    pair.remote.rename(tmp_path / "away")
    with daemon.start():
        soon(lambda: status().state in (State.OFFLINE, State.BLOCKED), status, LOOK_S)
        (tmp_path / "away").rename(pair.remote)
        pair.arrives()
        soon(state_is(State.IDLE), status)


class Listener:
    """A host on the loopback that takes every connection, and says nothing or hangs up.

    Args:
        hangs_up: Whether it does that once it was asked: with the question unread, git would tell now of an empty
            reply and now of a connection that was reset.
    """

    def __init__(self, hangs_up: bool) -> None:
        self.calls = 0
        self._hangs_up = hangs_up
        self._ends = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve)

    def repository(self, name: str) -> str:
        """The address of a repository there."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/{name}.git"

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        held = []
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                held.append(self._socket.accept()[0])
                self.calls += 1
                if self._hangs_up:
                    held[-1].settimeout(5.0)
                    held[-1].recv(1 << 16)
                    held.pop().close()
        for connection in held:
            connection.close()


def test_one_trouble_is_one_line_in_the_log(pair: Pair, daemon: Daemon) -> None:
    with Listener(hangs_up=True) as host:
        write(pair.directory / "file", b"1")
        configure(pair.table(remote=host.repository(pair.name)))
        with daemon.start():
            soon(lambda: host.calls >= 3, daemon.said)
            soon(state_is(State.OFFLINE), status)  # while it tries again it is at work
            found = status()
            assert found.error is not None
            assert daemon.said().count(found.error["message"]) == 1


def refuse(remote: Path, words: str) -> None:
    """Let the remote refuse every push, in its own words."""
    hook = write(remote / "hooks/pre-receive", f"#!/bin/sh\necho '{words}' >&2\nexit 1\n".encode())
    hook.chmod(0o755)


def test_troubled_mirrors_do_not_hold_up_the_others(pair: Pair, daemon: Daemon, tmp_path: Path) -> None:
    lost = [Pair.make(tmp_path, f"lost{number}") for number in range(6)]
    silent_ones = [Pair.make(tmp_path, f"silent{number}") for number in range(3)]
    for one in (*lost, *silent_ones):
        write(one.directory / "file", b"x")
        shutil.rmtree(one.remote)
    with Listener(hangs_up=False) as host:
        configure(
            *(one.table() for one in lost),
            *(one.table(remote=host.repository(one.name)) for one in silent_ones),
            pair.table(),
            defaults={"shutdown_grace": "1s"},
        )
        with daemon.start():
            soon(lambda: host.calls >= 3, daemon.said)
            write(pair.directory / "file", b"x")
            pair.arrives(10)
            for one in lost:
                soon(lambda name=one.name: status(name).error, status)  # type: ignore[misc]
            daemon.stop(10)


@pytest.mark.parametrize(
    "options", ["ro", "size=4k,nr_inodes=6", "size=500k"], ids=["read-only", "full", "full in the middle"]
)
def test_a_state_folder_out_of_order_is_told_and_recovered_from(pair: Pair, tmp_path: Path, options: str) -> None:
    """The state of one mirror is a disk of its own that is read-only, or full, until it is mounted anew."""
    write(pair.directory / "plain.txt", random_bytes(3, 400_000).hex().encode())
    configure(pair.table(lfs_threshold="10MB"))
    state = places().mirror_state(pair.name)
    state.mkdir(parents=True)
    mounting = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    wrapper = (*OWN_WORLD, "sh", "-c", mounting, str(state))
    with Daemon(tmp_path / "daemon.log", wrapper).start() as daemon:
        soon(lambda: status().error, daemon.said, LOOK_S)
        found = status()
        assert found.state is State.OFFLINE
        assert found.error is not None
        assert found.error["remedy"]
        daemon.says(found.error["message"])
        assert not remote_tree(pair.remote)
        inside = ("nsenter", "--target", str(daemon.pid), "--user", "--mount", "--preserve-credentials")
        shown = subprocess.run(
            [*inside, f"--wd={PROJECT}", *LFSSYNC, "status", "--json"], cwd=PROJECT, capture_output=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        (mirror,) = json.loads(shown.stdout)["mirrors"]
        assert (mirror["state"], mirror["pushed"]) == ("offline", None), mirror
        assert mirror["error"]["remedy"]
        subprocess.run([*inside, "mount", "-o", "remount,rw,size=100m,nr_inodes=10k", str(state)], check=True)
        pair.arrives()
        daemon.says("model: goes on again")
        soon(lambda: status().error is None, status)


def test_a_file_that_may_not_be_read_does_not_keep_it_busy(pair: Pair, tmp_path: Path) -> None:
    secret = write(pair.directory / "secret", b"x")
    secret.chmod(0)
    write(pair.directory / "file", b"x")
    configure(pair.table(quiet="0s"))
    plain = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    with Daemon(tmp_path / "daemon.log", plain).start() as daemon:
        soon(lambda: b"file" in remote_tree(pair.remote), status)
        soon(lambda: status().deferred, status)
        daemon.says("waiting for secret: permission denied")
        before = daemon.cpu_s()
        threading.Event().wait(3)
        assert daemon.cpu_s() - before < 0.5
        secret.chmod(0o644)
        pair.arrives()


def test_the_daemon_starts_with_a_state_folder_that_cannot_be_used_at_all(pair: Pair, tmp_path: Path) -> None:
    """It cannot even begin: it says so, with an exit code by which the service manager tries again or not."""
    configure(pair.table())
    blocking = write(tmp_path / "a file", b"")
    done = lfssync("run", env=os.environ | {"LFSSYNC_STATE_DIR": str(blocking / "state")})
    assert done.returncode == 2
    assert "a file" in done.stderr
    assert "LFSSYNC_STATE_DIR" in done.stderr
    assert not done.stdout


def test_blocked_and_unfinished_are_errors_of_their_own(pair: Pair) -> None:
    """What the in-process interface raises is what the exit codes stand for."""
    configure(pair.table(**SLOW | {"quiet": "0s"}))
    configuration = config.load(places())
    does = executors.connect(places(), configuration)
    refuse(pair.remote, "no")
    write(pair.directory / "file", b"x")
    with pytest.raises(BlockedError):
        does.sync(configuration.mirrors[0], False, silent)
    (pair.remote / "hooks/pre-receive").unlink()
    with (pair.directory / "open").open("wb"), pytest.raises(NotDoneError):
        does.wait(configuration.mirrors[0], 0.5, silent)


# -- removing ------------------------------------------------------------------------------------------------------


def test_purge_leaves_nothing_but_the_remote_and_the_directory(pair: Pair) -> None:
    write(pair.directory / "file", b"x")
    assert lfssync("add", pair.directory).returncode == 0
    assert lfssync("sync").returncode == 0
    remote = places().embedded_remote(pair.name)
    assert remote_tree(remote)
    assert lfssync("remove", pair.name, "--purge").returncode == 0
    assert not places().mirror_state(pair.name).exists()
    assert remote_tree(remote)
    assert (pair.directory / "file").read_bytes() == b"x"


def test_purge_waits_for_a_pass_of_another_process(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    with (pair.directory / "huge.bin").open("wb") as file:
        file.truncate(3 << 28)
    child = subprocess.Popen([*LFSSYNC, "sync"], cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    soon(lambda: status().state.is_working, status)
    removed = lfssync("remove", pair.name, "--purge")
    assert removed.returncode == 0, removed.stderr
    assert child.wait(60) == 0
    child.communicate()
    assert not places().mirror_state(pair.name).exists()
    pair.arrives()


def test_who_waited_for_a_purged_lock_takes_the_new_one(pair: Pair, tmp_path: Path) -> None:
    """Two passes wait for a lock whose file is deleted meanwhile: they must not both go ahead."""
    write(pair.directory / "file", b"x")
    configure(pair.table())
    code = (
        "import sys, threading; from pathlib import Path; from lfssync.records.lock import held\n"
        "with held(Path(sys.argv[1]), 60, threading.Event()):\n"
        "    print('in', flush=True); sys.stdin.read(1); print('out', flush=True)\n"
    )
    state = tmp_path / "state"

    def holder() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(state)], cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def entered(child: subprocess.Popen[str]) -> bool:
        assert child.stdout is not None
        return child.stdout.readline() == "in\n"

    with holder() as first:
        assert entered(first)
        with holder() as second, holder() as third:
            soon(lambda: waits_for(second, state) and waits_for(third, state), "they do not come to the lock")
            shutil.rmtree(state)
            first.communicate("x", 30)
            soon(lambda: has_said(second) or has_said(third), "none goes ahead")
            winner, loser = (second, third) if has_said(second) else (third, second)
            assert not has_said(loser)
            winner.communicate("x", 30)
            assert entered(loser)
            loser.communicate("x", 30)


def waits_for(child: subprocess.Popen[str], state: Path) -> bool:
    """Whether the child has the lock's file open."""
    links = [os.path.join(f"/proc/{child.pid}/fd", name) for name in os.listdir(f"/proc/{child.pid}/fd")]
    return any(os.path.exists(link) and os.readlink(link).startswith(str(state / "lock")) for link in links)


def has_said(child: subprocess.Popen[str]) -> bool:
    """Whether something is there to be read from the child."""
    assert child.stdout is not None
    return bool(select.select([child.stdout], [], [], 0.3)[0])


def test_the_embedded_remote_is_made_once_for_daemon_and_command(pair: Pair, daemon: Daemon) -> None:
    with daemon.start():
        assert lfssync("add", pair.directory, "--quiet", "100ms").returncode == 0
        write(pair.directory / "file", b"x")
        assert lfssync("sync").returncode == 0
        Pair(pair.directory, places().embedded_remote(pair.name)).arrives()
