"""The remotes that faults are tried against. Another kind is one more function and one more row here.

The one thing to know: a `Site` can be put back to how it was at any earlier moment, so that hundreds of runs can be
broken off, each at another point, from the same start; the mirrored directory stays where it is, because lfssync knows
its files by their inodes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import assert_whole, make_bare, tree
from tests.integration.daemons import configure, lfssync, litter, places, remote_tree
from tests.servers import githost
from tests.servers.giftless import giftless


@dataclass(frozen=True)
class Site:
    """A directory, its mirror's configuration, and the remote, each of which a test can look into.

    Args:
        directory: What is mirrored.
        remote: What the mirror has as its remote.
        repository: The bare repository behind that.
        kept: Folders that hold all that the remote and lfssync know.
        file: Where the remote has an LFS object, by its oid; None for where git-lfs has it in a bare repository.
    """

    directory: Path
    remote: str
    repository: Path
    kept: tuple[Path, ...]
    file: Callable[[str], Path] | None = None

    def keep(self, where: Path) -> None:
        """Keep how remote and state are now."""
        for number, folder in enumerate(self.kept):
            if folder.exists():
                shutil.copytree(folder, where / str(number), symlinks=True)

    def put_back(self, where: Path) -> None:
        """Make remote and state what they were when they were kept; the folders stay, for they may be mounts."""
        for number, folder in enumerate(self.kept):
            if folder.exists():
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if (where / str(number)).exists():
                shutil.copytree(where / str(number), folder, symlinks=True, dirs_exist_ok=True)

    def grow_old(self) -> None:
        """Time passes for what a killed git left on the remote, until nobody can take it for work under way."""
        for path in self.repository.rglob("*"):
            os.utime(path, times=(0, 0), follow_symlinks=False)

    def assert_whole(self) -> None:
        """Every commit on the remote has its LFS objects there, byte for byte."""
        assert_whole(self.repository, self.file)

    def assert_mirrored(self, besides: Collection[bytes] = ()) -> None:
        """The remote is whole and holds what the directory holds, and nothing is left behind anywhere.

        Args:
            besides: What only the remote has.
        """
        self.assert_whole()
        there, here = remote_tree(self.repository), tree(self.directory)
        wrong = {path for path in there.keys() | here.keys() if there.get(path) != here.get(path)} - {*besides}
        assert not wrong, f"not the same here and there: {sorted(wrong)}"
        assert not self.litter(), f"left behind: {self.litter()}"

    def litter(self) -> list[str]:
        """What a killed run leaves behind, and a finished one must not."""
        ours = self.kept if self.file is None else (places().state_dir,)  # a server puts its own things in order
        found = [path for folder in ours if folder.exists() for path in litter(folder)]
        for folder in (Path(os.environ["XDG_RUNTIME_DIR"]), Path(os.environ["TMPDIR"])):
            found += [str(path) for path in folder.iterdir() if "gunicorn" not in path.name]
        return found


@contextmanager
def _bare(base: Path) -> Iterator[Site]:
    repository = make_bare(base / "model.git")
    yield Site(base / "model", str(repository), repository, (repository, places().state_dir))


@contextmanager
def _host(base: Path) -> Iterator[Site]:
    """A git host with a real LFS server, where one has to log in."""
    with giftless(base / "giftless") as lfs, githost.serve(githost.GitHost(base / "host", lfs)) as host:
        repository = host.create("me/model")
        kept = (repository, lfs.storage, places().state_dir)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LFSSYNC_TOKEN", githost.TOKEN)
            yield Site(base / "model", host.url("me/model"), repository, kept, lambda oid: lfs.file("me/model", oid))


REMOTES: dict[str, Callable[[Path], AbstractContextManager[Site]]] = {
    "bare": _bare,
    "git host": _host,
}
"""Every kind of remote that passes are broken off against."""


@contextmanager
def site(kind: str, base: Path) -> Iterator[Site]:
    """A new empty directory, configured to be mirrored to a new remote of a kind."""
    (base / "model").mkdir()
    (base / "tmp").mkdir()
    with REMOTES[kind](base) as made:
        configure({"path": made.directory, "remote": made.remote})
        yield made


def sync(*words: str) -> None:
    """A sync that must go well."""
    done = lfssync("sync", *words)
    assert done.returncode == 0, done.stderr
