"""First contact: with a remote that has a history, with another machine on the branch, after our own state was lost."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.git.fastimport import blob_oid
from tests.helpers import assert_whole, clone, git, make_bare, objects_of_history, random_bytes, tree, write
from tests.integration.site import ATTRIBUTES, LFS_LINE, Content, Site, lay, lfs_paths

THRESHOLD = 1000
BIG = random_bytes(1, 3000)
BIGGER = random_bytes(2, 5000)
HOST_ATTRIBUTES = b"*.bin" + LFS_LINE + b"*.safetensors" + LFS_LINE + b"*tfevents*" + LFS_LINE
README = b"---\nlicense: apache-2.0\n---\n# Made by the host\n"


def push_by_hand(remote: Path, base: Path, contents: dict[bytes, Content], message: str = "by hand") -> str:
    """Somebody commits with stock git and git-lfs; returns the commit."""
    work = clone(remote, base / f"hand-{len(list(base.glob('hand-*')))}")
    lay(work, contents)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", message, cwd=work)
    git("lfs", "push", "--all", "origin", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    return git("rev-parse", "HEAD", cwd=work).decode().strip()


def is_built_on(site: Site, commit: str) -> bool:
    return commit in git("rev-list", site.tip(), cwd=site.remote).decode().split()


# -- a remote that has a history ------------------------------------------------------------------------------------


def test_a_fresh_hub_repository_is_built_on(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    theirs: dict[bytes, Content] = {b"README.md": README, ATTRIBUTES: HOST_ATTRIBUTES, b"their.bin": BIG}
    first = push_by_hand(site.remote, tmp_path, theirs)
    site.put({b"model.safetensors": BIGGER, b"config.json": b"{}"})
    assert is_built_on(site, first)
    site.assert_mirrored(besides={b"README.md": README, b"their.bin": BIG})
    assert git("show", "main:.gitattributes", cwd=site.remote).startswith(HOST_ATTRIBUTES)
    site.put({b"model.safetensors": None, b"config.json": b"{1}"})
    site.assert_mirrored(besides={b"README.md": README, b"their.bin": BIG})


def test_what_is_there_already_is_not_committed_again(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    contents: dict[bytes, Content] = {ATTRIBUTES: HOST_ATTRIBUTES, b"a.bin": BIG, b"b.txt": b"1", b"sub/c": b"2"}
    first = push_by_hand(site.remote, tmp_path, contents)
    result = site.put({path: content for path, content in contents.items() if path != ATTRIBUTES})
    assert (result.commit, result.sent_bytes, result.committed) == (first, 0, False)
    site.put({b"b.txt": None, b"sub/c": b"new"})  # from now on they are ours to delete
    site.assert_mirrored()


def test_deletions_before_the_first_sync_touch_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    push_by_hand(site.remote, tmp_path, {b"a": b"theirs", b"b": b"theirs"})
    site.put({b"a": b"ours", b"c": b"ours"})
    site.put({b"c": None})
    site.put({b"a": None, b"d": b"ours"})
    site.assert_mirrored(besides={b"b": b"theirs"})


def test_a_branch_of_another_name_leaves_the_others_alone(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    first = push_by_hand(site.remote, tmp_path, {b"a": b"theirs"})
    site.configure(branch="experiments/lr-1e-4")
    site.put({b"b": b"ours"})
    site.assert_mirrored()
    assert git("rev-parse", "main", cwd=site.remote).decode().strip() == first


def test_a_remote_that_lacks_what_its_history_names_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Somebody else pushed pointers without their objects; that is not ours to mend, and ours still arrives."""
    site = Site.make(tmp_path)
    push_by_hand(site.remote, tmp_path, {ATTRIBUTES: HOST_ATTRIBUTES, b"their.bin": BIG})
    shutil.rmtree(site.remote / "lfs")
    site.put({b"a": b"1", b"ours.bin": BIGGER})
    assert lfs_paths(site.remote, "main") == {b"their.bin", b"ours.bin"}
    oid = hashlib.sha256(BIGGER).hexdigest()
    assert (site.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes() == BIGGER


# -- another machine, or another directory, on the same branch -------------------------------------------------------


def test_two_directories_on_one_branch(tmp_path: Path) -> None:
    first = Site.make(tmp_path, "first", lfs_threshold_bytes=THRESHOLD)
    second = Site.make(tmp_path, "second", remote=first.remote, lfs_threshold_bytes=THRESHOLD)
    first.put({b"a": b"1", b"one big": BIG})
    second.put({b"b": b"2", b"other big": BIGGER})
    first.put({b"c": b"3", b"sub/one bigger": BIGGER + b"1"})
    first.assert_mirrored(besides={b"b": b"2", b"other big": BIGGER})
    second.put({b"b": None, b"sub/other bigger": BIG + b"2"})
    first.put({b"a": None})
    second.sync()
    there = first.remote_tree()
    assert there == {path: entry for site in (first, second) for path, entry in tree(site.directory).items()}


def test_the_same_directory_from_two_states_stays_quiet(tmp_path: Path) -> None:
    """Two machines with one network folder: neither commits again what the other did."""
    first = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    second = Site(tmp_path, first.mirror, tmp_path / "other-state")
    first.put({b"a": b"1", b"big": BIG})
    tip = first.tip()
    assert not second.sync().committed
    first.put({b"a": b"2", b"big": None, b"new": BIGGER})
    second.sync()
    first.sync()
    first.assert_mirrored()
    assert int(git("rev-list", "--count", f"{tip}..main", cwd=first.remote)) <= 2


# -- lost state -----------------------------------------------------------------------------------------------------


def no_store(state: Path) -> None:
    for file in state.glob("state.db*"):
        file.unlink()


def garbage(state: Path) -> None:
    no_store(state)
    (state / "state.db").write_bytes(random_bytes(7, 40_000))


def garbage_behind_a_good_head(state: Path) -> None:
    size = (state / "state.db").stat().st_size
    with (state / "state.db").open("r+b") as file:
        file.seek(4096)
        file.write(random_bytes(8, size - 4096))


def cut(state: Path) -> None:
    os.truncate(state / "state.db", (state / "state.db").stat().st_size // 2)


def empty(state: Path) -> None:
    os.truncate(state / "state.db", 0)


def another_schema(state: Path) -> None:
    no_store(state)
    with sqlite3.connect(state / "state.db") as connection:
        connection.execute("CREATE TABLE files (something TEXT)")
        connection.execute("PRAGMA user_version=99")
    connection.close()


def a_folder(state: Path) -> None:
    no_store(state)
    (state / "state.db").mkdir()


@pytest.mark.parametrize("lose", [no_store, garbage, garbage_behind_a_good_head, cut, empty, another_schema])
def test_a_lost_store_is_made_anew(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    push_by_hand(site.remote, tmp_path, {b"README.md": README})
    names = [b"f%d" % number for number in range(40)]
    site.put({b"a": b"1", b"big": BIG, b"sub/b": b"2"} | dict.fromkeys(names, b"filler"))
    lose(site.state)
    site.lay({b"sub/b": None, b"a": b"changed", b"new": BIGGER})  # while nothing was recorded
    result = site.sync()
    assert (result.added, result.changed, result.removed) == (1, 1, 1)
    assert result.sent_bytes == len(BIGGER)
    site.assert_mirrored(besides={b"README.md": README})


def test_a_store_that_cannot_be_is_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({b"a": b"1"})
    a_folder(site.state)
    with pytest.raises(LfssyncError, match=r"state\.db"):
        site.put({b"b": b"1"})
    (site.state / "state.db").rmdir()
    site.sync()
    site.assert_mirrored()


def test_an_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": b"1", b"b": b"1", b"c": BIG, b"d": b"1"})
    shutil.copy(site.state / "state.db", tmp_path / "older.db")
    site.put({b"a": b"2", b"b": None, b"c": BIGGER, b"e": b"1"})
    site.put({b"a": b"3", b"f": b"1"})
    no_store(site.state)
    shutil.copy(tmp_path / "older.db", site.state / "state.db")
    site.lay({b"d": None, b"f": None})
    result = site.sync()
    assert (result.added, result.changed, result.removed) == (0, 0, 2)
    site.assert_mirrored()


def test_all_state_lost(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": b"1", b"big": BIG, b"gone": b"1", b"sub/b": b"2"})
    tip = site.tip()
    shutil.rmtree(site.state)
    site.lay({b"gone": None, b"a": b"2", b"new": BIGGER})
    result = site.sync()
    assert is_built_on(site, tip)
    assert (result.added, result.changed, result.removed, result.sent_bytes) == (1, 1, 0, len(BIGGER))
    site.assert_mirrored(besides={b"gone": b"1"})  # nothing says any more that it was ours


@pytest.mark.parametrize("damage", ["HEAD", "objects", "refs", "config", "packed-refs", "no HEAD", "an object"])
def test_a_damaged_git_dir(tmp_path: Path, damage: str) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": b"1", b"big": BIG, b"sub/b": b"2"})
    tip = site.tip()
    repository = site.state / "repo.git"
    if damage == "packed-refs":
        git("pack-refs", "--all", cwd=repository)
    place = repository / damage
    if place.is_dir():
        shutil.rmtree(place)
    elif damage == "no HEAD":
        (repository / "HEAD").unlink()
    elif damage == "an object":
        tree_oid = git("rev-parse", "main^{tree}", cwd=repository).decode().strip()
        place = repository / "objects" / tree_oid[:2] / tree_oid[2:]
        place.chmod(0o644)
        place.write_bytes(random_bytes(4, 50))
    else:
        place.write_bytes(random_bytes(3, 300))
    site.lay({b"a": b"2", b"new": BIGGER})
    site.sync()
    assert is_built_on(site, tip)
    site.assert_mirrored()
    assert (site.state / "repo.git.damaged").is_dir()  # what was in it can still be looked at


def test_an_embedded_remote_that_vanished_is_missed_and_not_made_anew(tmp_path: Path) -> None:
    """It may lie on a disk that is not mounted, and its releases are nowhere else."""
    site = Site.make(tmp_path)
    site.configure(embedded=True)
    site.put({b"a": b"1"})
    site.remote.rename(tmp_path / "elsewhere")
    with pytest.raises(LfssyncError, match="is no git repository"):
        site.sync()
    assert not site.remote.exists()
    (tmp_path / "elsewhere").rename(site.remote)
    site.put({b"a": b"2"})
    site.assert_mirrored()


def test_git_dirs_stay_small(tmp_path: Path) -> None:
    """Months of small commits: what they left loose is packed, and what nothing refers to goes."""
    site = Site.make(tmp_path)
    site.put({b"a": b"1"})
    site.configure(embedded=True)
    numbers = (number for number in itertools.count() if blob_oid(8, [b"%08d" % number]).startswith("17"))
    for repository in (site.state / "repo.git", site.remote):
        for number in itertools.islice(numbers, 40):
            git("hash-object", "-w", "--stdin", cwd=repository, stdin=b"%08d" % number)
        for file in repository.glob("objects/17/*"):
            os.utime(file, (0, 0))
        assert len(list(repository.glob("objects/17/*"))) >= 40
    site.put({b"a": b"2"})
    for repository in (site.state / "repo.git", site.remote):
        assert not list(repository.glob("objects/17/*"))
        assert len(list(repository.glob("objects/pack/*.pack"))) == 1
    site.put({b"a": b"3"})
    site.assert_mirrored()


# -- another remote -------------------------------------------------------------------------------------------------


def test_a_new_empty_remote_gets_all_history_and_every_object(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1", b"c": BIGGER})
    site.put({b"a": BIG + b"2", b"c": None})
    site.put({b"a": BIG + b"3"})
    old = site.tip()
    objects = objects_of_history(site.remote)
    site.configure(remote=str(make_bare(tmp_path / "new.git")))
    result = site.sync()
    assert is_built_on(site, old)
    assert objects_of_history(site.remote) == objects
    assert result.receipt is not None
    site.assert_mirrored()


def test_an_object_that_is_nowhere_is_named(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG})
    site.put({b"a": BIGGER})
    shutil.rmtree(site.remote)
    site.configure(remote=str(make_bare(tmp_path / "new.git")))
    with pytest.raises(BlockedError, match=hashlib.sha256(BIG).hexdigest()):
        site.sync()
    assert git("for-each-ref", cwd=site.remote) == b""
    (site.directory / "copy of a").write_bytes(BIG)  # brought back under whatever name
    site.sync()
    site.assert_mirrored()


def test_a_new_remote_with_a_history_of_its_own(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1"})
    old = site.tip()
    new = make_bare(tmp_path / "new.git")
    theirs = push_by_hand(new, tmp_path, {b"README.md": README, ATTRIBUTES: HOST_ATTRIBUTES, b"their.bin": BIGGER})
    site.configure(remote=str(new))
    site.sync()
    assert is_built_on(site, old)
    assert is_built_on(site, theirs)
    site.assert_mirrored(besides={b"README.md": README, b"their.bin": BIGGER})


def emptied(remote: Path) -> None:
    shutil.rmtree(remote)
    make_bare(remote)


def branch_deleted(remote: Path) -> None:
    git("update-ref", "-d", "refs/heads/main", cwd=remote)


@pytest.mark.parametrize("lose", [emptied, branch_deleted])
def test_an_emptied_remote_gets_everything_again(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1", b"sub/c": BIGGER})
    tip = site.tip()
    lose(site.remote)
    assert site.sync().commit == tip
    site.assert_mirrored()
    lose(site.remote)
    site.put({b"d": BIG + b"new", b"b": None})
    assert is_built_on(site, tip)
    site.assert_mirrored()


def test_objects_that_the_remote_lost_are_sent_again(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": BIGGER})
    shutil.rmtree(site.remote / "lfs")
    assert site.sync().sent_bytes == len(BIG) + len(BIGGER)  # though nothing has changed here
    site.assert_mirrored()
    shutil.rmtree(site.remote / "lfs")
    result = site.put({b"a": None, b"c": BIG, b"d": b"1"})  # a content that the remote had confirmed before
    assert result.sent_bytes == len(BIG) + len(BIGGER)
    site.assert_mirrored()


def test_a_pass_that_was_killed_before_its_objects_were_confirmed_leaves_them_in_doubt(tmp_path: Path) -> None:
    """Verified by a push that went through and a confirmation that never came."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": b"1"})
    hook = site.remote / "hooks/post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nrm -rf lfs\nmv ../model.git ../away.git\n")
    hook.chmod(0o755)
    site.lay({b"big": BIG})
    with pytest.raises(LfssyncError):
        site.sync()
    os.rename(tmp_path / "away.git", site.remote)
    hook.unlink()
    result = site.sync(hints=[b"a"])  # nothing has changed, and the push had gone through
    assert result.receipt is not None
    assert result.receipt.commit == result.commit == site.tip()
    site.assert_mirrored()


def test_a_remote_that_is_gone_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG})
    away = site.remote.with_name("away.git")
    os.rename(site.remote, away)
    site.lay({b"b": BIGGER, b"a": None})
    for _ in range(2):
        with pytest.raises(TransientError, match=r"model\.git"):
            site.sync()
    os.rename(away, site.remote)
    site.sync(accept_deletions=True)
    site.assert_mirrored()


# -- a changed configuration ----------------------------------------------------------------------------------------


def test_another_branch(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1"})
    old = site.tip()
    site.configure(branch="other")
    site.sync()
    site.assert_mirrored()
    site.put({b"b": None, b"c": b"2"})
    site.assert_mirrored()
    assert git("rev-parse", "main", cwd=site.remote).decode().strip() == old
    site.configure(branch="main")
    site.sync()
    assert is_built_on(site, old)
    assert (site.clone("main") / "c").read_bytes() == b"2"


@pytest.mark.parametrize("lose", [None, no_store])
def test_another_sub_folder(tmp_path: Path, lose: Callable[[Path], None] | None) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1"})
    for into in ("models/new", "models", ""):
        site.configure(into=into)
        if lose:
            lose(site.state)
        site.put({b"b": into.encode() + b"!"})
        there = site.remote_tree()
        prefix = into.encode() + b"/" if into else b""
        for path, entry in tree(site.directory).items():
            assert there[prefix + path] == entry
    assert_whole(site.remote)


@pytest.mark.parametrize("lose", [None, no_store])
def test_another_branch_and_another_remote_at_once(tmp_path: Path, lose: Callable[[Path], None] | None) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1", b"c": b"1"})
    new = make_bare(tmp_path / "new.git")
    site.configure(remote=str(new), branch="other")
    if lose:
        lose(site.state)
    site.put({b"b": None})
    site.assert_mirrored()


def test_another_directory_for_the_same_mirror(tmp_path: Path) -> None:
    """The directory was moved; the files are the same ones, so nothing is sent again."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": BIG, b"b": b"1"})
    os.rename(site.directory, tmp_path / "moved")
    site.configure(path=tmp_path / "moved")
    site.lay({b"c": b"2"})
    result = site.sync(accept_deletions=True)  # the user may be asked whether this is meant
    assert (result.added, result.changed, result.sent_bytes) == (1, 0, 0)
    site.assert_mirrored()


def test_write_is_used(tmp_path: Path) -> None:
    """An unborn HEAD: the remote's default branch is another one than the mirror's."""
    remote = make_bare(tmp_path / "remote.git")
    git("symbolic-ref", "HEAD", "refs/heads/trunk", cwd=remote)
    site = Site.make(tmp_path, remote=remote)
    site.put({b"a": b"1"})
    site.assert_mirrored()
    write(site.directory / "b", b"2")
    site.sync()
    site.assert_mirrored()


def test_thousands_of_objects_are_all_asked_about_before_they_count_as_verified(tmp_path: Path) -> None:
    """However many there are, and however lately they were confirmed."""
    site = Site.make(tmp_path, lfs_threshold_bytes=0)
    for number in range(1200):
        write(site.directory / f"{number:04d}.bin", b"object %d" % number)
    site.sync()
    objects = [path for path in (site.remote / "lfs/objects").rglob("*") if path.is_file()]
    assert len(objects) == 1200
    for path in objects[:1100]:
        path.unlink()
    site.sync()
    assert len([path for path in (site.remote / "lfs/objects").rglob("*") if path.is_file()]) == 1200
