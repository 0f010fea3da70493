"""A bare repository as a host looks at it: revisions, listings, commits made by its own interface, and its hook.

The stand-ins of hosts share it. The one thing to know: LFS objects lie in the repository's own `lfs/objects`, laid out
as git-lfs does, so `helpers.assert_whole` works on what a stand-in has.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import helpers

ROOT = Path(__file__).parents[2]
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n")

_HOOK = """\
#!/bin/sh
exec '{python}' -I -c 'import sys
sys.path.insert(0, "{root}")
from tests.servers.prereceive import main
sys.exit(main("{rules}"))'
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of a revision; `lfs` is the oid and size of the object that a pointer stands for."""

    path: str
    is_folder: bool
    oid: str
    size: int
    lfs: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A bare repository of a host."""

    path: Path
    is_private: bool = True

    def git(self, *args: str, stdin: bytes = b"") -> bytes:
        """Runs git in it."""
        return helpers.git(*args, cwd=self.path, stdin=stdin)

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, tag or oid names."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
        except subprocess.CalledProcessError:
            return None

    def refs(self, prefix: str) -> dict[str, str]:
        """The refs below a prefix: short name and commit, tags followed to theirs."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", prefix).decode()
        rows = [line.split(" ") for line in lines.splitlines()]
        return {name.removeprefix(prefix): peeled or oid for name, oid, peeled in rows}

    def entries(self, revision: str) -> list[Entry]:
        """All files and folders of a revision."""
        listed = self.git("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", revision)
        return list(self._parsed(listed))

    def _parsed(self, listed: bytes) -> Iterator[Entry]:
        for row in listed.split(b"\0")[:-1]:
            fields, _, path = row.partition(b"\t")
            _, kind, oid, size = fields.decode().split()
            found = None
            if kind == "blob" and int(size) < helpers.POINTER_LIMIT_BYTES:
                found = POINTER.fullmatch(self.blob(oid))
            lfs = (found[1].decode(), int(found[2])) if found else None
            yield Entry(path.decode(), kind == "tree", oid, 0 if kind == "tree" else int(size), lfs)

    def blob(self, oid: str) -> bytes:
        """The content of a blob."""
        return self.git("cat-file", "blob", oid)

    def is_lfs(self, revision: str, path: str) -> bool:
        """Whether the attributes of a revision make a path LFS."""
        self.git("read-tree", revision)
        return self.git("check-attr", "--cached", "-z", "filter", "--", path).split(b"\0")[2] == b"lfs"

    def commit(self, branch: str, parent: str | None, edits: Mapping[str, bytes | None], who: str, text: str) -> str:
        """Commit files (None deletes), unless the hook refuses; gives the commit.

        Raises:
            Refused: The hook does; nothing changed.
        """
        incoming = "refs/incoming/commit"
        lines = [b"commit %b\ncommitter %b <%b@host> now\n" % (incoming.encode(), who.encode(), who.encode())]
        lines.append(b"data %d\n%b\n" % (len(text.encode()), text.encode()))
        if parent:
            lines.append(b"from %b\n" % parent.encode())
        for path, content in edits.items():
            if content is None:
                lines.append(b"D %b\n" % path.encode())
            else:
                lines.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content))
        self.git("fast-import", "--quiet", "--date-format=now", "--force", stdin=b"".join(lines))
        made = self.commit_of(incoming)
        assert made
        self.git("update-ref", "-d", incoming)
        self._ask_hook(f"{parent or '0' * 40} {made} refs/heads/{branch}\n".encode())
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def _ask_hook(self, update: bytes) -> None:
        hook = self.path / "hooks" / "pre-receive"
        if hook.exists():
            done = subprocess.run([hook], cwd=self.path, input=update, capture_output=True, timeout=60, check=False)
            if done.returncode:
                raise Refused(done.stderr.decode())

    def object(self, oid: str) -> Path:
        """Where an LFS object lies, or would."""
        return self.path / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def object_size(self, oid: str) -> int:
        """The size of an LFS object, -1 when it is not here."""
        place = self.object(oid)
        return place.stat().st_size if place.is_file() else -1


class Refused(Exception):
    """The hook of a repository does not take a commit; holds its words."""


def make_repository(path: Path, rules: str = "", branch: str = "main", *, is_private: bool = True) -> Repository:
    """A new empty repository; `rules` are what its hook checks, see `prereceive`."""
    helpers.make_bare(path)
    helpers.git("symbolic-ref", "HEAD", f"refs/heads/{branch}", cwd=path)
    if rules:
        hook = helpers.write(
            path / "hooks" / "pre-receive",
            _HOOK.format(python=sys.executable, root=ROOT, rules=rules).encode(),
        )
        hook.chmod(0o755)
    return Repository(path, is_private)


def pointer(oid: str, size: int) -> bytes:
    """What stands in a commit for an LFS object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
