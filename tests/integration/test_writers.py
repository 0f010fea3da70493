"""Programs that write while lfssync reads: what is committed is a state that the file really had."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from lfssync.errors import LfssyncError
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.settle import Writer, probe
from lfssync.line.workbench import Session
from lfssync.model import PassResult, Plan, Progress, State
from lfssync.service import delivering
from tests.helpers import assert_whole, git, random_bytes, tree, write
from tests.integration.site import ATTRIBUTES, Link, Site, entry_of, lfs_paths, site_for_nobody, sync_as_nobody

BIG = random_bytes(1, 3 << 20)
BIGGER = random_bytes(2, 5 << 20)
OPEN = "open for writing"
MOVING = "still changing"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path)


def deferred(result: PassResult) -> dict[bytes, str]:
    return {one.path: one.reason for one in result.deferred}


def during(site: Site, when: Callable[[Plan | Progress], bool], do: Callable[[], object]) -> PassResult:
    """One pass, in the middle of which something happens, once."""
    done = threading.Event()

    def monitor(event: Plan | Progress) -> None:
        if not done.is_set() and when(event):
            done.set()
            do()

    try:
        return run_pass(site.mirror, site.state, Order(verify=True), Session(monitor))
    finally:
        assert done.is_set(), "the moment never came"


def hashing(path: bytes) -> Callable[[Plan | Progress], bool]:
    return lambda event: isinstance(event, Progress) and event.state is State.STAGING and event.path == path


def uploading(path: bytes) -> Callable[[Plan | Progress], bool]:
    return lambda event: isinstance(event, Progress) and event.state is State.UPLOADING and event.path == path


def before_opening(event: Plan | Progress) -> bool:
    return isinstance(event, Plan) and event.state is State.STAGING


# -- who writes -----------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[None]:
    with path.open("r+b"):
        yield


@contextmanager
def appended(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        file.write(b"more")
        yield


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Mapped for writing, and the descriptor closed: nothing but the mapping is left."""
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 0) as mapping:
        os.close(fd)
        mapping[0:1] = b"!"
        yield


@contextmanager
def opened_elsewhere(path: Path) -> Iterator[None]:
    """By another process, which may also be stopped."""
    script = "import sys, time; file = open(sys.argv[1], 'r+b'); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            child.kill()


@pytest.mark.parametrize("writer", [opened, appended, mapped, opened_elsewhere])
@pytest.mark.parametrize("content", [b"small", BIG], ids=["plain", "lfs"])
def test_an_open_file_waits_and_is_taken_after_it_was_closed(
    site: Site, writer: Callable[[Path], AbstractContextManager[None]], content: bytes
) -> None:
    write(site.directory / "log", content)
    write(site.directory / "done", BIG)
    with writer(site.directory / "log"):
        result = site.sync()
        assert deferred(result) == {b"log": OPEN}
        assert site.remote_tree() == {b"done": entry_of(BIG)}
    assert deferred(site.sync()) == {}
    site.assert_mirrored()
    with writer(site.directory / "log"):  # also a file that is there already stays as it was
        write(site.directory / "done", BIGGER)
        site.sync()
        assert site.remote_tree()[b"done"] == entry_of(BIGGER)
    site.sync()
    site.assert_mirrored()


def test_where_the_kernel_cannot_tell_signatures_have_to_stand_still() -> None:
    """Files of another owner: no lease can be had, so nothing tells about writers but the time."""
    with site_for_nobody() as site:
        write(site.directory / "a", b"1")
        write(site.directory / "big", BIG)
        assert sync_as_nobody(site, owns_files=False) == ([], [])
        site.assert_mirrored()
        write(site.directory / "a", b"2")
        hinted = sync_as_nobody(site, ["a"], owns_files=False)
        assert hinted == ([["a", MOVING]], [])  # the first look says nothing about how long it stands still
        with restless(site.directory / "b", 1 << 16, 0.01):
            deferred, _ = sync_as_nobody(site, owns_files=False)
            assert [path for path, _ in deferred] == ["b"]
        assert sync_as_nobody(site, owns_files=False) == ([], [])
        site.assert_mirrored()


def test_a_reader_is_no_writer(site: Site) -> None:
    write(site.directory / "a", BIG)
    with (site.directory / "a").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert deferred(site.sync()) == {}
    site.assert_mirrored()


def test_probing_ends_nobody_and_holds_up_nobody(tmp_path: Path) -> None:
    """Openers in a hurry meet the probe at its worst moment; the kernel then signals whoever holds the lease."""
    path = write(tmp_path / "file", b"x")
    script = (
        "import os, sys, time\nworst = 0.0\nend = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    began = time.monotonic(); os.close(os.open(sys.argv[1], os.O_WRONLY))\n"
        "    worst = max(worst, time.monotonic() - began)\n"
        "print(worst)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
        fd = os.open(path, os.O_RDONLY)
        found = set()
        try:
            while child.poll() is None:
                found.add(probe(fd))
        finally:
            os.close(fd)
        assert child.stdout is not None
        assert float(child.stdout.read()) < 0.5
    assert found == {Writer.ABSENT, Writer.PRESENT}


# -- changes in the very moment of reading --------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!" * (path.stat().st_size - 7))


def overwrite_and_put_the_time_back(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    os.replace(write(path.with_name("other"), b"!" * path.stat().st_size), path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    write(path / "inside", b"1")


MOMENTS: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "cut to nothing": lambda path: os.truncate(path, 0),
    "cut short": cut_short,
    "appended to": append,
    "overwritten in place": overwrite,
    "overwritten, its time put back": overwrite_and_put_the_time_back,
    "replaced": replace,
    "made a folder": make_a_folder,
    "made executable": lambda path: path.chmod(0o755),
    "renamed": lambda path: path.rename(path.with_name("renamed")),
}


@pytest.mark.parametrize(
    ("what", "moment"),
    [(what, hashing) for what in MOMENTS]
    + [(what, uploading) for what in ("deleted", "cut short", "overwritten, its time put back", "replaced")],
)
def test_a_large_file_that_changes_while_it_is_read(
    site: Site, what: str, moment: Callable[[bytes], Callable[[Plan | Progress], bool]]
) -> None:
    write(site.directory / "big", BIG)
    write(site.directory / "other-big", BIGGER)
    write(site.directory / "small", b"1")
    result = during(site, moment(b"big"), lambda: MOMENTS[what](site.directory / "big"))
    assert result.deferred == () or [one.path for one in result.deferred] == [b"big"]
    there = site.remote_tree()
    assert there.pop(b"big", entry_of(BIG)) == entry_of(BIG)  # as it was, or not at all
    assert there == {b"other-big": entry_of(BIGGER), b"small": entry_of(b"1")}
    assert deferred(site.sync()) == {}
    site.assert_mirrored()


@pytest.mark.parametrize("what", MOMENTS)
def test_a_small_file_that_changes_after_it_was_read(site: Site, what: str) -> None:
    write(site.directory / "a", b"1" * 100)
    write(site.directory / "b", b"2")
    result = during(site, hashing(b"a"), lambda: MOMENTS[what](site.directory / "a"))
    assert deferred(result) == {b"a": MOVING}
    assert site.remote_tree() == {b"b": entry_of(b"2")}
    site.sync()
    site.assert_mirrored()


def test_a_large_plain_file_that_changes_while_it_is_read(site: Site) -> None:
    """It is read twice, to name it and to write it; what git gets must be what the name says."""
    write(site.directory / ".gitattributes", b"* -filter\n")
    write(site.directory / "big", BIG)
    for what in (overwrite, cut_short, append):
        write(site.directory / "big", BIG + what.__name__.encode())
        during(site, before_opening, partial(what, site.directory / "big"))
        site.sync()
        assert not lfs_paths(site.remote, "main")
        site.assert_mirrored()


@contextmanager
def restless(path: Path, size: int, pause_s: float) -> Iterator[None]:
    """A process that overwrites a file in place with one generation after another, closing it in between."""
    script = (
        "import os, sys, time\npath, size, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])\ngeneration = 0\n"
        "while True:\n"
        "    generation += 1\n"
        "    with open(path, 'r+b' if os.path.exists(path) else 'wb', buffering=0) as file:\n"
        "        for _ in range(size >> 16):\n"
        "            file.write(b'%08d' % generation * 8192)\n"
        "    if generation == 1:\n"
        "        print(flush=True)\n"
        "    time.sleep(pause)"
    )
    arguments = [sys.executable, "-c", script, str(path), str(size), str(pause_s)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.kill()


@pytest.mark.parametrize("name", ["weights.bin", "plain.raw"])
def test_a_file_that_is_overwritten_in_place_is_never_torn(site: Site, name: str) -> None:
    write(site.directory / ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.raw -filter\n")
    with restless(site.directory / name, 4 << 20, 0.05):
        for _ in range(15):
            run_pass(site.mirror, site.state, Order(), Session())
    site.sync()
    site.assert_mirrored()
    for commit in git("rev-list", "main", "--", name, cwd=site.remote).decode().split():
        blob = git("cat-file", "blob", f"{commit}:{name}", cwd=site.remote)
        if name == "weights.bin":
            oid = blob.split()[3].removeprefix(b"sha256:").decode()
            blob = (site.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes()
        generations = {blob[at : at + 8] for at in range(0, len(blob), 8)}
        if commit != site.tip():  # the last one was killed in the middle of writing: that is a state it really had
            assert len(generations) == 1, f"{commit} mixes {generations}"
            assert len(blob) == 4 << 20


def test_files_that_come_and_go_during_a_pass(site: Site) -> None:
    """Rotation: what is deleted while others are read is left out, nothing else is; a sync looks again by itself."""
    for number in range(200):
        write(site.directory / f"checkpoint-{number}" / "weights.bin", b"%d" % number * 1000)

    def rotate() -> None:
        for number in range(0, 200, 2):
            (site.directory / f"checkpoint-{number}" / "weights.bin").unlink()
            os.rmdir(site.directory / f"checkpoint-{number}")

    todo = [rotate]

    def monitor(event: Plan | Progress) -> None:
        if todo and before_opening(event):
            todo.pop()()

    result = delivering.sync(site.mirror, site.state, Order(), Session(monitor))
    assert result.deferred == ()
    site.assert_mirrored()


# -- links swapped in -----------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write(tmp_path / "outside" / "file", b"canary-from-outside" * 100_000)


def assert_nothing_got_out(site: Site) -> None:
    assert b"canary-from-outside" not in git("cat-file", "--batch-all-objects", "--batch", cwd=site.remote)
    for path in (*site.remote.glob("lfs/**/*"), *site.state.glob("**/*")):
        if path.is_file():
            assert b"canary-from-outside" not in path.read_bytes(), path


@pytest.mark.parametrize("before", [b"small", BIG], ids=["plain", "lfs"])
def test_a_file_replaced_by_a_link_is_not_followed(site: Site, secret: Path, before: bytes) -> None:
    write(site.directory / "file", before)
    write(site.directory / "other", b"1")

    def swap() -> None:
        (site.directory / "file").unlink()
        (site.directory / "file").symlink_to(secret)

    result = during(site, before_opening, swap)
    assert set(deferred(result)) == {b"file"}
    assert site.remote_tree() == {b"other": entry_of(b"1")}
    site.sync()
    site.assert_mirrored()
    assert_nothing_got_out(site)


@pytest.mark.parametrize("before", [b"small", BIG], ids=["plain", "lfs"])
@pytest.mark.parametrize("depth", ["sub", "sub/deep"])
def test_a_folder_replaced_by_a_link_is_not_followed(site: Site, secret: Path, before: bytes, depth: str) -> None:
    write(site.directory / "sub/deep/file", before)
    write(site.directory / "sub/file", before)
    write(site.directory / "other", b"1")
    write(secret.parent / "deep/file", secret.read_bytes())
    write(secret.parent / ".gitignore", b"*\n")

    def swap() -> None:
        (site.directory / depth).rename(site.directory.parent / "away")
        (site.directory / depth).symlink_to(secret.parent)

    result = during(site, before_opening, swap)
    assert b"sub/deep/file" in deferred(result)
    site.sync(accept_deletions=True)
    site.assert_mirrored()
    assert_nothing_got_out(site)
    site.sync(hints=[b"sub/deep/file", b"sub/file", b"sub/deep"])
    site.assert_mirrored()
    assert_nothing_got_out(site)


def test_attributes_replaced_by_a_link_are_not_followed(site: Site, tmp_path: Path) -> None:
    write(tmp_path / "rules", b"* filter=lfs diff=lfs merge=lfs -text\n")
    site.put({ATTRIBUTES: Link(b"../rules"), b"sub/.gitattributes": Link(b"../../rules"), b"a": b"1", b"sub/b": b"1"})
    assert not lfs_paths(site.remote, "main")
    site.assert_mirrored()


# -- stopping and failing in the middle -----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [hashing, uploading])
def test_a_stop_in_the_middle_leaves_nothing_open_and_goes_on_later(
    site: Site, moment: Callable[[bytes], Callable[[Plan | Progress], bool]]
) -> None:
    for number in range(60):
        write(site.directory / f"{number:02}.bin", b"%d" % number)
    write(site.directory / "90.bin", BIG)
    write(site.directory / "91.bin", BIGGER)
    session = Session()
    when = moment(b"90.bin")

    def monitor(event: Plan | Progress) -> None:
        if when(event):
            session.stop.set()

    session.monitor = monitor
    open_before = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with pytest.raises(LfssyncError, match="stopped"):
        run_pass(site.mirror, site.state, Order(), session)
    assert time.monotonic() - began < 20
    assert len(os.listdir("/proc/self/fd")) <= open_before
    assert_whole(site.remote)
    delivering.sync(site.mirror, site.state, Order(), Session())
    site.assert_mirrored()
    assert len(tree(site.directory)) == 62
