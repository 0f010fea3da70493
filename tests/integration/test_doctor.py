"""`doctor` on real directories and real servers: right ones, and each thing that can be wrong seen to fail."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.commandline.doctor import examine
from lfssync.credentials import Credential
from lfssync.credentials.keyrings import Keyring
from lfssync.line.findings import HEADROOM_BYTES, Finding
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.daemons import OWN_WORLD, PROJECT, configure, places, write_configuration
from tests.servers.giftless import Giftless, giftless
from tests.servers.githost import TOKEN, Asked, GitHost, Reply, serve
from tests.servers.hub import READ_TOKEN, hub_at
from tests.servers.hub import TOKEN as HUB_TOKEN
from tests.servers.secretservice import locked_secret_service, secret_service
from tests.servers.sshd import sshd
from tests.servers.tls import Certificates, Shown

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--") if os.geteuid() == 0 else ()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path / "model/weights.bin", b"\0" * 5000)
    write(tmp_path / "model/sub/config.json", b"{}\n")
    return tmp_path / "model"


@pytest.fixture
def lfs(tmp_path: Path) -> Iterator[Giftless]:
    with giftless(tmp_path / "giftless") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, lfs: Giftless, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHost]:
    """A host with the repository, and a login for it in the environment."""
    monkeypatch.setenv("LFSSYNC_TOKEN", TOKEN)
    with serve(GitHost(tmp_path / "hub", lfs)) as server:
        server.create("me/model")
        yield server


def examined(*names: str) -> dict[str, Finding]:
    """The findings by check; those about everything, and those about the only mirror."""
    return {finding.check: finding for finding in examine(places(), *names)}


def failed(found: dict[str, Finding]) -> dict[str, str]:
    """What would fail, and in which words."""
    for finding in found.values():
        assert bool(finding.kind) is not finding.ok
        assert finding.ok or finding.remedy, finding
    return {finding.check: finding.message for finding in found.values() if not finding.ok}


def only_failed(found: dict[str, Finding], check: str, words: str) -> None:
    """Nothing but this would fail."""
    told = failed(found)
    assert list(told) == [check]
    assert words in told[check]


def command(*words: str, before: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-m", "lfssync", "doctor", *words],
        cwd=PROJECT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def reported(*words: str, before: tuple[str, ...] = (), **variables: str) -> dict[str, str]:
    """What would fail by the word of the command itself."""
    done = command("--json", *words, before=before, **variables)
    document = json.loads(done.stdout)
    told = {one["check"]: one["message"] for one in document["findings"] if not one["ok"]}
    assert document["ok"] is not bool(told)
    assert bool(done.returncode) is bool(told), done
    return told


# all is well


def test_nothing_would_fail_at_a_good_host_and_nothing_is_changed_there(directory: Path, host: GitHost) -> None:
    configure({"path": directory, "remote": host.url("me/model")})
    found = examined()
    assert failed(found) == {}
    assert set(found) == {
        "programs", "configuration", "directory", "changes", "writers", "remote", "host", "clock", "login", "push",
        "lfs", "room", "inotify", "keyring", *(["service"] if "service" in found else []),
    }  # fmt: skip
    assert found["directory"].message == "2 files in 2 folders, 5.0 kB, all can be read"
    assert found["login"].message.endswith("from LFSSYNC_TOKEN")
    assert git("for-each-ref", cwd=host.root / "me/model.git") == b""
    assert host.lfs
    assert not any(path.is_file() for path in host.lfs.storage.rglob("*"))
    assert not places().state_dir.exists()
    assert not any("git-receive-pack" in asked.path and asked.method == "POST" for asked in host.asked)


def test_nothing_would_fail_with_the_local_repository(directory: Path) -> None:
    configure({"path": directory})
    found = examined()
    assert failed(found) == {}
    assert found["remote"].message.endswith("is made by the first pass")
    assert not places().state_dir.exists()


def test_nothing_would_fail_with_a_repository_on_a_disk(directory: Path, tmp_path: Path) -> None:
    configure({"path": directory, "remote": make_bare(tmp_path / "remote.git")})
    found = examined()
    assert failed(found) == {}
    assert found["remote"].message == f"{tmp_path}/remote.git answers, without a branch main"
    assert found["push"].ok


def test_nothing_would_fail_over_ssh(
    directory: Path, lfs: Giftless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bare(tmp_path / "hub/me/model.git")
    with sshd(tmp_path / "sshd", tmp_path / "hub") as server:
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        server.answer({"href": lfs.url("me/model")})
        configure({"path": directory, "remote": server.url("me/model.git"), "rate_limit": "1MB/s"})
        found = examined()
        assert failed(found) == {}
        assert "git-lfs itself sends" in found["rate"].message
        server.answer("", status=1, stderr="ERROR: LFS is for members only\n")
        only_failed(examined(), "lfs", "LFS is for members only")


def test_nothing_would_fail_at_the_hub(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_at(tmp_path / "hub") as hub:
        hub.make("me/model")
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
        configure({"path": directory, "remote": "hf:me/model"})
        found = examined()
        assert failed(found) == {}
        assert found["login"].message == "me at Hugging Face, from HF_TOKEN"
        assert not any(one.method == "PUT" for one in hub.seen)


def test_a_public_host_that_takes_anything_asks_for_no_login(
    directory: Path, host: GitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LFSSYNC_TOKEN")
    host.tokens.add("")
    configure({"path": directory, "remote": host.url("me/model")})
    found = examined()
    assert failed(found) == {}
    assert "asks for none" in found["login"].message


def test_without_mirrors_there_is_nothing_to_fail() -> None:
    assert failed(examined()) == {}


def test_only_the_mirror_that_is_named_is_looked_at(directory: Path, tmp_path: Path) -> None:
    write(tmp_path / "other/file", b"x")
    configure({"path": directory}, {"path": tmp_path / "other", "remote": tmp_path / "nowhere.git"})
    assert failed(examined("model")) == {}
    assert command("model").returncode == 0
    done = command("modle")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean model?" in done.stderr


# each check seen to fail


def test_a_program_that_is_missing_is_told(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert reported(PATH=str(tmp_path / "bin"))["programs"] == "git is not installed"


def test_a_configuration_that_is_wrong_is_told() -> None:
    write_configuration('[[mirror]]\npath = "/x"\nquite = "5s"\n')
    done = command()
    assert done.returncode == 2
    assert "✗ configuration: " in done.stdout
    assert "quiet" in done.stdout


def test_directories_that_meet_are_told(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory / "sub")
    configure({"path": directory}, {"path": tmp_path / "link", "remote": make_bare(tmp_path / "r.git")})
    assert "configuration" in failed(examined())


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    configure({"path": tmp_path / "model"})
    only_failed(examined(), "directory", "is gone")


def test_what_may_not_be_read_is_told(directory: Path) -> None:
    configure({"path": directory})
    write(directory / "secret", b"x").chmod(0)
    (directory / "sub").chmod(0)
    assert reported(before=WITHOUT_RIGHTS) == {"directory": "secret, sub may not be read"}
    (directory / "sub").chmod(0o755)
    configure({"path": directory, "ignore": ["secret"]})
    assert reported(before=WITHOUT_RIGHTS) == {}


def test_a_working_copy_on_another_branch_is_told(directory: Path) -> None:
    git("init", "--quiet", cwd=directory)
    configure({"path": directory})
    found = examined()
    assert failed(found) == {}
    assert found["working-copy"].ok
    assert "in 2 folders" in found["directory"].message
    git("switch", "--quiet", "-c", "other", cwd=directory)
    only_failed(examined(), "working-copy", "is on branch other")


def test_a_disk_without_room_is_told(directory: Path, tmp_path: Path) -> None:
    state = tmp_path / "small"
    configure({"path": directory, "remote": make_bare(tmp_path / "remote.git")})
    told = reported(before=in_small_world(state, "1m"), LFSSYNC_STATE_DIR=str(state / "state"))
    assert list(told) == ["room"]
    assert f"the state folder {state}/state has" in told["room"]


def test_a_state_folder_that_cannot_be_written_is_told(directory: Path, tmp_path: Path) -> None:
    configure({"path": directory, "remote": make_bare(tmp_path / "remote.git")})
    (tmp_path / "fixed").mkdir(mode=0o555)
    told = reported(before=WITHOUT_RIGHTS, LFSSYNC_STATE_DIR=str(tmp_path / "fixed/state"))
    assert told == {"room": f"the state folder {tmp_path}/fixed/state cannot be written"}


def test_a_folder_that_cannot_become_a_mirror_is_told(directory: Path, tmp_path: Path) -> None:
    write(tmp_path / "runs/a/file", b"x")
    configure({"path": directory, "name": "a"}, {"path": f"{tmp_path}/runs/*", "remote": f"{tmp_path}/{{name}}.git"})
    make_bare(tmp_path / "a.git")
    assert "configuration" in [finding.check for finding in examine(places()) if not finding.ok]


def in_small_world(folder: Path, size: str) -> tuple[str, ...]:
    """Where a folder is a disk of its own, of that size."""
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size={size},nr_inodes=10k none {folder} && exec "$@"'
    return (*OWN_WORLD, "sh", "-c", script, "sh")


def test_copies_for_stock_git_lfs_need_room_of_their_own(directory: Path, tmp_path: Path) -> None:
    with open(directory / "weights.bin", "ab") as file:
        file.truncate(100 << 20)
    unreachable = {"path": directory, "remote": "http://127.0.0.1:1/me/model.git"}
    small, state = in_small_world(tmp_path / "small", "300m"), {"LFSSYNC_STATE_DIR": str(tmp_path / "small")}
    configure(unreachable)
    assert list(reported(before=small, **state)) == ["remote"]
    configure({**unreachable, "transfer": "git-lfs"})
    assert list(reported(before=small, **state)) == ["remote", "room"]


def test_what_the_remote_has_needs_no_room_there_any_more(directory: Path, tmp_path: Path) -> None:
    write(directory / "weights.bin", random_bytes(3, 4_000_000))
    small = tmp_path / "small"
    configure({"path": directory, "remote": small / "remote.git"})
    lfssync = f"{sys.executable} -m lfssync"
    script = f"""
        set -e
        git init --quiet --bare {small}/remote.git
        {lfssync} sync >&2
        used=$(df -B1 --output=used {small} | tail -1)
        mount -o remount,size=$((used + {HEADROOM_BYTES} + 1000000)) {small}
        {lfssync} doctor
        head -c 5000000 /dev/urandom >{directory}/more.bin
        mount -o remount,size=$((used + {HEADROOM_BYTES} - 1000000)) {small}
        {lfssync} doctor || echo status $?
    """
    done = subprocess.run(
        [*in_small_world(small, "400m"), "sh", "-c", script],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stdout.count("room: the remote") == 2
    assert "✗ model: room: the remote" in done.stdout
    assert done.stdout.endswith("status 1\n")


def test_too_few_watches_are_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure({"path": directory})
    asked = []

    def reason(folders: int) -> str:
        asked.append(folders)
        return "the system allows 1 watch; raise it with: sysctl x"

    monkeypatch.setattr("lfssync.commandline.doctor.watch_limit_reason", reason)
    only_failed(examined(), "inotify", "the system allows 1 watch")
    assert asked == [2]


def test_a_file_system_that_tells_nothing_is_looked_at_and_no_failure(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure({"path": directory})
    monkeypatch.setattr(
        "lfssync.commandline.examination.polling_reason", lambda _: "nfs4 does not report changes made elsewhere"
    )
    found = examined()
    assert failed(found) == {}
    assert "the whole tree is looked at every 600 s" in found["changes"].message
    assert "inotify" not in found


def test_a_repository_that_is_not_there_is_told(directory: Path, tmp_path: Path) -> None:
    configure({"path": directory, "remote": tmp_path / "nowhere.git"})
    assert list(failed(examined())) == ["remote"]


def test_a_repository_that_cannot_be_written_is_told(directory: Path, tmp_path: Path) -> None:
    remote = make_bare(tmp_path / "remote.git")
    configure({"path": directory, "remote": remote})
    (remote / "refs/heads").chmod(0o555)
    assert reported(before=WITHOUT_RIGHTS) == {"push": f"{remote}/refs/heads cannot be written"}


def test_a_host_that_is_not_there_is_told_once(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    configure({"path": directory, "remote": f"http://127.0.0.1:{port}/me/model.git"})
    only_failed(examined(), "remote", f"Failed to connect to 127.0.0.1 port {port}")


def test_a_repository_that_the_host_does_not_know_is_told(directory: Path, host: GitHost) -> None:
    configure({"path": directory, "remote": host.url("me/other")})
    only_failed(examined(), "remote", "not found")


@pytest.mark.parametrize("shown", [Shown.OTHER_NAME, Shown.EXPIRED, Shown.UNKNOWN_CA])
def test_a_certificate_that_does_not_convince_is_told_even_where_git_trusts_anybody(
    directory: Path, lfs: Giftless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", TOKEN)
    certificates = Certificates(tmp_path / "tls")
    git("config", "--global", "http.sslCAInfo", str(certificates.ca_file), cwd=tmp_path)
    with serve(GitHost(tmp_path / "hub", lfs), certificates.context(shown)) as host:
        host.create("me/model")
        configure({"path": directory, "remote": host.url("me/model")})
        assert "remote" in failed(examined())
        git("config", "--global", "http.sslVerify", "false", cwd=tmp_path)
        assert "host" in failed(examined())


def test_a_switch_against_certificates_is_told_where_they_are_right(
    directory: Path, lfs: Giftless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", TOKEN)
    certificates = Certificates(tmp_path / "tls")
    git("config", "--global", "http.sslCAInfo", str(certificates.ca_file), cwd=tmp_path)
    with serve(GitHost(tmp_path / "hub", lfs), certificates.context()) as host:
        host.create("me/model")
        configure({"path": directory, "remote": host.url("me/model")})
        found = examined()
        assert failed(found) == {}
        assert not found["host"].remedy
        git("config", "--global", f"http.{host.address}/.sslVerify", "false", cwd=tmp_path)
        found = examined()
        assert failed(found) == {}
        assert "http.sslVerify is off" in found["host"].message
        git("config", "--global", "--unset", f"http.{host.address}/.sslVerify", cwd=tmp_path)
        monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
        assert "http.sslVerify is off" in examined()["host"].message


def test_a_clock_that_is_wrong_is_told(directory: Path, host: GitHost) -> None:
    configure({"path": directory, "remote": host.url("me/model")})
    host.clock_s = 3600
    only_failed(examined(), "clock", "behind that of 127.0.0.1")
    host.clock_s = -3600
    only_failed(examined(), "clock", "ahead of that of 127.0.0.1")


def test_a_login_that_nobody_knows_is_told(directory: Path, host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LFSSYNC_TOKEN")
    configure({"path": directory, "remote": host.url("me/model")})
    told = failed(examined())
    assert list(told) == ["remote", "login", "keyring"]
    assert "no login for 127.0.0.1" in told["login"]
    assert "no keyring can be used" in told["keyring"]
    done = command()
    assert done.returncode == 5
    assert f"lfssync login {host.address.removeprefix('http://')}" in done.stdout


def test_a_login_that_the_host_refuses_is_told(directory: Path, host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", "a-token-of-yesterday")
    configure({"path": directory, "remote": host.url("me/model")})
    found = examined()
    assert "login" in failed(found)
    assert "refused the login from LFSSYNC_TOKEN" in found["login"].message
    assert not any("a-token-of-yesterday" in repr(finding) for finding in found.values())
    assert not places().state_dir.exists()
    host.tokens.add("a-token-of-yesterday")
    assert failed(examined()) == {}


def test_a_login_that_may_only_read_is_told(directory: Path, host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", "reader")
    host.readers.add("reader")
    configure({"path": directory, "remote": host.url("me/model")})
    told = failed(examined())
    assert "push" in told
    assert "remote" not in told


def test_a_token_of_the_hub_that_may_only_read_is_told(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_at(tmp_path / "hub") as hub:
        hub.make("me/model")
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
        configure({"path": directory, "remote": "hf:me/model"})
        assert "may only read" in failed(examined())["login"]


def test_a_login_in_the_keyring_is_found_as_long_as_that_is_open(
    directory: Path, host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LFSSYNC_TOKEN")
    configure({"path": directory, "remote": host.url("me/model")})
    with secret_service(tmp_path / "session"):
        Keyring(os.environ).keep(host.address.removeprefix("http://"), Credential("me", TOKEN))
        found = examined()
        assert failed(found) == {}
        assert "me at 127.0.0.1" in found["login"].message
        assert found["login"].message.endswith(", from keyring")
    with locked_secret_service(tmp_path / "session"):
        told = failed(examined())
        assert list(told) == ["remote", "login", "keyring"]
        assert "is locked" in told["keyring"]


def test_what_a_service_would_not_find_is_told(directory: Path, host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"'
    with_systemd = (*OWN_WORLD, "sh", "-c", script, "sh")
    configure({"path": directory, "remote": host.url("me/model")})
    shown = command(before=with_systemd)
    assert shown.returncode == 0, shown
    assert "• service: LFSSYNC_TOKEN of this shell is not there for a service" in shown.stdout
    configure({"path": directory})
    assert "• service: a service of yours ends when you log out" in command(before=with_systemd).stdout


def test_a_host_without_lfs_is_told(directory: Path, host: GitHost) -> None:
    host.lfs = None
    configure({"path": directory, "remote": host.url("me/model")})
    assert list(failed(examined())) == ["lfs"]


def test_a_server_that_says_yes_to_everything_is_told(directory: Path, host: GitHost) -> None:
    def lie(asked: Asked) -> Reply | None:
        if not asked.path.endswith("/objects/batch"):
            return None
        objects = json.loads(asked.body)["objects"]
        return Reply(
            200, (("Content-Type", "application/vnd.git-lfs+json"),), json.dumps({"objects": objects}).encode()
        )

    host.interfere = lie
    configure({"path": directory, "remote": host.url("me/model")})
    only_failed(examined(), "lfs", "nobody has")


# how it is told


def test_people_and_scripts_are_told_the_same(directory: Path, tmp_path: Path) -> None:
    configure({"path": directory, "remote": tmp_path / "nowhere.git"})
    shown, document = command(), json.loads(command("--json").stdout)
    assert (shown.returncode, shown.stderr) == (4, "")
    assert not document["ok"]
    for one in document["findings"]:
        about = f"{one['mirror']}: " if one["mirror"] else ""
        assert f"{about}{one['check']}: {one['message']}" in shown.stdout
        assert one["remedy"] is None or f"→ {one['remedy']}" in shown.stdout
    assert [one["mirror"] for one in document["findings"] if one["check"] == "remote"] == ["model"]


def test_a_pattern_that_matches_nothing_is_told(tmp_path: Path) -> None:
    write_configuration(f'[[mirror]]\npath = "{tmp_path}/rnus/*"\n')
    found = [one for one in examine(places()) if one.check == "configuration" and one.remedy]
    assert f"no folder matches {tmp_path}/rnus/* ({places().config_file}:1)" in [one.message for one in found]
