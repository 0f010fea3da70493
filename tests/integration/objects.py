"""LFS objects for tests of transfers: laid into files and opened, as staging does, and a git dir to send them from."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfssync.credentials import Credentials, nobody
from lfssync.git.gitcommand import Git
from lfssync.model import LfsObject, Mirror, Plan, Progress
from lfssync.rules.remotes import parse_remote
from lfssync.transfer import Source
from lfssync.transfer.endpoint import derived
from lfssync.transfer.http import HttpTransfer, open_http
from lfssync.transfer.logins import WANTED_FILE, Wishes
from lfssync.transfer.unfinished import Unfinished
from lfssync.web.retrying import Patience
from tests.helpers import git, write

QUICK = Patience(first_s=0.01, last_s=0.05)


@dataclass
class Sender:
    """Somebody with files and a git dir.

    Args:
        folder: Where both are.
        credentials: Who knows logins.
    """

    folder: Path
    credentials: Credentials
    _opened: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def lay(self, content: bytes) -> Source:
        """A file with this content, opened."""
        file = write(self.folder / "files" / f"{next(self._numbers)}.bin", content)
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._opened.callback(os.close, fd)
        return Source(LfsObject(hashlib.sha256(content).hexdigest(), len(content)), fd, os.fsencode(file))

    def transfer(self, url: str, unfinished: Unfinished | None = None, **keys: Any) -> HttpTransfer:
        """A transfer to a remote, as every pass but the first makes one anew: it knows that the remote wants a login.

        Without `unfinished` it is as after a restart.
        """
        Wishes(self.folder / "mirror.git" / WANTED_FILE).add(derived(url))
        mirror = Mirror("model", self.folder, url, **keys)
        remote = parse_remote(url, self.folder)
        return open_http(mirror, remote, Git(self.folder / "mirror.git", login=self.credentials), patience=QUICK,
                         unfinished=unfinished)  # fmt: skip

    def notes(self) -> list[Path]:
        """What is noted on disk about uploads that did not come to their end."""
        return [file for file in (self.folder / "mirror.git" / "lfs").rglob("*") if file.is_file()]


@contextmanager
def sender(folder: Path, credentials: Credentials | None = None) -> Iterator[Sender]:
    """Somebody with files and a git dir, until the block ends."""
    git("init", "--quiet", "--bare", "--template=", "mirror.git", cwd=folder)
    made = Sender(folder, credentials or nobody())
    with made._opened:
        yield made


@dataclass
class When:
    """A monitor that does something once, when an upload has come so far."""

    done_bytes: int
    act: Any
    has_acted: bool = False

    def __call__(self, event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.done_bytes >= self.done_bytes and not self.has_acted:
            self.has_acted = True
            self.act()
