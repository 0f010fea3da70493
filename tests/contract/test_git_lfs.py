"""What only the transfer through git-lfs has to get right: servers that lie, and settings that lead elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.errors import AuthError, LfssyncError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.model import LfsObject, silent
from lfssync.transfer import Source
from lfssync.transfer.bare import open_bare
from lfssync.transfer.gitlfs import GitLfsTransfer
from tests.contract.lfsserver import LfsServer, serving
from tests.helpers import git, make_bare, write


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LfsServer]:
    with serving(tmp_path / "served") as there:
        yield there


@pytest.fixture
def transfer(server: LfsServer, tmp_path: Path) -> GitLfsTransfer:
    return GitLfsTransfer(Git(make_bare(tmp_path / "mirror.git")), f"{server.address}/r.git", "main")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    content = b"weights" * 1000
    fd = os.open(write(tmp_path / "model.bin", content), os.O_RDONLY | os.O_CLOEXEC)
    yield Source(LfsObject(hashlib.sha256(content).hexdigest(), len(content)), fd, b"model.bin")
    os.close(fd)


def test_an_object_that_the_server_refuses_is_no_success(
    server: LfsServer, transfer: GitLfsTransfer, source: Source
) -> None:
    """git-lfs itself exits with 0 then."""
    server.put_status = 422
    with pytest.raises(TransientError, match="does not keep it"):
        transfer.upload([source], silent)


def test_a_server_that_forgets_is_no_success(server: LfsServer, transfer: GitLfsTransfer, source: Source) -> None:
    server.forgets = True
    with pytest.raises(TransientError, match="does not keep it"):
        transfer.upload([source], silent)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, LfssyncError), (404, LfssyncError), (500, TransientError)]
)
def test_a_server_that_does_not_answer_is_no_yes(
    status: int, kind: type[LfssyncError], server: LfsServer, transfer: GitLfsTransfer, source: Source
) -> None:
    server.batch_status = status
    for ask in (transfer.missing, transfer.confirm):
        with pytest.raises(kind):
            ask([source.lfs])
    with pytest.raises(kind):
        transfer.upload([source], silent)


def test_the_server_is_told_the_branch(server: LfsServer, transfer: GitLfsTransfer, source: Source) -> None:
    transfer.upload([source], silent)
    assert set(server.refs) == {"refs/heads/main"}


def test_no_lfsconfig_leads_elsewhere(server: LfsServer, source: Source, tmp_path: Path) -> None:
    """Stock git-lfs reads it from the branch of a bare repository as well, and sends everything there."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "--quiet", cwd=work)
    with serving(tmp_path / "foreign") as foreign:
        settings = f"[lfs]\n\turl = {foreign.address}/lfs\n\tpushurl = {foreign.address}/lfs\n"
        write(work / ".lfsconfig", settings.encode())
        git("add", ".", cwd=work)
        git("commit", "--quiet", "-m", "planted", cwd=work)
        git("clone", "--quiet", "--bare", work, tmp_path / "planted.git", cwd=tmp_path)
        transfer = GitLfsTransfer(Git(tmp_path / "planted.git"), f"{server.address}/r.git", "main")
        assert transfer.missing([source.lfs]) == [source.lfs]
        transfer.upload([source], silent)
        transfer.confirm([source.lfs])
        transfer.download(source.lfs, tmp_path / "back", silent)
        assert foreign.requests == []
    assert server.size(source.lfs.oid) == source.lfs.size_bytes


def test_git_lfs_settings_of_the_user_do_not_weaken_it(
    server: LfsServer, transfer: GitLfsTransfer, source: Source, tmp_path: Path
) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[lfs]\n\tallowincompletepush = true\n\tskipdownloaderrors = true\n\tstorage = {tmp_path}/shared\n")
    assert transfer.missing([source.lfs]) == [source.lfs]
    with pytest.raises(TransientError):
        transfer.confirm([source.lfs])
    with pytest.raises(LfssyncError):
        transfer.download(source.lfs, tmp_path / "back", silent)
    transfer.upload([source], silent)
    assert server.size(source.lfs.oid) == source.lfs.size_bytes
    assert not (tmp_path / "shared").exists()


def test_a_shared_store_of_the_user_is_not_taken_for_the_remote(source: Source, tmp_path: Path) -> None:
    """git-lfs hands `lfs.storage` on to its agent for folders, which then finds "there" what is only here."""
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[lfs]\n\tstorage = {tmp_path}/shared\n")
    remote = make_bare(tmp_path / "remote.git")
    transfer = GitLfsTransfer(Git(make_bare(tmp_path / "m.git")), f"file://{remote}", "main", open_bare(remote))
    transfer.upload([source], silent)
    assert not (tmp_path / "shared").exists()
    transfer.confirm([source.lfs])
    transfer.download(source.lfs, tmp_path / "back", silent)
