"""Running git: what goes in and out, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.git.gitcommand import Git, ssh_variables
from tests.helpers import make_bare, random_bytes, write

PROJECT = Path(__file__).parents[2]
SECONDS_IN_VAIN = 600
"""What the long commands here would take."""


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(make_bare(tmp_path / "r.git"))


def alias(script: str) -> tuple[str, ...]:
    """A git command that runs a shell script as its child, as git runs its helpers."""
    return ("-c", f"alias.work=!{script}", "work")


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid_file: Path) -> bool:
    """Whether the process that wrote its number into a file ends within moments."""
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_50_mb_in_and_out(git: Git) -> None:
    content = random_bytes(1, 50_000_000)
    oid = git.run("hash-object", "-w", "--stdin", given=content).text
    assert git.run("cat-file", "blob", oid).stdout == content


def test_a_slow_reader_gets_all_of_its_input(git: Git) -> None:
    assert git.run(*alias("sleep 1; wc -c; true"), given=bytes(5_000_000)).text == "5000000"


def test_a_command_that_reads_nothing_is_no_failure(git: Git) -> None:
    assert git.run("version", given=bytes(5_000_000)).text.startswith("git version")


def test_standard_output_may_go_into_a_file(git: Git, tmp_path: Path) -> None:
    oid = git.run("hash-object", "-w", "--stdin", given=b"content").text
    with (tmp_path / "out").open("wb") as file:
        assert git.run("cat-file", "blob", oid, stdout=file.fileno()).stdout == b""
    assert (tmp_path / "out").read_bytes() == b"content"


def test_a_long_command_ends_with_its_children_when_it_shall_stop(git: Git, tmp_path: Path) -> None:
    stop = threading.Event()
    pid = tmp_path / "pid"

    def stop_it() -> None:
        wait_for(pid)
        stop.set()

    stopper = threading.Thread(target=stop_it, name="stopper")
    stopper.start()
    started = time.monotonic()
    try:
        with pytest.raises(TransientError, match="stopped"):
            Git(git.git_dir, stop=stop).run(*alias(f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep {SECONDS_IN_VAIN}"))
    finally:
        stopper.join()
    assert time.monotonic() - started < 10
    assert gone(pid)


def test_a_command_that_takes_too_long_ends(git: Git, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TransientError, match="no answer within 1 s"):
        git.run(*alias(f"echo $$ > {pid}; sleep {SECONDS_IN_VAIN}"), timeout_s=1)
    assert gone(pid)


def test_a_helper_that_outlives_git_and_takes_no_hint_ends_too(git: Git, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"(trap '' TERM HUP; echo $(exec sh -c 'echo $PPID') > {pid}; sleep {SECONDS_IN_VAIN}) & kill -9 $PPID"
    with pytest.raises(TransientError, match="no answer"):
        git.run(*alias(script), timeout_s=2)
    assert gone(pid)


def test_leaving_the_block_ends_what_was_started(git: Git, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with git.start(*alias(f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep {SECONDS_IN_VAIN}")):
        wait_for(pid)
    assert gone(pid)


def test_what_a_user_started_elsewhere_goes_on(git: Git, tmp_path: Path) -> None:
    """A credential cache or a shared ssh connection that a helper leaves behind belongs to the user."""
    pid = tmp_path / "pid"
    git.run(*alias(f"setsid -f sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 30' >/dev/null 2>&1"))
    wait_for(pid)
    try:
        assert is_running(int(pid.read_text()))
    finally:
        os.killpg(int(pid.read_text()), 9)
    assert gone(pid)


def test_a_command_killed_for_memory_is_tried_again(git: Git) -> None:
    with pytest.raises(TransientError, match="signal 9"):
        git.run(*alias("kill -9 $PPID"))


def test_children_hold_none_of_our_descriptors(git: Git, tmp_path: Path) -> None:
    canary = os.open(write(tmp_path / "canary", b""), os.O_RDONLY)
    os.set_inheritable(canary, True)
    try:
        held = git.run(*alias("ls -l /proc/self/fd")).text
    finally:
        os.close(canary)
    assert "canary" not in held


def test_children_do_not_run_in_the_callers_folder(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git.run(*alias("pwd")).text == "/"


def test_an_error_names_the_command_and_not_the_options_before_it(git: Git) -> None:
    with pytest.raises(LfssyncError, match=r"^git cat-file: "):
        git.run("-c", "core.bare=true", "cat-file", "blob", "0" * 40)


def test_many_runs_leave_no_descriptor(git: Git) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        git.run("version", given=b"")
    assert set(os.listdir("/proc/self/fd")) == before


def test_no_git_at_all_is_said_with_the_remedy(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed; install it"):
        git.run("version")


def test_ssh_never_asks(git: Git) -> None:
    assert "BatchMode=yes" in ssh_variables(git.settings())["GIT_SSH_COMMAND"]


@pytest.mark.parametrize("name", ["GIT_SSH", "GIT_SSH_COMMAND"])
def test_the_users_own_ssh_is_used(name: str, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "my-ssh")
    assert ssh_variables(git.settings()) == {}


def test_the_ssh_of_the_users_git_configuration_is_used(git: Git, tmp_path: Path) -> None:
    """One wrapper script stands for a key file, a jump host or a port that only the user knows."""
    seen = tmp_path / "seen"
    own = write(tmp_path / "own-ssh", f'#!/bin/sh\necho "$@" >> {seen}\nexit 1\n'.encode())
    own.chmod(0o755)
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[core]\n\tsshCommand = {own}\n")
    with pytest.raises(TransientError):
        git.run("ls-remote", "ssh://git@host.invalid/x", remote="ssh://git@host.invalid/x")
    assert "git-upload-pack" in seen.read_text()


def test_who_is_killed_takes_git_with_it(git: Git, tmp_path: Path) -> None:
    """Git may hold a login and still push: it must not outlive who started it, whatever happened to that."""
    code = (
        "import sys; from pathlib import Path; from lfssync.git.gitcommand import Git\n"
        "script = f'echo $$ >{sys.argv[2]}.new; mv {sys.argv[2]}.new {sys.argv[2]}; exec sleep 600'\n"
        "Git(Path(sys.argv[1])).run('-c', f'alias.work=!{script}', 'work')\n"
    )
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, str(git.git_dir), str(pid_file)], cwd=PROJECT)
    try:
        wait_for(pid_file)
    finally:
        parent.kill()
        parent.wait()
    assert gone(pid_file)
