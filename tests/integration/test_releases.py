"""Releases: an annotated tag on the right commit, on the remote or nowhere, and never moved."""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, NotDoneError, UserError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import human_bytes
from lfssync.results import Release
from lfssync.service import delivering
from lfssync.versions.releases import release
from tests.helpers import clone, git, random_bytes, tree, write
from tests.integration.site import ATTRIBUTES, LFS_LINE, Site, lay, without_attributes

THRESHOLD = 1000
BIG = random_bytes(1, 3000)
BIGGER = random_bytes(2, 5000)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    made.put({b"a": b"1", b"big": BIG})
    return made


def tag(site: Site, version: str, text: str | None = None, at: str | None = None) -> Release:
    return delivering.tag(site.mirror, site.state, version, text, at, Session())


def on_remote(site: Site, *command: str) -> str:
    return git(*command, cwd=site.remote).decode().strip()


def hook(site: Site, name: str, script: str) -> Path:
    place = site.remote / "hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("#!/bin/sh\n" + script)
    place.chmod(0o755)
    return place


def test_a_release_is_an_annotated_tag_on_what_is_in_the_directory_now(site: Site) -> None:
    site.lay({b"a": b"2", b"new": BIGGER})  # not synced yet: releasing does that
    done = tag(site, "v2.0.1", "Second\n\nWith a body: é")
    assert on_remote(site, "cat-file", "-t", "v2.0.1") == "tag"
    assert on_remote(site, "rev-parse", "v2.0.1^{commit}") == done.commit == site.tip()
    text = on_remote(site, "for-each-ref", "--format=%(contents)", "refs/tags/v2.0.1")
    assert text.startswith("Second\n\nWith a body: é\n\n4 files, 1")
    assert on_remote(site, "for-each-ref", "--format=%(taggername)", "refs/tags/v2.0.1") == "Test User"
    assert (done.receipt.ref, done.receipt.objects) == ("refs/tags/v2.0.1", 2)
    assert without_attributes(tree(site.clone("v2.0.1"))) == tree(site.directory)
    git("fsck", "--strict", cwd=site.remote)


def notes_of(site: Site, version: str) -> list[str]:
    return on_remote(site, "for-each-ref", "--format=%(contents)", f"refs/tags/{version}").splitlines()


def test_the_notes_tell_what_differs_from_the_release_before(site: Site) -> None:
    state = b'{"global_step": 500, "log_history": [{"step": 500, "eval_loss": 1.25}]}'
    site.put({b"checkpoint-500/trainer_state.json": state})
    tag(site, "v1.9.0")
    assert notes_of(site, "v1.9.0")[:4] == [
        "v1.9.0", "", f"4 files, {human_bytes(2606 + 3000 + len(state))}, 1 in LFS", "step 500, eval_loss 1.25",
    ]  # fmt: skip
    site.put({b"a": None, b"big": BIGGER, b"n\new": b"1", b"checkpoint-500/trainer_state.json": None})
    tag(site, "nightly")
    site.put({b"b": b"1"})
    tag(site, "v1.10.0")
    assert [line for line in notes_of(site, "v1.10.0") if line[:2] in ("Si", "+ ", "~ ", "- ")] == [
        f"Since v1.9.0: 2 added (2 B), 1 changed (5.0 kB), 2 removed ({1 + len(state)} B)",
        "+ b (1 B)", "+ n\\new (1 B)", "~ big (3.0 kB → 5.0 kB)", "- a (1 B)",
        f"- checkpoint-500/trainer_state.json ({len(state)} B)",
    ]  # fmt: skip
    tag(site, "v1.9.5", at="v1.9.0")  # what comes later is not before it
    assert "The same files as in v1.9.0" in notes_of(site, "v1.9.5")
    tag(site, "v1.9.9")
    tag(site, "v1.9.10", at="v1.9.0")
    assert "The same files as in v1.9.5" in notes_of(site, "v1.9.10")
    tag(site, "v0.1.0", at="v1.9.0")
    assert not [line for line in notes_of(site, "v0.1.0") if "v1" in line]


def test_two_machines_release_the_same_version_at_once(site: Site, tmp_path: Path) -> None:
    """One of them wins, the other is told; nothing is moved, neither tag nor branch."""
    other = Site.make(tmp_path, "other", remote=site.remote, lfs_threshold_bytes=THRESHOLD)
    both, targets = (site, other), list[str]()
    for each in both:
        each.put({f"of-{each.mirror.name}".encode(): b"0"})
    for number in range(4):
        for each in both:
            each.lay({f"of-{each.mirror.name}".encode(): str(number).encode()})
        version = f"v{number}.0.0"
        with ThreadPoolExecutor(2) as pool:
            ends = [pool.submit(tag, each, version) for each in both]
        won = [end.result().commit for end in ends if end.exception() is None]
        lost = [str(error) for end in ends if (error := end.exception()) is not None]
        target = on_remote(site, "rev-parse", f"{version}^{{commit}}")
        assert set(won) == {target}
        assert len(won) == 1 or len(set(won)) == 1
        assert all(version in error and "exists already" in error for error in lost), lost
        assert all(isinstance(end.exception(), BlockedError | None) for end in ends)
        on_remote(site, "merge-base", "--is-ancestor", target, "main")
        for before in range(number):
            assert on_remote(site, "rev-parse", f"v{before}.0.0^{{commit}}") == targets[before]
        targets.append(target)
    git("fsck", "--strict", cwd=site.remote)


def test_the_same_release_again_is_a_success(site: Site) -> None:
    first = tag(site, "v1")
    tag_object = on_remote(site, "rev-parse", "refs/tags/v1")
    assert tag(site, "v1", "other words").commit == first.commit
    shutil.rmtree(site.state)  # even when we do not remember it
    assert tag(site, "v1").commit == first.commit
    assert on_remote(site, "rev-parse", "refs/tags/v1") == tag_object


def test_a_light_tag_by_hand_on_the_same_commit_will_do(site: Site) -> None:
    git("tag", "v1", "main", cwd=site.remote)
    assert tag(site, "v1").commit == site.tip()
    assert on_remote(site, "cat-file", "-t", "v1") == "commit"


def test_a_tag_is_never_moved(site: Site) -> None:
    first = tag(site, "v1").commit
    tag_object = on_remote(site, "rev-parse", "refs/tags/v1")
    site.put({b"a": b"2"})
    with pytest.raises(BlockedError, match=rf"v1 exists already and points at {first[:7]}, not at {site.tip()[:7]}"):
        tag(site, "v1")
    assert on_remote(site, "rev-parse", "refs/tags/v1") == tag_object
    assert tag(site, "v1", at=first).commit == first


def test_a_tag_of_somebody_elses_is_never_moved(site: Site) -> None:
    work = site.clone()
    write(work / "theirs", b"1")
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("tag", "-a", "-m", "theirs", "v1", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "v1", cwd=work)
    there = on_remote(site, "rev-parse", "v1^{commit}")
    with pytest.raises(BlockedError, match=there[:7]):
        tag(site, "v1")
    assert on_remote(site, "rev-parse", "v1^{commit}") == there


def test_a_release_that_was_deleted_there_can_be_made_again(site: Site) -> None:
    first = tag(site, "v1").commit
    git("tag", "-d", "v1", cwd=site.remote)
    site.put({b"a": b"2"})
    second = tag(site, "v1").commit
    assert second == on_remote(site, "rev-parse", "v1^{commit}") == site.tip() != first
    assert tag(site, "v1").commit == second
    assert tag(site, "v1-again", at="v1").commit == second


def test_at_a_tag_a_branch_or_a_commit(site: Site) -> None:
    first = tag(site, "v1").commit
    site.put({b"a": b"2"})
    second = site.tip()
    site.put({b"a": b"3"})
    site.configure(branch="other")
    site.put({b"a": b"4"})
    other = site.tip()
    site.configure(branch="main")
    site.sync()
    work = site.clone("main")
    git("push", "--quiet", "--no-verify", "origin", f"{second}:refs/tags/by-hand", "HEAD:refs/heads/theirs", cwd=work)
    for number, (at, commit) in enumerate([
        ("v1", first), (first[:8], first), (second, second), (second[:7], second), ("main", site.tip()),
        ("other", other), ("by-hand", second), ("theirs", on_remote(site, "rev-parse", "theirs")),
        ("main~1", on_remote(site, "rev-parse", "main~1")),
    ]):  # fmt: skip
        assert tag(site, f"at{number}", at=at).commit == commit, at
        assert on_remote(site, "rev-parse", f"at{number}^{{commit}}") == commit


@pytest.mark.parametrize("at", ["nothing", "0" * 40, "v9", "-x", "a b", "main^{tree}", "HEAD:a", "", "\n"])
def test_at_something_that_is_no_commit(site: Site, at: str) -> None:
    if at:
        with pytest.raises(UserError):
            tag(site, "v1", at=at)
    else:
        tag(site, "v1", at=at)  # nothing asked for: what is there now
    assert on_remote(site, "tag") == ("" if at else "v1")


@pytest.mark.parametrize(
    "version", ["", "-v1", "v 1", "v1..2", "v1.lock", "v1\n", "HEAD", "a//b", "/a", "v1^{}", "@", "\x7f", "*"]
)
def test_a_name_that_is_none(site: Site, version: str) -> None:
    with pytest.raises(UserError):
        release(site.mirror, site.state, version, None, None, Session())
    assert on_remote(site, "tag") == ""


@pytest.mark.parametrize("version", ["v2.0.1", "release/2024-01", "模型-1", "v1+build.5", "1"])
def test_a_name_that_is_one(site: Site, version: str) -> None:
    tag(site, version)
    assert on_remote(site, "rev-parse", f"refs/tags/{version}^{{commit}}") == site.tip()


def test_a_name_in_the_way_is_said(site: Site) -> None:
    tag(site, "v1")
    with pytest.raises(BlockedError, match="v1"):
        tag(site, "v1/final")


def test_nothing_to_release(tmp_path: Path) -> None:
    empty = Site.make(tmp_path)
    with pytest.raises(UserError, match="no commit"):
        tag(empty, "v1")


def test_files_that_are_being_written_are_not_released(site: Site) -> None:
    with (site.directory / "big").open("ab") as file:
        file.write(b"more")
        file.flush()
        with pytest.raises(NotDoneError, match="big: open for writing"):
            tag(site, "v1")
        assert on_remote(site, "tag") == ""
        assert tag(site, "old", at="main").commit == site.tip()  # what was committed before can be
    tag(site, "v1")
    assert without_attributes(tree(site.clone("v1"))) == tree(site.directory)


@pytest.mark.parametrize("refused", ["refs/heads/main", "refs/tags/v1"])
def test_branch_and_tag_arrive_together_or_not_at_all(site: Site, refused: str) -> None:
    tip = site.tip()
    place = hook(site, "update", f'case "$1" in {refused}) echo "not that one" >&2; exit 1;; esac\n')
    site.lay({b"a": b"2"})
    gate = hook(site, "pre-receive", "exit 1\n")
    with pytest.raises(BlockedError):
        site.sync()  # a commit that is only here
    gate.unlink()
    with pytest.raises(BlockedError, match="not that one"):
        release(site.mirror, site.state, "v1", None, None if refused == "refs/heads/main" else "main", Session())
    assert (site.tip(), on_remote(site, "tag")) == (tip, "")
    place.unlink()
    done = tag(site, "v1")
    assert done.commit == site.tip() != tip


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("namesake", ["refs/tags/refs/heads/main", "refs/heads/refs/heads/main"])
def test_a_ref_that_git_takes_for_the_branch_is_named(site: Site, namesake: str, is_new: bool) -> None:
    tip = site.tip()
    on_remote(site, "update-ref", namesake, tip)
    if is_new:
        on_remote(site, "update-ref", "-d", "refs/heads/main")
    kind = "tag" if namesake.startswith("refs/tags/") else "branch"
    words = f"has a {kind} called refs/heads/main, which git does not tell from the branch main"
    site.lay({b"a": b"2"})
    with pytest.raises(BlockedError, match=words) as refused:
        site.sync()
    assert refused.value.remedy.endswith(f"git push {site.remote} :{namesake}")
    assert on_remote(site, "merge-base", namesake, tip) == tip, "nothing of it is lost"
    git(*refused.value.remedy.partition(": git ")[2].split(), cwd=site.remote)
    site.sync()
    assert without_attributes(tree(site.clone())) == tree(site.directory)


def test_a_tag_that_git_takes_for_another_is_named(site: Site) -> None:
    on_remote(site, "update-ref", "refs/tags/refs/tags/v1", "main")
    with pytest.raises(BlockedError, match="has a tag called refs/tags/v1, which git does not tell from the tag v1"):
        tag(site, "v1")
    assert tag(site, "v2").commit == site.tip()


def test_somebody_pushes_between_sync_and_tag(site: Site, tmp_path: Path) -> None:
    """The tag is on what was synced, whatever came on top of it."""
    other = Site.make(tmp_path, "other", remote=site.remote)
    synced = site.tip()
    other.put({b"theirs": b"1"})
    assert release(site.mirror, site.state, "v1", None, None, Session()).commit == synced
    other.put({b"theirs": b"2"})
    site.lay({b"a": b"2"})
    done = tag(site, "v2")
    assert on_remote(site, "rev-parse", "v2^{commit}") == done.commit
    assert tree(site.clone("v2"))[b"theirs"] == tree(other.directory)[b"theirs"]


def test_somebody_makes_the_same_tag_first(site: Site) -> None:
    hook(site, "pre-receive", (
        "if [ -e raced ]; then exit 0; fi\ntouch raced\n"
        "unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n"
        "git tag v1 $(cat wanted)\n"
    ))  # fmt: skip
    (site.remote / "wanted").write_text(site.tip())
    assert tag(site, "v1").commit == site.tip()
    (site.remote / "raced").unlink()
    git("tag", "-d", "v1", cwd=site.remote)
    site.put({b"a": b"2"})
    (site.remote / "raced").unlink()
    git("tag", "-d", "v1", cwd=site.remote)
    (site.remote / "wanted").write_text(on_remote(site, "rev-parse", "main~1"))
    with pytest.raises(BlockedError, match="v1 exists already"):
        tag(site, "v1")


def test_a_release_of_lost_objects_brings_them_back_or_is_refused(site: Site) -> None:
    old = site.tip()
    site.put({b"big": BIGGER})
    shutil.rmtree(site.remote / "lfs")
    with pytest.raises(BlockedError, match=hashlib.sha256(BIG).hexdigest()):
        tag(site, "v1", at=old)
    assert on_remote(site, "tag") == ""
    write(site.directory / "old", BIG)
    site.sync()
    assert tag(site, "v1", at=old).commit == old
    assert (site.clone("v1") / "big").read_bytes() == BIG


def test_texts_like_pointers_of_others_do_not_stop_a_release(site: Site, tmp_path: Path) -> None:
    work = clone(site.remote, tmp_path / "work")
    lay(
        work,
        {b"docs/pointer.md": b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 7\n" % (b"cd" * 32)},
    )
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "docs", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "HEAD:main", cwd=work)
    site.put({b"b": b"2"})
    assert tag(site, "v1").commit == site.tip()
    new = tmp_path / "new.git"
    git("init", "--quiet", "--bare", str(new), cwd=tmp_path)
    site.configure(remote=str(new))  # all history goes there
    assert tag(site, "v1").commit == site.tip()


def test_a_release_of_a_working_copy_leaves_its_own_tags_alone(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    git("init", "--quiet", ".", cwd=site.directory)
    git("config", "core.trustctime", "true", cwd=site.directory)
    lay(site.directory, {ATTRIBUTES: b"*.bin" + LFS_LINE, b"a": b"1", b"b.bin": BIG})
    delivering.sync(site.mirror, site.state, Order(), Session())
    git("tag", "mine", cwd=site.directory)
    first = site.tip()
    lay(site.directory, {b"a": b"2"})
    with pytest.raises(BlockedError, match="mine exists already in"):
        tag(site, "mine")
    assert on_remote(site, "tag") == ""
    done = tag(site, "v1", "words")
    assert git("rev-parse", "v1^{commit}", cwd=site.directory).decode().strip() == done.commit
    assert git("cat-file", "-t", "v1", cwd=site.directory) == b"tag\n"
    assert git("rev-parse", "mine", cwd=site.directory).decode().strip() == first
    assert tag(site, "mine", at=first).commit == first


def test_out_of_reach(site: Site) -> None:
    os.rename(site.remote, site.remote.with_name("away"))
    with pytest.raises(LfssyncError):
        tag(site, "v1")
    os.rename(site.remote.with_name("away"), site.remote)
    assert tag(site, "v1").commit == site.tip()
