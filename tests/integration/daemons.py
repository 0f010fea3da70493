"""The daemon as a process of its own, and what is seen of it from outside.

Everything is waited for with a deadline and nothing by the clock. The one thing to know: a remote is compared with a
directory by reading its branch with stock git, object by object, because that is cheap enough to be asked many times.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lfssync.answers import MirrorStatus
from lfssync.configuration import config
from lfssync.model import State
from lfssync.places import Places
from lfssync.records.roster import roster
from lfssync.service import operations
from tests.helpers import Entry, Kind, assert_whole, clone, git, make_bare, tree

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long anything may take on a busy machine before a test gives up."""

PROJECT = Path(__file__).parents[2]
LFSSYNC = (sys.executable, "-m", "lfssync")
# May set the kernel's limits for itself, and mount; as it is nobody else's business, everybody may.
OWN_WORLD = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize [0-9]+\n")


def soon(answer: Callable[[], T], what: Callable[[], object] | str = "", timeout_s: float = PATIENCE_S) -> T:
    """What `answer` gives as soon as that is true.

    Raises:
        AssertionError: It did not become true in time; says `what`, or what that gives then.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = answer()
        if found:
            return found
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)


def places() -> Places:
    """The places of this test's private environment."""
    return Places.from_environment(os.environ)


def lfssync(*arguments: str | Path, timeout_s: float = PATIENCE_S, **keys: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*LFSSYNC, *map(str, arguments)], cwd=PROJECT, capture_output=True, text=True, timeout=timeout_s, check=False,
        **keys,
    )  # fmt: skip


def configure(*mirrors: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> None:
    """Write the configuration, as an editor would that renames a new file over the old one."""
    lines = ["[defaults]", *_toml({"quiet": "200ms", "max_wait": "5s", "rescan": "10m"} | dict(defaults or {}))]
    for mirror in mirrors:
        lines += ["", "[[mirror]]", *_toml(mirror)]
    write_configuration("\n".join(lines) + "\n")


def write_configuration(text: str) -> None:
    """Write this text as the configuration."""
    file = places().config_file
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(file)


def _toml(values: Mapping[str, object]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} = {json.dumps(str(value) if isinstance(value, Path) else value)}"


@dataclass
class Pair:
    """A directory and the bare remote that it is mirrored to.

    Args:
        directory: What is mirrored.
        remote: A bare repository.
        branch: Where it goes there.
    """

    directory: Path
    remote: Path
    branch: str = "main"

    @classmethod
    def make(cls, base: Path, name: str = "model") -> Pair:
        """A new empty directory and a new empty remote."""
        (base / name).mkdir(parents=True)
        return cls(base / name, make_bare(base / f"{name}.git"))

    @property
    def name(self) -> str:
        """What the mirror is called."""
        return self.directory.name

    def table(self, **keys: object) -> dict[str, object]:
        """Its `[[mirror]]`."""
        return {"path": self.directory, "remote": self.remote, **keys}

    def arrives(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the remote holds exactly what the directory holds."""
        wanted: dict[bytes, Entry] = {}
        found: dict[bytes, Entry] = {}

        def is_there() -> bool:
            nonlocal wanted, found
            wanted, found = tree(self.directory), remote_tree(self.remote, self.branch)
            return wanted == found

        def difference() -> str:
            names = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
            return f"{len(names)} differ: {names[:20]}; status: {status()}"

        soon(is_there, difference, timeout_s)

    def assert_delivered(self, base: Path) -> None:
        """The remote is whole, and a stock clone of it has every byte of the directory."""
        assert_whole(self.remote)
        there = tree(clone(self.remote, base / f"clone-{self.name}", self.branch))
        here = tree(self.directory)
        if b".gitattributes" not in here:
            there.pop(b".gitattributes", None)
        assert there == here


def remote_tree(remote: Path, branch: str = "main") -> dict[bytes, Entry]:
    """What a bare repository has on a branch, LFS files by their pointers, without the attribute file."""
    if not (remote / "HEAD").exists() or not git("for-each-ref", f"refs/heads/{branch}", cwd=remote):
        return {}
    listed = [line.split(b"\t", 1) for line in git("ls-tree", "-rz", branch, cwd=remote).split(b"\0") if line]
    rows: list[tuple[bytes, str, str, str]] = [
        (path, *_three(words)) for words, path in listed if path != b".gitattributes"
    ]
    oids = list(dict.fromkeys(row[3] for row in rows))
    batch = git("cat-file", "--batch", cwd=remote, stdin="".join(f"{oid}\n" for oid in oids).encode())
    contents = {}
    at = 0
    for oid in oids:
        header_end = batch.index(b"\n", at)
        size = int(batch[at:header_end].split()[2])
        contents[oid] = batch[header_end + 1 : header_end + 1 + size]
        at = header_end + size + 2
    return {path: _entry(mode, contents[oid]) for path, mode, _, oid in rows}


def _three(words: bytes) -> tuple[str, str, str]:
    one, two, three = words.decode().split()
    return one, two, three


def _entry(mode: str, content: bytes) -> Entry:
    if mode == "120000":
        return Entry(Kind.LINK, mode, content)
    pointer = _POINTER.fullmatch(content)
    return Entry(Kind.FILE, mode, pointer[1].decode() if pointer else hashlib.sha256(content).hexdigest())


def status(name: str | None = None) -> MirrorStatus:
    """What `status` says about a mirror, or about the only one."""
    mirrors = roster(config.load(places()), places()).mirrors
    statuses = operations.status(places(), mirrors)
    return next(one for one in statuses if name in (None, one.name))


def state_is(state: State, name: str | None = None) -> Callable[[], bool]:
    """Whether a mirror is in that state."""
    return lambda: status(name).state is state


@dataclass
class Daemon:
    """`lfssync run` as a child process, used as a context; leaving it ends the daemon in order and checks that.

    Args:
        log: Where its standard error goes.
        wrapper: The command that runs it.
        environment: More environment variables.
    """

    log: Path
    wrapper: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Daemon:
        """Start it, and wait until it answers."""
        self.launch()
        socket = Places.from_environment(os.environ | self.environment)
        soon(lambda: operations.daemon_info(socket).since is not None or self.ended(), self.said)
        assert not self.ended(), self.said()
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *LFSSYNC, "run"], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | self.environment,
            )  # fmt: skip
        return self.process

    def __enter__(self) -> Daemon:
        return self if self.process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        elif self.process and not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        if kind is not None and value is not None:
            value.add_note(f"the daemon's log:\n{self.said()}")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process is not None and self.process.poll() is not None

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def says(self, words: str, times: int = 1) -> None:
        """Wait until words stand in its log so many times."""
        soon(lambda: self.said().count(words) >= times, lambda: f"{words!r} is not {times} times in:\n{self.said()}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self, timeout_s: float = 15.0) -> None:
        """End it in order; it must take no longer, exit with 0 and take its socket away."""
        assert self.process is not None
        if not self.ended():
            self.process.terminate()
            try:
                assert self.process.wait(timeout_s) == 0, self.said()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"it did not end within {timeout_s} s:\n{self.said()}") from None
            assert not Places.from_environment(os.environ | self.environment).control_socket.exists()
        assert "internal" not in self.said()
        assert "Traceback" not in self.said()

    def kill(self) -> None:
        """End it as a power loss would, and collect it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def cpu_s(self) -> float:
        """Processor time that it and its children took so far, in seconds. Source: proc(5)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> list[str]:
        """The names of its threads."""
        return sorted(path.read_text().strip() for path in Path(f"/proc/{self.pid}/task").glob("*/comm"))

    def descriptors(self) -> list[str]:
        """What it has open."""
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(re.sub(r":\[\d+\]", "", os.readlink(f"/proc/{self.pid}/fd/{name}")))
        return sorted(found)


def litter(folder: Path) -> list[str]:
    """What a killed run may leave behind in a repository or a state folder, and a finished one must not."""
    patterns = ("**/*.lock", "**/tmp_*", "**/tmp-*", "**/fast_import_crash_*", "lfs/tmp/*", "**/lfssync-*")
    return sorted(str(path) for pattern in patterns for path in folder.glob(pattern) if path.name != "daemon.lock")
