"""The service under a real systemd, for people who install lfssync from its wheel: tests/box.py is their machine."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import ROOT, Box, booted, wait_for
from tests.integration.test_readme import WITH_SYSTEMD, blocks
from tests.people import SYSTEM_PROGRAM, UNIT, Person, install, somebody

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


def test_the_commands_of_the_readme(me: Person) -> None:
    """Every line that is for such a machine does what it is there for; later ones build on those before."""
    me.box.run("install", "--directory", "--owner", me.name, "/opt/models")
    lines = [line for block in blocks("sh") if block.mark == WITH_SYSTEMD for line in block.text.splitlines()]
    assert lines
    for line in lines:
        words = ("env", f"USER={me.name}", "sh", "-e", "-c", f'PATH="$HOME/.local/bin:$PATH"\n{line}')
        is_for_root = line.startswith(("loginctl ", "sudo "))  # nobody can be asked here whether the user may
        said = (me.box.run if is_for_root else me.run)(*words)
        assert "error" not in said, line
    assert me.shown("ReadWritePaths")["ReadWritePaths"].split()[-1] == "/opt/models"
    assert me.shown("ActiveState")["ActiveState"] == "active"
