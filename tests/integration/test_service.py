"""The service under a real systemd, for people who install lfssync from its wheel: tests/box.py is their machine."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfssync.service import journal
from tests.box import ROOT, Box, booted, wait_for
from tests.host import PASSWORD, USER
from tests.integration.test_readme import WITH_SYSTEMD, blocks
from tests.people import SYSTEM_PROGRAM, UNIT, Person, as_root, git_host, install, somebody

pytestmark = pytest.mark.xdist_group("systemd")  # one machine for all of them

_numbers = itertools.count()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """The machine, with lfssync installed."""
    folder = tmp_path_factory.mktemp("box")
    with booted(folder) as box:
        install(box, tmp_path_factory.mktemp("wheel"))
        yield box


@pytest.fixture
def me(box: Box) -> Iterator[Person]:
    """Somebody who has never used lfssync."""
    with somebody(box, f"user{next(_numbers)}") as person:
        yield person


def bare(me: Person, place: Path) -> Path:
    """A bare repository of theirs at a place where only root may make folders."""
    me.box.run("install", "--directory", "--owner", me.name, place.parent)
    me.run("git", "init", "--quiet", "--bare", "--initial-branch=main", place)
    return place


def test_a_user_installs_it_and_it_mirrors(me: Person) -> None:
    model = me.home / "outputs" / "model"
    me.write(model / "config.json", "1\n")
    at_home, on_disk = bare(me, me.home / "remotes" / "model.git"), bare(me, Path(f"/data/{me.name}/model.git"))
    elsewhere = bare(me, Path(f"/opt/{me.name}/model.git"))
    for name, remote in (("home", at_home), ("disk", on_disk), ("elsewhere", elsewhere)):
        me.lfssync("add", model, remote, "--name", name, "--quiet", "100ms")
    said = me.lfssync("service", "install").splitlines()
    file = me.home / ".config" / "systemd" / "user" / UNIT
    assert said == [f"wrote {file}", f"{UNIT} starts when you log in", f"{UNIT} started"]
    for remote in (at_home, on_disk, elsewhere):
        me.arrives(remote, "config.json", "1\n")
    assert f"ExecStart={me.program} run" in me.read(file).splitlines()
    assert me.run("systemd-analyze", "--user", "verify", file) == ""
    shown = me.lfssync("service", "status")
    assert re.fullmatch(rf"✓ {UNIT}  running since \S+ \S+, pid {me.pid()}.*", shown.splitlines()[0])
    assert file.as_posix() in shown
    me.write(model / "config.json", "2\n")
    me.lfssync("wait")
    assert me.is_there(elsewhere, "config.json", "2\n")
    assert "mirroring 3 directories" in me.lfssync("service", "logs", "-n", "100")


def test_it_runs_with_what_it_needs_and_no_more(me: Person) -> None:
    me.lfssync("service", "install")
    process = me.box.path(f"/proc/{me.pid()}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"], status["CapBnd"]) == ("1", "2", "0000000000000000")
    mounts = {line.split()[4]: line.split()[5] for line in (process / "mountinfo").read_text().splitlines()}
    writable = {place for place, options in mounts.items() if "rw" in options.split(",")}
    assert str(me.home) in writable
    assert not {"/", "/etc/systemd/user", "/root"} & writable
    assert b"\0NOTIFY_SOCKET=" in b"\0" + (process / "environ").read_bytes()
    limits = (process / "limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert (process / "oom_score_adj").read_text() == "300\n"


@pytest.mark.parametrize(("unit", "limit"), [("lfssync.service", 3.0), ("lfssync@.service", 1.5)])
def test_how_exposed_it_is(box: Box, unit: str, limit: float) -> None:
    words = ["--user"] if "@" not in unit else []
    file = Path("/opt", unit)
    text = (ROOT / "systemd" / unit).read_text()
    box.path(file).write_text(text.replace("/usr/bin/lfssync", str(SYSTEM_PROGRAM)))
    assert box.run("env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", *words, "verify", file) == ""
    said = box.run("env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", *words, "security", "--offline=true", file)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= limit


def test_uninstalling_takes_away_what_was_installed(me: Person) -> None:
    def files() -> str:
        return me.run("find", me.home / ".config", "-printf", r"%p %m %y\n")

    me.drop_in("[Service]\nNice=5\n")
    before = files()
    me.lfssync("service", "install")
    assert me.shown("Nice")["Nice"] == "5"
    said = me.lfssync("service", "uninstall")
    assert f"{UNIT} stopped" in said.splitlines()
    assert f"{UNIT}.d is yours and stays" in said
    assert files() == before
    assert me.lfssync("service", "uninstall") == f"{UNIT} is not installed; nothing to do\n"
    assert me.shown("LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    done = me.call(me.program, "service", "status")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: {UNIT} is not installed; install it: lfssync service install\n"


def test_a_unit_that_somebody_changed_is_not_touched(me: Person) -> None:
    me.lfssync("service", "install")
    file = me.home / ".config" / "systemd" / "user" / UNIT
    changed = me.read(file).replace("Nice=10", "Nice=15")
    me.write(file, changed)
    for action in ("install", "uninstall"):
        done = me.call(me.program, "service", action)
        assert done.returncode == 4
        assert done.stderr.startswith(
            f"error: {file} was changed by somebody; keep the changes as a drop-in (systemctl"
        )
    assert me.read(file) == changed
    assert "changed by somebody" in me.lfssync("service", "status")
    me.run("rm", file)
    assert me.lfssync("service", "install").splitlines()[0] == f"wrote {file}"


def test_installing_again_brings_the_unit_up_to_date_and_restarts(me: Person) -> None:
    me.lfssync("service", "install")
    first = me.pid()
    assert me.lfssync("service", "install").splitlines() == [f"{UNIT} starts when you log in", f"{UNIT} restarted"]
    second = me.pid()
    assert first != second
    other = me.home / "other.toml"
    me.write(other, "")
    assert f"wrote {me.home}" in me.lfssync("--config", other, "service", "install")
    assert f"LFSSYNC_CONFIG={other}" in me.shown("Environment")["Environment"]


def test_stopping_and_starting(me: Person) -> None:
    me.lfssync("service", "install")
    assert me.lfssync("service", "start") == f"{UNIT} is running already\n"
    assert me.lfssync("service", "stop") == f"{UNIT} stopped\n"
    assert me.lfssync("service", "stop") == f"{UNIT} is not running\n"
    done = me.call(me.program, "service", "status")
    assert done.returncode == 3
    assert f"{UNIT}  not running" in done.stdout
    assert done.stderr == f"error: {UNIT} does not run; start it: lfssync service start\n"
    assert me.lfssync("service", "start") == f"{UNIT} started\n"


def test_a_start_that_fails_says_why(me: Person) -> None:
    me.write(me.home / ".config" / "lfssync" / "config.toml", "[[mirror]]\npath = 3\n")
    done = me.call(me.program, "service", "install")
    assert done.returncode == 1
    assert "config.toml:2" in done.stderr
    assert done.stderr.count("error: ") == 1
    done = me.call(me.program, "service", "status")
    assert done.returncode == 1
    assert f"error: {UNIT} ended: exit code 2; see lfssync service logs" in done.stderr


def test_a_user_who_may_have_no_namespaces(box: Box) -> None:
    with somebody(box, "plain", lingers=False) as me:
        folder = box.path(f"/etc/systemd/system/user@{me.uid()}.service.d")
        folder.mkdir()
        (folder / "box.conf").write_text("[Service]\nRestrictNamespaces=yes\n")
        box.run("systemctl", "daemon-reload")
        box.run("loginctl", "enable-linger", "plain")
        wait_for(lambda: box.path(f"/run/user/{me.uid()}/systemd/private").exists(), "their service manager")
        me.write(me.home / "model" / "config.json", "1\n")
        me.lfssync("add", me.home / "model", "--quiet", "100ms")
        said = me.lfssync("service", "install")
        assert "without the protections that need user namespaces" in said
        me.arrives(me.home / ".local/share/lfssync/remotes/model.git", "config.json", "1\n")
        status = box.path(f"/proc/{me.pid()}/status").read_text()
        assert "NoNewPrivs:\t1\n" in status
        assert "Seccomp:\t2\n" in status


def test_who_has_no_service_manager_is_told_what_to_do(box: Box) -> None:
    with somebody(box, "nobodys", lingers=False) as me:
        for action in ("install", "status"):
            done = me.call(me.program, "service", action)
            assert done.returncode == 2
            assert done.stderr == (
                f"error: no service manager of yours runs (looked in /run/user/{me.uid()}); "
                "log in as this user over ssh or at the desktop, or have root run: loginctl enable-linger nobodys\n"
            )


def test_without_a_runtime_directory_in_the_environment_it_is_found(me: Person) -> None:
    done = me.call("env", "-u", "XDG_RUNTIME_DIR", me.program, "service", "install")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_machine_without_systemd(box: Box) -> None:
    done = box.call(
        "unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run && exec {SYSTEM_PROGRAM} service install"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: systemd does not run this machine; ")


def test_somebody_who_does_not_linger_is_told(box: Box) -> None:
    with somebody(box, "desktop", lingers=False) as me:
        box.run("systemctl", "start", f"user@{me.uid()}.service")
        said = me.lfssync("service", "install")
        assert said.splitlines()[-1] == "it ends when you log out; to have it go on: loginctl enable-linger desktop"


QUICK = "[Service]\nRestartSec=100ms\nWatchdogSec=2s\n"


@pytest.fixture
def mirrors(me: Person) -> Path:
    """Their directory, which the service mirrors to a repository of its own; restarts do not take long."""
    me.drop_in(QUICK)
    model = me.home / "model"
    me.write(model / "first", "1\n")
    me.lfssync("add", model, "--quiet", "100ms")
    me.lfssync("service", "install")
    me.arrives(remote(me), "first", "1\n")
    return model


def remote(me: Person) -> Path:
    """The repository of their directory `model`."""
    return me.home / ".local/share/lfssync/remotes/model.git"


def back(me: Person, before: int) -> None:
    """Wait until the service runs again."""
    wait_for(lambda: me.pid() not in (0, before) and me.shown("SubState")["SubState"] == "running", "the next start")


def test_killed_it_is_started_again_and_goes_on(me: Person, mirrors: Path) -> None:
    before = me.pid()
    me.write(mirrors / "second", "2\n")
    me.run("kill", "-KILL", str(before))
    back(me, before)
    me.write(mirrors / "third", "3\n")
    for name, text in (("second", "2\n"), ("third", "3\n")):
        me.arrives(remote(me), name, text)
    me.run("git", "-C", remote(me), "fsck", "--strict")
    assert "restarted 1 time after a failure" in me.lfssync("service", "status")


def test_a_daemon_that_hangs_is_started_anew(me: Person, mirrors: Path) -> None:
    before = me.pid()
    me.run("kill", "-STOP", str(before))
    me.write(mirrors / "second", "2\n")
    back(me, before)
    me.arrives(remote(me), "second", "2\n")
    said = [entry["MESSAGE"] for entry in me.journal()]
    assert any("File " in line and "in _turn" in line for line in said), said  # where it hung
    assert any(entry.get("JOB_RESULT") != "failed" and "watchdog" in entry["MESSAGE"] for entry in manager_says(me))


def manager_says(me: Person) -> list[dict[str, Any]]:
    """What the service manager itself says about the service."""
    said = me.box.run("journalctl", f"USER_UNIT={UNIT}", f"_UID={me.uid()}", "-o", "json")
    return [json.loads(line) for line in said.splitlines()]


def test_stopped_it_first_delivers_what_is_complete(me: Person, mirrors: Path) -> None:
    me.lfssync("remove", "model")
    me.lfssync("add", mirrors, "--quiet", "1h", "--max-wait", "2h")
    wait_for(lambda: me.status()["mirrors"][0]["state"] == "settling", "the new settings")
    me.write(mirrors / "second", "2\n")
    wait_for(lambda: me.status()["mirrors"][0]["pending"]["files"] or True, "the event")
    assert not me.is_there(remote(me), "second", "2\n")
    me.lfssync("service", "stop")
    assert me.is_there(remote(me), "second", "2\n")
    assert me.shown("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


def test_a_reload_and_what_it_says_meanwhile(me: Person, mirrors: Path) -> None:
    wait_for(lambda: me.shown("StatusText")["StatusText"] == "1 mirror: idle", "a line about it")
    assert "    1 mirror: idle\n" in me.lfssync("service", "status")
    before = me.pid()
    file = me.home / ".config/lfssync/config.toml"
    good = me.read(file)
    me.write(file, "[[mirror]]\npath = 3\n")
    me.run("systemctl", "--user", "reload", "lfssync")
    wait_for(lambda: "the configuration stays as it was" in me.lfssync("service", "logs"), "what is wrong")
    me.write(file, good)
    me.run("systemctl", "--user", "reload", "lfssync")
    wait_for(lambda: "the configuration is in order again" in me.lfssync("service", "logs"), "the end of it")
    assert me.shown("ActiveState")["ActiveState"] == "active"
    assert me.pid() == before


def test_the_journal_has_fields_that_can_be_asked_for(me: Person, mirrors: Path) -> None:
    [found] = me.journal("MIRROR=model", f"MESSAGE_ID={journal.DELIVERED}")
    commit = me.run("git", "-C", remote(me), "rev-parse", "main").strip()
    assert (found["COMMIT"], found["PRIORITY"]) == (commit, "6")
    assert found["MESSAGE"] == f"model: 1 added, 0 changed, 0 removed, verified at {commit[:7]}"
    me.run("mv", mirrors, me.home / "aside")
    wait_for(lambda: me.journal(f"MESSAGE_ID={journal.FAILED}"), "the failure")
    [failed] = me.journal(f"MESSAGE_ID={journal.FAILED}")
    assert (failed["MIRROR"], failed["ERROR_KIND"], failed["PRIORITY"]) == ("model", "blocked", "4")
    me.run("mv", me.home / "aside", mirrors)
    me.lfssync("sync")
    wait_for(lambda: me.journal("MIRROR=model", f"MESSAGE_ID={journal.RECOVERED}"), "the recovery")


@pytest.fixture(scope="module")
def host(box: Box) -> str:
    """The address of a git host in the box."""
    return git_host(box, "keyring", "credential")


def hosted(remote: str) -> str:
    """The configuration of a mirror of `~/model`."""
    return f'[[mirror]]\nname = "hosted"\npath = "~/model"\nremote = "{remote}"\nquiet = "100ms"\n'


SSH_HOST = """
ssh-keygen -A
mkdir -p /run/sshd
echo ConnectTimeout 30 > /etc/ssh/ssh_config.d/box.conf
systemd-run --quiet --unit=box-sshd /usr/sbin/sshd -D -o ListenAddress=127.0.0.1 -o UsePAM=no
"""
SSH_KEYS = """
umask 077
mkdir -p .ssh
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519.pub .ssh/authorized_keys
until ssh-keyscan 127.0.0.1 > .ssh/known_hosts && test -s .ssh/known_hosts; do sleep 0.1; done
"""


def test_a_host_over_ssh_is_within_reach(me: Person) -> None:
    """Also where the system's configuration of ssh has files of root's, which look like nobody's to the service."""
    me.box.run("sh", "-ec", SSH_HOST)
    me.run("sh", "-ec", SSH_KEYS)
    there = bare(me, me.home / "remotes" / "ssh.git")
    me.write(me.home / "model" / "config.json", "1\n")
    me.write(me.home / ".config/lfssync/config.toml", hosted(f"ssh://{me.name}@127.0.0.1{there}"))
    me.lfssync("service", "install")
    me.arrives(there, "config.json", "1\n")


def test_a_shared_repository_stays_one(me: Person) -> None:
    there = me.home / "shared.git"
    me.run("git", "init", "--quiet", "--bare", "--shared=group", "--initial-branch=main", there)
    me.write(me.home / "model" / "weights.bin", "x" * 2000000)
    me.write(me.home / ".config/lfssync/config.toml", hosted(str(there)))
    me.lfssync("service", "install")
    wait_for(lambda: me.call("git", "-C", there, "rev-parse", "main").returncode == 0, "the push")
    folders = me.run("find", there / "objects", "-mindepth", "1", "-type", "d", "-name", "??", "-printf", "%m ")
    assert set(folders.split()) == {"2775"}


def test_the_keyring_and_a_host_are_within_reach(me: Person, host: str) -> None:
    keyring = "printf secret | exec gnome-keyring-daemon --foreground --unlock --components=secrets"
    me.run("systemd-run", "--user", "--quiet", "--unit=keyring", "sh", "-c", keyring)
    login = (me.program, "login", host.removeprefix("http://"), "--username", USER)
    me.write(me.home / "model" / "weights.bin", "weights\n")
    me.write(me.home / ".config/lfssync/config.toml", hosted(f"{host}/keyring.git"))
    wait_for(lambda: me.call(*login, given=PASSWORD).returncode == 0, "a keyring")
    me.lfssync("service", "install")
    me.lfssync("wait")
    assert (
        me.box.run("git", "-C", "/srv/git/keyring.git", "log", "--format=%s", "main")
        == "Add 1 file (8 B): weights.bin\n"
    )
    assert PASSWORD not in me.box.run("journalctl", "-o", "export")


def test_the_systems_service_of_a_user_with_an_encrypted_token(me: Person, host: str) -> None:
    """It needs no login of its user, gets its token from systemd, and the user's commands reach it."""
    box, unit = me.box, f"lfssync@{me.name}.service"
    store = f"/etc/credstore.encrypted/lfssync.{me.name}"
    box.run("mkdir", "-p", "/etc/credstore.encrypted")
    box.run("systemd-creds", "encrypt", "--name=lfssync", "-", store, given=f"{USER}\n{PASSWORD}\n")
    me.write(me.home / "model" / "config.json", "1\n")
    me.lfssync("add", me.home / "model", bare(me, me.home / "backup.git"), "--name", "backup", "--quiet", "100ms")
    config = me.home / ".config/lfssync/config.toml"
    me.write(config, me.read(config) + hosted(f"{host}/credential.git"))
    assert as_root(box, "service", "install", "--system", me.name).splitlines()[-1] == f"{unit} started"
    me.arrives(me.home / "backup.git", "config.json", "1\n")
    pushed = ("git", "-C", "/srv/git/credential.git", "cat-file", "blob", "main:config.json")
    wait_for(lambda: box.call(*pushed).stdout == "1\n", "the push to the host")
    pid = box.run("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    process = box.path(f"/proc/{pid}")
    assert PASSWORD.encode() not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    told = me.status()["daemon"]
    assert (told["pid"], told["since"] is not None) == (int(pid), True)  # it answers: its lock knows only the pid
    assert f"{unit}  running since" in as_root(box, "service", "status", "--system", me.name)
    done = me.call(me.program, "service", "stop", "--system", me.name)
    assert (done.returncode, done.stderr.partition(";")[0]) == (2, "error: a system service is root's to manage")
    assert "mirroring 2 directories" in as_root(box, "service", "logs", "--system", me.name)
    assert PASSWORD not in box.run("journalctl", "-o", "export")
    as_root(box, "service", "uninstall", "--system", me.name)
    assert not box.path(f"/etc/systemd/system/{unit}").exists()


def test_the_commands_of_the_readme(me: Person) -> None:
    """Every line that is for such a machine does what it is there for; later ones build on those before."""
    me.box.run("install", "--directory", "--owner", me.name, "/opt/models")
    own, drop_in, system = [block.text for block in blocks("sh") if block.mark == WITH_SYSTEMD]
    run_lines(me, own)
    assert me.shown("UnitFileState")["UnitFileState"] == "enabled"
    run_lines(me, drop_in)
    assert me.shown("ReadWritePaths")["ReadWritePaths"].split()[-1] == "/opt/models"
    assert me.shown("ActiveState")["ActiveState"] == "active"
    assert "models.conf is yours" not in me.lfssync("service", "uninstall")
    me.box.path("/root/token.txt").write_text("token\n")
    installs, rest = system.partition("sudo systemctl restart")[::2]
    run_lines(me, installs)
    unit = f"lfssync@{me.name}.service"
    assert me.box.path(f"/run/credentials/{unit}/lfssync").read_text() == "token\n"
    run_lines(me, f"sudo systemctl restart{rest}")
    assert not me.box.path(f"/etc/systemd/system/{unit}").exists()


def run_lines(me: Person, text: str) -> None:
    """Run each line of a block as they would; what needs root is run by root, who is asked nothing."""
    for line in text.splitlines():
        is_for_root = line.startswith(("sudo ", "loginctl "))
        script = f'cd; PATH="$HOME/.local/bin:$PATH"; {line.removeprefix("sudo ")}'
        words = ("env", f"USER={me.name}", "sh", "-e", "-c", script)
        assert "error" not in (me.box.run if is_for_root else me.run)(*words), line


def test_a_directory_that_moves_is_not_delivered_again(me: Person, mirrors: Path) -> None:
    before = me.run("git", "-C", remote(me), "rev-parse", "main")
    me.lfssync("remove", "model", "--purge")
    me.run("mv", mirrors, me.home / "moved")
    me.lfssync("add", me.home / "moved", remote(me), "--name", "model", "--quiet", "100ms")
    assert "nothing to do" in me.lfssync("sync")
    assert me.run("git", "-C", remote(me), "rev-parse", "main") == before
    me.write(me.home / "moved" / "second", "2\n")
    me.arrives(remote(me), "second", "2\n")
    assert me.is_there(remote(me), "first", "1\n")


def test_booted_again_it_goes_on(me: Person, mirrors: Path) -> None:
    me.write(mirrors / "second", "2\n")
    me.box.reboot()
    wait_for(lambda: me.box.path(f"/run/user/{me.uid()}/systemd/private").exists(), "their service manager")
    me.write(mirrors / "third", "3\n")
    for name, text in (("second", "2\n"), ("third", "3\n")):
        me.arrives(remote(me), name, text)
