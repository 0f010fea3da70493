"""Where a login is found: which rung comes first, and which of them may give anything to which host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lfssync.credentials import Credential, nobody, variables
from lfssync.credentials.keyrings import Keyring
from lfssync.credentials.ladder import FRESH_S, Ladder, from_git, may_have, repository
from lfssync.places import Places
from tests.helpers import write
from tests.servers.secretservice import secret_service

pytestmark = pytest.mark.xdist_group("secret service")

HUB = "https://huggingface.co/me/model"
OTHER = "https://git.example.org:8443/me/model.git"


def private(file: Path, text: str) -> None:
    write(file, text.encode()).chmod(0o400)


@dataclass
class House:
    """A machine with one login on every rung, which a test takes away from the top."""

    state: Path
    home: Path
    credentials: Path
    bus: str
    rungs: dict[str, str] = field(default_factory=dict)

    def fill(self, url: str, host: str) -> None:
        Keyring({"DBUS_SESSION_BUS_ADDRESS": self.bus} | os.environ).keep(host, Credential("me", "of keyring"))
        private(self.credentials / f"lfssync.{host.replace(':', '_')}", "of systemd")
        private(self.credentials / "lfssync", "me\nof systemd for all")
        write(self.home / ".cache/huggingface/token", b"of file\n")
        write(self.home / "git-credentials", f"{url.replace('://', '://me:of-git@')}\n".encode())
        with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
            file.write(f"[credential]\n\thelper = store --file={self.home}/git-credentials\n\tuseHttpPath = true\n")
        self.rungs = {
            "DBUS_SESSION_BUS_ADDRESS": self.bus,
            "CREDENTIALS_DIRECTORY": str(self.credentials),
            "LFSSYNC_TOKEN": "of variable",
            "HF_TOKEN": "of hub variable",
        }

    def ladder(self, *remotes: str) -> Ladder:
        base = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        return Ladder(self.state, base | self.rungs, lambda: remotes)

    def secret(self, url: str) -> str | None:
        found = self.ladder(url).find(url)
        return found.secret if found else None


@pytest.fixture
def house(tmp_path: Path, private_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.delenv("XDG_CACHE_HOME")
    with secret_service(tmp_path / "service") as bus:
        yield House(tmp_path / "state", private_environment, tmp_path / "credentials", bus)


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        (
            HUB,
            "huggingface.co",
            [
                "of keyring", "of systemd", "of systemd for all", "of variable", "of hub variable", "of file", "of-git",
                None,
            ],
        ),
        (
            OTHER,
            "git.example.org:8443",
            ["of keyring", "of systemd", "of systemd for all", "of variable", "of-git", "of-git", "of-git", None],
        ),
    ],
)  # fmt: skip
def test_the_first_rung_that_has_one_gives_it(url: str, host: str, expected: list[str | None], house: House) -> None:
    house.fill(url, host)
    found = [house.secret(url)]
    del house.rungs["DBUS_SESSION_BUS_ADDRESS"]
    found.append(house.secret(url))
    for file in sorted(house.credentials.iterdir(), reverse=True):
        file.unlink()
        found.append(house.secret(url))
    for name in ("LFSSYNC_TOKEN", "HF_TOKEN"):
        del house.rungs[name]
        found.append(house.secret(url))
    (house.home / ".cache/huggingface/token").unlink()
    found.append(house.secret(url))
    (house.home / "git-credentials").unlink()
    found.append(house.secret(url))
    assert found == expected


def test_what_was_refused_makes_room_for_the_next_rung(house: House) -> None:
    house.fill(HUB, "huggingface.co")
    ladder = house.ladder(HUB)
    seen = []
    while (found := ladder.find(HUB)) is not None:
        seen.append(found.source)
        ladder.refused(HUB, found)
    assert seen == [
        "keyring", "systemd credential", "systemd credential", "LFSSYNC_TOKEN", "HF_TOKEN",
        "huggingface_hub's token file", "git's credential helper",
    ]  # fmt: skip
    assert house.ladder(HUB).find(HUB) is None, "another process knows as well"
    house.rungs["HF_TOKEN"] = "a new one"
    assert house.secret(HUB) == "a new one"
    assert len(ladder.every(HUB)) == 7
    assert (house.home / "git-credentials").read_text() != "", "git's own are not erased"


def environment(**more: str) -> dict[str, str]:
    return {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]} | more


def found(url: str, *remotes: str, **more: str) -> str | None:
    ladder = Ladder(Path(os.environ["HOME"]) / "state", environment(**more), lambda: remotes, nobody().find)
    credential = ladder.find(url)
    return credential.secret if credential else None


@pytest.mark.parametrize(
    ("url", "remotes", "more", "expected"),
    [
        (OTHER, [], {}, "mine"),
        (OTHER, [OTHER, "/mnt/disk/r.git", "git@ssh.example.org:r"], {}, "mine"),
        (OTHER, [OTHER, f"{OTHER}2"], {}, "mine"),
        (OTHER, [OTHER, HUB], {}, None),
        (OTHER, [HUB], {}, None),
        (OTHER, [OTHER, HUB], {"LFSSYNC_TOKEN_HOST": "git.example.org:8443"}, "mine"),
        (HUB, [OTHER, HUB], {"LFSSYNC_TOKEN_HOST": "git.example.org:8443"}, None),
        (OTHER, [OTHER], {"LFSSYNC_TOKEN_HOST": "other.example.org"}, None),
    ],
)
def test_a_token_that_names_no_host_goes_only_where_it_cannot_be_wrong(
    url: str, remotes: list[str], more: dict[str, str], expected: str | None, private_environment: Path
) -> None:
    assert found(url, *remotes, LFSSYNC_TOKEN="mine", **more) == expected


@pytest.mark.parametrize(
    ("url", "more", "expected"),
    [
        (HUB, {"HF_TOKEN": "hub"}, "hub"),
        (HUB, {"HUGGING_FACE_HUB_TOKEN": "hub"}, "hub"),
        (HUB, {"HF_TOKEN": " hub\n"}, "hub"),
        (HUB, {"HF_TOKEN": "two\nlines"}, None),
        (HUB, {"HF_TOKEN": ""}, None),
        (OTHER, {"HF_TOKEN": "hub"}, None),
        ("https://huggingface.co.example.org/me/model", {"HF_TOKEN": "hub"}, None),
        (HUB, {"HF_TOKEN": "hub", "HF_ENDPOINT": "https://hub.example.org"}, None),
        ("https://hub.example.org/me/model", {"HF_TOKEN": "hub", "HF_ENDPOINT": "https://hub.example.org/"}, "hub"),
        ("http://hub.example.org/me/model", {"HF_TOKEN": "hub", "HF_ENDPOINT": "http://hub.example.org"}, None),
        ("http://127.0.0.1:8000/me/m", {"HF_TOKEN": "hub", "HF_ENDPOINT": "http://127.0.0.1:8000"}, "hub"),
    ],
)
def test_the_hubs_token_goes_to_the_hub(
    url: str, more: dict[str, str], expected: str | None, private_environment: Path
) -> None:
    assert found(url, **more) == expected


@pytest.mark.parametrize("name", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_hubs_token_file_is_where_its_own_tools_look(name: str, tmp_path: Path) -> None:
    below = {"HF_TOKEN_PATH": "", "HF_HOME": "token", "XDG_CACHE_HOME": "huggingface/token"}
    file = tmp_path / "folder" / below.get(name, ".cache/huggingface/token")
    write(file, b"filed\n")
    given = {"HOME": str(tmp_path), name: str(tmp_path / "folder")}
    credential = variables.hub_file(given, Path(given["HOME"]))
    assert credential == Credential("lfssync", "filed", "huggingface_hub's token file")
    file.write_bytes(b"\xff\xfe")
    assert variables.hub_file(given, Path(given["HOME"])) is None


def test_a_systemd_credential_is_read_when_nobody_else_can_read_it(tmp_path: Path) -> None:
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file = tmp_path / "lfssync"
    assert variables.systemd_credential(given, "lfssync") is None
    for text, expected in (
        ("token\n", ("lfssync", "token")),
        ("me\ntoken\n", ("me", "token")),
        ("", None),
        ("a\nb\nc", None),
        ("to\x00ken", None),
    ):
        file.write_text(text)
        file.chmod(0o400)
        credential = variables.systemd_credential(given, "lfssync")
        assert (credential and (credential.username, credential.secret)) == expected
    file.write_text("token")
    for mode, is_read in ((0o400, True), (0o600, True), (0o440, False), (0o404, False), (0o644, False)):
        file.chmod(mode)
        assert (variables.systemd_credential(given, "lfssync") is not None) is is_read
    file.unlink()
    file.symlink_to(write(tmp_path / "elsewhere", b"token"))
    assert variables.systemd_credential(given, "lfssync") is None
    os.mkfifo(tmp_path / "lfssync.fifo", 0o600)
    assert variables.systemd_credential(given, "lfssync.fifo") is None
    assert variables.systemd_credential({"CREDENTIALS_DIRECTORY": "relative"}, "lfssync") is None
    assert variables.systemd_credential(given, f"../{tmp_path.name}/elsewhere") is None


@pytest.mark.parametrize(
    ("mode", "owner", "expected"),
    [
        (0o100400, 1000, True),
        (0o100600, 1000, True),
        (0o100440, 1000, False),
        (0o100404, 1000, False),
        (0o100400, 0, True),
        (0o100440, 0, True),
        (0o100444, 0, False),
        (0o100460, 0, False),
        (0o100400, 1001, False),
        (0o040400, 1000, False),
        (0o010400, 1000, False),
    ],
)
def test_whose_files_are_believed(mode: int, owner: int, expected: bool) -> None:
    status = os.stat_result((mode, 1, 1, 1, owner, 0, 5, 0, 0, 0))
    assert variables.is_private(status, 1000) is expected


@pytest.mark.parametrize(
    ("protocol", "host", "expected"),
    [
        ("https", "h", True),
        ("https", "h:8443", True),
        ("http", "127.0.0.1:8000", True),
        ("http", "localhost", True),
        ("http", "[::1]:8000", True),
        ("http", "[::1]", True),
        ("http", "h", False),
        ("http", "127.0.0.1.example.org", False),
        ("http", "h:80", False),
        ("ssh", "h", False),
        ("", "", False),
        ("https", "", False),
    ],
)
def test_nothing_goes_out_in_the_clear(protocol: str, host: str, expected: bool) -> None:
    assert may_have(protocol, host) is expected
    url = f"{protocol}://{host}/a"
    assert (found(url, LFSSYNC_TOKEN="mine") == "mine") is expected


@pytest.mark.parametrize(
    "path", ["me/model", "me/model.git", "me/model.git/info/lfs", "me/model/info/lfs/objects/batch"]
)
def test_a_repository_and_its_lfs_server_are_one(path: str) -> None:
    assert repository(path) == "me/model"


def test_an_address_with_a_user_gets_the_login_of_that_user(house: House) -> None:
    house.fill(OTHER, "git.example.org:8443")
    mine, yours = (OTHER.replace("://", f"://{user}@") for user in ("me", "you"))
    assert house.ladder(OTHER).find(mine) == Credential("me", "of keyring", "keyring")
    assert house.ladder(OTHER).find(yours) == Credential("you", "of systemd", "systemd credential")


def test_the_keyring_is_asked_once_until_somebody_logs_in(house: House) -> None:
    now = 0.0
    ladder = Ladder(
        house.state, {"DBUS_SESSION_BUS_ADDRESS": house.bus} | environment(), last=from_git, clock=lambda: now
    )
    keyring = Keyring({"DBUS_SESSION_BUS_ADDRESS": house.bus} | environment())
    assert ladder.find(HUB) is None
    keyring.keep("huggingface.co", Credential("me", "first"))
    assert ladder.find(HUB) is None
    now = FRESH_S
    assert ladder.find(HUB) == Credential("me", "first", "keyring")
    keyring.keep("huggingface.co", Credential("me", "second"))
    assert ladder.find(HUB) == Credential("me", "first", "keyring")
    ladder.refused(HUB, Credential("me", "first"))
    assert ladder.find(HUB) == Credential("me", "second", "keyring")


def test_the_remotes_of_the_configuration_decide(private_environment: Path, caplog: pytest.LogCaptureFixture) -> None:
    places = Places.from_environment(os.environ)
    text = '[[mirror]]\npath = "/a"\nremote = "hf:me/model"\n[[mirror]]\npath = "/b/*"\nremote = "hf:me/{name}"\n'
    write(places.config_file, text.encode())
    given = environment(LFSSYNC_TOKEN="mine")
    assert Ladder.configured(places, given, nobody().find).find(HUB) == Credential("lfssync", "mine", "LFSSYNC_TOKEN")
    assert Ladder.configured(places, given, nobody().find).find(OTHER) is None
    write(places.config_file, (text + '[[mirror]]\npath = "/c"\nremote = "gh:me/model"\n').encode())
    ladder = Ladder.configured(places, given, nobody().find)
    caplog.clear()
    assert [ladder.find(HUB), ladder.find(HUB)] == [None, None]
    words = [record.getMessage() for record in caplog.records if "LFSSYNC_TOKEN" in record.getMessage()]
    assert len(words) == 1
    assert "github.com, huggingface.co" in words[0]
    assert "mine" not in caplog.text


def test_a_login_does_not_show() -> None:
    assert "secret" not in repr(Credential("me", "secret", "keyring"))
