"""The agent of launchd: its file as macOS reads it, and what is asked of a `launchctl` that stands in for it."""

from __future__ import annotations

import os
import plistlib
import sys
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, NotDoneError
from lfssync.service.launchd import LABEL, Launchd, plist
from lfssync.service.unit import Wish

WISH = Wish(
    ["/Users/me/.local/bin/lfssync", "run"], {"PATH": "/opt/homebrew/bin:/usr/bin", "LFSSYNC_CONFIG": "/a & <b>"}
)

# Notes what it is told, and answers as launchd does: by whether the agent was loaded.
LAUNCHCTL = """#!/bin/sh
echo "$*" >> {folder}/asked
case $1 in
    bootstrap) test ! -e {folder}/fails || {{ echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; }}
        touch {folder}/loaded ;;
    bootout) rm {folder}/loaded ;;
    print) test -e {folder}/loaded || exit 113
        printf '%s = {{\\n\\truns = 3\\n\\tpid = 4242\\n\\tlast exit code = 0\\n}}\\n' "$2" ;;
    *) exit 64 ;;
esac
"""


@pytest.fixture
def agent(tmp_path: Path) -> Launchd:
    """An agent of somebody's."""
    program = tmp_path / "launchctl"
    program.write_text(LAUNCHCTL.format(folder=tmp_path))
    program.chmod(0o755)
    return Launchd(tmp_path / "home", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})


def asked(agent: Launchd) -> list[str]:
    """What launchctl was told, besides questions."""
    lines = (agent.home.parent / "asked").read_text().splitlines()
    return [line for line in lines if not line.startswith("print ")]


def test_the_file_says_what_launchd_needs_to_know() -> None:
    told = plistlib.loads(plist(WISH, Path("/Users/me/Library/Logs/lfssync.log")))
    assert told["Label"] == LABEL
    assert told["ProgramArguments"] == ["/Users/me/.local/bin/lfssync", "run"]
    assert told["EnvironmentVariables"] == WISH.environment
    assert told["RunAtLoad"] is True
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert told["ThrottleInterval"] >= 10
    assert told["ExitTimeOut"] >= 40  # the grace by default, and the end of what is broken off
    assert (told["ProcessType"], told["Nice"], told["LowPriorityIO"]) == ("Background", 10, True)
    assert told["HardResourceLimits"] == {"Core": 0}
    assert told["StandardErrorPath"] == told["StandardOutPath"] == "/Users/me/Library/Logs/lfssync.log"
    known = {
        "Label", "ProgramArguments", "EnvironmentVariables", "RunAtLoad", "KeepAlive", "ThrottleInterval",
        "ExitTimeOut", "ProcessType", "LowPriorityIO", "Nice", "SoftResourceLimits", "HardResourceLimits", "Umask",
        "StandardOutPath", "StandardErrorPath",
    }  # fmt: skip
    assert told.keys() - known == {"LfssyncService"}


def test_it_is_installed_started_stopped_and_removed(agent: Launchd) -> None:
    assert agent.install(WISH) == [f"wrote {agent.file}", f"{LABEL} starts when you log in", f"{LABEL} started"]
    assert agent.file == agent.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    assert agent.file.read_bytes() == plist(WISH, agent.log)
    domain = f"gui/{os.getuid()}"
    assert asked(agent) == [f"bootstrap {domain} {agent.file}"]
    found = agent.condition()
    assert (found.state, found.pid, found.restarts, found.ended) == ("active", 4242, 2, "")
    assert agent.start() == [f"{LABEL} is running already"]
    assert agent.install(WISH) == [f"{LABEL} starts when you log in", f"{LABEL} restarted"]
    assert agent.stop() == [f"{LABEL} stopped"]
    assert agent.condition().state == "inactive"
    assert agent.start() == [f"{LABEL} started"]
    assert agent.log_command("20", True) == ["tail", "-n", "20", "-F", str(agent.log)]
    assert agent.uninstall() == [f"{LABEL} stopped", f"removed {agent.file}"]
    assert asked(agent)[-1] == f"bootout {domain}/{LABEL}"
    assert list(agent.file.parent.iterdir()) == []
    assert agent.uninstall() == [f"{LABEL} is not installed; nothing to do"]
    with pytest.raises(NotDoneError, match="is not installed"):
        agent.start()


def test_a_file_of_somebody_elses_stays(agent: Launchd) -> None:
    agent.file.parent.mkdir(parents=True)
    agent.file.write_bytes(plistlib.dumps({"Label": LABEL}))
    with pytest.raises(BlockedError, match="was not written by lfssync"):
        agent.install(WISH)
    with pytest.raises(BlockedError, match="was not written by lfssync"):
        agent.uninstall()
    assert agent.condition().changed


def test_what_launchctl_refuses_is_told(agent: Launchd) -> None:
    (agent.home.parent / "fails").touch()
    with pytest.raises(LfssyncError, match=r"launchctl bootstrap: Bootstrap failed: 5: Input/output error"):
        agent.install(WISH)


def test_on_macos_the_commands_speak_to_launchd(
    agent: Launchd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lfssync.commandline.cli import main

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(agent.home))
    monkeypatch.setenv("PATH", agent.environment["PATH"])
    assert main(["service", "install"]) == 0
    assert main(["service", "status"]) == 0
    said = capsys.readouterr().out
    assert f"✓ {LABEL}  running, pid 4242, restarted 2 times after a failure" in said
    told = plistlib.loads(agent.file.read_bytes())
    assert told["ProgramArguments"][-1] == "run"
    assert os.path.isabs(told["ProgramArguments"][0])
    assert main(["service", "install", "--system", "root"]) == 2
    assert main(["service", "status", "-n", "3"]) == 2
    assert main(["service", "logs", "-n", "x"]) == 2
