"""What every transfer promises, held against each kind of remote on real repositories, git-lfs and a server."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.model import LfsObject, Plan, Progress, silent
from lfssync.transfer import Source
from lfssync.transfer.logins import WANTED_FILE
from tests.contract.places import KINDS, SHARED, Damaged, Place, Servers, servers_in
from tests.helpers import git, lfs_fsck, random_bytes, tree, write

ROOT = Path(__file__).parents[2]
BLOCK = 1 << 20
SIZES = (1, 1023, 1024, 1025, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK)
FOLDERS_ONLY = [kind for kind in KINDS if "http" not in kind]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(params=[*KINDS, *SHARED])
def place(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Place]:
    kind = request.param
    with KINDS[kind](kind, tmp_path) if kind in KINDS else SHARED[kind](kind, tmp_path, servers) as there:
        yield there


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[[bytes], Source]]:
    """Lays content into a file and opens it, as staging does."""
    with ExitStack() as opened:

        def lay(content: bytes, oid: str | None = None) -> Source:
            file = write(tmp_path / "files" / f"{next(_numbers)}.bin", content)
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            return Source(lfs_of(content, oid), fd, os.fsencode(file))

        yield lay


Lay = Callable[[bytes], Source]


def lfs_of(content: bytes, oid: str | None = None) -> LfsObject:
    return LfsObject(oid or hashlib.sha256(content).hexdigest(), len(content))


def held(place: Place) -> dict[str, bytes]:
    """Every file at the remote's objects, by its path there: also what has no business there."""
    return {
        str(file.relative_to(place.objects)): file.read_bytes() for file in place.objects.rglob("*") if file.is_file()
    }


def shape(place: Place, *contents: bytes) -> dict[str, bytes]:
    """What a remote with exactly these objects holds."""
    return {str(place.file(lfs_of(content)).relative_to(place.objects)): content for content in contents}


def litter(place: Place) -> list[str]:
    """Temporary files and folders at the remote, and what is left in the mirror's git dir besides who wants a login."""
    strange = [str(path) for path in place.objects.parent.rglob("lfssync-*")]
    strange += [
        str(path)
        for path in place.git_dir.rglob("*")
        if path.is_file() and path.name not in ("HEAD", "config", WANTED_FILE)
    ]
    return strange + [str(room) for room in Path(os.environ["XDG_RUNTIME_DIR"]).glob("lfssync-*")]


def damage(file: Path, content: bytes) -> None:
    """Replace an object's bytes; as a new file, since nothing else may be tied to the old one."""
    file.unlink()
    file.write_bytes(content)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,))


def test_round_trip(place: Place, source: Lay, tmp_path: Path) -> None:
    content = random_bytes(1, 3_000_000)
    one = source(content)
    assert place.transfer.missing([one.lfs]) == [one.lfs]
    with pytest.raises(TransientError, match=one.lfs.oid):
        place.transfer.confirm([one.lfs])
    done = place.transfer.upload([one], silent)
    assert (done.sent_bytes, done.changed) == (len(content), ())
    assert place.transfer.missing([one.lfs]) == []
    place.transfer.confirm([one.lfs])
    place.transfer.download(one.lfs, tmp_path / "back", silent)
    assert (tmp_path / "back").read_bytes() == content
    assert held(place) == shape(place, content)
    assert litter(place) == []


def test_sizes_around_the_blocks(place: Place, source: Lay, tmp_path: Path) -> None:
    contents = [random_bytes(size, size) for size in SIZES]
    sources = [source(content) for content in contents]
    place.transfer.upload(sources, silent)
    place.transfer.confirm([one.lfs for one in sources])
    assert held(place) == shape(place, *contents)
    for one, content in zip(sources, contents, strict=True):
        back = tmp_path / one.lfs.oid
        place.transfer.download(one.lfs, back, silent)
        assert back.read_bytes() == content


def test_50_mb(place: Place, source: Lay, tmp_path: Path) -> None:
    content = random_bytes(2, 50_000_000)
    one = source(content)
    assert place.transfer.upload([one], silent).sent_bytes == len(content)
    place.transfer.download(one.lfs, tmp_path / "back", silent)
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == one.lfs.oid
    assert litter(place) == []


def test_only_what_is_missing_is_named_in_the_order_asked(place: Place, source: Lay) -> None:
    sources = [source(bytes((number,)) * 2000) for number in range(10)]
    place.transfer.upload(sources[3:6], silent)
    asked = [one.lfs for one in reversed(sources)]
    assert place.transfer.missing(asked) == [lfs for lfs in asked if lfs not in [one.lfs for one in sources[3:6]]]
    with pytest.raises(TransientError):
        place.transfer.confirm(asked)
    place.transfer.confirm([one.lfs for one in sources[3:6]])
    assert place.transfer.missing([]) == []
    place.transfer.confirm([])


def test_the_same_object_twice(place: Place, source: Lay) -> None:
    content = random_bytes(3, 5000)
    done = place.transfer.upload([source(content), source(content)], silent)
    assert done.changed == ()
    assert held(place) == shape(place, content)
    one = lfs_of(content)
    assert place.transfer.missing([one, one]) == []
    place.transfer.confirm([one, one])


def test_again_does_no_harm(place: Place, source: Lay) -> None:
    content = random_bytes(4, 5000)
    one = source(content)
    place.transfer.upload([one], silent)
    place.transfer.upload([one], silent)
    place.transfer.confirm([one.lfs])
    assert held(place) == shape(place, content)
    assert litter(place) == []


def test_many_objects(place: Place, source: Lay) -> None:
    contents = [b"object %d" % number for number in range(120)]
    sources = [source(content) for content in contents]
    assert place.transfer.upload(sources, silent).sent_bytes == sum(map(len, contents))
    assert held(place) == shape(place, *contents)


def test_thousands_can_be_asked_about(place: Place) -> None:
    objects = [lfs_of(b"nobody has %d" % number) for number in range(2000)]
    assert place.transfer.missing(objects) == objects


@pytest.mark.parametrize("what", ["changed", "shrunk", "grown", "emptied"])
def test_a_file_that_is_not_what_was_hashed(what: str, place: Place, source: Lay) -> None:
    """Overwritten in place after it was staged: never completed under the old name, and the others go on."""
    content, good = random_bytes(5, 3_000_000), random_bytes(6, 4000)
    one, other = source(content), source(good)
    now = {"changed": flipped(content), "shrunk": content[:-1], "grown": content + b"x", "emptied": b""}[what]
    with open(one.path, "r+b") as file:
        file.truncate(len(now))
        file.write(now)
    done = place.transfer.upload([one, other], silent)
    if what == "grown":  # its first bytes are still the object that was staged
        assert done.changed == ()
        assert held(place) == shape(place, content, good)
    else:
        assert done.changed == (one.lfs,)
        assert done.sent_bytes == len(good)
        there = held(place)
        if place.incoming == place.objects:
            assert len(there.pop(place.file(one.lfs).name, b"")) < len(content)
        assert there == shape(place, good)
    assert litter(place) == []


@pytest.mark.parametrize("what", ["unlinked", "renamed", "replaced"])
def test_rotation_takes_the_name_but_not_the_bytes(what: str, place: Place, source: Lay) -> None:
    content = random_bytes(7, 1_000_000)
    one = source(content)
    file = Path(os.fsdecode(one.path))
    if what == "unlinked":
        file.unlink()
    elif what == "renamed":
        file.rename(file.with_name("elsewhere"))
    else:
        os.replace(write(file.with_name("new"), b"a new checkpoint"), file)
    assert place.transfer.upload([one], silent).changed == ()
    assert held(place) == shape(place, content)


def test_the_remote_shares_no_file_with_us(place: Place, source: Lay, tmp_path: Path) -> None:
    """A trainer that overwrites in place must never reach what the remote holds."""
    content = random_bytes(8, 100_000)
    one = source(content)
    place.transfer.upload([one], silent)
    place.transfer.download(one.lfs, tmp_path / "back", silent)
    files = [Path(os.fsdecode(one.path)), place.file(one.lfs), tmp_path / "back"]
    assert [file.stat().st_nlink for file in files] == [1, 1, 1]
    assert len({file.stat().st_ino for file in files}) == 3


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("kind", FOLDERS_ONLY)
def test_modes_follow_the_umask(umask: int, kind: str, source: Lay, tmp_path: Path) -> None:
    with KINDS[kind](kind, tmp_path) as place:
        one = source(b"content")
        before = os.umask(umask)
        try:
            place.transfer.upload([one], silent)
        finally:
            os.umask(before)
        file = place.file(one.lfs)
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
        assert [folder.stat().st_mode & 0o777 for folder in list(file.parents)[:4]] == [0o777 & ~umask] * 4


@pytest.mark.parametrize(
    ("shared", "file_mode", "folder_mode"),
    [("group", 0o660, 0o2770), ("all", 0o664, 0o2775), ("0660", 0o660, 0o2770), ("umask", 0o600, 0o700)],
)
def test_a_shared_repository_stays_shared(
    shared: str, file_mode: int, folder_mode: int, source: Lay, tmp_path: Path
) -> None:
    """Others of the group push there as well, into the same folders."""
    with KINDS["bare"]("bare", tmp_path) as place:
        git("config", "core.sharedRepository", shared, cwd=place.repository)
        one = source(b"content")
        before = os.umask(0o077)
        try:
            place.transfer.upload([one], silent)
        finally:
            os.umask(before)
        file = place.file(one.lfs)
        assert file.stat().st_mode & 0o777 == file_mode
        assert file.parent.stat().st_mode & 0o7777 == folder_mode


def test_stock_git_lfs_reads_what_was_uploaded(place: Place, source: Lay, tmp_path: Path) -> None:
    contents = {"small.bin": b"x", "model.bin": random_bytes(10, 2_000_000)}
    place.transfer.upload([source(content) for content in contents.values()], silent)
    clone_and_compare(place, contents, tmp_path)


def clone_and_compare(place: Place, contents: dict[str, bytes], tmp_path: Path) -> None:
    """Push pointers to the remote, clone it with stock git, and compare all bytes."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "--quiet", cwd=work)
    write(work / ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git("add", ".gitattributes", cwd=work)
    for name, content in contents.items():
        blob = git("hash-object", "-w", "--stdin", cwd=work, stdin=lfs_of(content).pointer()).decode().strip()
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", cwd=work)
    git("commit", "--quiet", "-m", "pointers", cwd=work)
    git("push", "--quiet", "--no-verify", place.repository, "HEAD:refs/heads/main", cwd=work)
    git(*place.clone_settings, "clone", "--quiet", f"file://{place.repository}", "stock", cwd=tmp_path)
    lfs_fsck(tmp_path / "stock")
    there = {os.fsdecode(path): entry.content for path, entry in tree(tmp_path / "stock").items()}
    assert {name: there[name] for name in contents} == {name: lfs_of(data).oid for name, data in contents.items()}


def test_a_damaged_object_on_the_remote(place: Place, source: Lay, tmp_path: Path) -> None:
    content = random_bytes(11, 100_000)
    one = source(content)
    place.transfer.upload([one], silent)
    damage(place.file(one.lfs), flipped(content))
    with pytest.raises(LfssyncError):
        place.transfer.download(one.lfs, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()
    if place.damaged is Damaged.UNSEEN:
        assert place.transfer.missing([one.lfs]) == []
        return
    assert place.transfer.missing([one.lfs]) == [one.lfs]
    if place.damaged is Damaged.REFUSED:
        with pytest.raises(BlockedError, match="damaged"):
            place.transfer.upload([one], silent)
    else:
        place.transfer.upload([one], silent)
        assert held(place) == shape(place, content)
    assert litter(place) == []


def test_a_truncated_object_on_the_remote_is_replaced(place: Place, source: Lay, tmp_path: Path) -> None:
    content = random_bytes(12, 100_000)
    one = source(content)
    place.transfer.upload([one], silent)
    damage(place.file(one.lfs), content[:-1])
    assert place.transfer.missing([one.lfs]) == [one.lfs]
    with pytest.raises(TransientError):
        place.transfer.confirm([one.lfs])
    with pytest.raises(LfssyncError):
        place.transfer.download(one.lfs, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()
    place.transfer.upload([one], silent)
    assert held(place) == shape(place, content)


def test_what_the_remote_lost_is_noticed(place: Place, source: Lay, tmp_path: Path) -> None:
    kept, lost = source(b"kept"), source(b"lost")
    place.transfer.upload([kept, lost], silent)
    place.file(lost.lfs).unlink()
    assert place.transfer.missing([kept.lfs, lost.lfs]) == [lost.lfs]
    with pytest.raises(TransientError, match=lost.lfs.oid):
        place.transfer.confirm([kept.lfs, lost.lfs])
    with pytest.raises(LfssyncError, match=lost.lfs.oid):
        place.transfer.download(lost.lfs, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()
    assert litter(place) == []


def test_a_download_never_replaces_a_file(place: Place, source: Lay, tmp_path: Path) -> None:
    one = source(b"content")
    place.transfer.upload([one], silent)
    mine = write(tmp_path / "mine", b"something else")
    with pytest.raises((LfssyncError, FileExistsError)):
        place.transfer.download(one.lfs, mine, silent)
    assert mine.read_bytes() == b"something else"


def test_a_part_of_an_object(place: Place, source: Lay) -> None:
    content = random_bytes(1, 3 * BLOCK)
    one = source(content)
    place.transfer.upload([one], silent)
    transfer = place.transfer
    whole_only = place.kind == "git-lfs over http"
    for offset, count in ((0, 8), (8, 100_000), (len(content) - 3, 10), (len(content), 1)):
        assert transfer.part(one.lfs, offset, count) == (None if whole_only else content[offset : offset + count])
    if not whole_only:
        with pytest.raises(LfssyncError, match="0123456789"):
            transfer.part(lfs_of(b"1", "0123456789abcdef" * 4), 0, 1)


def test_progress_grows_and_ends_at_the_size(place: Place, source: Lay, tmp_path: Path) -> None:
    contents = [random_bytes(13, 5_000_000), random_bytes(14, 1)]
    sources = [source(content) for content in contents]
    told: list[Progress] = []
    lock = threading.Lock()

    def monitor(event: Plan | Progress) -> None:
        assert isinstance(event, Progress)
        with lock:
            told.append(event)

    place.transfer.upload(sources, monitor)
    for one in sources:
        steps = [event.done_bytes for event in told if event.path == one.path]
        assert steps == sorted(set(steps))
        assert steps[-1] == one.lfs.size_bytes
        assert {event.size_bytes for event in told if event.path == one.path} == {one.lfs.size_bytes}
    told.clear()
    place.transfer.download(sources[0].lfs, tmp_path / "back", monitor)
    steps = [event.done_bytes for event in told]
    assert steps == sorted(set(steps))
    assert steps[-1] == sources[0].lfs.size_bytes


def test_a_monitor_that_stops_leaves_nothing_behind(place: Place, source: Lay) -> None:
    """How a mirror that is told to stop ends a long copy."""
    one = source(random_bytes(15, 5_000_000))

    def stop(_: Plan | Progress) -> None:
        raise TransientError("stopped")

    with pytest.raises(TransientError, match="stopped"):
        place.transfer.upload([one], stop)
    notes = f"{place.git_dir}/lfs/uploads/"  # from which an upload in parts goes on
    assert [left for left in litter(place) if not left.startswith(notes)] == []


def test_a_remote_that_is_gone(place: Place, source: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)  # no pause before it is tried again
    one = source(b"content")
    transfer = place.transfer
    transfer.upload([one], silent)
    if "http" in place.kind:
        url = place.url.replace("127.0.0.1", "127.0.0.2").replace("localhost", "127.0.0.2")
        place = replace(place, url=url)
        for ask in (lambda: place.transfer.missing([one.lfs]), lambda: place.transfer.upload([one], silent)):
            with pytest.raises(TransientError):
                ask()
        with pytest.raises(TransientError):
            place.transfer.confirm([one.lfs])
        return
    shutil.rmtree(place.repository)
    with pytest.raises(LfssyncError):
        transfer.upload([one], silent)
    assert not place.repository.exists(), "a repository that was taken away comes not back as a heap of objects"
    with pytest.raises(BlockedError, match="is no git repository"):
        place.transfer.missing([one.lfs])
    write(place.repository / "file", b"somebody else's")
    with pytest.raises(BlockedError, match="is no git repository"):
        place.transfer.missing([one.lfs])


def run_apart(place: Place, *files: Path) -> subprocess.Popen[str]:
    """Upload in another process, which runs as root without root's right to write everywhere."""
    command = [
        sys.executable,
        "-m",
        "tests.contract.operate",
        place.kind,
        place.url,
        str(place.git_dir),
        *map(str, files),
    ]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *command]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", FOLDERS_ONLY)
def test_a_remote_that_is_read_only(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](kind, tmp_path) as place:
        place.repository.chmod(0o555)
        said, complaints = run_apart(place, write(tmp_path / "model.bin", b"content")).communicate(timeout=60)
        place.repository.chmod(0o755)
        assert complaints == ""
        assert said.startswith("TransientError: ")
        assert "permission denied" in said.lower()
        assert held(place) == {}
        assert litter(place) == []


def test_killed_in_the_middle(place: Place, tmp_path: Path) -> None:
    """The next run finishes the upload and clears away what the killed one left."""
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(400 << 20)
    oid = hashlib.sha256(bytes(400 << 20)).hexdigest()
    at_work = run_apart(place, big)
    deadline = time.monotonic() + 60
    while on_the_way(place) <= BLOCK:
        assert at_work.poll() is None, at_work.communicate()
        assert time.monotonic() < deadline
    at_work.kill()
    at_work.communicate()
    assert at_work.returncode == -signal.SIGKILL
    there = place.file(LfsObject(oid, 400 << 20))
    if place.incoming is None:
        assert litter(place) != []
    assert not there.exists() or (place.incoming == place.objects and there.stat().st_size < 400 << 20)
    assert run_apart(place, big).communicate(timeout=120) == ("", "")
    assert there.stat().st_size == 400 << 20
    assert litter(place) == []


def on_the_way(place: Place) -> int:
    """How many bytes are being written on the way to the remote."""
    found = list(place.objects.glob("lfssync-*/*")) + list(place.git_dir.glob("git-lfs/lfs/objects/*/*/*"))
    total_bytes = 0
    for file in [*found, *(place.incoming.rglob("*") if place.incoming else ())]:
        with suppress(FileNotFoundError):
            total_bytes += file.stat().st_size
    return total_bytes


def test_two_at_once(place: Place, source: Lay, tmp_path: Path) -> None:
    """Another machine that shares the disk, or another mirror: neither takes the other's files for leftovers."""
    big = random_bytes(16, 20_000_000)
    files = [write(tmp_path / "a.bin", big), write(tmp_path / "b.bin", random_bytes(17, 20_000_000))]
    other_dir = tmp_path / "other"
    other_dir.mkdir()
    git("init", "--quiet", "--bare", "--template=", "mirror.git", cwd=other_dir)
    other = replace(place, git_dir=other_dir / "mirror.git")
    at_work = [run_apart(place, *files), run_apart(other, *files)]
    assert [one.communicate(timeout=120) for one in at_work] == [("", ""), ("", "")]
    assert held(place) == shape(place, *(file.read_bytes() for file in files))
    assert litter(place) == []
