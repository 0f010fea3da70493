"""File systems of a test's own: mounted where nobody else sees them, and gone with the test, however it ends.

The one thing to know: the mount namespace is that of the thread that runs the test and of the children it starts;
a thread of another test's, or a shell beside, sees the folders as they were. Mounting needs root.

Source: unshare(2), setns(2), mount(2), mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000

SIZE_BYTES = 320 << 20
"""As large as xfs needs it at least; only what is written takes room."""

_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "ext4 of old": ("mkfs.ext4", "-q", "-F", "-I", "128"),  # with room for whole seconds only
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}


@contextmanager
def own_mounts() -> Iterator[None]:
    """What is mounted within the block is seen by nobody else, and gone after it."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = os.getcwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _require(libc.unshare(_CLONE_NEWNS), "mounting needs root: run these tests as root")
        _require(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount --make-rprivate /")
        try:
            yield
        finally:
            deadline = time.monotonic() + 10
            # Threads that ended a moment ago share this one's folder until the kernel is done with them.
            while (status := libc.setns(before, _CLONE_NEWNS)) and time.monotonic() < deadline:
                time.sleep(0.001)
            _require(status, "setns")
            os.chdir(folder)
    finally:
        os.close(before)


def _require(status: int, what: str) -> None:
    if status:
        raise OSError(ctypes.get_errno(), what)


def mount(*words: str | Path) -> None:
    """Run mount(8)."""
    _run("mount", *words)


def unmount(folder: Path) -> None:
    """Run umount(8)."""
    _run("umount", folder)


def tmpfs(folder: Path, size_bytes: int) -> None:
    """Mount a file system in memory, of so many bytes, over a folder that is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "none", folder)


def resize(folder: Path, size_bytes: int) -> None:
    """Give a `tmpfs` another size."""
    mount("-o", f"remount,size={size_bytes}", folder)


@contextmanager
def disk(kind: str, image: Path, folder: Path, *options: str) -> Iterator[None]:
    """Mount a new file system of a kind, in a file, over a folder that is made if it is not there."""
    image.touch()
    os.truncate(image, SIZE_BYTES)
    _run(*_MAKE[kind], image)
    with mounted(image, folder, *options):
        yield


@contextmanager
def mounted(image: Path, folder: Path, *options: str) -> Iterator[None]:
    """Mount the file system that is in a file, over a folder that is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-o", ",".join(("loop", *options)), image, folder)
    try:
        yield
    finally:
        unmount(folder)


def _run(*words: str | Path) -> None:
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
