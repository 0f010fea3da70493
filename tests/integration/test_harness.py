"""The test harness itself: what it promises about leaks, private settings and whole remotes must be able to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import leaks
from tests.helpers import (
    Kind,
    assert_whole,
    clone,
    git,
    lfs_fsck,
    make_bare,
    objects_of_history,
    random_bytes,
    real_model,
    tree,
    write,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 7\n" % (b"ab" * 32)
IMPATIENCE_S = 0.2


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare remote that stock git and git-lfs filled: one LFS file in two versions, one link, one program, a tag."""
    bare = make_bare(tmp_path / "remote.git")
    work = clone(bare, tmp_path / "work")
    write(work / ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    write(work / "sub/model.bin", random_bytes(1, 5000))
    write(work / "run.sh", b"#!/bin/sh\n").chmod(0o755)
    (work / "latest").symlink_to("sub/model.bin")
    commit_and_push(work, "first")
    git("tag", "v1", cwd=work)
    git("push", "--quiet", "origin", "v1", cwd=work)
    write(work / "sub/model.bin", random_bytes(2, 6000))
    commit_and_push(work, "second")
    return bare


def commit_and_push(work: Path, message: str) -> None:
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "--message", message, cwd=work)
    # A stock clone has no hooks of git-lfs, so the order is kept by hand.
    git("lfs", "push", "origin", "main", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)


def object_path(remote: Path, oid: str) -> Path:
    return remote / "lfs/objects" / oid[:2] / oid[2:4] / oid


def commit_blob(remote: Path, content: bytes) -> None:
    """Commits one file with exactly these bytes, past all filters."""
    data = b"data %d\n%s\n" % (len(content), content)
    stream = b"commit refs/heads/side\ncommitter T <t@example.org> 0 +0000\ndata 1\nx\nM 100644 inline file\n" + data
    git("fast-import", "--quiet", cwd=remote, stdin=stream)


def test_a_clone_has_every_byte_of_every_revision(remote: Path, tmp_path: Path) -> None:
    newest = clone(remote, tmp_path / "newest")
    release = clone(remote, tmp_path / "release", "v1")
    assert tree(newest) == tree(tmp_path / "work")
    assert (newest / "sub/model.bin").read_bytes() == random_bytes(2, 6000)
    assert (release / "sub/model.bin").read_bytes() == random_bytes(1, 5000)
    lfs_fsck(release)


def test_a_tree_shows_kind_mode_and_content(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x", b"1").chmod(0o600)
    write(tmp_path / "a" / "y", b"1").chmod(0o700)
    write(tmp_path / ".git" / "HEAD", b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / os.fsdecode(b"\xff")).symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    found = tree(tmp_path)
    assert sorted(found) == [b"a/x", b"a/y", b"pipe", b"\xff"]
    assert found[b"a/x"].content == found[b"a/y"].content
    assert (found[b"a/x"].mode, found[b"a/y"].mode) == ("100644", "100755")
    assert found[b"\xff"] == (Kind.LINK, "120000", b"a")
    assert found[b"pipe"].kind is Kind.OTHER


def test_history_lists_the_objects_of_all_refs(remote: Path) -> None:
    assert sorted(size for _, size in objects_of_history(remote)) == [5000, 6000]
    assert_whole(remote)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [(Path.unlink, "is missing"), (cut, "bytes instead of"), (flip_a_bit, "has the content of")],
    ids=["missing", "cut", "flipped"],
)
def test_a_damaged_object_of_an_old_commit_is_seen(
    remote: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    old = next(oid for oid, size in objects_of_history(remote) if size == 5000)
    damage(object_path(remote, old))
    with pytest.raises(AssertionError, match=complaint):
        assert_whole(remote)


def test_a_missing_git_object_is_seen(remote: Path) -> None:
    blob = git("rev-parse", "main:run.sh", cwd=remote).decode().strip()
    (remote / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(subprocess.CalledProcessError):
        assert_whole(remote)


def test_a_pointer_without_its_object_is_seen(remote: Path) -> None:
    commit_blob(remote, POINTER)
    with pytest.raises(AssertionError, match="is missing"):
        assert_whole(remote)


@pytest.mark.parametrize(
    "content",
    [
        POINTER[:-1],
        POINTER.replace(b"\n", b"\r\n"),
        b"\n" + POINTER,
        POINTER.replace(b"size 7", b"size 07"),
        POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"https://hawser.github.com/spec/v1"),
    ],
    ids=["no-final-newline", "crlf", "leading-newline", "leading-zero", "hawser"],
)
def test_a_pointer_in_another_form_is_refused(remote: Path, content: bytes) -> None:
    commit_blob(remote, content)
    with pytest.raises(AssertionError, match="no canonical pointer"):
        assert_whole(remote)


@pytest.mark.parametrize(
    "content",
    [POINTER.upper(), b"see https://git-lfs.github.com/spec/v1\n", POINTER + b"x" * 1024],
    ids=["upper-case", "prose", "too-long"],
)
def test_text_that_git_lfs_takes_for_text_is_no_pointer(remote: Path, content: bytes) -> None:
    commit_blob(remote, content)
    assert_whole(remote)


def test_a_failing_git_says_why(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        git("rev-parse", "HEAD", cwd=tmp_path)
    assert "not a git repository" in caught.value.__notes__[0]


def test_the_settings_are_private(private_environment: Path) -> None:
    assert Path.home() == private_environment
    assert not list(private_environment.iterdir())
    names = {name for name in os.environ if name.startswith(("GIT_", "HF_", "LFSSYNC_"))}
    assert names == {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"}
    folders = ("CONFIG_HOME", "STATE_HOME", "DATA_HOME", "CACHE_HOME", "RUNTIME_DIR")
    assert {Path(os.environ[f"XDG_{name}"]).parent for name in folders} == {private_environment.parent}
    assert git("config", "user.email", cwd=private_environment) == b"test.user@example.org\n"


def test_the_control_socket_has_a_short_enough_path() -> None:
    assert len(os.environ["XDG_RUNTIME_DIR"] + "/lfssync/control.sock") <= 107


def test_the_real_model_is_there() -> None:
    weights = real_model() / "model.safetensors"
    assert weights.stat().st_size == 90_868_376


def test_nothing_left_is_no_leak(private_environment: Path) -> None:
    before = leaks.census(str(private_environment))
    assert leaks.leaks(before, str(private_environment), IMPATIENCE_S).describe() == []


def test_a_thread_is_waited_for_and_then_named(private_environment: Path) -> None:
    before = leaks.census(str(private_environment))
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="lost-thread")
    thread.start()
    try:
        assert leaks.leaks(before, str(private_environment), IMPATIENCE_S).describe() == ["thread lost-thread"]
    finally:
        threading.Timer(IMPATIENCE_S, stop.set).start()
        left = leaks.leaks(before, str(private_environment))
    assert left.describe() == []


def test_a_descriptor_is_seen_even_under_a_number_used_before(private_environment: Path, tmp_path: Path) -> None:
    first = os.open(write(tmp_path / "first", b""), os.O_RDONLY)
    before = leaks.census(str(private_environment))
    os.close(first)
    second = os.open(write(tmp_path / "second", b""), os.O_RDONLY)
    try:
        assert second == first
        left = leaks.leaks(before, str(private_environment), IMPATIENCE_S)
        assert left.describe() == [f"descriptor {second}: {tmp_path}/second"]
    finally:
        os.close(second)


@pytest.mark.parametrize("command", ["sleep 60", "exit 0"], ids=["running", "zombie"])
def test_a_child_is_seen_and_ended(private_environment: Path, command: str) -> None:
    before = leaks.census(str(private_environment))
    child = subprocess.Popen(["/bin/sh", "-c", f"exec {command}" if "sleep" in command else command])
    left = leaks.leaks(before, str(private_environment), IMPATIENCE_S)
    assert {process.pid for process in left.processes} == {child.pid}
    leaks.end(left.processes)
    assert leaks.leaks(before, str(private_environment), IMPATIENCE_S).describe() == []
    child.wait()


def test_an_orphan_is_seen_by_its_home(private_environment: Path) -> None:
    before = leaks.census(str(private_environment))
    script = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3, start_new_session=True).pid)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, timeout=30)
    left = leaks.leaks(before, str(private_environment), IMPATIENCE_S)
    assert {process.pid for process in left.processes} == {int(done.stdout)}
    leaks.end(left.processes)
    assert leaks.leaks(before, str(private_environment)).describe() == []
