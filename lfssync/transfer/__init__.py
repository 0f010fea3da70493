"""How LFS objects reach a remote and come back: one small interface, several ways behind it.

`pipeline` asks what is missing, uploads that from open descriptors, and has the remote confirm it; `restore` downloads.
The one thing to know: an upload hashes what it sends and never completes an object whose bytes are not its name, so a
file that is overwritten meanwhile shows up in `Uploaded.changed` and not on the remote. Every way passes the same
contract tests (`tests/contract`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lfssync.model import LfsObject, Mirror, Monitor
from lfssync.rules.remotes import Remote


@dataclass(frozen=True, slots=True)
class Source:
    """An object to upload: its name and size, an open descriptor on its bytes, and the path to show in progress."""

    lfs: LfsObject
    fd: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload did.

    Args:
        sent_bytes: Bytes that the remote took.
        changed: Objects that were not completed because their file changed while it was sent.
    """

    sent_bytes: int
    changed: tuple[LfsObject, ...] = ()


class Transfer(Protocol):
    """A way for LFS objects to and from one remote.

    Every method may raise `TransientError`, `AuthError` or `BlockedError`; all of them may be called again at any time.
    """

    @property
    def endpoint(self) -> str:
        """The name under which evidence about this remote is recorded."""

    def missing(self, objects: Sequence[LfsObject]) -> list[LfsObject]:
        """Which of these objects the remote lacks, by its own answer; in the order given."""

    def locked(self) -> Mapping[bytes, str] | None:
        """The paths of the repository that others have locked there, each with who did, in words for people.

        None where there are no locks. It never takes long and never fails, whatever the remote says.
        """

    def upload(self, sources: Sequence[Source], monitor: Monitor) -> Uploaded:
        """Bring objects to the remote, several at a time. Descriptors stay open and are the caller's."""

    def confirm(self, objects: Sequence[LfsObject]) -> None:
        """Return only if the remote says that it holds all of these with the right size.

        Raises:
            TransientError: One is missing; the pass has to be run again.
        """

    def download(self, lfs: LfsObject, destination: Path, monitor: Monitor) -> None:
        """Write an object into a new file, complete and with the right hash, or not at all."""

    def part(self, lfs: LfsObject, offset: int, count: int) -> bytes | None:
        """Some bytes of an object, which nothing proves; None where this way gives whole objects only.

        Args:
            lfs: The object.
            offset: Where they begin, in bytes.
            count: How many, at most; fewer at its end.
        """


def over_http(mirror: Mirror, remote: Remote) -> str:
    """The `Transfer.endpoint` of a mirror whose objects go over HTTP.

    Args:
        mirror: Its `lfs_url` counts.
        remote: Where git goes.
    """
    return f"lfs {mirror.lfs_url or remote.url}"
