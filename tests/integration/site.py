"""A directory, a bare remote and the state between them, for one test; and what must hold after every sync.

The one thing to know: `Site.sync` itself proves that the mirrored directory was not touched, so every test does.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lfssync.credentials import Credentials, nobody
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.workbench import Session
from lfssync.model import Mirror, PassResult
from lfssync.service import delivering
from tests.helpers import Entry, Kind, assert_whole, clone, git, make_bare, tree

ATTRIBUTES = b".gitattributes"
LFS_LINE = b" filter=lfs diff=lfs merge=lfs -text\n"
QUIET_S = 0.05


class Link(NamedTuple):
    """A symbolic link to lay down."""

    target: bytes


class Program(NamedTuple):
    """An executable file to lay down."""

    content: bytes


Content = bytes | Link | Program | None
"""What a path shall become; None takes it away, folders that become empty included."""


def lay(directory: Path, contents: Mapping[bytes, Content]) -> None:
    """Make paths what the mapping says; whatever is in the way goes."""
    root = os.fsencode(directory)
    for path, content in contents.items():
        place = os.path.join(root, path)
        _clear(root, place)
        if content is None:
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content.target, place)
        else:
            with open(place, "wb") as file:
                file.write(content.content if isinstance(content, Program) else content)
            if isinstance(content, Program):
                os.chmod(place, 0o755)


def _clear(root: bytes, place: bytes) -> None:
    """Take away what is at a place, whatever stands on the way to it, and folders that become empty."""
    parent = os.path.dirname(place)
    while len(parent) > len(root):
        if os.path.lexists(parent) and (os.path.islink(parent) or not os.path.isdir(parent)):
            os.unlink(parent)
        parent = os.path.dirname(parent)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)
    parent = os.path.dirname(place)
    while len(parent) > len(root) and os.path.isdir(parent) and not os.listdir(parent):
        os.rmdir(parent)
        parent = os.path.dirname(parent)


def stamps(directory: Path) -> dict[bytes, tuple[int, ...]]:
    """Everything `lstat` tells about a directory and all in it, except when it was last read."""
    found: dict[bytes, tuple[int, ...]] = {}
    root = os.fsencode(directory)
    for folder, folders, files in os.walk(root):
        for path in [folder, *(os.path.join(folder, name) for name in (*folders, *files))]:
            status = os.lstat(path)
            found[path] = (
                status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_gid, status.st_size,
                status.st_mtime_ns, status.st_ctime_ns,
            )  # fmt: skip
    return found


@dataclass
class Site:
    """One mirror and what it needs.

    Args:
        base: Where clones go.
        mirror: The mirror's configuration.
        state: Its state folder.
        login: Who knows the login for the remote.
    """

    base: Path
    mirror: Mirror
    state: Path
    login: Credentials = field(default_factory=nobody)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def make(cls, base: Path, name: str = "model", remote: Path | None = None, **keys: Any) -> Site:
        """A new empty directory, mirrored to a new empty remote, or to one that is there."""
        directory = base / name
        directory.mkdir(parents=True)
        if remote is None:
            remote = make_bare(base / f"{name}.git")
        mirror = Mirror(name, directory, str(remote), quiet_s=QUIET_S, **keys)
        return cls(base, mirror, base / f"{name}-state")

    @property
    def directory(self) -> Path:
        """The mirrored directory."""
        return self.mirror.path

    @property
    def remote(self) -> Path:
        """The bare remote."""
        return Path(self.mirror.remote)

    def configure(self, **keys: Any) -> None:
        """Change the mirror's configuration."""
        self.mirror = self.mirror._replace(**keys)

    def lay(self, contents: Mapping[bytes, Content]) -> None:
        """Make paths of the directory what the mapping says."""
        lay(self.directory, contents)

    def sync(self, hints: Iterable[bytes] | None = None, **order: Any) -> PassResult:
        """One sync (or one pass where hints say to look); the directory must be untouched by it."""
        before = stamps(self.directory)
        try:
            if hints is None:
                return delivering.sync(self.mirror, self.state, Order(**order), Session(login=self.login))
            return run_pass(self.mirror, self.state, Order(paths=frozenset(hints), **order), Session(login=self.login))
        finally:
            assert stamps(self.directory) == before, "the mirrored directory was touched"

    def put(self, contents: Mapping[bytes, Content]) -> PassResult:
        """Lay down and sync."""
        self.lay(contents)
        return self.sync()

    def clone(self, revision: str | None = None) -> Path:
        """A fresh stock clone of the remote's branch, or of another revision."""
        return clone(self.remote, self.base / f"{self.mirror.name}-clone-{next(self._numbers)}", revision)

    def tip(self) -> str:
        """The commit that the remote's branch points at."""
        return git("rev-parse", f"refs/heads/{self.mirror.branch}", cwd=self.remote).decode().strip()

    def remote_tree(self) -> dict[bytes, Entry]:
        """What a stock clone holds, after it was found in order, without the attributes that lfssync composes."""
        work = self.clone(self.mirror.branch)
        assert_in_order(work)
        assert_whole(self.remote)
        return without_attributes(tree(work))

    def assert_mirrored(self, left_out: Collection[bytes] = (), besides: Mapping[bytes, bytes] | None = None) -> None:
        """A stock clone equals the directory.

        Args:
            left_out: Paths of the directory that must not be on the remote.
            besides: Paths that only the remote has, and their contents.
        """
        wanted = without_attributes(tree(self.directory))
        missing = set(left_out) - wanted.keys()
        assert not missing, f"not even in the directory: {missing}"
        for path in left_out:
            del wanted[path]
        there = self.remote_tree()
        for path, content in (besides or {}).items():
            assert there.pop(path, None) == entry_of(content), path
        assert there == wanted


def entry_of(content: bytes) -> Entry:
    """What `tree` says about a plain file of that content."""
    return Entry(Kind.FILE, "100644", hashlib.sha256(content).hexdigest())


def without_attributes(entries: Mapping[bytes, Entry]) -> dict[bytes, Entry]:
    """Without the top-level attributes, which lfssync composes."""
    return {path: entry for path, entry in entries.items() if path != ATTRIBUTES}


def assert_in_order(work: Path) -> None:
    """A stock clone is clean in the eyes of git and git-lfs, also when git has to look into every file anew.

    `git lfs fsck --pointers` is left out: git-lfs 3.3 takes `/name` in `.gitattributes` for `name` in any folder.
    Cleaning every file anew through the filters that git itself finds says the same, rightly.
    """
    git("lfs", "fsck", "--objects", cwd=work)
    (work / ".git/index").unlink(missing_ok=True)
    git("reset", "--quiet", cwd=work)
    changed = git("status", "--porcelain", "--ignored", "--no-renames", "-z", cwd=work).split(b"\0")[:-1]
    # git-lfs cannot tell a text like a pointer from a pointer, and so cannot clean it again
    assert [line for line in changed if not _looks_like_pointer(work, line)] == []


def _looks_like_pointer(work: Path, status_line: bytes) -> bool:
    if not status_line.startswith(b" M "):
        return False
    with open(os.path.join(os.fsencode(work), status_line[3:]), "rb") as file:
        return b"git-lfs.github.com/spec" in file.read(200)


def lfs_paths(work: Path, revision: str = "HEAD") -> set[bytes]:
    """The paths whose blob in a revision is a pointer."""
    found = set()
    for line in git("ls-tree", "-r", "-z", "-l", "--full-tree", revision, cwd=work).split(b"\0")[:-1]:
        words, _, path = line.partition(b"\t")
        mode, _, oid, size = words.split()
        if mode != b"120000" and int(size) < 1024:
            blob = git("cat-file", "blob", oid, cwd=work)
            if blob.startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:"):
                found.add(path)
    return found


NOBODY = 65534
AS_NOBODY = """
import json, os, sys
from pathlib import Path
from lfssync.service import delivering
from lfssync.credentials import Credentials, nobody
from lfssync.model import Mirror, show
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.workbench import Session
os.setgroups([]); os.setgid(65534); os.setuid(65534)  # after the imports: the interpreter may be out of their reach
mirror = Mirror("model", Path(sys.argv[1]), sys.argv[2], quiet_s=0.05)
hints = frozenset(hint.encode() for hint in sys.argv[4:])
if hints:
    result = run_pass(mirror, Path(sys.argv[3]), Order(paths=hints), Session())
else:
    result = delivering.sync(mirror, Path(sys.argv[3]), Order(), Session())
print(json.dumps([sorted([show(one.path), one.reason] for one in result.deferred), sorted(result.warnings)]))
"""


@contextmanager
def site_for_nobody() -> Iterator[Site]:
    """A mirror where other users can reach it, as pytest's own folder is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        site = Site.make(Path(folder))
        site.state.mkdir()
        yield site


def sync_as_nobody(site: Site, hints: Iterable[str] = (), owns_files: bool = True) -> tuple[list[list[str]], list[str]]:
    """One sync, or one pass with hints, by a user without privileges; gives what was deferred, and the warnings."""
    home = site.base / "their-home"
    home.mkdir(exist_ok=True)
    theirs = [site.remote, site.state, home, *([site.directory] if owns_files else [])]
    subprocess.run(["chown", "-R", "-h", str(NOBODY), *map(str, theirs)], check=False, timeout=60)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(site.directory), str(site.remote), str(site.state), *hints],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    subprocess.run(["chown", "-R", "-h", str(os.getuid()), str(site.remote)], check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    deferred, warnings = json.loads(done.stdout)
    return deferred, warnings
