"""What hosts refuse when it is pushed: the pre-receive hooks of the Hub, of GitHub and of GitLab.

A hook of the stand-ins' repositories; it stands in the repository and gets `old new ref` lines. The one thing to know:
all pushed commits are looked at, so what one of them has is refused even when a later one deletes it.

Source: protocols of the hosts; githooks(5), pre-receive.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers import cards

MIB = 1 << 20
HUB_LIMIT_BYTES = 10 * MIB
HUB_FOLDER_LIMIT = 10_000
GITHUB_LIMIT_BYTES = 100 * MIB
TIMEOUT_S = 60.0

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n")


def main(rules: str) -> int:
    """Look at what comes in, by the rules of a host: `hub`, `github` or `gitlab`."""
    zero = "0" * 40
    news = [new for _, new, _ in (line.split() for line in sys.stdin) if new != zero]
    words = {"hub": _hub, "github": _github, "gitlab": _gitlab}[rules](news) if news else ""
    if words:
        print(words, file=sys.stderr)
    return 1 if words else 0


def _hub(news: list[str]) -> str:
    large, binary, wrong = [], [], []
    for oid, path, size in _blobs(news):
        if size > HUB_LIMIT_BYTES:
            large.append(path)
            continue
        content = _git("cat-file", "blob", oid)
        if b"\0" in content[:8000]:
            binary.append(path)
        if path == "README.md":
            wrong += cards.errors_of(content.decode(errors="replace"))
    if large:
        return "Your push was rejected because it contains files larger than 10 MiB.\nOffending files:\n" + _listed(
            large
        )
    if binary:
        return f"Your push was rejected because it contains binary files.\nOffending files:\n{_listed(binary)}"
    if wrong:
        return "Sorry, your push was rejected during YAML metadata verification:\n" + _listed(wrong)
    return _crowded(news)


def _crowded(news: list[str]) -> str:
    counts: dict[str, int] = {}
    for new in news:
        for name in _git("ls-tree", "-r", "-t", "--name-only", "-z", new).decode(errors="replace").split("\0")[:-1]:
            folder = name.rpartition("/")[0]
            counts[folder] = counts.get(folder, 0) + 1
    crowded = [folder or "/" for folder, count in counts.items() if count > HUB_FOLDER_LIMIT * len(news)]
    return "Your push was rejected because a folder has too many entries:\n" + _listed(crowded) if crowded else ""


def _github(news: list[str]) -> str:
    large = [f"File {path} is {size / MIB:.2f} MB" for _, path, size in _blobs(news) if size > GITHUB_LIMIT_BYTES]
    if not large:
        return ""
    return (
        "error: GH001: Large files detected.\n"
        + _listed(large)
        + "\nthis exceeds GitHub's file size limit of 100.00 MB"
    )


def _gitlab(news: list[str]) -> str:
    for oid, _, size in _blobs(news):
        pointer = _POINTER.fullmatch(_git("cat-file", "blob", oid)) if size < 1024 else None
        if pointer:
            name = pointer[1].decode()
            if not (Path.cwd() / "lfs" / "objects" / name[:2] / name[2:4] / name).is_file():
                return (
                    "GitLab: LFS objects are missing. Ensure LFS is properly set up or try a manual "
                    '"git lfs push --all".'
                )
    return ""


def _blobs(news: list[str]) -> Iterator[tuple[str, str, int]]:
    """Oid, path and size of every blob that is new."""
    objects = _git("rev-list", "--objects", *news, "--not", "--all")
    checked = _git("cat-file", "--batch-check=%(objecttype) %(objectname) %(objectsize) %(rest)", stdin=objects)
    for line in checked.decode(errors="replace").splitlines():
        kind, oid, size, *rest = line.split(" ", 3)
        if kind == "blob":
            yield oid, rest[0] if rest else "", int(size)


def _listed(words: list[str]) -> str:
    return "\n".join(f"  - {word}" for word in words)


def _git(*args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["git", *args], input=stdin, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True).stdout
