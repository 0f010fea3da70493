"""Random work in a directory, syncs in between: whatever was done, the remote equals the directory afterwards.

A Hypothesis state machine on real git and git-lfs. After each sync the tip of the remote is compared with the
directory, entry by entry; at the end of each run a stock clone is compared as well, and every commit is checked to be
whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.rules.attributes import parse_pointer
from lfssync.service.delivering import sync
from tests.helpers import assert_whole, clone, git, make_bare, tree
from tests.integration.site import assert_in_order

RUNS_EACH = 100
STEPS = 14
THRESHOLD_BYTES = 1000

PLAIN_NAMES = [
    b"a",
    b"b",
    b"model.onnx",
    b"w.bin",
    b"notes.txt",
    b"sub",
    b"deep",
    "caf\u00e9".encode(),
    b"x" * 255,
]
ODD_NAMES = [
    b"-rf",
    b":(top)*",
    b"two\nlines",
    b"tab\there",
    b'quo"te\\',
    b"\xff\xfe raw",
    b" spaces ",
    b"#hash",
    b"!bang",
]
NAMES = st.sampled_from([*PLAIN_NAMES, *ODD_NAMES, b"[brackets]*?"])
CONTENTS = st.builds(
    lambda seed, size, text: (b"line %d\n" % seed * (size // 7 + 1))[:size] if text else _noise(seed, size),
    st.integers(0, 9),
    st.sampled_from([0, 1, 40, THRESHOLD_BYTES, THRESHOLD_BYTES + 1, 5000, 70_000, 1_100_000]),
    st.booleans(),
)
ATTRIBUTES = st.sampled_from(
    [
        b"",
        b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
        b"*.bin -filter\n*.txt filter=lfs diff=lfs merge=lfs -text",
        b"a filter=lfs diff=lfs merge=lfs -text\r\n",
        b"sub/** -filter\n",
    ]
)
PICK = st.integers(0, 1000)


def _noise(seed: int, size: int) -> bytes:
    return hashlib.shake_128(b"%d" % seed).digest(size)


class Directory(RuleBasedStateMachine):
    """A mirrored directory in the hands of a restless program."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="machine-", dir=os.environ["HOME"]))
        self.root = os.fsencode(self.base / "model")
        os.mkdir(self.root)
        self.remote = make_bare(self.base / "remote.git")
        self.synced = False

    @initialize(delay=st.booleans())
    def configure(self, delay: bool) -> None:
        self.mirror = Mirror(
            "model", self.base / "model", str(self.remote), quiet_s=0.1, lfs_threshold_bytes=THRESHOLD_BYTES
        )
        if not delay:
            self.sync()

    # -- what the program does -----------------------------------------------------------------------------------

    @rule(at=PICK, name=NAMES, content=CONTENTS)
    def create(self, at: int, name: bytes, content: bytes) -> None:
        path = self._place(at, name)
        if not os.path.lexists(path):
            self._write(path, content)

    @rule(at=PICK, name=NAMES)
    def make_directory(self, at: int, name: bytes) -> None:
        path = self._place(at, name)
        if not os.path.lexists(path):
            os.mkdir(path)

    @rule(at=PICK, name=NAMES, aim=st.sampled_from([b"a", b"../outside", b"/etc/passwd", b"nothing", b"sub", b"\xff"]))
    def link(self, at: int, name: bytes, aim: bytes) -> None:
        path = self._place(at, name)
        if not os.path.lexists(path):
            os.symlink(aim, path)

    @precondition(lambda self: self._files())
    @rule(at=PICK, content=CONTENTS)
    def append(self, at: int, content: bytes) -> None:
        with open(self._pick(self._files(), at), "ab") as file:
            file.write(content)

    @precondition(lambda self: self._files())
    @rule(at=PICK, content=CONTENTS, position=st.integers(0, 4000))
    def overwrite_in_place(self, at: int, content: bytes, position: int) -> None:
        with open(self._pick(self._files(), at), "r+b") as file:
            file.seek(position)
            file.write(content)

    @precondition(lambda self: self._files())
    @rule(at=PICK, content=CONTENTS)
    def replace_by_rename(self, at: int, content: bytes) -> None:
        path = self._pick(self._files(), at)
        self._write(os.path.join(self.root, b".new.tmp"), content)
        os.replace(os.path.join(self.root, b".new.tmp"), path)

    @precondition(lambda self: self._files())
    @rule(at=PICK)
    def keep_size_and_put_the_time_back(self, at: int) -> None:
        path = self._pick(self._files(), at)
        status = os.stat(path)
        with open(path, "r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes((first[0] ^ 1,)) if first else b"")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @precondition(lambda self: self._entries())
    @rule(at=PICK)
    def delete(self, at: int) -> None:
        path = self._pick(self._entries(), at)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)

    @precondition(lambda self: self._files())
    @rule(at=PICK)
    def change_mode(self, at: int) -> None:
        path = self._pick(self._files(), at)
        os.chmod(path, os.stat(path).st_mode ^ 0o111)

    @precondition(lambda self: self._entries())
    @rule(source=PICK, at=PICK, name=NAMES)
    def move(self, source: int, at: int, name: bytes) -> None:
        old, new = self._pick(self._entries(), source), self._place(at, name)
        if not os.path.lexists(new) and not new.startswith(old + b"/"):
            os.rename(old, new)

    @precondition(lambda self: self._files())
    @rule(at=PICK)
    def file_becomes_directory(self, at: int) -> None:
        path = self._pick(self._files(), at)
        if path.endswith(b"/.gitattributes"):
            return
        os.unlink(path)
        os.mkdir(path)
        self._write(os.path.join(path, b"inside.bin"), b"in")

    @rule(at=PICK, text=ATTRIBUTES)
    def write_attributes(self, at: int, text: bytes) -> None:
        path = self._place(at, b".gitattributes")
        if not os.path.isdir(path):
            self._write(path, text)

    # -- what must hold ------------------------------------------------------------------------------------------

    @rule()
    def sync(self) -> None:
        result = sync(self.mirror, self.base / "state", Order(accept_deletions=True), Session())
        assert result.deferred == ()
        self.synced = result.commit is not None
        assert self._remote_tree() == self._directory_tree()

    def teardown(self) -> None:
        try:
            self.sync()
            if self.synced:
                assert_whole(self.remote)
                copy = clone(self.remote, self.base / "clone")
                assert_in_order(copy)
                ours, theirs = tree(self.base / "model"), tree(copy)
                for entries in (ours, theirs):  # our block is in the committed one
                    entries.pop(b".gitattributes", None)
                assert theirs == ours
        finally:
            shutil.rmtree(self.base)

    def _directory_tree(self) -> dict[bytes, tuple[str, bytes]]:
        found = {}
        for path in self._files(links=True):
            status = os.lstat(path)
            relative = os.path.relpath(path, self.root)
            if stat.S_ISLNK(status.st_mode):
                found[relative] = ("120000", os.readlink(path))
            elif relative != b".gitattributes":
                with open(path, "rb") as file:
                    found[relative] = ("100755" if status.st_mode & 0o100 else "100644", file.read())
        return found

    def _remote_tree(self) -> dict[bytes, tuple[str, bytes]]:
        if not self.synced:
            return {}
        found = {}
        for line in git("ls-tree", "-r", "-z", "main", cwd=self.remote).split(b"\0")[:-1]:
            words, _, path = line.partition(b"\t")
            mode, _, oid = words.decode().split()
            content = git("cat-file", "blob", oid, cwd=self.remote)
            lfs = parse_pointer(content)
            if lfs is not None and mode != "120000":
                content = (self.remote / "lfs" / "objects" / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid).read_bytes()
                assert hashlib.sha256(content).hexdigest() == lfs.oid
            if path != b".gitattributes":
                found[path] = (mode, content)
        return found

    # -- helpers -------------------------------------------------------------------------------------------------

    def _directories(self) -> list[bytes]:
        return [folder for folder, _, _ in os.walk(self.root)]

    def _files(self, links: bool = False) -> list[bytes]:
        found = [os.path.join(folder, name) for folder, _, names in os.walk(self.root) for name in names]
        found += [
            os.path.join(folder, name)
            for folder, names, _ in os.walk(self.root)
            for name in names
            if os.path.islink(os.path.join(folder, name))
        ]
        return sorted(path for path in found if links or not os.path.islink(path))

    def _entries(self) -> list[bytes]:
        return sorted({*self._files(links=True), *self._directories()} - {self.root})

    def _place(self, at: int, name: bytes) -> bytes:
        return os.path.join(self._pick(self._directories(), at), name)

    @staticmethod
    def _pick(paths: list[bytes], at: int) -> bytes:
        return paths[at % len(paths)]

    @staticmethod
    def _write(path: bytes, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)


@pytest.mark.parametrize("half", ["first", "second"])
def test_the_remote_equals_the_directory_after_every_sync(half: str) -> None:
    """200 runs in all; two halves, so that two processors share them."""
    run_state_machine_as_test(
        Directory,
        settings=settings(
            max_examples=RUNS_EACH,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
