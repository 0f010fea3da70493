"""lfssync as a service of systemd: the unit of a user, or the system's unit for a named user.

Used by the commands `service ...`. The one thing to know: systemd is asked, never guessed: every answer of `status` is
one of `systemctl show`, and a unit file that somebody changed is never touched.

Source: systemctl(1); journalctl(1); the environment in systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, NotDoneError, UserError
from lfssync.service import unit
from lfssync.service.managed import Condition
from lfssync.service.unit import Owner, Wish

RUNS = Path("/run/systemd/system")
LINGER = Path("/var/lib/systemd/linger")
SYSTEM_UNITS = Path("/etc/systemd/system")
_TIMEOUT_S = 60.0
_STARTING_S = 660.0
"""A start takes as long as the unit allows, and as many folders as there are need."""

_STOPPING_S = 3900.0
"""A stop waits for what is complete; the daemon itself says for how long, and an hour is the most that can be asked."""

_SHOWN = (
    "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "MainPID", "MemoryCurrent", "NRestarts",
    "ExecMainCode", "ExecMainStatus", "ActiveEnterTimestamp", "StatusText", "FragmentPath", "DropInPaths",
)  # fmt: skip
_KILLED = ("2", "3")
"""What `ExecMainCode` is after a signal, and after one with a core dump: CLD_KILLED and CLD_DUMPED."""


@dataclass(frozen=True, slots=True)
class Systemd:
    """The service of one user.

    Args:
        user: Whose system service it is; empty for the own user's service.
        home: The home of that user.
        environment: The environment of the command.
    """

    user: str
    home: Path
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """What systemd calls it."""
        return f"lfssync@{self.user}.service" if self.user else "lfssync.service"

    @property
    def file(self) -> Path:
        """Where its unit file is when we installed it."""
        if self.user:
            return SYSTEM_UNITS / self.name
        base = self.environment.get("XDG_CONFIG_HOME", "")
        return (Path(base) if os.path.isabs(base) else self.home / ".config") / "systemd" / "user" / self.name

    @property
    def shipped(self) -> str:
        """The unit as it comes with lfssync."""
        return unit.shipped("lfssync@.service" if self.user else "lfssync.service")

    def install(self, wish: Wish) -> list[str]:
        """Write the unit, have it start by itself from now on, and start it now.

        Args:
            wish: What runs; what this systemd can do is found out here.

        Returns:
            What was done, line by line.

        Raises:
            UserError: There is no systemd to do it.
            BlockedError: The unit file is somebody else's.
            LfssyncError: The service did not start.
        """
        self._require_manager()
        self._require_ours("install it again")
        wish = replace(
            wish, systemd=self._version(), may_have_namespaces=bool(self.user) or self._may_have_namespaces()
        )
        text = unit.written(self.shipped, wish)
        done = []
        if unit.owner(self.file) is Owner.NOBODY or self.file.read_text() != text:
            _write(self.file, text)
            done.append(f"wrote {self.file}")
            if not wish.may_have_namespaces:
                done.append("without the protections that need user namespaces: this machine lets you have none")
            self._systemctl("daemon-reload")
        was_active = self.condition().is_active
        self._systemctl("enable", self.name)
        done.append(f"{self.name} starts {'with the machine' if self.user else 'when you log in'}")
        self._begin("restart" if was_active else "start")
        done.append(f"{self.name} {'restarted' if was_active else 'started'}")
        return done

    def uninstall(self) -> list[str]:
        """Stop the service and take its unit away; drop-ins are the user's and stay.

        Raises:
            BlockedError: The unit file is somebody else's.
        """
        self._require_manager()
        if unit.owner(self.file) is Owner.NOBODY:
            return [f"{self.name} is not installed; nothing to do"]
        self._require_ours("uninstall it again")
        self._systemctl("disable", "--now", self.name, timeout_s=_STOPPING_S)
        self.file.unlink(missing_ok=True)
        self._systemctl("daemon-reload")
        self._systemctl("reset-failed", self.name, check=False)
        done = [f"{self.name} stopped", f"removed {self.file}"]
        additions = self.file.with_name(f"{self.name}.d")
        return [*done, f"{additions} is yours and stays"] if additions.exists() else done

    def start(self) -> list[str]:
        """Start it, and wait until it is ready."""
        self._require_installed()
        if self.condition().is_active:
            return [f"{self.name} is running already"]
        self._begin("start")
        return [f"{self.name} started"]

    def stop(self) -> list[str]:
        """Stop it until it is started again, or until the next login or boot."""
        self._require_installed()
        if not self.condition().is_active:
            return [f"{self.name} is not running"]
        self._systemctl("stop", self.name, timeout_s=_STOPPING_S)
        return [f"{self.name} stopped"]

    def condition(self) -> Condition:
        """How it is."""
        self._require_manager()
        wanted = [f"--property={name}" for name in _SHOWN]
        said = self._systemctl("show", "--timestamp=unix", *wanted, self.name)
        found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        return Condition(
            name=self.name,
            file=found.get("FragmentPath", ""),
            starts_by_itself=found.get("UnitFileState", "").startswith("enabled"),
            state=found.get("ActiveState", ""),
            since=_unix(found.get("ActiveEnterTimestamp", "")),
            pid=int(found.get("MainPID") or 0),
            memory_bytes=_number(found.get("MemoryCurrent", "")),
            restarts=_number(found.get("NRestarts", "")) or 0,
            ended=_end(found),
            says=found.get("StatusText", ""),
            additions=tuple(found.get("DropInPaths", "").split()),
            changed=unit.owner(self.file) is Owner.YOURS,
        )

    def log_command(self, count: str, follow: bool) -> list[str]:
        """The command that shows what it logged.

        Args:
            count: So many lines.
            follow: Whether it goes on with those to come.
        """
        self._require_installed()
        which = ["--unit" if self.user else "--user-unit", self.name]
        command = [
            "journalctl",
            *which,
            "--lines",
            count,
            "--no-hostname",
            *(["--follow"] if follow else ["--no-pager"]),
        ]
        tried = self._run(["journalctl", "--quiet", *which, "--lines", "1"], _TIMEOUT_S)
        if tried.returncode:
            reason = (tried.stderr.strip().splitlines() or ["it failed"])[-1]
            raise UserError(f"journalctl: {reason}", "have an administrator put you into the group systemd-journal")
        return command

    def lingers(self) -> bool:
        """Whether it runs while its user is not logged in."""
        return bool(self.user) or (LINGER / pwd.getpwuid(os.getuid()).pw_name).exists()

    # -- what must be there --------------------------------------------------------------------------------------

    def _require_manager(self) -> None:
        if not RUNS.is_dir():
            raise UserError(
                "systemd does not run this machine", "have what does run `lfssync run`, or start that yourself"
            )
        if self.user:
            if os.geteuid():
                raise UserError(
                    "a system service is root's to manage", f"put sudo before it, and the path of lfssync: {self.user}"
                )
        elif not Path(self._runtime_dir(), "systemd", "private").exists():
            raise UserError(
                f"no service manager of yours runs (looked in {self._runtime_dir()})",
                "log in as this user over ssh or at the desktop, or have root run: "
                f"loginctl enable-linger {pwd.getpwuid(os.getuid()).pw_name}",
            )

    def _runtime_dir(self) -> str:
        given = self.environment.get("XDG_RUNTIME_DIR", "")
        return given if os.path.isabs(given) else f"/run/user/{os.getuid()}"

    def _require_installed(self) -> None:
        if not self.condition().file:
            raise NotDoneError(f"{self.name} is not installed", f"install it: {self.command('install')}")

    def _require_ours(self, afterwards: str) -> None:
        if unit.owner(self.file) is Owner.YOURS:
            edit = f"systemctl {'' if self.user else '--user '}edit {self.name.removesuffix('.service')}"
            raise BlockedError(
                f"{self.file} was changed by somebody",
                f"keep the changes as a drop-in ({edit}), remove that file, and {afterwards}",
            )

    def command(self, action: str) -> str:
        """How people ask for an action on this service."""
        return f"lfssync service {action}" + (f" --system {self.user}" if self.user else "")

    # -- systemd -------------------------------------------------------------------------------------------------

    def _begin(self, verb: str) -> None:
        """Start it; when it does not stay, say what it said."""
        try:
            self._systemctl(verb, self.name, timeout_s=_STARTING_S + (_STOPPING_S if verb == "restart" else 0))
        except LfssyncError:
            condition = self.condition()
            raise LfssyncError(
                f"{self.name} did not start: {self._last_words() or condition.ended or condition.state}",
                f"see {self.command('logs')}",
            ) from None

    def _last_words(self) -> str:
        """The error that a start ended with, as the journal has it."""
        which = ["--unit" if self.user else "--user-unit", self.name]
        said = self._run(["journalctl", "--quiet", *which, "--lines", "30", "--output", "cat"], _TIMEOUT_S).stdout
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else ""

    def _version(self) -> int:
        found = re.match(r"systemd (\d+)", self._systemctl("--version"))
        return int(found[1]) if found else 0

    def _may_have_namespaces(self) -> bool:
        """Whether the user's manager can give a service mounts of its own: it is tried."""
        settings = ("PrivateUsers=yes", "ProtectHome=read-only", "PrivateDevices=yes", "CapabilityBoundingSet=")
        wanted = [f"--property={one}" for one in settings]
        # A manager that cannot do it may also pass over it without a word.
        probe = ["test", "!", "-w", str(self.home)]
        return not self._run(
            ["systemd-run", "--user", "--wait", "--quiet", "--collect", *wanted, *probe], _TIMEOUT_S
        ).returncode

    def _systemctl(self, *words: str, check: bool = True, timeout_s: float = _TIMEOUT_S) -> str:
        done = self._run(["systemctl", *([] if self.user else ["--user"]), *words], timeout_s)
        if done.returncode and check:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            raise LfssyncError(f"systemctl {words[0]}: {reason}", "see journalctl -xe, or run it yourself")
        return done.stdout

    def _run(self, command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        plain = {"SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
        if not self.user:
            plain["XDG_RUNTIME_DIR"] = self._runtime_dir()
        try:
            return subprocess.run(
                command, env=dict(self.environment) | plain, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=timeout_s, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise UserError(f"{command[0]} is not installed", "install systemd") from None
        except subprocess.TimeoutExpired:
            raise LfssyncError(f"{command[0]} was not done within {timeout_s:.0f} s", "try again") from None
        except OSError as error:
            raise LfssyncError(f"{command[0]} could not be started: {error.strerror}", "try again") from error


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}", "mend that folder's permissions") from error


def _number(text: str) -> int | None:
    """A number of systemd's, which has words and a largest number for what is not known."""
    return int(text) if text.isdecimal() and int(text) < 1 << 63 else None


def _unix(text: str) -> float | None:
    """Seconds since the epoch of `--timestamp=unix`; None before the first time."""
    return float(text[1:]) if text.startswith("@") and text[1:].isdecimal() and text != "@0" else None


def _end(found: Mapping[str, str]) -> str:
    """How the last run ended, in words; empty for one that ended in order, or goes on."""
    result, code = found.get("Result", "success"), found.get("ExecMainStatus", "0")
    if result in ("success", "") or found.get("ActiveState") == "active":
        return ""
    if result == "watchdog":
        return "it hung, and was ended"
    if result == "oom-kill":
        return "it took more memory than it may, and was ended"
    if result == "timeout":
        return "it took too long"
    if found.get("ExecMainCode") in _KILLED:
        return f"signal {code}"
    return f"exit code {code}" if code != "0" else result
