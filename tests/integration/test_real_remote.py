"""The whole way to a real host: git's http-backend and giftless behind TLS, a login from a real keyring, a real model.

Everything here is run as people run it: the command line as processes, stock git and git-lfs on the other side.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import clone, git, lfs_fsck, objects_of_history, random_bytes, real_model, tree, write
from tests.integration.daemons import Daemon, lfssync, places, soon, status
from tests.servers.giftless import Giftless, giftless
from tests.servers.githost import TOKEN, GitHost, serve
from tests.servers.secretservice import secret_service
from tests.servers.sshd import sshd
from tests.servers.tls import Certificates

pytestmark = pytest.mark.xdist_group("secret service")


@pytest.fixture
def lfs(tmp_path: Path) -> Iterator[Giftless]:
    with giftless(tmp_path / "giftless") as server:
        yield server


@pytest.fixture
def host(lfs: Giftless, tmp_path: Path) -> Iterator[GitHost]:
    """A host that asks for a token, with a certificate that only the user's own git configuration trusts."""
    certificates = Certificates(tmp_path / "certificates")
    git("config", "--file", os.environ["GIT_CONFIG_GLOBAL"], "http.sslCAInfo", certificates.ca_file, cwd=tmp_path)
    with serve(GitHost(tmp_path / "host", lfs), certificates.context()) as made:
        made.create("me/model")
        yield made


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_environment: Path) -> Iterator[None]:
    with secret_service(tmp_path / "service") as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A private copy of the real model's folder."""
    return Path(shutil.copytree(real_model(), tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__")))


@contextmanager
def largest(folder: Path) -> Iterator[list[int]]:
    """The bytes of all files in a folder at its largest, looked at all the time; a list of one number."""
    found, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            total = 0
            for place, _, names in os.walk(folder):  # which passes over folders that vanish under its eyes
                for name in names:
                    with suppress(FileNotFoundError):
                        total += os.lstat(os.path.join(place, name)).st_size
            found[0] = max(found[0], total)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def done(*words: str | Path, code: int = 0, **keys: Any) -> str:
    """Run a command that has to end in a certain way; gives what it said."""
    ended = lfssync(*words, **keys)
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def stock(url: str, destination: Path, revision: str) -> Path:
    """A stock clone by the user's own git, which knows the login from its own helper."""
    helper = f"!f() {{ echo username=me; echo password={TOKEN}; }}; f"
    git("config", "--file", os.environ["GIT_CONFIG_GLOBAL"], "credential.helper", helper, cwd=destination.parent)
    try:
        return clone(url, destination, revision)
    finally:
        git("config", "--file", os.environ["GIT_CONFIG_GLOBAL"], "--unset", "credential.helper", cwd=destination.parent)


def without_attributes(directory: Path) -> dict[bytes, object]:
    return {path: entry for path, entry in tree(directory).items() if path != b".gitattributes"}


def test_a_real_model_goes_to_a_host_with_a_token_from_the_keyring(
    host: GitHost, lfs: Giftless, keyring: None, model: Path, tmp_path: Path
) -> None:
    url, size = host.url("me/model"), sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    assert "lfssync login" in lfssync("add", model, url).stderr
    done("login", url, "--username", "me", input=TOKEN)
    done("add", model, url)
    with largest(places().state_dir) as state_bytes:
        assert "verified at " in done("sync")
    print(f"the state folder took {state_bytes[0]:,} bytes at most for a model of {size:,}")
    assert state_bytes[0] < size * 0.01
    done("tag", "v2.0.1")
    write(model / "README.md", b"after the release\n")
    done("sync")

    copy = stock(url, tmp_path / "clone", "v2.0.1")
    lfs_fsck(copy)
    newest = stock(url, tmp_path / "newest", "main")
    assert without_attributes(newest) == without_attributes(model)
    assert (copy / "README.md").read_bytes() != b"after the release\n"
    for oid, size_bytes in objects_of_history(host.root / "me/model.git"):
        assert lfs.file("me/model", oid).stat().st_size == size_bytes
    done("restore", "model", tmp_path / "restored", "--revision", "v2.0.1")
    assert tree(tmp_path / "restored") == tree(copy)


def test_the_daemon_outlives_a_token_that_is_replaced(
    host: GitHost, keyring: None, tmp_path: Path, private_environment: Path
) -> None:
    directory, url = tmp_path / "weights", host.url("me/model")
    write(directory / "first.bin", random_bytes(1, 300_000))
    done("login", url, "--username", "me", input=TOKEN)
    done("add", directory, url, "--quiet", "100ms")
    daemon = Daemon(tmp_path / "daemon.log")
    with daemon.start():
        soon(lambda: status("weights").pushed is not None, lambda: status("weights"))
        host.tokens = {"the-new-token"}
        write(directory / "second.bin", random_bytes(2, 300_000))
        soon(lambda: status("weights").state.value == "unauthorized", lambda: status("weights"))
        error = status("weights").error
        assert error is not None
        assert "lfssync login" in error["remedy"]
        done("login", url, "--username", "me", input="the-new-token")
        done("wait", "weights", "--timeout", "60s")
    assert TOKEN not in daemon.said()
    paths = git("ls-tree", "-r", "--name-only", "main", cwd=host.root / "me/model.git").split()
    assert b"second.bin" in paths


def test_over_ssh_with_an_lfs_server_that_ssh_names(
    lfs: Giftless, tmp_path: Path, private_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, root = tmp_path / "weights", tmp_path / "host"
    content = random_bytes(3, 3_000_000)
    write(directory / "model.safetensors.part.bin", content)
    repository = root / "me/model.git"
    repository.mkdir(parents=True)
    git("init", "--quiet", "--bare", cwd=repository)
    with sshd(tmp_path / "sshd", root) as server:
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        server.answer({"href": lfs.url("me/model"), "header": {"X-Login": "given by ssh"}, "expires_in": 600})
        done("add", directory, server.url("me/model.git"))
        done("sync")
        done("restore", "weights", tmp_path / "restored")
        assert any("git-lfs-authenticate" in command and "upload" in command for command in server.asked)
    assert without_attributes(tmp_path / "restored") == without_attributes(directory)
    [(oid, size_bytes)] = objects_of_history(repository)
    assert lfs.file("me/model", oid).read_bytes() == content
    assert size_bytes == len(content)
