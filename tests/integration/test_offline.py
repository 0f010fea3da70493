"""The remote is out of reach: what settles is kept and committed here, and all of it arrives in order later."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfssync.answers import LogKind, MirrorStatus
from lfssync.credentials import Credential
from lfssync.errors import BlockedError, NotDoneError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.git.repository import Repository
from lfssync.line.delivery import Delivery
from lfssync.line.outofreach import OutOfReachError
from lfssync.line.pipeline import Aim, Order, run_pass
from lfssync.line.workbench import Session
from lfssync.model import CreatePolicy, Plan, Progress, State
from lfssync.records.report import read_status
from lfssync.service import delivering
from lfssync.versions import history
from lfssync.versions.releases import release
from tests.contract.lfsserver import Reply, serving
from tests.helpers import assert_whole, clone, git, objects_of_history, random_bytes, write
from tests.integration.daemons import (
    LFSSYNC,
    OWN_WORLD,
    PROJECT,
    Daemon,
    Pair,
    configure,
    lfssync,
    places,
    soon,
    state_is,
    status,
)
from tests.integration.site import Content, Site
from tests.logins import Logins

SIZE = 3 << 20


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A mirror that was delivered once; copies of whatever a test writes have room."""
    site = Site.make(tmp_path, headroom_bytes=0)
    site.put({b"config.json": b"{}"})
    return site


@contextmanager
def out_of_reach(site: Site) -> Iterator[None]:
    """The remote's disk is not mounted."""
    aside = site.base / "aside.git"
    site.remote.rename(aside)
    try:
        yield
    finally:
        aside.rename(site.remote)


def cut_off(site: Site, contents: dict[bytes, Content]) -> OutOfReachError:
    """Lay down and sync, which cannot reach the remote."""
    site.lay(contents)
    with pytest.raises(OutOfReachError) as met:
        site.sync()
    return met.value


def checkpoint(number: int) -> dict[bytes, Content]:
    """A model, whose arrival lets the one before go; all in one commit, as the folders have no name of a checkpoint."""
    return {b"run%d/weights" % number: random_bytes(number, SIZE), b"run%d/weights" % (number - 1): None}


def copies(site: Site) -> list[Path]:
    return [path for path in (site.state / "repo.git/lfs").rglob("*") if path.is_file()]


def status_of(site: Site) -> MirrorStatus:
    return read_status(site.mirror, site.state)


def subjects(site: Site) -> list[str]:
    return git("log", "--format=%s", "main", cwd=site.remote).decode().splitlines()


class Reads:
    """A monitor that remembers which files were read or sent."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []

    def __call__(self, event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.done_bytes == event.size_bytes:
            self.paths.append(event.path)


def read_by_a_pass(site: Site, session: Session | None = None) -> list[bytes]:
    """Which files a pass without the remote reads or copies."""
    reads = Reads()
    session = session or Session()
    session.monitor = reads
    with pytest.raises(TransientError):
        delivering.sync(site.mirror, site.state, Order(), session)
    return reads.paths


# -- a run that goes on ---------------------------------------------------------------------------------------------


def test_what_rotation_took_away_meanwhile_arrives_commit_by_commit(site: Site) -> None:
    with out_of_reach(site):
        for number in range(1, 5):
            error = cut_off(site, checkpoint(number))
            assert error.result.added == 1
            assert error.result.commit
            assert "is no git repository" in error.message
            assert "delivered later" in error.remedy
        assert len(copies(site)) == 4
        found = status_of(site)
        assert found.state is State.OFFLINE
        assert found.error
        assert found.head != found.pushed
        assert (found.pending_files, found.pending_bytes) == (1, 4 * SIZE)
        told = history.log(site.mirror, site.state, 10)
        assert [entry.kind for entry in told] == [LogKind.COMMIT] * 5
        assert told[0].commit == found.head
    result = site.sync()
    assert result.receipt
    assert result.commit == found.head
    assert len(subjects(site)) == 5
    assert len(objects_of_history(site.remote)) == 4
    assert_whole(site.remote)
    site.assert_mirrored()
    assert copies(site) == []
    done = status_of(site)
    assert (done.state, done.head, done.pending_files) == (State.IDLE, done.pushed, 0)


def test_old_objects_go_first(site: Site) -> None:
    before = site.tip()
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        cut_off(site, checkpoint(2))
        last = cut_off(site, checkpoint(3))
        repository = Repository(Git(site.state / "repo.git"), "main")
        head = last.result.commit
        assert head
        outgoing = Delivery(repository, site.mirror.remote).outgoing(head, before)
    wanted = [hashlib.sha256(random_bytes(number, SIZE)).hexdigest() for number in range(1, 4)]
    assert [lfs.oid for lfs in outgoing] == wanted


def test_a_remote_that_moved_on_meanwhile_is_merged(site: Site, tmp_path: Path) -> None:
    work = clone(site.remote, tmp_path / "work")
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        cut_off(site, checkpoint(2))
    write(work / "README.md", b"made on the web\n")
    git("add", "README.md", cwd=work)
    git("commit", "--quiet", "-m", "by hand", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    site.sync()
    assert "by hand" in subjects(site)
    assert len(objects_of_history(site.remote)) == 2
    site.assert_mirrored(besides={b"README.md": b"made on the web\n"})
    assert copies(site) == []


def test_the_first_contact_may_come_late(tmp_path: Path) -> None:
    """The address answers nothing, from the first pass on; git then says so in words of the network."""
    site = Site.make(tmp_path, headroom_bytes=0)
    remote = site.mirror.remote
    site.configure(remote="http://127.0.0.1:1/model.git")
    cut_off(site, checkpoint(1))
    cut_off(site, checkpoint(2))
    assert status_of(site).state is State.OFFLINE
    site.configure(remote=remote)
    site.sync()
    assert len(objects_of_history(site.remote)) == 2
    site.assert_mirrored()


def test_a_repository_that_is_yet_to_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its host can be asked whether it is there."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    site = Site.make(tmp_path, headroom_bytes=0)
    site.login = Logins([Credential("me", "a word")])
    remote = site.mirror.remote
    site.configure(remote="http://127.0.0.1:1/me/model", create=CreatePolicy.PRIVATE)
    assert cut_off(site, checkpoint(1)).result.added == 1
    error = status_of(site).error
    assert error
    assert "refuses the connection" in error["message"]
    site.configure(remote=remote, create=CreatePolicy.NEVER)
    site.sync()
    site.assert_mirrored()


def test_a_release_of_an_old_commit_brings_the_waiting_ones_whole(site: Site) -> None:
    old = site.tip()
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        cut_off(site, checkpoint(2))
    assert release(site.mirror, site.state, "v1", None, old, Session()).commit == old
    assert_whole(site.remote)


def test_only_the_lfs_objects_cannot_be_taken(site: Site) -> None:
    """git answers, and takes commits; the folder of the objects is out of order."""
    (site.remote / "lfs").mkdir(exist_ok=True)
    (site.remote / "lfs").rename(site.remote / "lfs-aside")
    (site.remote / "lfs").write_bytes(b"")
    error = cut_off(site, checkpoint(1))
    assert error.result.added == 1
    assert len(copies(site)) == 1
    cut_off(site, checkpoint(2))
    assert len(subjects(site)) == 1, "no commit before its objects"
    (site.remote / "lfs").unlink()
    (site.remote / "lfs-aside").rename(site.remote / "lfs")
    site.sync()
    assert len(objects_of_history(site.remote)) == 2
    site.assert_mirrored()


@pytest.mark.parametrize("at", ["POST", "PUT"], ids=["asked for objects", "in the middle of an upload"])
def test_a_server_that_wants_to_be_left_alone_for_an_hour(site: Site, tmp_path: Path, at: str) -> None:
    """It is told apart from git's own host, which answers; and the wait that it asks for is handed on."""
    busy = Reply(503, headers={"Retry-After": "3600"})
    with serving(tmp_path / "served") as server:
        site.configure(lfs_url=f"{server.address}/model.git/info/lfs")
        server.interfere = lambda asked: busy if asked.method == at else None
        error = cut_off(site, checkpoint(1))
        assert error.retry_after_s == 3600
        assert len(copies(site)) == 1
        assert len(subjects(site)) == 1
        cut_off(site, checkpoint(2))
        server.interfere = lambda asked: None
        site.sync()
        assert len(subjects(site)) == 3
        for number in (1, 2):
            assert server.size(hashlib.sha256(random_bytes(number, SIZE)).hexdigest()) == SIZE
    assert copies(site) == []


def test_a_server_that_is_not_there(site: Site) -> None:
    site.configure(lfs_url="http://127.0.0.1:1/model.git/info/lfs")
    error = cut_off(site, checkpoint(1))
    assert "connection" in error.message
    assert len(copies(site)) == 1


def test_what_is_sent_ahead_is_kept_meanwhile(site: Site) -> None:
    """The pass that follows reads it no more, and it needs no more room."""
    site.configure(offline_limit_bytes=SIZE + 1000)
    session = Session()
    with out_of_reach(site):
        site.lay({b"model.bin": random_bytes(1, SIZE)})
        run_pass(site.mirror, site.state, Order(aim=Aim.PREPARE), session)
        assert len(copies(site)) == 1
        assert len(history.log(site.mirror, site.state, 10)) == 1
        assert b"model.bin" not in read_by_a_pass(site, session)
        assert len(history.log(site.mirror, site.state, 10)) == 2
    site.sync()
    site.assert_mirrored()


def test_a_pass_that_must_not_ask_says_nothing_about_the_remote(site: Site) -> None:
    with pytest.raises(OutOfReachError):
        run_pass(site.mirror, site.state, Order(unreached=TransientError("gone")), Session())
    assert status_of(site).state is State.OFFLINE


def test_a_one_time_push_keeps_nothing(tmp_path: Path) -> None:
    write(tmp_path / "model" / "model.bin", random_bytes(1, SIZE))
    done = lfssync("push", tmp_path / "model", "http://127.0.0.1:1/model.git")
    assert done.returncode == 1
    assert "delivered later" not in done.stderr


# -- reading and room -----------------------------------------------------------------------------------------------


def test_nothing_is_read_twice_while_the_remote_is_away(site: Site) -> None:
    with out_of_reach(site):
        site.lay({b"model.bin": random_bytes(1, SIZE), b"plain.txt": b"text"})
        assert set(read_by_a_pass(site)) == {b"model.bin", b"plain.txt"}
        assert read_by_a_pass(site) == []
        site.lay({b"model.bin": random_bytes(2, SIZE)})
        assert set(read_by_a_pass(site)) == {b"model.bin"}


def test_where_there_is_no_room_files_wait_and_are_not_even_read(site: Site) -> None:
    site.configure(headroom_bytes=1 << 60)
    with out_of_reach(site):
        site.lay({b"model.bin": random_bytes(1, SIZE)})
        assert read_by_a_pass(site) == []
        found = status_of(site)
        assert found.state is State.OFFLINE
        assert [one.path for one in found.deferred] == [b"model.bin"]
        assert found.deferred[0].reason == "the remote is out of reach, and only 0 B may be kept here"
        assert (found.pending_files, found.pending_bytes) == (1, SIZE)
        assert copies(site) == []
    site.sync()
    site.assert_mirrored()


def test_what_was_read_and_then_had_no_room_is_not_read_again(site: Site) -> None:
    """git answers, so the file was read before its upload failed."""
    site.configure(headroom_bytes=1 << 60)
    (site.remote / "lfs").mkdir(exist_ok=True)
    (site.remote / "lfs").rename(site.remote / "lfs-aside")
    (site.remote / "lfs").write_bytes(b"")
    session = Session()
    site.lay({b"model.bin": random_bytes(1, SIZE)})
    assert read_by_a_pass(site, session) == [b"model.bin"]
    assert read_by_a_pass(site, session) == []
    site.lay({b"model.bin": random_bytes(2, SIZE)})
    assert read_by_a_pass(site, session) == [b"model.bin"]
    assert status_of(site).deferred[0].reason == "the remote is out of reach, and only 0 B may be kept here"
    (site.remote / "lfs").unlink()
    (site.remote / "lfs-aside").rename(site.remote / "lfs")
    delivering.sync(site.mirror, site.state, Order(), session)
    site.assert_mirrored()
    assert not session.hashed


def test_no_more_is_kept_than_the_limit(site: Site) -> None:
    site.configure(offline_limit_bytes=2 * SIZE + 1000)
    with out_of_reach(site):
        site.lay({f"{number}.bin".encode(): random_bytes(number, SIZE) for number in range(4)})
        site.lay({b"small.json": b"{}"})
        read = read_by_a_pass(site)
        assert set(read) == {b"0.bin", b"1.bin", b"small.json"}
        assert [one.path for one in status_of(site).deferred] == [b"2.bin", b"3.bin"]
        assert read_by_a_pass(site) == [], "a pass without room reads nothing again"
    site.sync()
    site.assert_mirrored()
    assert copies(site) == []


def test_a_limit_of_nothing_changes_nothing_here(site: Site) -> None:
    site.configure(offline_limit_bytes=0)
    with out_of_reach(site):
        site.lay(checkpoint(1))
        with pytest.raises(TransientError) as met:
            site.sync()
        assert not isinstance(met.value, OutOfReachError)
        assert copies(site) == []
    site.sync()
    site.assert_mirrored()


# -- damage ---------------------------------------------------------------------------------------------------------


def truncate(copy: Path) -> None:
    os.truncate(copy, SIZE // 2)


def flip(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)[0]
        file.seek(SIZE // 2)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_copy_is_taken_again_from_the_directory(site: Site, damage: Callable[[Path], None]) -> None:
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        damage(copies(site)[0])
    site.sync()
    site.assert_mirrored()
    assert copies(site) == []


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_copy_that_is_the_only_one_is_set_aside_loudly(site: Site, damage: Callable[[Path], None]) -> None:
    before = site.tip()
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        damage(copies(site)[0])
        cut_off(site, checkpoint(2))
    for _ in range(2):
        with pytest.raises(BlockedError, match=r"kept here is damaged \(.*lfs/damaged/"):
            site.sync()
        assert site.tip() == before
    assert status_of(site).state is State.BLOCKED
    site.lay({b"found/again": random_bytes(1, SIZE)})
    site.sync()
    site.assert_mirrored()
    assert copies(site) == []


def test_copies_that_a_killed_run_left_do_no_harm(site: Site) -> None:
    """It died between the copy and the commit, and then between the receipt and the deletion."""
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
    stray = write(site.state / "repo.git/lfs/objects/ab/cd/abcd", b"half a copy")
    site.sync()
    assert not stray.exists()
    write(stray, b"another")
    site.put({b"next": b"1"})
    assert copies(site) == []


# -- broken off ------------------------------------------------------------------------------------------------------


def test_a_push_that_is_broken_off_leaves_word_of_what_waits(site: Site) -> None:
    hook = write(site.remote / "hooks/pre-receive", b"#!/bin/sh\nsleep 60\n")
    hook.chmod(0o755)
    site.lay({b"model.bin": random_bytes(1, SIZE)})
    session = Session()
    with (site.directory / "open").open("wb") as file:
        file.write(b"1")
        file.flush()
        threading.Timer(3, session.stop.set).start()
        with pytest.raises(TransientError):
            run_pass(site.mirror, site.state, Order(), session)
    hook.unlink()
    found = status_of(site)
    assert found.state is State.SETTLING
    assert found.head != found.pushed
    assert [one.path for one in found.deferred] == [b"open"]
    assert history.log(site.mirror, site.state, 1)[0].kind is LogKind.STOPPED
    site.sync()
    site.assert_mirrored()


# -- wait -----------------------------------------------------------------------------------------------------------


def test_wait_is_not_done_while_commits_are_only_here(site: Site) -> None:
    said: list[str] = []
    with out_of_reach(site):
        cut_off(site, checkpoint(1))
        for _ in range(2):
            with pytest.raises(NotDoneError, match="is no git repository"):
                delivering.wait(site.mirror, site.state, 0.5, Session(), said.append)
    assert said
    assert all("is no git repository" in words for words in said)
    said.clear()
    assert delivering.wait(site.mirror, site.state, 30, Session(), said.append).receipt
    assert not said
    site.assert_mirrored()


# -- the daemon -----------------------------------------------------------------------------------------------------


def test_the_daemon_keeps_every_checkpoint_over_a_restart(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    daemon = Daemon(tmp_path / "daemon.log")
    configure(pair.table(headroom="0"))
    write(pair.directory / "config.json", b"{}")

    def save(number: int) -> None:
        """As a training job does that keeps one checkpoint."""
        write(pair.directory / f"checkpoint-{number}/weights", random_bytes(number, SIZE))
        (pair.directory / f"checkpoint-{number - 1}/weights").unlink(missing_ok=True)

    with daemon.start():
        pair.arrives()
        soon(state_is(State.IDLE), status)
        pair.remote.rename(tmp_path / "away.git")
        save(1)
        daemon.says("1 added, 0 changed, 0 removed, committed here as")
        save(2)
        daemon.says("1 added, 0 changed, 1 removed, committed here as")  # though the remote is not asked that soon
        soon(state_is(State.OFFLINE), status)
        daemon.kill()
    save(3)
    with daemon.start():
        daemon.says("1 added, 0 changed, 1 removed, committed here as", 2)
        found = status()
        assert found.state is State.OFFLINE
        assert found.head != found.pushed
        assert lfssync("wait", "--timeout", "1s").returncode == 3
        (tmp_path / "away.git").rename(pair.remote)
        pair.arrives()  # by itself
        assert lfssync("wait", "--timeout", "30s").returncode == 0
        soon(state_is(State.IDLE), status)
    pair.assert_delivered(tmp_path)
    told = git("log", "--format=%s", "main", cwd=pair.remote).decode()
    assert all(f"checkpoint-{number}" in told for number in (1, 2, 3))
    assert len(objects_of_history(pair.remote)) == 3
    assert not list((places().mirror_state(pair.name) / "repo.git/lfs").rglob("*.*"))


def test_a_disk_that_fills_up_lets_files_wait_and_the_rest_go_on(tmp_path: Path) -> None:
    """The state of the mirror is a small disk of its own, in a world that only the daemon sees."""
    pair = Pair.make(tmp_path)
    configure(pair.table(headroom="0", lfs_threshold="10kB"))
    state = places().mirror_state(pair.name)
    state.mkdir(parents=True)
    mounting = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'
    wrapper = (*OWN_WORLD, "sh", "-c", mounting, str(state))
    write(pair.directory / "config.json", b"{}")
    with Daemon(tmp_path / "daemon.log", wrapper).start() as daemon:
        pair.arrives()
        daemon.says("verified at")
        pair.remote.rename(tmp_path / "away.git")
        write(pair.directory / "1.bin", random_bytes(1, 4 << 20))
        daemon.says("committed here as")
        write(pair.directory / "2.bin", random_bytes(2, 6 << 20))
        write(pair.directory / "3.bin", random_bytes(3, 1 << 20))
        daemon.says("committed here as", 2)
        daemon.says("waiting for 2.bin: the remote is out of reach")
        inside = ("nsenter", "--target", str(daemon.pid), "--user", "--mount", "--preserve-credentials")
        shown = subprocess.run(
            [*inside, f"--wd={PROJECT}", *LFSSYNC, "status"], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        assert "offline" in shown.stdout
        assert "waiting  2.bin: the remote is out of reach" in shown.stdout
        assert "pending  3 files" in shown.stdout
        (tmp_path / "away.git").rename(pair.remote)
        pair.arrives()
    pair.assert_delivered(tmp_path)
