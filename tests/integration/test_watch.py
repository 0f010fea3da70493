"""File system events become hints: real folders, real events, real limits of the kernel.

A test acts, then makes a marker file: the kernel keeps the order of events, so what comes before it is the answer.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lfssync.errors import TransientError
from lfssync.line.inotify import READERS
from lfssync.line.watch import Watcher, file_system_reason, polling_reason, watch_limit_reason
from lfssync.model import EVERYTHING, Hint

PATIENCE_S = 20.0
PROJECT = Path(__file__).parents[2]


class Watched:
    """A watcher on `root`, and the queue its hints go to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
        self.watcher = Watcher(root, self.hints.put)
        self._markers = 0

    def next(self) -> Hint:
        return self.hints.get(timeout=PATIENCE_S)

    def hinted(self) -> list[Hint]:
        """What was hinted since the last call, in order."""
        self._markers += 1
        marker = self.root / f"marker-{self._markers}"
        marker.touch()
        return list(iter(self.next, Hint(os.fsencode(marker.name))))

    def paths(self) -> set[bytes | None]:
        """The paths hinted since the last call."""
        return {hint.path for hint in self.hinted() if not (hint.path or b"").startswith(b"marker-")}


@contextmanager
def watching(root: Path) -> Iterator[Watched]:
    watched = Watched(root)
    assert watched.watcher.start() is None
    try:
        assert watched.next() == EVERYTHING
        yield watched
    finally:
        watched.watcher.stop()


def kernel_watches() -> int:
    """How many watches the kernel keeps for this process. Source: proc(5), /proc/pid/fdinfo."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            details = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
            found += sum(line.startswith("inotify wd:") for line in details.splitlines())
    return found


def folders(root: Path) -> int:
    return sum(1 for _ in os.walk(root))


def soon(answer: Callable[[], object]) -> bool:
    """Whether `answer` becomes true within the patience."""
    deadline = time.monotonic() + PATIENCE_S
    while not answer():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def in_child(function: Callable[..., None], *arguments: Path, wrapper: tuple[str, ...] = ()) -> None:
    """Run a function of this module in a process of its own, as the wrapping command limits it."""
    code = f"import pathlib, sys; from {__name__} import *; {function.__name__}(*map(pathlib.Path, sys.argv[1:]))"
    command = [*wrapper, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


OWN_LIMITS = ("unshare", "--user", "--map-root-user")
"""The limits below /proc/sys/user are those of a user namespace: lowered there, they disturb nobody."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree: files `a` and `d/b`, folders `d`, `d/e` and `empty`."""
    path = tmp_path / "mirrored"
    (path / "d/e").mkdir(parents=True)
    (path / "empty").mkdir()
    (path / "a").write_bytes(b"a")
    (path / "d/b").write_bytes(b"b")
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the mirrored one: with file `f`, and `g/h` in a folder."""
    path = tmp_path / "outside"
    (path / "g").mkdir(parents=True)
    (path / "f").write_bytes(b"f")
    (path / "g/h").write_bytes(b"h")
    return path


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite_start(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def write_and_keep_open(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, b"x")
    held_open.append(descriptor)


held_open: list[int] = []


@pytest.fixture(autouse=True)
def _close_held_files() -> Iterator[None]:
    yield
    while held_open:
        os.close(held_open.pop())


Action = Callable[[Path, Path], object]


@pytest.mark.parametrize(
    ("act", "paths"),
    [
        (lambda root, _: (root / "new").touch(), {b"new"}),
        (lambda root, _: (root / "d/e/new").write_bytes(b"x"), {b"d/e/new"}),
        (lambda root, _: append(root / "d/b"), {b"d/b"}),
        (lambda root, _: overwrite_start(root / "a"), {b"a"}),
        (lambda root, _: write_and_keep_open(root / "a"), {b"a"}),
        (lambda root, _: os.truncate(root / "a", 0), {b"a"}),
        (lambda root, _: (root / "a").chmod(0o755), {b"a"}),
        (lambda root, _: os.utime(root / "a", (1, 1)), {b"a"}),
        (lambda root, _: (root / "a").unlink(), {b"a"}),
        (lambda root, _: (root / "a").rename(root / "d/c"), {b"a", b"d/c"}),
        (lambda root, _: (root / "a").replace(root / "d/b"), {b"a", b"d/b"}),
        (lambda root, _: (root / "link").symlink_to("a"), {b"link"}),
        (lambda root, _: (root / "hard").hardlink_to(root / "a"), {b"hard"}),
        (lambda root, outside: (outside / "f").rename(root / "d/f"), {b"d/f"}),
        (lambda root, outside: (root / "d/b").rename(outside / "b"), {b"d/b"}),
        (lambda root, _: (root / "d/new").mkdir(), {b"d/new"}),
        (lambda root, _: (root / "empty").rmdir(), {b"empty"}),
        (lambda root, _: (root / "d").rename(root / "moved"), {b"d", b"moved"}),
        (lambda root, outside: (outside / "g").rename(root / "g"), {b"g"}),
        (lambda root, outside: (root / "d").rename(outside / "d"), {b"d"}),
        (lambda root, _: shutil.rmtree(root / "d"), {b"d/b", b"d/e", b"d"}),
        (lambda root, _: (root / "d").chmod(0o700), {b"d"}),
        (lambda root, _: root.chmod(0o700), {None}),
        (lambda root, _: os.listdir(root), set()),
        (lambda root, _: (root / "a").read_bytes(), set()),
    ],
)
def test_a_change_hints_at_exactly_its_path(root: Path, outside: Path, act: Action, paths: set[bytes | None]) -> None:
    with watching(root) as watched:
        act(root, outside)
        assert watched.paths() == paths
        assert watched.watcher.check() is None


def test_a_folder_that_was_moved_reports_under_its_new_path(root: Path, outside: Path) -> None:
    with watching(root) as watched:
        (root / "d").rename(root / "empty/d")
        (outside / "g").rename(root / "g")
        assert watched.paths() == {b"d", b"empty/d", b"g"}
        append(root / "empty/d/b")
        (root / "empty/d/e/new").touch()
        append(root / "g/h")
        assert watched.paths() == {b"empty/d/b", b"empty/d/e/new", b"g/h"}


def test_a_folder_that_was_moved_out_reports_nothing_more(root: Path, outside: Path) -> None:
    """Its name is used again, and the old folder deleted where it went: the archive step of a rotation."""
    with watching(root) as watched:
        (root / "d").rename(outside / "d")
        assert watched.paths() == {b"d"}
        append(outside / "d/b")
        (outside / "d/e/new").touch()
        assert watched.paths() == set()
        (root / "d").mkdir()
        (root / "d").rename(root / "best")
        shutil.rmtree(outside / "d")
        assert watched.paths() == {b"d", b"best"}
        (root / "best/new").touch()
        assert watched.paths() == {b"best/new"}
        assert watched.watcher.check() is None


def test_a_folder_that_was_deleted_while_open_and_made_anew_takes_one_watch(root: Path) -> None:
    with watching(root) as watched:
        held_open.append(os.open(root / "empty", os.O_RDONLY))
        (root / "empty").rmdir()
        (root / "empty").mkdir()
        assert watched.paths() == {b"empty"}
        assert kernel_watches() == folders(root)
        (root / "empty/new").touch()
        assert watched.paths() == {b"empty/new"}


def test_files_written_at_once_into_new_folders_are_covered(root: Path) -> None:
    with watching(root) as watched:
        for number in range(100):
            folder = root / f"run-{number}/checkpoint/shards/deep"
            folder.mkdir(parents=True)
            (folder / "model.bin").write_bytes(b"x")
        hinted = watched.paths()
        for number in range(100):
            path = b"run-%d/checkpoint/shards/deep/model.bin" % number
            parts = path.split(b"/")
            assert hinted & {b"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        append(root / "run-99/checkpoint/shards/deep/model.bin")
        assert watched.paths() == {b"run-99/checkpoint/shards/deep/model.bin"}


@pytest.mark.parametrize("name", [b"new\nline", b"tab\t", b"\xff\xfe", b"-rf", b":(top)*", b" ", b'q"q', b"x" * 255])
def test_names_of_any_bytes(root: Path, name: bytes) -> None:
    with watching(root) as watched:
        folder = os.path.join(os.fsencode(root), name)
        os.mkdir(folder)
        with open(os.path.join(folder, name), "wb"):
            pass
        assert {name} <= watched.paths() <= {name, name + b"/" + name}
        os.utime(os.path.join(folder, name))
        assert watched.paths() == {name + b"/" + name}


def test_a_root_of_any_name(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n"))
    root.mkdir()
    with watching(root) as watched:
        (root / "a").touch()
        assert watched.paths() == {b"a"}


def test_what_lies_in_a_git_folder_is_not_hinted(root: Path) -> None:
    (root / ".git/refs").mkdir(parents=True)
    with watching(root) as watched:
        (root / ".git/refs/main").touch()
        (root / ".git/index").touch()
        (root / "d/.git").write_bytes(b"gitdir: elsewhere")
        (root / "empty/.git").mkdir()
        (root / "empty/.git/HEAD").touch()
        (root / ".gitattributes").touch()
        (root / "x.git").touch()
        assert watched.paths() == {b".gitattributes", b"x.git"}


def test_links_to_folders_are_not_followed(root: Path, outside: Path) -> None:
    (root / "before").symlink_to(outside)
    with watching(root) as watched:
        (root / "after").symlink_to(outside)
        assert watched.paths() == {b"after"}
        (outside / "new").touch()
        append(outside / "f")
        append(outside / "g/h")
        assert watched.paths() == set()


def test_a_root_that_is_a_link(root: Path, outside: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    with watching(link) as watched:
        append(root / "d/b")
        assert watched.paths() == {b"d/b"}
        assert watched.watcher.check() is None
        link.unlink()
        link.symlink_to(outside)
        assert watched.watcher.check() == "root was replaced"


def scramble(root: Path, outside: Path) -> None:
    """Change a tree as fast as possible, folders above all."""
    chance = random.Random(int(outside.name))
    names = ["a", "b", "c"]

    def somewhere() -> Path:
        return Path(root, *chance.choices(names, k=chance.randint(1, 4)))

    for number in range(3000):
        path, other = somewhere(), chance.choice([somewhere(), outside / str(number)])
        try:
            match chance.randrange(6):
                case 0 | 1:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"x" * chance.randrange(1, 1000))
                case 2:
                    path.mkdir(parents=True)
                case 3:
                    path.rename(other)
                case 4:
                    chance.choice(sorted(outside.iterdir()) or [path]).rename(path)
                case _:
                    shutil.rmtree(path) if chance.random() < 0.1 else path.unlink()
        except OSError:
            pass  # the tree does not have it that way: the next one


Seen = dict[bytes, tuple[int, int, int]]


def look(root: bytes, path: bytes, seen: Seen) -> None:
    """Bring `seen` up to date with what is at and below a path now, as a scan does."""
    for known in [known for known in seen if not path or known == path or known.startswith(path + b"/")]:
        del seen[known]
    full = os.path.join(root, path) if path else root
    for folder, _, files in [(os.path.dirname(full), [], [os.path.basename(full)]), *os.walk(full)]:
        for name in files:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if not os.path.isdir(os.path.join(folder, name)):
                relative = os.path.relpath(os.path.join(folder, name), root)
                seen[relative] = (status.st_ino, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("seed", range(4))
def test_looking_only_where_hinted_keeps_up_with_a_changing_tree(tmp_path: Path, seed: int) -> None:
    root, outside, seen = tmp_path / "root", tmp_path / str(seed), Seen()
    root.mkdir()
    outside.mkdir()
    with watching(root) as watched:
        writer = threading.Thread(target=in_child, args=(scramble, root, outside))
        writer.start()
        while writer.is_alive():
            try:
                hint = watched.hints.get(timeout=0.1)
            except queue.Empty:
                continue
            look(os.fsencode(root), hint.path or b"", seen)
        writer.join()
        for hint in watched.hinted():
            look(os.fsencode(root), hint.path or b"", seen)
        actual = Seen()
        look(os.fsencode(root), b"", actual)
        del actual[b"marker-1"]
        assert seen == actual
        assert actual
        assert kernel_watches() == folders(root)
        assert watched.watcher.check() is None


class Gate:
    """A receiver of hints that lets none through while it is shut: the reader stands still then."""

    def __init__(self) -> None:
        self.hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()

    def emit(self, hint: Hint) -> None:
        self.waiting.set()
        assert self.open.wait(PATIENCE_S)
        self.hints.put(hint)


@contextmanager
def standing_still(gate: Gate, root: Path) -> Iterator[None]:
    """The watcher's thread waits in `emit`, and the kernel's queue fills up."""
    gate.waiting.clear()
    gate.open.clear()
    (root / "stand-still").touch()
    assert gate.waiting.wait(PATIENCE_S)
    try:
        yield
    finally:
        gate.open.set()


def queue_limit() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def storm(folder: Path) -> None:
    """More events than the queue holds: two for each file."""
    for number in range(queue_limit() // 2 + 100):
        os.close(os.open(folder / f"storm-{number}", os.O_CREAT | os.O_WRONLY))


def test_lost_events_mean_everything_and_watching_goes_on(root: Path, outside: Path) -> None:
    gate = Gate()
    watcher = Watcher(root, gate.emit)
    assert watcher.start() is None
    try:
        assert gate.hints.get(timeout=PATIENCE_S) == EVERYTHING
        with standing_still(gate, root):
            storm(root / "empty")
            # None of this is reported, and all of it must be known afterwards.
            (root / "d").rename(outside / "d")
            (root / "new/folder").mkdir(parents=True)
            (root / "empty").rename(root / "full")
        hints = list(iter(lambda: gate.hints.get(timeout=PATIENCE_S), EVERYTHING))
        assert Hint(b"full") not in hints
        (root / "new/folder/file").touch()
        append(outside / "d/b")
        append(root / "full/storm-0")
        (root / "last").touch()
        hints = list(iter(lambda: gate.hints.get(timeout=PATIENCE_S), Hint(b"last")))
        assert set(hints) == {Hint(b"new/folder/file"), Hint(b"full/storm-0")}
        assert kernel_watches() == folders(root)
        assert watcher.check() is None
    finally:
        gate.open.set()
        watcher.stop()


def test_an_overflow_in_a_tree_of_more_folders_than_the_queue_holds_ends(tmp_path: Path) -> None:
    for number in range(queue_limit() + 100):
        (tmp_path / str(number)).mkdir()
    gate = Gate()
    watcher = Watcher(tmp_path, gate.emit)
    assert watcher.start() is None
    try:
        assert gate.hints.get(timeout=PATIENCE_S) == EVERYTHING
        with standing_still(gate, tmp_path):
            storm(tmp_path / "0")
        list(iter(lambda: gate.hints.get(timeout=PATIENCE_S), EVERYTHING))
        (tmp_path / "last").touch()
        hints = list(iter(lambda: gate.hints.get(timeout=PATIENCE_S), Hint(b"last")))
        assert EVERYTHING not in hints
    finally:
        gate.open.set()
        watcher.stop()


def test_a_root_that_vanished_is_noticed_and_a_new_one_is_watched_again(root: Path) -> None:
    with watching(root) as watched:
        shutil.rmtree(root)
        assert watched.watcher.check() == "root vanished"
        assert watched.watcher.restart() == "root vanished"
        assert watched.watcher.check() == "not watching"
        root.mkdir()
        assert watched.watcher.restart() is None
        assert soon(lambda: watched.next() == EVERYTHING)
        assert watched.paths() == set()
        (root / "new").touch()
        assert watched.paths() == {b"new"}


def test_a_root_made_anew_is_noticed_even_under_the_same_inode_number(root: Path) -> None:
    for _ in range(10):
        with watching(root) as watched:
            shutil.rmtree(root)
            root.mkdir()
            assert soon(watched.watcher.check)
            assert watched.watcher.check() == "root was replaced"


def test_a_root_renamed_away_is_noticed(root: Path, tmp_path: Path) -> None:
    with watching(root) as watched:
        root.rename(tmp_path / "away")
        assert watched.watcher.check() == "root vanished"
        root.mkdir()
        assert watched.watcher.check() == "root was replaced"


def unmounted(root: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
    (root / "folder").mkdir()
    with watching(root) as watched:
        (root / "folder/file").touch()
        assert watched.paths() == {b"folder/file"}
        subprocess.run(["umount", root], check=True)
        assert watched.watcher.check() == "root was replaced"


def test_a_root_that_was_unmounted_is_noticed(root: Path) -> None:
    in_child(unmounted, root, wrapper=(*OWN_LIMITS, "--mount"))


def test_a_receiver_that_raises_loses_that_hint_only_and_it_shows(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()

    def emit(hint: Hint) -> None:
        if hint.path == b"bad":
            raise ValueError("cannot take it")
        hints.put(hint)

    watcher = Watcher(root, emit)
    assert watcher.start() is None
    try:
        assert hints.get(timeout=PATIENCE_S) == EVERYTHING
        (root / "bad").touch()
        (root / "good").touch()
        assert hints.get(timeout=PATIENCE_S) == Hint(b"good")
        assert watcher.check() == "watching failed (cannot take it)"
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        assert watcher.restart() is None
        assert soon(lambda: hints.get(timeout=PATIENCE_S) == EVERYTHING)
        assert watcher.check() is None
    finally:
        watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_noticed(root: Path) -> None:
    hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()

    def emit(hint: Hint) -> None:
        hints.put(hint)
        if hint.path == b"fatal":
            raise SystemExit

    watcher = Watcher(root, emit)
    assert watcher.start() is None
    try:
        assert hints.get(timeout=PATIENCE_S) == EVERYTHING
        (root / "fatal").touch()
        assert soon(watcher.check)
        assert watcher.check() == "watcher thread died"
        assert watcher.restart() is None
        assert soon(lambda: hints.get(timeout=PATIENCE_S) == EVERYTHING)
    finally:
        watcher.stop()


def descriptors() -> set[str]:
    """What is open, but for the listing itself."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return found


def test_one_named_thread_and_nothing_left_after_stop(root: Path) -> None:
    threads = set(threading.enumerate())
    watcher = Watcher(root, lambda _: None)
    assert set(threading.enumerate()) == threads
    for _ in range(50):
        assert watcher.start() is None
        assert watcher.start() is None
        assert [thread.name for thread in set(threading.enumerate()) - threads] == ["watching"]
        watcher.stop()
        watcher.stop()
        assert set(threading.enumerate()) == threads
        assert not any("inotify" in target for target in descriptors())
    assert watcher.check() == "not watching"


# -- many watchers in one process ----------------------------------------------------------------------------------


@contextmanager
def many(base: Path, count: int) -> Iterator[list[Watched]]:
    """So many watchers, each on a folder of its own that has a file in a folder."""
    with ExitStack() as stack:
        watched = []
        for number in range(count):
            (base / str(number) / "d").mkdir(parents=True)
            watched.append(stack.enter_context(watching(base / str(number))))
        yield watched


def watch_threads() -> int:
    return sum(thread.name == "watching" for thread in threading.enumerate())


def test_two_hundred_watchers_share_a_few_threads_and_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with many(tmp_path, 200) as watched:
        assert watch_threads() == READERS
        assert len(os.listdir("/proc/self/fd")) - before == 3 * READERS
        for number, one in enumerate(watched):
            (one.root / "d" / f"file-{number}").touch()
        for number, one in enumerate(watched):
            assert one.paths() == {b"d/file-%d" % number}
        for one in watched[:150]:
            one.watcher.stop()
        for one in watched[150:]:
            (one.root / "d/another").touch()
            assert one.paths() == {b"d/another"}
            assert one.watcher.check() is None
        assert soon(lambda: kernel_watches() == 2 * 50)
    assert watch_threads() == 0


def test_watchers_that_share_a_folder_do_not_take_each_others_watches(root: Path, outside: Path) -> None:
    """Enough of them that some share a reader, and with it the kernel's watch of each folder."""
    with ExitStack() as stack:
        watched = [stack.enter_context(watching(root)) for _ in range(2 * READERS)]
        (root / "d").rename(outside / "d")
        (outside / "d").rename(root / "back")
        for one in watched[:READERS]:
            one.watcher.stop()
        (root / "back/e/new").touch()
        for one in watched[READERS:]:
            assert one.paths() >= {b"d", b"back"}
        (root / "back/e/newer").touch()
        for one in watched[READERS:]:
            assert b"back/e/newer" in one.paths()
            assert one.watcher.check() is None
        assert soon(lambda: kernel_watches() == READERS * folders(root))


def test_a_folder_that_moves_between_two_watched_trees_is_followed(tmp_path: Path) -> None:
    with many(tmp_path, 2 * READERS) as watched:
        pairs = list(zip(watched[:READERS], watched[READERS:], strict=True))  # a pair shares a reader
        for number, (one, other) in enumerate(pairs):
            for _ in range(20):
                (one.root / "d").rename(other.root / "visitor")
                (other.root / "visitor").rename(one.root / "d")
            (one.root / "d").rename(other.root / "visitor")
            assert other.paths() == {b"visitor"}
            assert one.paths() == {b"d"}
            (other.root / "visitor" / str(number)).touch()
            assert other.paths() == {b"visitor/%d" % number}
            assert one.paths() == set()
        assert soon(lambda: kernel_watches() == 4 * READERS)


def test_an_overflow_means_everything_to_all_who_share_the_queue(tmp_path: Path) -> None:
    gate = Gate()
    with many(tmp_path / "many", READERS) as watched:
        (tmp_path / "storm/empty").mkdir(parents=True)
        watcher = Watcher(tmp_path / "storm", gate.emit)  # shares the reader of the first
        assert watcher.start() is None
        try:
            assert gate.hints.get(timeout=PATIENCE_S) == EVERYTHING
            with standing_still(gate, tmp_path / "storm"):
                storm(tmp_path / "storm/empty")
                (watched[0].root / "lost").mkdir()
            assert watched[0].next() == EVERYTHING
            (watched[0].root / "lost/file").touch()
            assert watched[0].paths() <= {b"lost", b"lost/file"}
            assert all(one.paths() == set() for one in watched[1:])
            (watched[0].root / "lost/another").touch()
            assert watched[0].paths() == {b"lost/another"}
        finally:
            watcher.stop()


def no_more_instances(base: Path) -> None:
    Path("/proc/sys/user/max_inotify_instances").write_text("2")
    with many(base, 20) as watched:
        assert watch_threads() == 2
        for one in watched:
            (one.root / "d/new").touch()
            assert one.paths() == {b"d/new"}


def test_with_few_instances_left_those_that_there_are_do(tmp_path: Path) -> None:
    in_child(no_more_instances, tmp_path, wrapper=OWN_LIMITS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_died_is_noticed_by_all_who_shared_it(tmp_path: Path) -> None:
    with many(tmp_path / "many", READERS) as watched:
        hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()

        def emit(hint: Hint) -> None:
            hints.put(hint)
            if hint.path == b"fatal":
                raise SystemExit

        (tmp_path / "fatal").mkdir()
        watcher = Watcher(tmp_path / "fatal", emit)
        assert watcher.start() is None
        assert hints.get(timeout=PATIENCE_S) == EVERYTHING
        (tmp_path / "fatal/fatal").touch()
        assert soon(watched[0].watcher.check)
        assert [one.watcher.check() for one in watched[:2]] == ["watcher thread died", None]
        watcher.stop()
        assert watched[0].watcher.restart() is None
        assert watched[0].next() == EVERYTHING
        (watched[0].root / "d/new").touch()
        assert watched[0].paths() == {b"d/new"}


def test_stop_does_not_wait_for_ever_for_a_receiver_that_blocks(root: Path) -> None:
    gate = Gate()
    watcher = Watcher(root, gate.emit)
    assert watcher.start() is None
    assert gate.hints.get(timeout=PATIENCE_S) == EVERYTHING
    with standing_still(gate, root), pytest.raises(TransientError, match="did not end within 5 s"):
        watcher.stop()


def test_children_do_not_inherit_the_descriptors(root: Path) -> None:
    with watching(root):
        listed = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True)
        assert b"inotify" not in listed.stdout


def no_watch_left(root: Path) -> None:
    limit = Path("/proc/sys/user/max_inotify_watches")
    limit.write_text("3")
    assert (Watcher(root, lambda _: None).start() or "").startswith("no watch is left after 3 folders, the system")
    limit.write_text("6")
    with watching(root) as watched:
        (root / "d/e/1").mkdir()
        (root / "d/e/2").mkdir()
        assert watched.paths() == {b"d/e/1", b"d/e/2"}
        assert watched.watcher.check() is None
        (root / "d/e/3").mkdir()
        assert watched.paths() == {b"d/e/3"}
        assert "sysctl fs.inotify.max_user_watches=" in (watched.watcher.check() or "")
        limit.write_text("100")
        assert watched.watcher.restart() is None
    assert not any("inotify" in target for target in descriptors())


def test_the_limit_of_watches_is_told_at_the_start_and_later(root: Path) -> None:
    in_child(no_watch_left, root, wrapper=OWN_LIMITS)


def no_instance_left(root: Path) -> None:
    Path("/proc/sys/user/max_inotify_instances").write_text("0")
    assert (Watcher(root, lambda _: None).start() or "").startswith("no inotify instance")


def test_the_limit_of_instances_is_told(root: Path) -> None:
    in_child(no_instance_left, root, wrapper=OWN_LIMITS)


def no_descriptor_left(root: Path) -> None:
    watcher = Watcher(root, lambda _: None)
    assert watcher.start() is None
    watcher.stop()
    before = descriptors()
    used = len(os.listdir("/proc/self/fd")) - 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # None for the instance; one for the instance and none for its pipe; enough for both and none to list folders.
    for free in (0, 1, 3):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
        reason = watcher.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert reason is not None
        assert "ulimit -n" in reason
        assert descriptors() == before
    assert watcher.start() is None
    watcher.stop()


def test_running_out_of_descriptors_is_told_and_leaves_none_open(root: Path) -> None:
    in_child(no_descriptor_left, root)


def unreadable_folder(root: Path) -> None:
    (root / "d").chmod(0)
    with pytest.raises(PermissionError):
        os.listdir(root / "d")
    with watching(root) as watched:
        (root / "d").chmod(0o755)
        assert watched.paths() == {b"d"}
        (root / "d/e/new").touch()
        assert watched.paths() == {b"d/e/new"}
        assert watched.watcher.check() is None
    root.chmod(0)
    assert (Watcher(root, lambda _: None).start() or "").startswith("watching failed (Permission denied")
    root.chmod(0o755)


def test_a_folder_that_becomes_readable_is_watched_from_then_on(root: Path) -> None:
    # Whoever runs the tests: without the right to pass over permissions.
    in_child(unreadable_folder, root, wrapper=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))


def test_a_start_without_a_root_gives_a_reason(tmp_path: Path) -> None:
    assert Watcher(tmp_path / "missing", lambda _: None).start() == "root vanished"
    (tmp_path / "file").touch()
    assert Watcher(tmp_path / "file", lambda _: None).start() == "root vanished"


def test_watchdog_is_loaded_only_when_watching_starts() -> None:
    code = "import lfssync.line.watch, sys; sys.exit('watchdog' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


@pytest.mark.parametrize(
    ("kind", "polled"),
    [
        *[
            (kind, True)
            for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "glusterfs", "vboxsf")
        ],
        *[(kind, True) for kind in ("drvfs", "virtiofs", "fuse", "fuse.sshfs", "fuse.rclone", "fuse.s3fs")],
        *[(kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "ntfs3", "nfsd")],
    ],
)
def test_which_file_systems_are_polled(kind: str, polled: bool) -> None:
    assert (file_system_reason(kind) is not None) == polled


def test_polling_goes_by_the_mount_of_the_root(tmp_path: Path) -> None:
    assert polling_reason(tmp_path) is None
    assert polling_reason(tmp_path / "missing") is None
    # The same mounts, but one of another kind: that of proc, as there is one everywhere.
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/fdinfo").symlink_to("/proc/self/fdinfo")
    mounts = Path("/proc/self/mountinfo").read_text()
    (tmp_path / "proc/self/mountinfo").write_text(mounts.replace(" - proc ", " - nfs4 "))
    assert polling_reason(tmp_path, tmp_path / "proc") is None
    assert polling_reason(Path("/proc"), tmp_path / "proc") == "nfs4 does not report changes made elsewhere"
    (tmp_path / "proc/self/mountinfo").write_text("")
    assert "unknown" in (polling_reason(tmp_path, tmp_path / "proc") or "")
    (tmp_path / "proc/self/mountinfo").unlink()
    assert "unknown" in (polling_reason(tmp_path, tmp_path / "proc") or "")


@pytest.mark.parametrize(
    ("directories", "instances", "reason"),
    [
        (8192, 1, None),
        (
            8193,
            1,
            "the directory has 8193 folders, the system allows 8192 watches; "
            "raise it with: sysctl fs.inotify.max_user_watches=524288",
        ),
        (
            400_000,
            1,
            "the directory has 400000 folders, the system allows 8192 watches; "
            "raise it with: sysctl fs.inotify.max_user_watches=1048576",
        ),
        (
            10,
            0,
            "the system allows no inotify instance; raise it with: sysctl fs.inotify.max_user_instances=128",
        ),
    ],
)
def test_limits_are_compared_before_watching(
    tmp_path: Path, directories: int, instances: int, reason: str | None
) -> None:
    limits = tmp_path / "sys/fs/inotify"
    limits.mkdir(parents=True)
    (limits / "max_user_watches").write_text("8192\n")
    (limits / "max_user_instances").write_text(f"{instances}\n")
    assert watch_limit_reason(directories, tmp_path) == reason
    assert watch_limit_reason(1) is None
    assert watch_limit_reason(1, tmp_path / "none") is not None
