"""lfssync as an agent of launchd, on macOS.

Used by the commands `service ...`, with the same answers as `systemd`. The one thing to know: launchd starts programs
with next to no environment, so the agent's file says where git and git-lfs are.

Source: launchd.plist(5), launchctl(1).
"""

from __future__ import annotations

import os
import plistlib
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, NotDoneError, UserError
from lfssync.service.managed import Condition
from lfssync.service.unit import Wish

LABEL = "io.lfssync.daemon"
_OURS = "LfssyncService"
"""A key that launchd does not know, and passes over: the file is ours."""

_GRACE_S = 60
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Launchd:
    """The agent of one user.

    Args:
        home: The home of that user.
        environment: The environment of the command.
    """

    home: Path
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """What launchd calls it."""
        return LABEL

    @property
    def file(self) -> Path:
        """Where its file is."""
        return self.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    @property
    def log(self) -> Path:
        """Where its words go."""
        return self.home / "Library" / "Logs" / "lfssync.log"

    @property
    def shipped(self) -> str:
        """Nothing: its file is made."""
        return ""

    def install(self, wish: Wish) -> list[str]:
        """Write the file, and have launchd start it now and at each login; says what was done.

        Raises:
            BlockedError: The file is somebody else's.
            LfssyncError: launchd does not take it.
        """
        self._require_ours("install it again")
        text = plist(wish, self.log)
        done = []
        if not self.file.exists() or self.file.read_bytes() != text:
            _write(self.file, text)
            done.append(f"wrote {self.file}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        was_active = self._is_loaded()
        if was_active:
            self._launchctl("bootout", self._service)
        self._launchctl("bootstrap", self._domain, str(self.file))
        return [*done, f"{LABEL} starts when you log in", f"{LABEL} {'restarted' if was_active else 'started'}"]

    def uninstall(self) -> list[str]:
        """Stop it and remove the file; says what was done."""
        if not self.file.exists():
            return [f"{LABEL} is not installed; nothing to do"]
        self._require_ours("uninstall it again")
        if self._is_loaded():
            self._launchctl("bootout", self._service)
        self.file.unlink()
        return [f"{LABEL} stopped", f"removed {self.file}"]

    def start(self) -> list[str]:
        """Start it; says what was done."""
        self._require_installed()
        if self._is_loaded():
            return [f"{LABEL} is running already"]
        self._launchctl("bootstrap", self._domain, str(self.file))
        return [f"{LABEL} started"]

    def stop(self) -> list[str]:
        """Stop it until it is started again, or until the next login; says what was done."""
        self._require_installed()
        if not self._is_loaded():
            return [f"{LABEL} is not running"]
        self._launchctl("bootout", self._service)
        return [f"{LABEL} stopped"]

    def condition(self) -> Condition:
        """How it is."""
        if not self.file.exists():
            return Condition(LABEL, "")
        told = self._run("print", self._service)
        pid = re.search(r"^\tpid = (\d+)$", told.stdout, re.MULTILINE)
        code = re.search(r"^\tlast exit code = (-?\d+)", told.stdout, re.MULTILINE)
        runs = re.search(r"^\truns = (\d+)$", told.stdout, re.MULTILINE)
        state = "active" if pid else ("activating" if told.returncode == 0 else "inactive")
        return Condition(
            LABEL,
            str(self.file),
            starts_by_itself=True,
            state=state,
            pid=int(pid[1]) if pid else 0,
            restarts=max(int(runs[1]) - 1, 0) if runs else 0,
            ended=f"exit code {code[1]}" if code and code[1] != "0" and not pid else "",
            changed=not _is_ours(self.file),
        )

    def log_command(self, count: str, follow: bool) -> list[str]:
        """The command that shows what it logged."""
        self._require_installed()
        return ["tail", "-n", count, *(["-F"] if follow else []), str(self.log)]

    def lingers(self) -> bool:
        """An agent always ends with the login; there is nothing to be told about that."""
        return True

    def command(self, action: str) -> str:
        """How people ask for an action on it."""
        return f"lfssync service {action}"

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    @property
    def _service(self) -> str:
        return f"{self._domain}/{LABEL}"

    def _require_installed(self) -> None:
        if not self.file.exists():
            raise NotDoneError(f"{LABEL} is not installed", "install it: lfssync service install")

    def _require_ours(self, afterwards: str) -> None:
        if self.file.exists() and not _is_ours(self.file):
            raise BlockedError(f"{self.file} was not written by lfssync", f"move that file away, and {afterwards}")

    def _is_loaded(self) -> bool:
        return self._run("print", self._service).returncode == 0

    def _launchctl(self, *words: str) -> None:
        done = self._run(*words)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise LfssyncError(f"launchctl {words[0]}: {reason}", "see: lfssync service logs")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["launchctl", *words], env=dict(self.environment), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise UserError("launchctl is not there", "run `lfssync run` under what starts programs here") from None
        except subprocess.TimeoutExpired:
            raise LfssyncError(f"launchctl {words[0]} was not done within {_TIMEOUT_S:.0f} s", "try again") from None


def plist(wish: Wish, log: Path) -> bytes:
    """The agent's file: as the unit of systemd, as far as launchd can.

    Args:
        wish: What runs, and with which variables.
        log: Where its words go.
    """
    return plistlib.dumps(
        {
            "Label": LABEL,
            _OURS: True,
            "ProgramArguments": list(wish.command),
            "EnvironmentVariables": dict(wish.environment),
            "RunAtLoad": True,
            # As Restart=on-failure; launchd has no list of exit codes that are final.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": _GRACE_S,
            # The job that writes the files comes first.
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "Nice": 10,
            "SoftResourceLimits": {"Core": 0},
            "HardResourceLimits": {"Core": 0},
            "Umask": 0o022,
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        },
        sort_keys=False,
    )


def _is_ours(path: Path) -> bool:
    try:
        return bool(plistlib.loads(path.read_bytes()).get(_OURS))
    except (OSError, ValueError, plistlib.InvalidFileException):
        return False


def _write(path: Path, text: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(text)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", "mend that folder's permissions") from error
