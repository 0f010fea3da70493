"""`login`, `logout`, `whoami` and `lfssync.login`: what is checked, what is kept, and what people are told."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lfssync
from lfssync.commandline.cli import main
from lfssync.credentials.keyrings import Keyring
from lfssync.credentials.login import Site, site_of
from lfssync.errors import AuthError, BlockedError, UserError
from lfssync.model import State
from tests.helpers import write
from tests.integration.daemons import Daemon, places, soon, state_is, status
from tests.integration.daemons import lfssync as lfssync_command
from tests.servers import githost
from tests.servers.forges import TOKEN as FORGE_TOKEN
from tests.servers.forges import gitlab_at
from tests.servers.githost import GitHost
from tests.servers.hub import READ_TOKEN, TOKEN, Hub, hub_at
from tests.servers.secretservice import locked_secret_service, secret_service
from tests.terminals import running

pytestmark = pytest.mark.xdist_group("secret service")

WRONG = "hf_" + "WrongWrongWrongWrongWrongWrongWrong"


@pytest.fixture
def keyring(tmp_path: Path, private_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyring]:
    with secret_service(tmp_path / "service") as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield Keyring(os.environ)


@pytest.fixture
def hub(tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub") as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        yield made


@pytest.fixture
def plain(tmp_path: Path, keyring: Keyring) -> Iterator[GitHost]:
    """A host that speaks git and nothing else."""
    with githost.serve(GitHost(tmp_path / "host")) as host:
        host.create("me/model")
        yield host


class Said:
    """Runs commands, with something on standard input; keeps what they say."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd = capfd
        self._monkeypatch = monkeypatch
        self.out = self.err = ""

    def __call__(self, *words: str, given: str = "") -> int:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        code = main(list(words))
        self.out, self.err = self._capfd.readouterr()
        assert all(token not in self.out + self.err for token in (TOKEN, READ_TOKEN, WRONG, githost.TOKEN, FORGE_TOKEN))
        return code


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(capfd, monkeypatch)


def name_of(address: str) -> str:
    return address.partition("://")[2].partition("/")[0]


def kept(keyring: Keyring, address: str) -> tuple[str, str] | None:
    found = keyring.find(name_of(address))
    return (found.username, found.secret) if found else None


def test_a_token_is_checked_kept_used_and_deleted(hub: Hub, keyring: Keyring, said: Said) -> None:
    host = name_of(hub.address)
    assert said("whoami", "hf") == 5
    assert said.err == f"error: there is no login for {host}; run lfssync login {host}\n"
    assert said("login", "hf", given=f"{TOKEN}\n") == 0
    assert said.out.startswith(f"{host}: logged in as me; kept in the keyring (Secret Service)\n")
    assert "read and write" in said.out
    assert "my-organisation" in said.out
    assert said.err == ""
    assert kept(keyring, hub.address) == ("me", TOKEN)
    assert said("whoami", "hf") == 0
    assert said.out.startswith(f"{host}: you are me; login from keyring\n")
    assert said("logout", "hf") == 0
    assert said.out == f"{host}: the login is deleted from the keyring\n"
    assert kept(keyring, hub.address) is None
    assert said("logout", "hf") == 0
    assert said.out == f"{host}: the keyring has no login\n"


def test_what_the_host_refuses_is_not_kept(hub: Hub, keyring: Keyring, said: Said) -> None:
    assert said("login", "hf", given=TOKEN) == 0
    assert said("login", "hf", given=WRONG) == 5
    assert said.err.count("\n") == 1
    assert "copied whole" in said.err
    assert kept(keyring, hub.address) == ("me", TOKEN)


def test_a_token_that_may_only_read_is_kept_with_a_warning(hub: Hub, keyring: Keyring, said: Said) -> None:
    assert said("login", "hf", given=READ_TOKEN) == 0
    assert said.err.startswith("warning: ")
    assert "may only read" in said.err
    assert "read only" in said.out
    assert kept(keyring, hub.address) == ("me", READ_TOKEN)


@pytest.mark.parametrize("given", ["", "\n", "two\nlines", "a\x00b", "x" * 9000])
def test_what_is_no_token_is_refused_before_anybody_is_asked(given: str, hub: Hub, said: Said) -> None:
    assert said("login", "hf", given=given) == 2
    assert hub.seen == []


def test_a_host_out_of_reach_keeps_nothing(hub: Hub, keyring: Keyring, said: Said) -> None:
    assert said("login", "127.0.0.1:9", given=TOKEN) == 1
    assert kept(keyring, "http://127.0.0.1:9") is None


def test_what_others_still_have_is_said(hub: Hub, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert said("login", "hf", given=TOKEN) == 0
    assert said("logout", "hf") == 0
    assert "HF_TOKEN still has one" in said.out
    assert said("whoami", "hf") == 0
    assert "login from HF_TOKEN" in said.out
    monkeypatch.setenv("HF_TOKEN", WRONG)
    assert said("whoami", "hf") == 5
    assert "it is from HF_TOKEN" in said.err
    assert said("whoami", "hf") == 5


def test_a_forge_of_ones_own_is_recognised(tmp_path: Path, keyring: Keyring, said: Said) -> None:
    with gitlab_at(tmp_path / "forge") as forge:
        assert said("login", name_of(forge.address), given=FORGE_TOKEN) == 0
        assert "logged in as me" in said.out
        assert kept(keyring, forge.address) == ("me", FORGE_TOKEN)


def configure(url: str, directory: Path) -> None:
    text = f'[[mirror]]\npath = "{directory}"\nremote = "{url}"\nquiet = "50ms"\n'
    write(places().config_file, text.encode())


def test_a_plain_host_is_asked_whether_one_may_push(
    plain: GitHost, keyring: Keyring, said: Said, tmp_path: Path
) -> None:
    plain.readers.add("a-reader")
    configure(plain.url("me/model"), tmp_path / "model")
    assert said("login", "--username", "me", given="wrong-one") == 5
    assert kept(keyring, plain.address) is None
    assert said("login", "--username", "me", given="a-reader") == 0
    assert "may only read" in said.err
    assert said("login", "--username", "me", given=githost.TOKEN) == 0
    assert said.err == ""
    assert "logged in as me" in said.out
    assert kept(keyring, plain.address) == ("me", githost.TOKEN)
    assert said("whoami") == 0
    assert "read and write" in said.out


def test_a_plain_host_without_a_mirror_cannot_be_asked(plain: GitHost, keyring: Keyring, said: Said) -> None:
    assert said("login", name_of(plain.address), "--username", "me", given="anything") == 0
    assert "not checked with the host" in said.out
    assert kept(keyring, plain.address) == ("me", "anything")


def test_without_a_keyring_nothing_is_kept_anywhere(
    tmp_path: Path, private_environment: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_at(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        assert said("login", "hf", given=TOKEN) == 4
        assert said.err.startswith("error: no keyring can be used: ")
        assert "LFSSYNC_TOKEN" in said.err
        with locked_secret_service(tmp_path / "service"):
            assert said("login", "hf", given=TOKEN) == 4
            assert "locked" in said.err
            assert said("logout", "hf") == 4
    for file in (one for one in private_environment.parent.rglob("*") if one.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def test_a_token_typed_at_a_prompt_does_not_show(hub: Hub, keyring: Keyring, tmp_path: Path) -> None:
    with running([sys.executable, "-m", "lfssync", "login", "hf"], Path.cwd(), {}) as session:
        session.screen.shown_until(f"Token for {name_of(hub.address)}: ")
        session.screen.press(f"{TOKEN}\n")
        shown = session.screen.rest()
        assert session.exit_code() == 0
    assert TOKEN not in shown
    assert "logged in as me" in shown
    assert kept(keyring, hub.address) == ("me", TOKEN)


def test_from_python(hub: Hub, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    host = name_of(hub.address)
    done = lfssync.login("hf", TOKEN)
    assert (done.host, done.name, done.may_write) == (host, "me", True)
    asked: list[str] = []

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return READ_TOKEN

    monkeypatch.setattr("getpass.getpass", getpass)
    assert lfssync.login("hf").may_write is False
    assert asked == [f"Token for {host}: "]
    assert kept(keyring, hub.address) == ("me", READ_TOKEN)
    with pytest.raises(AuthError):
        lfssync.login("hf", WRONG)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    with pytest.raises(BlockedError, match="no keyring"):
        lfssync.login("hf", TOKEN)
    assert "hf_" not in repr(done)


@pytest.mark.parametrize(
    ("word", "remotes", "endpoint", "expected"),
    [
        ("hf", [], "", "https://huggingface.co"),
        ("hf", [], "https://hub.example.org/", "https://hub.example.org"),
        ("hf:me/model", [], "", "https://huggingface.co"),
        ("gh", [], "", "https://github.com"),
        ("gl", [], "", "https://gitlab.com"),
        ("Git.Example.org", [], "", "https://git.example.org"),
        ("git.example.org:8443", [], "", "https://git.example.org:8443"),
        ("git.example.org:443", [], "", "https://git.example.org"),
        ("https://git.example.org/me/model.git", [], "", "https://git.example.org"),
        ("127.0.0.1:8000", [], "", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", ["https://127.0.0.1:8000/me/m"], "", "https://127.0.0.1:8000"),
        ("127.0.0.1:8000", [], "https://127.0.0.1:8000", "https://127.0.0.1:8000"),
        (None, ["hf:me/a", "hf:me/b", "/mnt/disk/r.git", "git@h:r"], "", "https://huggingface.co"),
        (None, ["http://127.0.0.1:8000/me/m"], "", "http://127.0.0.1:8000"),
    ],
)
def test_which_host_is_meant(
    word: str | None, remotes: list[str], endpoint: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    tables = [f'[[mirror]]\npath = "/m{at}"\nremote = "{remote}"\n' for at, remote in enumerate(remotes)]
    write(places().config_file, "".join(tables).encode())
    site = site_of(word, places(), os.environ)
    assert site.address == expected
    assert site.host == expected.partition("://")[2]


@pytest.mark.parametrize(
    ("word", "remotes", "message"),
    [
        (None, [], "no host is named; name a host"),
        (None, ["hf:me/a", "gh:me/b"], "there is more than one host; name one of: github.com, huggingface.co"),
        (TOKEN, [], "is no host"),
        ("-x", [], "is no host"),
        ("a b", [], "is no host"),
        ("", [], "is no host"),
        ("h:99999", [], "is no host"),
        ("ext::sh", [], "is no host"),
        ("http://git.example.org/a", [], "is no host"),
        ("ssh://git@h/a", [], "not reached by https"),
        ("/mnt/disk/r.git", [], "not reached by https"),
    ],
)
def test_a_host_that_cannot_be_meant(word: str | None, remotes: list[str], message: str) -> None:
    tables = [f'[[mirror]]\npath = "/m{at}"\nremote = "{remote}"\n' for at, remote in enumerate(remotes)]
    write(places().config_file, "".join(tables).encode())
    with pytest.raises(UserError) as caught:
        site_of(word, places(), os.environ)
    assert message in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_site_asks_about_a_mirror_that_is_there() -> None:
    assert Site("https://h", ("https://h/a",)).url == "https://h/a"
    assert Site("https://h").url == "https://h/"


def test_the_daemon_hears_of_a_new_login(plain: GitHost, said: Said, tmp_path: Path) -> None:
    """A token that is revoked is tried once, and the next one at once when it comes (faults 38)."""
    directory = tmp_path / "model"
    write(directory / "notes.txt", b"one\n")
    configure(plain.url("me/model"), directory)
    assert said("login", "--username", "me", given=githost.TOKEN) == 0
    with Daemon(tmp_path / "log"):
        soon(lambda: status().verified_at)
        plain.tokens.clear()
        write(directory / "notes.txt", b"two\n")
        soon(state_is(State.UNAUTHORIZED))
        plain.asked.clear()
        assert lfssync_command("sync").returncode == 5
        assert not any("Authorization" in one.headers for one in plain.asked), "it is known to be of no use"
        plain.tokens.add("a-new-token-for-me")
        assert said("login", "--username", "me", given="a-new-token-for-me") == 0
        soon(state_is(State.IDLE), timeout_s=15)
