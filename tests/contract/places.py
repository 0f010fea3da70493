"""The kinds of transfer that the contract is held against. A new one is one more function and one more row here.

A `Place` is a remote with the transfer that leads to it. Whatever the transfer, its objects end up in a folder that a
test can look into and damage: the remote's own, or that of a server in this process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from lfssync.credentials import Credential, nobody
from lfssync.git.gitcommand import Git
from lfssync.line.transfers import transfer_for
from lfssync.model import LfsObject, Mirror, TransferKind
from lfssync.transfer import Transfer
from tests.contract.lfsserver import serving
from tests.helpers import git, make_bare
from tests.servers.giftless import Giftless, giftless
from tests.servers.hub import TOKEN, hub_at

_PART_BYTES = 1_000_000

_numbers = itertools.count()


class Damaged(Enum):
    """What comes of an object on the remote that has the right size and the wrong bytes."""

    REPLACED = "counts as missing, and is replaced"
    REFUSED = "counts as missing, but cannot be replaced: a person has to delete it"
    UNSEEN = "only a download notices; the server has the last word about what it holds"


@dataclass(frozen=True)
class Place:
    """A remote for one test.

    Args:
        kind: Its row in `KINDS`.
        repository: The remote's bare repository.
        url: What the mirror has as its remote.
        git_dir: The mirror's git dir.
        objects: Where the remote keeps its LFS objects.
        damaged: See `Damaged`.
        clone_settings: What a stock `git clone` of the repository needs to find the LFS objects.
        is_flat: Whether all objects lie side by side, and not laid out as git-lfs does.
        incoming: Where a server has what is on its way to it; giftless writes to where the object shall be, so there a
            part of one may lie under its name.
    """

    kind: str
    repository: Path
    url: str
    git_dir: Path
    objects: Path
    damaged: Damaged
    clone_settings: tuple[str, ...] = ()
    is_flat: bool = False
    incoming: Path | None = None

    @property
    def transfer(self) -> Transfer:
        """A transfer to it, as every pass makes one anew."""
        return transfer_to(self.kind, self.url, self.git_dir)

    def file(self, lfs: LfsObject) -> Path:
        """Where the remote keeps an object."""
        return self.objects / lfs.oid if self.is_flat else self.objects / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid


@dataclass(frozen=True)
class Servers:
    """The servers that tests share: one giftless for whole objects and one for parts of them."""

    plain: Giftless
    in_parts: Giftless


@contextmanager
def servers_in(folder: Path) -> Iterator[Servers]:
    """Run the shared servers in a folder until the block ends."""
    with (
        giftless(folder / "plain") as plain,
        giftless(folder / "in-parts", part_bytes=_PART_BYTES) as in_parts,
    ):
        yield Servers(plain, in_parts)


class _PersonOfHub:
    """Knows the login of the stand-in of the Hub."""

    def find(self, url: str) -> Credential | None:
        return Credential("me", TOKEN)

    def refused(self, url: str, credential: Credential) -> None:
        raise AssertionError("the login is right")


def transfer_to(kind: str, url: str, git_dir: Path) -> Transfer:
    """The transfer of a kind."""
    login = _PersonOfHub() if "Hub" in kind else nobody()
    setting = TransferKind.GIT_LFS if kind.startswith("git-lfs") else TransferKind.AUTO
    return transfer_for(Mirror("contract", git_dir.parent, url, transfer=setting), Git(git_dir, login=login))


def _git_dir(folder: Path) -> Path:
    git("init", "--quiet", "--bare", "--template=", "mirror.git", cwd=folder)
    return folder / "mirror.git"


@contextmanager
def _bare(kind: str, folder: Path) -> Iterator[Place]:
    repository = make_bare(folder / "remote.git")
    yield Place(kind, repository, str(repository), _git_dir(folder), repository / "lfs/objects", Damaged.REPLACED)


@contextmanager
def _git_lfs_folder(kind: str, folder: Path) -> Iterator[Place]:
    repository = make_bare(folder / "remote.git")
    url = f"file://{repository}"
    yield Place(kind, repository, url, _git_dir(folder), repository / "lfs/objects", Damaged.REFUSED)


@contextmanager
def _small_server(kind: str, folder: Path, **settings: bool) -> Iterator[Place]:
    repository = make_bare(folder / "remote.git")
    with serving(folder / "served", **settings) as server:
        url = f"{server.address}/remote.git"
        clone = ("-c", f"lfs.url={url}/info/lfs")
        incoming = None if kind.startswith("git-lfs") else server.incoming
        yield Place(kind, repository, url, _git_dir(folder), server.objects, Damaged.UNSEEN, clone, incoming=incoming)


@contextmanager
def _giftless(kind: str, folder: Path, servers: Servers, is_in_parts: bool) -> Iterator[Place]:
    repository = make_bare(folder / "remote.git")
    server = servers.in_parts if is_in_parts else servers.plain
    name = f"me/model-{next(_numbers)}"
    url = f"{server.address}/{name}.git"
    clone = ("-c", f"lfs.url={url}/info/lfs")
    objects = server.file(name, "any").parent
    yield Place(kind, repository, url, _git_dir(folder), objects, Damaged.UNSEEN, clone, is_flat=True, incoming=objects)


@contextmanager
def _hub(kind: str, folder: Path) -> Iterator[Place]:
    with hub_at(folder / "hub") as hub:
        repository = hub.make("me/model", is_private=False).path
        git("update-ref", "-d", "refs/heads/main", cwd=repository)
        hub.multipart_above_bytes, hub.chunk_bytes = 1000, _PART_BYTES
        url = f"{hub.address}/me/model"
        clone = ("-c", f"lfs.url={url}.git/info/lfs")
        objects, incoming = repository / "lfs/objects", hub.root / "parts"
        yield Place(kind, repository, url, _git_dir(folder), objects, Damaged.UNSEEN, clone, incoming=incoming)


KINDS: dict[str, Callable[[str, Path], AbstractContextManager[Place]]] = {
    "bare": _bare,
    "git-lfs": _git_lfs_folder,
    "git-lfs over http": _small_server,
    "http to a server that hashes": partial(_small_server, is_verifying=True),
    "http to a server that checks nothing": partial(_small_server, is_checking=False),
    "http to the Hub in parts": _hub,
}
"""Every transfer there is, to remotes that a test has for itself."""

SHARED: dict[str, Callable[[str, Path, Servers], AbstractContextManager[Place]]] = {
    "http to giftless": partial(_giftless, is_in_parts=False),
    "http to giftless in parts": partial(_giftless, is_in_parts=True),
}
"""Those to repositories of a server that all tests of a run share, because its start takes longer than most of them."""
