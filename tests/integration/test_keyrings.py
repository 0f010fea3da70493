"""The system's keyring, as a real Secret Service has it: kept, found, forgotten; locked, silent, absent (faults 45)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.credentials import Credential
from lfssync.credentials.keyrings import Keyring, KeyringError, KeyringState, child_environment
from tests.servers.secretservice import locked_secret_service, mute_secret_service, secret_service, session_bus

pytestmark = pytest.mark.xdist_group("secret service")

CANARY = "canary-5b1e77d0"
ME = Credential("me", CANARY)


@pytest.fixture
def bus(tmp_path: Path, private_environment: Path) -> Iterator[Keyring]:
    """An open keyring."""
    with secret_service(tmp_path / "service") as address:
        yield Keyring(os.environ | {"DBUS_SESSION_BUS_ADDRESS": address})


def state(keyring: Keyring) -> KeyringState:
    started = time.monotonic()
    found = keyring.availability()
    assert time.monotonic() - started < keyring.timeout_s + 2
    assert found.is_usable == (found.remedy == "")
    return found.state


def files_with(word: str, *folders: Path) -> list[Path]:
    return [
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and word.encode() in file.read_bytes()
    ]


def test_what_is_kept_is_found_until_it_is_forgotten(bus: Keyring) -> None:
    assert bus.find("huggingface.co") is None
    assert bus.keep("huggingface.co", ME) == "Secret Service"
    assert bus.find("huggingface.co") == Credential("me", CANARY, "keyring")
    assert bus.find("huggingface.co:8443") is None
    assert bus.find("github.com") is None
    assert bus.forget("huggingface.co")
    assert bus.find("huggingface.co") is None
    assert not bus.forget("huggingface.co")


def test_another_user_takes_the_place_of_the_first(bus: Keyring) -> None:
    bus.keep("h:1", ME)
    bus.keep("h:1", Credential("you", "other"))
    assert bus.find("h:1") == Credential("you", "other", "keyring")
    keyring = "from keyring.backends.SecretService import Keyring; print(Keyring().get_password('lfssync:h:1', 'me'))"
    assert seen_by_others(bus, keyring) == "None"


def test_other_programs_find_it_under_the_hosts_own_service(bus: Keyring) -> None:
    bus.keep("h", ME)
    keyring = "from keyring.backends.SecretService import Keyring; print(Keyring().get_password('lfssync:h', 'me'))"
    assert seen_by_others(bus, keyring) == CANARY


def seen_by_others(bus: Keyring, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=bus.environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_any_secret_comes_back_as_it_was(bus: Keyring) -> None:
    odd = Credential("Ünal 'x\"", "ß" * 3000 + " %s\\n{}$(id)")
    bus.keep("h", odd)
    found = bus.find("h")
    assert found is not None
    assert (found.username, found.secret) == (odd.username, odd.secret)


def test_a_service_finds_the_bus_of_its_user(bus: Keyring) -> None:
    """Nothing tells a unit of the user's own manager, or a cron job, where the bus is; it is where it always is."""
    assert child_environment(os.environ)["DBUS_SESSION_BUS_ADDRESS"].endswith("/bus")
    bus.keep("h", ME)
    assert Keyring(os.environ).find("h") == Credential("me", CANARY, "keyring")


def test_without_a_bus_there_is_a_remedy(private_environment: Path) -> None:
    keyring = Keyring(os.environ)
    assert state(keyring) is KeyringState.MISSING
    with pytest.raises(KeyringError, match="no D-Bus session bus") as caught:
        keyring.keep("h", ME)
    assert "LFSSYNC_TOKEN" in caught.value.availability.remedy
    assert caught.value.availability.error().kind == "blocked"


def test_no_program_is_run_to_look_for_one(tmp_path: Path, private_environment: Path) -> None:
    """Python looks for libraries with the compiler, and leaves its temporary files behind when it is killed."""
    for name in ("gcc", "cc", "ld", "ldconfig", "objdump"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/ran\n")
        program.chmod(0o755)
    with session_bus(tmp_path / "bus"):
        keyring = Keyring(os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
        assert state(keyring) is KeyringState.MISSING
    assert not (tmp_path / "ran").exists()


def test_where_there_can_be_none_no_child_looks(tmp_path: Path, private_environment: Path) -> None:
    """It would take as long as a small sync. A file is found where keyrings.alt itself has it, whoever says where."""

    def children(**variables: str) -> int:
        code = "import os; from lfssync.credentials.keyrings import Keyring; print(Keyring(os.environ).availability())"
        command = ["strace", "-f", "-e", "trace=execve", "-s", "4096", "-o", f"{tmp_path}/trace", sys.executable, "-c"]
        subprocess.run([*command, code], env=os.environ | variables, capture_output=True, timeout=60, check=True)
        return (tmp_path / "trace").read_text().count("keyring_process.py")

    assert children() == 0
    assert children(DBUS_SESSION_BUS_ADDRESS=f"unix:path={tmp_path}/gone") == 1
    file = encrypted_file("phrase")
    assert children() == 1
    assert children(XDG_DATA_HOME=str(tmp_path / "elsewhere")) == 0
    home = tmp_path / "home"
    (home / ".local" / "share" / "python_keyring").mkdir(parents=True)
    file.rename(home / ".local" / "share" / "python_keyring" / file.name)
    assert children(XDG_DATA_HOME="", HOME=str(home)) == 1
    assert Keyring(os.environ | {"XDG_DATA_HOME": "", "HOME": str(home)}).availability().state is KeyringState.LOCKED


def test_a_bus_that_is_gone_is_as_good_as_none(tmp_path: Path, private_environment: Path) -> None:
    keyring = Keyring(os.environ | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/gone"})
    assert state(keyring) is KeyringState.MISSING


def test_a_bus_without_a_keyring_is_said(tmp_path: Path, private_environment: Path) -> None:
    with session_bus(tmp_path / "bus"):
        found = Keyring(os.environ).availability()
    assert found.state is KeyringState.MISSING
    assert "no Secret Service answers" in found.message
    assert "gnome-keyring" in found.remedy


def test_a_locked_keyring_whose_question_nobody_answers(tmp_path: Path, private_environment: Path) -> None:
    with locked_secret_service(tmp_path / "service"):
        keyring = Keyring(os.environ, timeout_s=3)
        started = time.monotonic()
        with pytest.raises(KeyringError) as caught:
            keyring.find("h")
        assert time.monotonic() - started < 6
        assert caught.value.availability.state is KeyringState.LOCKED
        assert "unlock it" in caught.value.availability.remedy
        with pytest.raises(KeyringError, match="locked"):
            keyring.keep("h", ME)
        assert state(keyring) is KeyringState.LOCKED


def test_the_time_limit_is_ten_seconds() -> None:
    assert Keyring({}).timeout_s == 10


def test_a_keyring_that_says_nothing_is_given_up(tmp_path: Path, private_environment: Path) -> None:
    with mute_secret_service(tmp_path / "service"):
        assert state(Keyring(os.environ, timeout_s=2)) is KeyringState.SILENT


def test_plain_text_is_never_chosen(tmp_path: Path, private_environment: Path) -> None:
    """keyrings.alt is installed here, and keyring itself would take it: it keeps tokens in a file anybody may copy."""
    from keyrings.alt.file import PlaintextKeyring  # type: ignore[import-untyped]

    assert PlaintextKeyring.priority > 0
    data = Path(os.environ["XDG_DATA_HOME"])
    with session_bus(tmp_path / "bus"):
        keyring = Keyring(os.environ | {"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring"})
        with pytest.raises(KeyringError, match="no keyring can be used"):
            keyring.keep("h", ME)
    assert not data.exists() or files_with(CANARY, data) == []
    assert files_with(CANARY, private_environment) == []


def test_a_users_file_that_names_code_is_not_read(tmp_path: Path, private_environment: Path) -> None:
    trap = tmp_path / "code" / "trap.py"
    trap.parent.mkdir()
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nfrom keyring.backends.null import Keyring\n")
    for folder in (Path(os.environ["XDG_CONFIG_HOME"]), private_environment / ".config"):
        (folder / "python_keyring").mkdir(parents=True)
        text = f"[backend]\ndefault-keyring=trap.Keyring\nkeyring-path={trap.parent}\n"
        (folder / "python_keyring" / "keyringrc.cfg").write_text(text)
    stock = [sys.executable, "-c", "import keyring; keyring.get_keyring()"]
    subprocess.run(stock, env=os.environ, timeout=60, check=True)
    assert (tmp_path / "sprung").exists(), "the trap works for those who read that file"
    (tmp_path / "sprung").unlink()
    (trap.parent / "secretstorage.py").write_text(trap.read_text())
    variables = {"PYTHON_KEYRING_BACKEND": "trap.Keyring", "PYTHONPATH": str(trap.parent)}
    with session_bus(tmp_path / "bus"):
        assert state(Keyring(os.environ | variables)) is KeyringState.MISSING
    assert not (tmp_path / "sprung").exists()


def encrypted_file(phrase: str) -> Path:
    """Has a person's `keyring` make an encrypted file; gives where."""
    code = (
        "import sys; from keyrings.alt.file import EncryptedKeyring as E; k = E()\n"
        f"E._get_new_password = lambda self: {phrase!r}\n"
        "k.set_password('something', 'else', 'entirely'); print(k.file_path)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def test_an_encrypted_file_serves_where_its_password_is_left(tmp_path: Path, private_environment: Path) -> None:
    assert state(Keyring(os.environ | {"KEYRING_PROPERTY_KEYRING_KEY": "phrase"})) is KeyringState.MISSING
    file = encrypted_file("phrase")
    locked = Keyring(os.environ).availability()
    assert (locked.state, locked.backend) == (KeyringState.LOCKED, "encrypted file")
    assert "KEYRING_PROPERTY_KEYRING_KEY" in locked.remedy
    assert state(Keyring(os.environ | {"KEYRING_PROPERTY_KEYRING_KEY": "wrong"})) is KeyringState.LOCKED
    keyring = Keyring(os.environ | {"KEYRING_PROPERTY_KEYRING_KEY": "phrase"})
    assert keyring.keep("h", ME) == "encrypted file"
    assert keyring.find("h") == Credential("me", CANARY, "keyring")
    assert CANARY not in file.read_text()
    (tmp_path / "lfssync.keyring").write_text("phrase\n")
    (tmp_path / "lfssync.keyring").chmod(0o400)
    assert Keyring(os.environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)}).find("h") == keyring.find("h")


def test_the_secret_service_comes_before_an_encrypted_file(bus: Keyring) -> None:
    encrypted_file("phrase")
    with_phrase = Keyring(bus.environment | {"KEYRING_PROPERTY_KEYRING_KEY": "phrase"})  # type: ignore[operator]
    assert with_phrase.keep("h", ME) == "Secret Service"


def test_the_secret_is_in_no_command_line_and_no_environment(bus: Keyring, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = (
        "import os; from lfssync.credentials import Credential; from lfssync.credentials.keyrings import Keyring\n"
        "k = Keyring(os.environ); k.keep('h', Credential('me', input())); assert k.find('h'); k.forget('h')"
    )
    subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-v", "-s", "8192", "-o", trace, sys.executable, "-c", code],
        input=CANARY.encode(), env=bus.environment, timeout=120, check=True,
    )  # fmt: skip
    traced = trace.read_text()
    assert traced.count("keyring_process.py") >= 3
    assert CANARY not in traced
