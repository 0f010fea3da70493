"""Finding the LFS server: as stock git-lfs finds it, from the user's own settings alone, and over a real ssh."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, TransientError, UserError
from lfssync.git.gitcommand import Git
from lfssync.rules.remotes import parse_remote
from lfssync.transfer.endpoint import Discovery, Endpoint, OnlyOverSshError, derived
from tests.helpers import git, write
from tests.servers.sshd import Sshd, sshd
from tests.unit.test_endpoint import DERIVED

REMOTE = "https://h/me/model.git"


@pytest.fixture
def own(tmp_path: Path) -> Git:
    """A mirror's git dir, with a work tree that the mirrored directory stands for."""
    git("init", "--quiet", "mirrored", cwd=tmp_path)
    git("init", "--quiet", "--bare", "--template=", "mirror.git", cwd=tmp_path)
    git("config", "core.worktree", str(tmp_path / "mirrored"), cwd=tmp_path / "mirror.git")
    return Git(tmp_path / "mirror.git")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd", tmp_path / "hub") as server:
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        yield server


def discovery(own: Git, remote: str, lfs_url: str = "", **more: Any) -> Discovery:
    return Discovery(parse_remote(remote, Path("/home/me")), own, lfs_url, **more)


def found(own: Git, remote: str = REMOTE, lfs_url: str = "") -> tuple[str, str]:
    """The servers for uploads and downloads."""
    asked = discovery(own, remote, lfs_url)
    return asked.endpoint("upload").url, asked.endpoint("download").url


def settle(*settings: str) -> None:
    """The user's own configuration, as pairs `key=value`."""
    for setting in settings:
        key, _, value = setting.partition("=")
        git("config", "--global", "--add", key, value, cwd=Path("/"))


def stock(url: str, tmp_path: Path) -> str:
    """What git-lfs itself says about an address."""
    folder = tmp_path / "stock"
    if not folder.exists():
        git("init", "--quiet", folder, cwd=tmp_path)
    git("config", "remote.origin.url", url, cwd=folder)
    lines = git("lfs", "env", cwd=folder).decode().splitlines()
    return next(line for line in lines if line.startswith("Endpoint=")).removeprefix("Endpoint=").partition(" (")[0]


def test_addresses_lead_where_stock_git_lfs_goes(tmp_path: Path) -> None:
    assert {url: stock(url, tmp_path) for url in DERIVED} == {url: derived(url) for url in DERIVED}


def test_it_is_beside_the_repository_when_nothing_else_is_said(own: Git) -> None:
    assert found(own) == (f"{REMOTE}/info/lfs",) * 2
    assert found(own, "https://me@h:8443/me/model") == ("https://h:8443/me/model.git/info/lfs",) * 2


def test_the_setting_of_the_mirror_goes_before_all_others(own: Git) -> None:
    settle("lfs.url=https://other/lfs")
    assert found(own, lfs_url="https://mine/lfs") == ("https://mine/lfs",) * 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["lfs.url=https://l/x"], ("https://l/x", "https://l/x")),
        (["lfs.url=https://l/x", "lfs.pushurl=https://p/x"], ("https://p/x", "https://l/x")),
        (["lfs.pushurl=https://p/x"], ("https://p/x", f"{REMOTE}/info/lfs")),
        ([f"remote.o.url={REMOTE}", "remote.o.lfsurl=https://r/x"], ("https://r/x",) * 2),
        ([f"remote.o.url={REMOTE}", "remote.o.lfspushurl=https://r/x"], ("https://r/x", f"{REMOTE}/info/lfs")),
        (["remote.o.url=https://h/other.git", "remote.o.lfsurl=https://r/x"], (f"{REMOTE}/info/lfs",) * 2),
        ([f"remote.{REMOTE}.lfsurl=https://r/x"], ("https://r/x",) * 2),
        (["lfs.url=https://l/x", f"remote.{REMOTE}.lfsurl=https://r/x"], ("https://l/x",) * 2),
        (["url.https://real/.insteadOf=https://h/"], ("https://real/me/model.git/info/lfs",) * 2),
        (
            ["url.https://real/.pushInsteadOf=https://h/"],
            ("https://real/me/model.git/info/lfs", f"{REMOTE}/info/lfs"),
        ),
        (["lfs.url=short:x", "url.https://real/.insteadOf=short:"], ("https://real/x",) * 2),
        (["lfs.url=https://l/x", "lfs.url=https://last/x"], ("https://last/x",) * 2),
    ],
)
def test_the_users_own_git_configuration_decides(own: Git, settings: list[str], expected: tuple[str, str]) -> None:
    settle(*settings)
    assert found(own) == expected


def test_nothing_that_lies_in_the_mirrored_directory_decides(own: Git, tmp_path: Path) -> None:
    mirrored = tmp_path / "mirrored"
    planted = "[lfs]\n\turl = https://evil/x\n\tpushurl = https://evil/x\n"
    write(mirrored / ".lfsconfig", planted.encode())
    git("add", ".lfsconfig", cwd=mirrored)
    git("commit", "--quiet", "-m", "planted", cwd=mirrored)
    git("config", "lfs.url", "https://evil/x", cwd=mirrored)
    git("config", "lfs.url", "https://evil/x", cwd=own.git_dir)
    assert found(own) == (f"{REMOTE}/info/lfs",) * 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["lfs.url=http://h/x"], UserError),
        (["lfs.url=https://me:secret@h/x"], UserError),
        (["lfs.url=https://h/x?token=1"], UserError),
        (["lfs.url=file:///tmp/x"], BlockedError),
        (["lfs.url=ext::sh -c true"], UserError),
        (["url.ext::sh -c .insteadOf=https://h/"], UserError),
    ],
)
def test_a_setting_that_leads_astray_is_refused(own: Git, settings: list[str], error: type[LfssyncError]) -> None:
    settle(*settings)
    with pytest.raises(error) as refused:
        found(own)
    assert "secret" not in str(refused.value)


def test_a_folder_has_no_server(own: Git) -> None:
    with pytest.raises(BlockedError, match="has no LFS server"):
        found(own, "/tmp/model.git")


# ssh


def test_ssh_says_where_it_is_and_what_lets_us_in(own: Git, ssh: Sshd) -> None:
    ssh.answer({"href": "https://lfs.example/me/model/", "header": {"Authorization": "RemoteAuth token"}})
    before = time.monotonic()
    assert discovery(own, ssh.url("me/model.git")).endpoint("upload") == Endpoint(
        "https://lfs.example/me/model", {"Authorization": "RemoteAuth token"}
    )
    ssh.answer('Welcome to {host}!\n{"href": "https://l/x", "expires_in": 60}\nBye.\n')
    answer = discovery(own, ssh.scp("me/model.git")).endpoint("download")
    assert answer.url == "https://l/x"
    assert answer.expires_at is not None
    assert before + 60 <= answer.expires_at <= time.monotonic() + 60
    assert ssh.asked == [
        "git-lfs-authenticate /me/model.git upload",
        "git-lfs-authenticate me/model.git download",
    ]


@pytest.mark.parametrize(
    "document",
    ["{}", '{"href": ""}', '{"href": null, "header": null}', '{"header": {"A b": "c", "D": 1, "E": "f\\ng"}}'],
)
def test_what_ssh_leaves_out_is_as_if_it_had_said_nothing(own: Git, ssh: Sshd, document: str) -> None:
    ssh.answer(document)
    assert discovery(own, ssh.url("me/model.git")).endpoint("upload") == Endpoint(
        "https://127.0.0.1/me/model.git/info/lfs"
    )


@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (127, "bash: git-lfs-authenticate: command not found\n"),
        (127, ""),
        (128, "fatal: unrecognized command 'git-lfs-authenticate /me/model.git upload'\n"),
        (1, "FATAL: unknown git/gitolite command: 'git-lfs-authenticate /me/model.git upload'\n"),
    ],
)
def test_a_host_that_does_not_know_the_command_has_the_server_beside_the_repository(
    own: Git, ssh: Sshd, status: int, stderr: str
) -> None:
    ssh.answer("", status=status, stderr=stderr)
    assert discovery(own, ssh.url("me/model")).endpoint("upload") == Endpoint("https://127.0.0.1/me/model.git/info/lfs")


def test_a_server_that_speaks_lfs_over_ssh_alone_is_left_to_git_lfs(own: Git, ssh: Sshd) -> None:
    ssh.answer("", status=127, has_lfs_transfer=True)
    with pytest.raises(OnlyOverSshError):
        discovery(own, ssh.url("me/model")).endpoint("upload")


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("ERROR: Repository not found.\n", RefusedError),
        ("ERROR: Permission to me/model denied to you.\n", AuthError),
        ("out of order\n", LfssyncError),
    ],
)
def test_another_failure_is_told_in_the_words_of_the_host(
    own: Git, ssh: Sshd, stderr: str, error: type[LfssyncError]
) -> None:
    ssh.answer("", status=1, stderr=stderr)
    with pytest.raises(LfssyncError) as failed:
        discovery(own, ssh.url("me/model")).endpoint("upload")
    assert type(failed.value) is error
    assert stderr.strip().removeprefix("ERROR: ") in failed.value.message


@pytest.mark.parametrize("answer", ["", "Welcome!", "{", "[1]", '{"href": "http://lfs.example/x"}', '{"href": "x"}',
                                    '{"href": "https://me:pw@h/x"}'])  # fmt: skip
def test_an_answer_that_leads_nowhere_is_refused(own: Git, ssh: Sshd, answer: str) -> None:
    ssh.answer(answer)
    with pytest.raises(RefusedError):
        discovery(own, ssh.url("me/model")).endpoint("upload")


def test_a_key_that_the_host_does_not_know_is_a_matter_of_logins(own: Git, ssh: Sshd) -> None:
    (ssh.folder / "authorized_keys").write_text("")
    with pytest.raises(AuthError, match="Permission denied"):
        discovery(own, ssh.url("me/model")).endpoint("upload")


def test_nobody_there_is_a_matter_of_time(own: Git) -> None:
    with pytest.raises(TransientError, match="Connection refused"):
        discovery(own, "ssh://me@127.0.0.1:1/me/model").endpoint("upload")


def test_a_host_that_hangs_does_not_keep_us_from_stopping(own: Git, ssh: Sshd) -> None:
    ssh.answer(hangs=True)
    stop = threading.Event()
    asked = discovery(replace(own, stop=stop), ssh.url("me/model"))
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    with pytest.raises(TransientError, match="stopped before ssh was done"):
        asked.endpoint("upload")
    timer.join()


def test_an_answer_is_kept_until_shortly_before_it_ends(own: Git, ssh: Sshd) -> None:
    now = 1000.0
    asked = discovery(own, ssh.url("me/model"), clock=lambda: now)
    ssh.answer({"href": "https://l/1", "expires_in": 60})
    assert [asked.endpoint("upload").url for _ in range(2)] == ["https://l/1"] * 2
    ssh.answer({"href": "https://l/2"})
    now = 1054.9
    assert asked.endpoint("upload").url == "https://l/1"
    now = 1055.1
    assert asked.endpoint("upload").url == "https://l/2"
    now = 1e9
    assert asked.endpoint("upload").url == "https://l/2"
    assert asked.endpoint("download").url == "https://l/2"
    assert [line.rpartition(" ")[2] for line in ssh.asked] == ["upload", "upload", "download"]


def test_an_answer_that_the_server_refused_is_forgotten(own: Git, ssh: Sshd) -> None:
    asked = discovery(own, ssh.url("me/model"))
    ssh.answer({"href": "https://l/1"})
    asked.endpoint("upload")
    ssh.answer({"href": "https://l/2"})
    asked.forget("download")
    assert asked.endpoint("upload").url == "https://l/1"
    asked.forget("upload")
    assert asked.endpoint("upload").url == "https://l/2"


def test_ssh_is_called_as_the_user_told_git(own: Git, ssh: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_SSH_COMMAND")
    settle(f"core.sshCommand={ssh.command}")
    ssh.answer({"href": "https://l/x"})
    assert discovery(own, ssh.url("me/model")).endpoint("upload").url == "https://l/x"


def test_an_lfs_url_may_be_reached_over_ssh_as_well(own: Git, ssh: Sshd) -> None:
    settle(f"lfs.url={ssh.url('some/where')}")
    assert discovery(own, REMOTE).endpoint("upload").url == "https://127.0.0.1/some/where"
    assert ssh.asked == ["git-lfs-authenticate /some/where upload"]
