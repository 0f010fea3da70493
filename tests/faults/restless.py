"""A directory in the hands of a restless program, a remote with a life of its own, and the daemon's logic in between.

Everything on disk, in git and in the kernel's events is real; only time is not: the worker gets it from a clock that
jumps ahead whenever the model says so, and the wall clock may be wrong by days. The one thing to know: what happens is
drawn from a seed and depends on nothing else, so the same seed makes the same story again.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from lfssync.configuration import config
from lfssync.credentials import nobody
from lfssync.errors import BlockedError, LfssyncError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.records.roster import roster
from lfssync.service import delivering, inbox
from lfssync.service.worker import Worker
from tests.faults.dice import tally
from tests.helpers import Entry, Kind, assert_whole, clone, git, make_bare, tree
from tests.integration.daemons import LFSSYNC, PROJECT, configure, litter, places, remote_tree
from tests.integration.site import stamps

NAMES = (b"a", b"b.txt", b"w.dat", b"sub", b"deep", b"\xff raw", b"two\nlines", b"-rf", b"x" * 120)
SIZES = (0, 1, 40, 1000, 1001, 5000, 70_000, 1_100_000)
THRESHOLD_BYTES = 1000
RESCAN_S = 600.0
DAY_S = 86_400.0
LOOKS = 14
"""So many passes may be needed until all has arrived, once everything rests."""

_TOLD = 40


class Clock:
    """Monotonic and wall time as the model has them; both also go on by themselves."""

    def __init__(self) -> None:
        self._time, self._time_ns, self._monotonic = time.time, time.time_ns, time.monotonic
        self.ahead_s = 0.0
        self.wrong_s = 0.0

    def monotonic(self) -> float:
        """Seconds as the worker gets them."""
        return self._monotonic() + self.ahead_s

    def time(self) -> float:
        """The wall clock."""
        return self._time() + self.wrong_s

    def time_ns(self) -> int:
        """The wall clock, as file systems stamp files, were it right."""
        return self._time_ns() + int(self.wrong_s * 1e9)


@contextmanager
def clock() -> Iterator[Clock]:
    """The clocks of the worker, and of all that asks for the time of day."""
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inbox, "time", made)
        patch.setattr(time, "time", made.time)
        patch.setattr(time, "time_ns", made.time_ns)
        yield made


@dataclass
class Story:
    """One run of the model.

    Args:
        base: A folder of its own.
        seed: What it is drawn from.
        clock: See `Clock`.
    """

    base: Path
    seed: int
    clock: Clock
    told: deque[str] = field(default_factory=lambda: deque(maxlen=_TOLD))
    seen: dict[bytes, set[Entry]] = field(default_factory=dict)
    theirs: dict[bytes, Entry] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    writers: list[IO[bytes]] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.root = os.fsencode(self.base / "model")
        self.outside = self.base / "outside"
        os.makedirs(self.root)
        self.outside.mkdir()
        self.remote = make_bare(self.base / "remote.git")
        keys = {
            "quiet": "50ms",
            "max_wait": "30s",
            "rescan": f"{RESCAN_S:.0f}s",
            "lfs_threshold": f"{THRESHOLD_BYTES}B",
        }
        configure({"path": self.base / "model", "remote": self.remote}, defaults=keys)
        self.mirror: Mirror = roster(config.load(places()), places()).mirrors[0]
        self.state = places().mirror_state(self.mirror.name)
        self.worker = self._new_worker()

    # -- what happens ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One thing happens, and then what is due is done."""
        self.steps += 1
        happenings = list(_WEIGHTS)
        happening = self.chance.choices(happenings, [_WEIGHTS[one] for one in happenings])[0]
        number, picks = self.steps, self.chance.random()
        self.told.append(f"{number}: {happening.__name__} ({picks:.3f})")
        happening(self, random.Random(picks))
        self._look()
        if happening in _LONG:
            self._work(1)

    def finish(self) -> None:
        """Everything rests: all must arrive, and the whole history must be true."""
        self.rest(self.chance)
        self.worker.stop()
        assert litter(self.remote) == []
        assert litter(places().state_dir) == []
        allowed = {path: set(entries) for path, entries in self.seen.items()}
        for commit in git("rev-list", "main", cwd=self.remote).decode().split():
            for path, entry in _entries(self.remote, commit).items():
                assert entry in allowed.get(path, ()), f"{path!r} in {commit} is no state that it ever had"
        for commit in self.commits:
            git("merge-base", "--is-ancestor", commit, "main", cwd=self.remote)

    def rest(self, _: random.Random) -> None:
        """Nobody writes, the remote is there: soon it holds what the directory holds."""
        while self.writers:
            self.writers.pop().close()
        self.remote_returns(self.chance)
        self._look()
        wrong: set[bytes] = set()
        for _look in range(LOOKS):
            self.clock.ahead_s += RESCAN_S + 1
            self._work(3)
            wrong = self._differences()
            if not wrong:
                break
        assert not wrong, f"did not arrive: {sorted(wrong)}; {self.worker.trouble}"
        if self._has_history():
            assert_whole(self.remote)

    def create(self, chance: random.Random) -> None:
        """A new file, or a new state of one, under its final name."""
        path = self._place(chance)
        if not os.path.isdir(path) and not os.path.islink(path):
            self._write(path, _content(chance))

    def create_and_rename(self, chance: random.Random) -> None:
        """A new state that comes at once, over whatever file was there."""
        path = self._place(chance)
        if not os.path.isdir(path):
            self._write(os.fsencode(self.base / "new"), _content(chance))
            os.replace(self.base / "new", path)

    def append(self, chance: random.Random) -> None:
        """A file grows."""
        if path := self._file(chance):
            with open(path, "ab") as file:
                file.write(_content(chance)[:5000])

    def overwrite(self, chance: random.Random) -> None:
        """A file changes in place, and may keep its times."""
        if path := self._file(chance):
            status = os.stat(path)
            with open(path, "r+b") as file:
                file.write(_content(chance)[: max(status.st_size, 1)])
            if chance.random() < 0.5:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def write_by_mapping(self, chance: random.Random) -> None:
        """A file changes in memory: no event tells."""
        path = self._file(chance)
        if path and os.path.getsize(path):
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                memory[0:1] = bytes((memory[0] ^ 1,))

    def write_through_another_name(self, chance: random.Random) -> None:
        """A file changes through a name outside of the directory: no event tells either."""
        if path := self._file(chance):
            other = self.outside / "name"
            other.unlink(missing_ok=True)
            os.link(path, other)
            other.write_bytes(_content(chance))

    def truncate(self, chance: random.Random) -> None:
        """A file shrinks."""
        if path := self._file(chance):
            os.truncate(path, os.path.getsize(path) // 2)

    def hold_open(self, chance: random.Random) -> None:
        """A program keeps a file open and writes on."""
        path = self._file(chance)
        if path and len(self.writers) < 3:
            file = open(path, "ab", buffering=0)  # noqa: SIM115  (rest closes it)
            file.write(b"held")
            self.writers.append(file)

    def close(self, chance: random.Random) -> None:
        """It closes one."""
        if self.writers:
            self.writers.pop(chance.randrange(len(self.writers))).close()

    def delete(self, chance: random.Random) -> None:
        """A file or a tree goes."""
        entries = self._entries()
        if entries:
            path = chance.choice(entries)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)

    def move(self, chance: random.Random) -> None:
        """A file or a tree gets another name."""
        entries = self._entries()
        if entries:
            old, new = chance.choice(entries), self._place(chance)
            if not os.path.lexists(new) and not new.startswith(old + b"/"):
                os.rename(old, new)

    def link(self, chance: random.Random) -> None:
        """A symbolic link, to somewhere or nowhere."""
        path = self._place(chance)
        if not os.path.lexists(path):
            os.symlink(chance.choice((b"a", b"../outside", b"nothing", b"/etc/passwd")), path)

    def change_mode(self, chance: random.Random) -> None:
        """A file becomes executable or stops being so."""
        if path := self._file(chance):
            os.chmod(path, os.stat(path).st_mode ^ 0o111)

    def wait_a_little(self, chance: random.Random) -> None:
        """Time passes, enough for a pass."""
        self.clock.ahead_s += chance.uniform(0, 5)

    def wait_long(self, chance: random.Random) -> None:
        """Time passes, enough for a rescan; now and then the machine sleeps for days."""
        self.clock.ahead_s += chance.choice((40.0, RESCAN_S, 2 * RESCAN_S, 3 * DAY_S))

    def set_the_clock(self, chance: random.Random) -> None:
        """The wall clock is set, and may be wrong then."""
        self.clock.wrong_s = chance.choice((0.0, -DAY_S, DAY_S, 3600.0, -1.0))
        tally("clock jumps")

    def others_push(self, chance: random.Random) -> None:
        """Somebody commits on the remote: a file of theirs, or a change to one of ours."""
        if not (self.remote / "HEAD").exists() or not self._has_history():
            return
        there = remote_tree(self.remote)
        ours = sorted(path for path, entry in there.items() if entry.kind is Kind.FILE and path in self._files_here())
        path = b"theirs-%d" % chance.randrange(3)
        if ours and chance.random() < 0.5:
            path = chance.choice(ours)
        work = clone(self.remote, self.base / "work", "main")
        full = os.path.join(os.fsencode(work), path)
        with open(full, "wb") as file:
            file.write(b"by others %d\n" % self.steps)
        git("-c", "core.autocrlf=false", "add", "--", path, cwd=work)
        git("commit", "--quiet", "--allow-empty", "-m", "By others", cwd=work)
        git("push", "--quiet", "origin", "HEAD:main", cwd=work)
        self.commits.append(git("rev-parse", "HEAD", cwd=work).decode().strip())
        entry = remote_tree(self.remote)[path]
        self.theirs[path] = entry
        self.seen.setdefault(path, set()).add(entry)
        shutil.rmtree(work)
        tally("commits of others")

    def remote_goes(self, _: random.Random) -> None:
        """The remote cannot be reached."""
        if self.remote.exists():
            self.remote.rename(self.base / "away")
            tally("remotes gone")

    def remote_returns(self, _: random.Random) -> None:
        """It is back."""
        if (self.base / "away").exists():
            (self.base / "away").rename(self.remote)

    def kill(self, chance: random.Random) -> None:
        """A run is killed somewhere in the middle; so is the daemon, which starts again."""
        child = subprocess.Popen(
            [*LFSSYNC, "sync", "--accept-deletions"], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        with suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0.15, 0.8))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self.restart(chance)
        tally("kills")

    def restart(self, _: random.Random) -> None:
        """The daemon ends and starts again."""
        self.worker.stop()
        self.worker = self._new_worker()

    def watcher_dies(self, _: random.Random) -> None:
        """Nobody listens to events any more, until that is noticed."""
        self.worker.stop()
        tally("watchers lost")

    def lose_the_store(self, chance: random.Random) -> None:
        """What was observed is gone, garbage, or as it was before."""
        file, older = self.state / "state.db", self.base / "older.db"
        if not file.exists():
            return
        match chance.randrange(4):
            case 0:
                file.unlink()
            case 1:
                file.write_bytes(b"garbage" * 1000)
            case 2 if older.exists():
                shutil.copyfile(older, file)
            case _:
                shutil.copyfile(file, older)
                return
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        tally("stores lost")

    # -- what the daemon does ------------------------------------------------------------------------------------------

    def _new_worker(self) -> Worker:
        worker = Worker(self.mirror, self.state, lambda: None, nobody())
        worker.start(self.clock.monotonic())
        return worker

    def _work(self, at_most: int) -> None:
        """Do what is due, as the daemon's main loop does."""
        for _ in range(at_most):
            now = self.clock.monotonic()
            self.worker.tick(now, 0)
            due = self.worker.take(now)
            if due is None:
                return
            before = stamps(self.base / "model")
            outcome = self.worker.work(due)
            assert stamps(self.base / "model") == before, "the mirrored directory was touched"
            self.worker.done(outcome, self.clock.monotonic())
            error = outcome.error
            self.told.append(f"    pass: {error or outcome.result}"[:300])
            assert error is None or not error.message.startswith("internal"), str(error)
            if isinstance(error, BlockedError):
                self._approve(error)

    def _approve(self, error: BlockedError) -> None:
        """The user is asked about deletions and says yes."""
        if "are gone from" not in error.message:
            return
        with suppress(LfssyncError):
            delivering.sync(self.mirror, self.state, Order(accept_deletions=True), Session(login=nobody()))
            self.worker.eased()

    # -- what there is -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Remember each state that a file has had."""
        for path, entry in tree(self.base / "model").items():
            self.seen.setdefault(path, set()).add(entry)

    def _differences(self) -> set[bytes]:
        here = tree(self.base / "model")
        there = remote_tree(self.remote) if self._has_history() else {}
        return {path for path in here.keys() | there.keys() if not self._fits(path, here.get(path), there.get(path))}

    def _fits(self, path: bytes, here: Entry | None, there: Entry | None) -> bool:
        if here == there:
            return True
        # What others changed stays until it changes here; theirs alone stays for good.
        return there is not None and self.theirs.get(path) == there

    def _has_history(self) -> bool:
        return bool(git("for-each-ref", "refs/heads/main", cwd=self.remote))

    def _files_here(self) -> set[bytes]:
        return {path for path, entry in tree(self.base / "model").items() if entry.kind is Kind.FILE}

    def _file(self, chance: random.Random) -> bytes | None:
        files = sorted(self._files_here())
        return os.path.join(self.root, chance.choice(files)) if files else None

    def _entries(self) -> list[bytes]:
        found = [os.path.join(folder, name) for folder, *names in os.walk(self.root) for name in [*names[0], *names[1]]]
        return sorted(found)

    def _place(self, chance: random.Random) -> bytes:
        """A name in one of the folders, or in a new one."""
        folder = chance.choice(sorted(folder for folder, _, _ in os.walk(self.root)))
        if chance.random() < 0.2 and folder.count(b"/") - self.root.count(b"/") < 3:
            new = os.path.join(folder, chance.choice((b"sub", b"deep")))
            if not os.path.lexists(new):
                os.mkdir(new)
                folder = new
        return os.path.join(folder, chance.choice(NAMES))

    @staticmethod
    def _write(path: bytes, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)


def _content(chance: random.Random) -> bytes:
    size, kind = chance.choice(SIZES), chance.randrange(1000)
    return (b"line %d\n" % kind * (size // 7 + 1))[:size] if kind % 2 else hashlib.shake_128(b"%d" % kind).digest(size)


def _entries(remote: Path, commit: str) -> dict[bytes, Entry]:
    git("update-ref", "refs/heads/looked-at", commit, cwd=remote)
    try:
        return remote_tree(remote, "looked-at")
    finally:
        git("update-ref", "-d", "refs/heads/looked-at", cwd=remote)


_WEIGHTS: dict[Callable[[Story, random.Random], None], float] = {
    Story.create: 20,
    Story.create_and_rename: 8,
    Story.append: 8,
    Story.overwrite: 8,
    Story.write_by_mapping: 3,
    Story.write_through_another_name: 3,
    Story.truncate: 3,
    Story.hold_open: 3,
    Story.close: 4,
    Story.delete: 6,
    Story.move: 6,
    Story.link: 2,
    Story.change_mode: 2,
    Story.wait_a_little: 6,
    Story.wait_long: 4,
    Story.set_the_clock: 1,
    Story.others_push: 1.5,
    Story.remote_goes: 1.5,
    Story.remote_returns: 2,
    Story.kill: 1,
    Story.restart: 1,
    Story.watcher_dies: 1,
    Story.lose_the_store: 1,
    Story.rest: 3,
}
_LONG = frozenset({Story.wait_a_little, Story.wait_long})
"""After these the daemon gets to work."""


def play(base: Path, seed: int, steps: int) -> Story:
    """Play a story to its end.

    Raises:
        AssertionError: Something that must hold does not; a note tells the seed and what happened last.
    """
    with clock() as time_of_story:
        story = Story(base, seed, time_of_story)
        try:
            for _ in range(steps):
                story.step()
            story.finish()
        except BaseException as error:
            lines = "\n".join(story.told)
            error.add_note(f"seed {seed}, step {story.steps}; what happened last:\n{lines}")
            raise
        finally:
            story.worker.stop()
            for writer in story.writers:
                writer.close()
    return story
