"""How a login reaches git and git-lfs: with the keyring's own, against a real host, and without leaving a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lfssync.commandline.cli import main
from lfssync.credentials import Credential, answering
from lfssync.credentials.keyrings import Keyring
from lfssync.credentials.ladder import Ladder
from lfssync.credentials.passing import named_beside, passed
from lfssync.errors import AuthError
from lfssync.git.gitcommand import Git
from lfssync.model import LfsObject
from lfssync.transfer.gitlfs import GitLfsTransfer
from tests.helpers import assert_whole, clone, git, make_bare, random_bytes, tree, write
from tests.host import PASSWORD, USER, serve
from tests.integration.daemons import lfssync, places
from tests.servers import githost
from tests.servers.githost import GitHost
from tests.servers.secretservice import secret_service

pytestmark = pytest.mark.xdist_group("secret service")


@dataclass
class Known:
    """Knows logins in an order, and what was refused."""

    logins: list[Credential]
    asked: list[str] = field(default_factory=list)

    def find(self, url: str) -> Credential | None:
        self.asked.append(url)
        return next(iter(self.logins), None)

    def refused(self, url: str, credential: Credential) -> None:
        self.logins.remove(credential)


RIGHT = Credential(USER, PASSWORD)
WRONG = Credential(USER, "wrong")


@pytest.fixture
def host(tmp_path: Path, private_environment: Path) -> Iterator[str]:
    """A host that wants a login, with one repository."""
    remote = make_bare(tmp_path / "host" / "me" / "model")
    git("config", "http.receivepack", "true", cwd=remote)
    with serve(tmp_path / "host") as address:
        yield f"{address}/me/model"


def look(url: str, login: Known) -> None:
    Git(Path(os.devnull), login=login).run("ls-remote", "--quiet", url, remote=url)


def test_git_gets_in_with_what_it_was_handed(host: str) -> None:
    look(host, Known([RIGHT]))


def test_the_next_login_is_tried_when_the_first_is_refused(host: str) -> None:
    known = Known([WRONG, RIGHT])
    look(host, known)
    assert known.logins == [RIGHT]


def test_a_host_that_refuses_everybody_is_an_error_of_one_line(host: str) -> None:
    known = Known([WRONG, Credential(USER, "also wrong"), Credential(USER, "never tried")])
    with pytest.raises(AuthError) as caught:
        look(host, known)
    assert [one.secret for one in known.logins] == ["never tried"]
    name = host.partition("://")[2].partition("/")[0]
    assert caught.value.remedy == f"run lfssync login {name}"
    assert "wrong" not in str(caught.value)


def test_nothing_is_refused_by_a_repository_that_is_not_there(host: str) -> None:
    known = Known([RIGHT])
    with pytest.raises(Exception, match="not found"):
        look(host.replace("model", "other"), known)
    assert known.logins == [RIGHT]


def test_the_users_own_helpers_are_neither_asked_nor_told(host: str, tmp_path: Path) -> None:
    helper = write(tmp_path / "helper", f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\n'.encode())
    helper.chmod(0o755)
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[credential]\n\thelper = {helper}\n")
        file.write(f'[credential "{host}"]\n\thelper = {helper}\n\tuseHttpPath = false\n')
    look(host, Known([WRONG, RIGHT]))
    assert not (tmp_path / "asked").exists()


def test_without_a_login_of_ours_the_users_helpers_serve(host: str) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f'[credential]\n\thelper = "!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f"\n')
    look(host, Known([]))


def test_the_login_is_that_of_the_place_where_git_goes(host: str) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f'[url "{host}"]\n\tinsteadOf = https://host.invalid/me/model\n')
    known = Known([RIGHT])
    look("https://host.invalid/me/model", known)
    assert known.asked == [host]


def test_a_shortcut_to_a_disk_needs_no_login(tmp_path: Path) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f'[url "{make_bare(tmp_path / "r.git")}"]\n\tinsteadOf = https://host.invalid/r\n')
    known = Known([RIGHT])
    look("https://host.invalid/r", known)
    assert known.asked == []


def test_a_remote_that_is_not_on_the_web_is_not_asked_about(tmp_path: Path) -> None:
    known = Known([RIGHT])
    look(str(make_bare(tmp_path / "r.git")), known)
    assert known.asked == []


@pytest.mark.parametrize("ending", ["", ".git"])
def test_git_lfs_gets_in_as_well(ending: str, host: str, tmp_path: Path) -> None:
    """It asks for the remote's path, or that of the LFS server."""
    url = host + ending
    transfer = GitLfsTransfer(Git(make_bare(tmp_path / "own.git"), login=Known([RIGHT])), url, "main")
    lfs = LfsObject("0" * 64, 5)
    assert transfer.missing([lfs]) == [lfs]


def test_git_lfs_does_not_ask_for_ever(host: str, tmp_path: Path) -> None:
    """3.3.0 asks again for as long as it gets an answer; 1,232 requests in a minute were seen."""
    known = Known([WRONG])
    transfer = GitLfsTransfer(Git(make_bare(tmp_path / "own.git"), login=known), host, "main")
    with pytest.raises(AuthError):
        transfer.missing([LfsObject("0" * 64, 5)])
    assert known.logins == []


def test_a_helper_of_the_users_that_repeats_itself_does_not_make_a_storm(
    tmp_path: Path, private_environment: Path
) -> None:
    """Neither at once nor in the next pass (faults 38)."""
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write('[credential]\n\thelper = "!f() { echo username=me; echo password=revoked; }; f"\n')
    with githost.serve(GitHost(tmp_path / "host", lfs=None)) as host:
        host.create("me/model")
        ladder = Ladder(private_environment / "state", os.environ)
        transfer = GitLfsTransfer(Git(make_bare(tmp_path / "own.git"), login=ladder), host.url("me/model"), "main")
        for _ in range(3):
            with pytest.raises(AuthError):
                transfer.missing([LfsObject("0" * 64, 5)])
        logins = [one for one in host.asked if "Authorization" in one.headers]
    assert 1 <= len(logins) <= 3


def test_only_addresses_on_the_same_host_come_along() -> None:
    remote = "https://h/me/model"
    settings: list[str | bytes] = [
        "-c", "lfs.url=https://h/elsewhere/lfs", "-c", "remote.x.url=https://h/me/model", "-c", "lfs.pushurl=https://x/a",
        "-c", "a.b=https://h/c", "-c", "url", b"-c", b"remote.y.url=http://h/b", "push", "lfs.url=https://h/d",
    ]  # fmt: skip
    assert named_beside(remote, settings) == ["https://h/elsewhere/lfs"]


def test_the_helper_is_one_that_any_shell_understands(tmp_path: Path) -> None:
    odd = "https://h/a'b$(id)/c"
    with passed(Credential("me", "secret"), odd) as way:
        settings = [word for one in way.settings for word in ("-c", one)]
        done = subprocess.run(
            ["git", *settings, "credential", "fill"], input=b"protocol=https\nhost=h\npath=a'b$(id)/c\n\n",
            pass_fds=[way.fd], capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        assert b"password=secret\n" in done.stdout
        assert not way.is_refused


def run_alone(*words: str, given: bytes, fds: tuple[int, ...] = ()) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-I", "-S", answering.__file__, *words]
    done = subprocess.run(command, input=given, capture_output=True, pass_fds=fds, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_helper_runs_alone(tmp_path: Path) -> None:
    url = "https://h/me/model"
    asked = b"protocol=https\nhost=h\npath=me/model\n\n"
    with passed(Credential("me", "secret"), url) as way:
        words = ["--for", "https://h/x", "--for", url, "--fd", str(way.fd)]
        assert run_alone(*words, "get", given=asked, fds=(way.fd,)) == (0, b"username=me\npassword=secret\n", b"")
        assert run_alone(*words, "get", given=b"\0" + asked, fds=(way.fd,)) == (0, b"", b"")
        for action in ("get", "store", "erase", "whatever"):
            assert run_alone(*words, action, given=asked) == (0, b"", b""), "without the descriptor"
        assert not way.is_refused
        assert run_alone(*words, "erase", given=asked, fds=(way.fd,)) == (0, b"", b"")
        assert way.is_refused


STRACE = ("strace", "-f", "-e", "trace=execve", "-v", "-s", "65536", "-o")
SCRIPT = """
import os, sys
from lfssync.commandline.cli import main
sys.exit(main(["sync"]) or main(["tag", "v1"]) or main(["restore", "model", sys.argv[1]]))
"""


def test_the_keyrings_token_leaves_no_trace(host: str, tmp_path: Path, private_environment: Path) -> None:
    """A whole mirror, with a real Secret Service and every command line and environment of the run on record."""
    directory = tmp_path / "model"
    write(directory / "model.bin", random_bytes(1, 2_000_000))
    write(directory / "notes.txt", b"notes\n")
    text = f'[[mirror]]\npath = "{directory}"\nremote = "{host}"\nquiet = "50ms"\n'
    write(Path(os.environ["XDG_CONFIG_HOME"]) / "lfssync/config.toml", text.encode())
    trace = tmp_path / "trace"
    with secret_service(tmp_path / "service") as address:
        Keyring(os.environ).keep(host.partition("://")[2].partition("/")[0], RIGHT)
        done = subprocess.run(
            [*STRACE, str(trace), sys.executable, "-c", SCRIPT, str(tmp_path / "restored")],
            env=os.environ | {"DBUS_SESSION_BUS_ADDRESS": address}, capture_output=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    remote = tmp_path / "host/me/model"
    assert_whole(remote)
    there = tree(tmp_path / "restored")
    assert {path: there[path] for path in tree(directory)} == tree(directory)
    traced = trace.read_text()
    assert "answering.py" in traced
    assert "git-lfs" in traced
    for place in (traced, done.stdout.decode(), done.stderr.decode()):
        assert PASSWORD not in place
    base = private_environment.parent
    for file in (one for folder in (base, remote, tmp_path / "restored") for one in folder.rglob("*") if one.is_file()):
        assert PASSWORD.encode() not in file.read_bytes(), file


def test_stock_git_gets_in_with_the_helper_for_everybody(host: str, tmp_path: Path, private_environment: Path) -> None:
    directory = tmp_path / "model"
    write(directory / "model.bin", random_bytes(1, 2_000_000))
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "lfssync/config.toml"
    write(config, f'[[mirror]]\npath = "{directory}"\nremote = "{host}"\nquiet = "50ms"\n'.encode())
    helper = Path(sys.executable).with_name("git-credential-lfssync")
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[credential]\n\thelper = {helper}\n\tuseHttpPath = true\n")
    with secret_service(tmp_path / "service"):
        name = host.partition("://")[2].partition("/")[0]
        Keyring(os.environ).keep(name, RIGHT)
        assert main(["sync"]) == 0
        cloned = clone(host, tmp_path / "clone")
        assert tree(cloned)[b"model.bin"] == tree(directory)[b"model.bin"]
        asked = f"protocol=http\nhost={name}\npath=me/model\n"
        assert helped(helper, "get", asked) == f"username={USER}\npassword={PASSWORD}\n"
        for wrong in (
            asked.replace("protocol=http", "protocol=https"),
            asked.replace("127.0.0.1", "127.0.0.2"),
            asked.replace("host=", "host=evil.example%0ahost="),
            asked.replace("me/model", "me/other"),
            asked.replace("path=me/model\n", ""),
            asked + "username=you\n",
            asked.replace("\n", "\r\n"),
            asked + "\0",
            "",
        ):
            assert helped(helper, "get", wrong) == ""
        for action in ("store", "erase", "whatever"):
            assert helped(helper, action, f"{asked}username={USER}\npassword=another\n") == ""
        assert helped(helper, "get", asked) != ""
        assert helped(helper, "erase", f"{asked}username={USER}\npassword={PASSWORD}\n") == ""
        assert helped(helper, "get", asked) == "", "it was refused"
        found = Keyring(os.environ).find(name)
        assert found is not None
        assert found.secret == PASSWORD, "but not deleted"
        config.write_text("nonsense")
        assert helped(helper, "get", asked) == ""


def helped(helper: Path, action: str, asked: str) -> str:
    """What the helper answers; it never fails, since git would say so."""
    done = subprocess.run([helper, action], input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_revoked_token_is_tried_once_and_not_again_by_the_next_pass(host: str, private_environment: Path) -> None:
    state = private_environment / "state"
    given = {**os.environ, "LFSSYNC_TOKEN": "revoked"}
    first, second = Ladder(state, given), Ladder(state, given)
    assert first.find(host) is not None
    with pytest.raises(AuthError):
        Git(Path(os.devnull), login=first).run("ls-remote", "--quiet", host, remote=host)
    for ladder in (first, second, Ladder(state, given)):
        assert ladder.find(host) is None


def test_a_login_that_was_refused_is_named_and_not_called_missing(
    tmp_path: Path, private_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, and not only the first: later tries do not even offer it, and git then only knows that it has none."""
    with githost.serve(githost.GitHost(tmp_path / "host")) as host:
        host.create("me/model")
        monkeypatch.setenv("LFSSYNC_TOKEN", "wrong-token")
        write(tmp_path / "model" / "file", b"x")
        text = f'[[mirror]]\npath = "{tmp_path}/model"\nremote = "{host.url("me/model")}"\n'
        write(places().config_file, text.encode())
        for _ in range(2):
            done = lfssync("sync")
            assert done.returncode == 5
            assert "refuses the login from LFSSYNC_TOKEN" in done.stderr
            assert "lfssync login" in done.stderr
            assert "wrong-token" not in done.stderr
