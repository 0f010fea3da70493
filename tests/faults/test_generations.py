"""Programs that write on and on, each generation of a file stamped: what is committed is one generation, never two.

Faults 21 and 22. In `tests/integration/test_writers.py` one program overwrites and a pass follows the other; here five
of them write in every way there is, and a daemon takes what it can get.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import assert_whole, git, tree
from tests.integration.daemons import Daemon, Pair, configure, lfssync, remote_tree

SIZE_BYTES = {"plain": 4000, "lfs": 2_000_000}
FOR_S = 5.0

# Each writes generation after generation until a file tells it to stop, and finishes what it has begun.
WRITER = """
import mmap, os, sys, time
how, path, size, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
generation = 0
log = open(path, "ab", buffering=0) if how == "append" else None
while not os.path.exists(stop):
    generation += 1
    stamp = b"%07d\\n" % generation
    whole = stamp * (size // 8)
    if how == "append":
        log.write(stamp * 50)
    elif how == "overwrite":
        with open(path, "r+b" if generation > 1 else "wb", buffering=0) as file:
            for at in range(0, len(whole), 8192):
                file.write(whole[at : at + 8192])
    elif how == "truncate":
        with open(path, "wb", buffering=0) as file:
            file.write(whole)
    elif how == "replace":
        with open(path + ".tmp", "wb") as file:
            file.write(whole)
        os.replace(path + ".tmp", path)
    elif how == "map":
        if generation == 1:
            with open(path + ".tmp", "wb") as file:
                file.write(whole)
            os.replace(path + ".tmp", path)
        fd = os.open(path, os.O_RDWR)
        with mmap.mmap(fd, 0) as memory:
            os.close(fd)
            for at in range(0, len(whole), 4096):
                memory[at : at + 4096] = whole[at : at + 4096]
    time.sleep(0.03)
"""


def one_generation(content: bytes, size: int) -> bool:
    return len(content) == size and content == content[:8] * (size // 8)


def one_or_none(content: bytes, size: int) -> bool:
    return not content or one_generation(content, size)


def all_so_far(content: bytes, _: int) -> bool:
    """As long as some generations are, and exactly those."""
    return content == b"".join(b"%07d\n" % (number + 1) * 50 for number in range(len(content) // 400))


HOW: dict[str, Callable[[bytes, int], bool]] = {
    "overwrite": one_generation,
    "truncate": one_or_none,
    "replace": one_generation,
    "map": one_generation,
    "append": all_so_far,
}


@pytest.mark.parametrize("kind", SIZE_BYTES)
def test_what_is_committed_is_one_generation(kind: str, tmp_path: Path) -> None:
    pair, size, stop = Pair.make(tmp_path), SIZE_BYTES[kind], tmp_path / "stop"
    configure(pair.table(quiet="50ms", max_wait="300ms"))
    with Daemon(tmp_path / "log").start():
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, how, str(pair.directory / f"{how}.bin"), str(size), stop])
            for how in HOW
        ]
        try:
            time.sleep(FOR_S)  # they write
        finally:
            stop.touch()
            assert [writer.wait(60) for writer in writers] == [0] * len(HOW)
        waited = lfssync("wait", "--timeout", "1m", timeout_s=90)
        assert waited.returncode == 0, waited.stderr
    assert_whole(pair.remote)
    assert remote_tree(pair.remote) == tree(pair.directory)
    found = 0
    for how, is_right in HOW.items():
        name = f"{how}.bin"
        for commit in git("rev-list", "main", "--", name, cwd=pair.remote).decode().split():
            content = contents(pair.remote, commit, name)
            assert is_right(content, size), (
                f"{name} in {commit}: {sorted({*content.split()})[:5]}, {len(content)} bytes"
            )
            found += 1
    print(f"{found} generations of {len(HOW)} files in the history")
    assert found >= 2 * len(HOW)


def contents(remote: Path, commit: str, name: str) -> bytes:
    blob = git("cat-file", "blob", f"{commit}:{name}", cwd=remote)
    if not blob.startswith(b"version https://git-lfs"):
        return blob
    oid = blob.split()[3].removeprefix(b"sha256:").decode()
    return (remote / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes()
