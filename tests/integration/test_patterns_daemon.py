"""Patterns with a running daemon: folders that appear become mirrors at once, and none is forgotten when it is gone."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from lfssync.answers import MirrorStatus
from lfssync.configuration import config
from lfssync.errors import BlockedError
from lfssync.model import State, silent
from lfssync.records.roster import roster
from lfssync.service import executors, operations
from lfssync.service.control import ask
from lfssync.service.protocol import PROTOCOL
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.daemons import Daemon, Pair, configure, lfssync, places, remote_tree, soon, status

APPEARS_S = 3.0
"""Meant to be a second at most; a busy test machine is given a little more."""


@pytest.fixture
def outputs(tmp_path: Path, private_environment: Path) -> Path:
    """`~/outputs`, as a user has it."""
    (private_environment / "outputs").mkdir()
    return private_environment / "outputs"


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "daemon.log")


def mirrored_by_the_daemon() -> set[str]:
    """The mirrors that the running daemon looks after."""
    answer = ask(places().control_socket, {"command": "ping"}, silent, 10)
    assert answer is not None
    return set(answer["mirrors"])


def appears(name: str, since: float) -> float:
    """Wait until the daemon looks after a mirror; how long it took since then in seconds."""
    soon(lambda: name in mirrored_by_the_daemon(), mirrored_by_the_daemon)
    return time.monotonic() - since


def embedded(directory: Path, name: str | None = None) -> Pair:
    return Pair(directory, places().embedded_remote(name or directory.name))


def test_a_new_folder_is_a_mirror_of_its_own_within_a_second(outputs: Path, daemon: Daemon) -> None:
    configure({"path": "~/outputs/*"})
    took = []
    with daemon.start():
        for number in range(5):
            began = time.monotonic()
            write(outputs / f"run{number}" / "model.bin", random_bytes(number, 1000))
            took.append(appears(f"run{number}", began))
            listed = json.loads(lfssync("list", "--json").stdout)["mirrors"]
            assert [mirror["name"] for mirror in listed] == [f"run{one}" for one in range(number + 1)]
            assert all(mirror["embedded"] for mirror in listed)
        for number in range(5):
            embedded(outputs / f"run{number}").arrives()
        shown = json.loads(lfssync("status", "--json").stdout)["mirrors"]
        assert [mirror["name"] for mirror in shown] == [f"run{number}" for number in range(5)]
    print("noticed after " + ", ".join(f"{seconds:.2f}" for seconds in took) + " s")
    assert max(took) < APPEARS_S


def test_folders_that_come_at_once_are_all_found(outputs: Path, daemon: Daemon) -> None:
    """On many file systems the time stamps of folders move in ticks, which do not tell these apart."""
    configure({"path": "~/outputs/*"})
    with daemon.start():
        for number in range(40):
            (outputs / f"run{number}").mkdir()
        wanted = {f"run{number}" for number in range(40)}
        soon(lambda: mirrored_by_the_daemon() == wanted, mirrored_by_the_daemon)


def test_the_name_goes_into_remote_and_branch(outputs: Path, daemon: Daemon, tmp_path: Path) -> None:
    shared = make_bare(tmp_path / "shared.git")
    others = outputs.parent / "others"
    others.mkdir()
    make_bare(tmp_path / "remotes/a.git")
    make_bare(tmp_path / "remotes/b.git")
    configure(
        {"path": "~/outputs/*", "remote": f"{tmp_path}/remotes/{{name}}.git"},
        {"path": "~/others/*", "remote": shared, "branch": "runs/{name}", "into": "{name}"},
    )
    with daemon.start():
        for name in "ab":
            write(outputs / name / "file", name.encode())
            write(others / f"x{name}" / "file", name.encode())
        for name in "ab":
            Pair(outputs / name, tmp_path / f"remotes/{name}.git").arrives()
            soon(lambda name=name: f"x{name}/file".encode() in remote_tree(shared, f"runs/x{name}"), daemon.said)  # type: ignore[misc]
    branches = git("for-each-ref", "--format=%(refname)", cwd=shared).decode().split()
    assert branches == ["refs/heads/runs/xa", "refs/heads/runs/xb"]


def test_files_links_hidden_and_temporary_folders_are_no_mirrors(outputs: Path, daemon: Daemon, tmp_path: Path) -> None:
    configure({"path": "~/outputs/*"})
    with daemon.start():
        write(outputs / "file", b"x")
        (outputs / ".hidden").mkdir()
        (outputs / "tmp-checkpoint").mkdir()
        (outputs / "link").symlink_to(tmp_path)
        (outputs / "real").mkdir()
        soon(lambda: "real" in mirrored_by_the_daemon(), daemon.said)
        assert mirrored_by_the_daemon() == {"real"}


def test_the_folder_of_the_pattern_itself_may_come_later(outputs: Path, daemon: Daemon) -> None:
    outputs.rmdir()
    configure({"path": "~/outputs/*/final"})
    with daemon.start():
        write(outputs / "run" / "final" / "file", b"x")
        embedded(outputs / "run" / "final", "run").arrives()


def test_a_broken_configuration_does_not_keep_new_folders_out(outputs: Path, daemon: Daemon) -> None:
    configure({"path": "~/outputs/*"})
    with daemon.start():
        good = places().config_file.read_text()
        places().config_file.write_text(good + "nonsense")
        daemon.says("the configuration stays as it was")
        write(outputs / "run" / "file", b"x")
        embedded(outputs / "run").arrives()


def known() -> dict[str, MirrorStatus]:
    """What status knows about every mirror there is."""
    return {mirror.name: status(mirror.name) for mirror in roster(config.load(places()), places()).mirrors}


def test_a_folder_that_was_deleted_is_blocked_and_not_forgotten(outputs: Path, daemon: Daemon) -> None:
    configure({"path": "~/outputs/*"})
    run = write(outputs / "run" / "model.bin", random_bytes(1, 100_000)).parent
    write(outputs / "other" / "file", b"x")
    pair = embedded(run)
    daemon.start()
    pair.arrives()
    before = remote_tree(pair.remote)
    soon(lambda: known()["run"].state is State.IDLE, known)
    shutil.rmtree(run)
    soon(lambda: known()["run"].state is State.BLOCKED, known)
    assert "is gone" in str(known()["run"].error)
    with pytest.raises(BlockedError, match="is gone"):
        ask(places().control_socket, {"protocol": PROTOCOL, "command": "sync", "mirror": "run"}, silent, 60)
    # Neither a new folder beside it, nor a restart, nor the lack of a daemon makes it go away.
    write(outputs / "third" / "file", b"x")
    soon(lambda: "third" in mirrored_by_the_daemon(), daemon.said)
    assert mirrored_by_the_daemon() == {"run", "other", "third"}
    daemon.stop()
    assert known()["run"].state is State.BLOCKED
    with daemon.start():
        assert "run" in mirrored_by_the_daemon()
        assert remote_tree(pair.remote) == before
        write(run / "model.bin", b"back again")
        pair.arrives()
        soon(lambda: known()["run"].state is State.IDLE, known)


def test_a_folder_that_never_had_files_leaves_nothing_behind(outputs: Path, daemon: Daemon) -> None:
    configure({"path": "~/outputs/*"})
    with daemon.start():
        (outputs / "short").mkdir()
        soon(lambda: "short" in mirrored_by_the_daemon(), daemon.said)
        soon(lambda: known()["short"].state is State.IDLE, known)
        (outputs / "short").rmdir()
        soon(lambda: "short" not in mirrored_by_the_daemon(), daemon.said)
        assert known() == {}


def test_a_deleted_folders_mirror_is_removed_on_request(outputs: Path, daemon: Daemon) -> None:
    configure({"path": "~/outputs/*"})
    write(outputs / "run" / "file", b"x")
    with daemon.start():
        embedded(outputs / "run").arrives()
        soon(lambda: known()["run"].state is State.IDLE, known)
        shutil.rmtree(outputs / "run")
        (gone,) = roster(config.load(places()), places()).mirrors
        operations.remove(places(), gone, purge=False)
        soon(lambda: mirrored_by_the_daemon() == set(), mirrored_by_the_daemon)
        assert known() == {}
        write(outputs / "run" / "another", b"a new run of the same name")
        soon(lambda: "run" in mirrored_by_the_daemon(), daemon.said)


def test_a_folder_moved_elsewhere_and_linked_goes_on_once_that_is_approved(
    outputs: Path, daemon: Daemon, tmp_path: Path
) -> None:
    configure({"path": "~/outputs/*"})
    run = write(outputs / "run" / "file", b"x").parent
    with daemon.start():
        embedded(run).arrives()
        soon(lambda: known()["run"].state is State.IDLE, known)
        shutil.move(str(run), str(tmp_path / "larger disk"))
        run.symlink_to(tmp_path / "larger disk")
        write(run / "new", b"y")
        soon(lambda: known()["run"].state is State.BLOCKED, known)
        (moved,) = roster(config.load(places()), places()).mirrors
        executors.connect(places(), config.load(places())).sync(moved, True, silent)
        embedded(run).arrives()


def test_an_explicit_mirror_takes_over_its_folder(outputs: Path, daemon: Daemon, tmp_path: Path) -> None:
    configure({"path": "~/outputs/*"})
    write(outputs / "run" / "file", b"x")
    remote = make_bare(tmp_path / "special.git")
    with daemon.start():
        embedded(outputs / "run").arrives()
        configure({"path": "~/outputs/*"}, {"path": outputs / "run", "remote": remote, "name": "special"})
        Pair(outputs / "run", remote).arrives()
        assert mirrored_by_the_daemon() == {"special"}


def test_two_folders_of_one_name_are_told_and_hold_up_nobody(outputs: Path, daemon: Daemon) -> None:
    write(outputs.parent / "more" / "same" / "file", b"1")
    write(outputs / "same" / "file", b"2")
    write(outputs / "fine" / "file", b"3")
    configure({"path": "~/outputs/*"}, {"path": "~/more/*"})
    with daemon.start():
        embedded(outputs / "fine").arrives()
        daemon.says("several folders would make a mirror called 'same'")
        assert mirrored_by_the_daemon() == {"fine"}
