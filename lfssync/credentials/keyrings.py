"""The system's keyring, behind a time limit: find, keep and forget the login of one host.

The first rung of `ladder`, and where `login` keeps what it was given. Every call is a child process (`keyring_process`)
that is killed with all its own when it takes too long, because keyrings ask questions on screens that nobody looks at.
The one thing to know: that the keyring is locked, or not there, is a state (`Availability`) with a remedy and not a
crash; whoever only looks for a login goes on without it.

An entry has the service `lfssync:HOST[:PORT]` and the login's user name; the name itself is kept beside it, see
`keyring_process`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lfssync.credentials import Credential, keyring_process
from lfssync.credentials.variables import keyring_phrase
from lfssync.errors import BlockedError
from lfssync.git.gitcommand import environment as clean_environment

TIMEOUT_S = 10.0
SOURCE = "keyring"
_ANSWER_BYTES_MAX = 1 << 20


class KeyringState(StrEnum):
    """How the keyring is."""

    READY = "ready"
    LOCKED = "locked"
    MISSING = "missing"
    SILENT = "silent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a keyring can be used, and what to do where it cannot.

    Args:
        state: How it is.
        backend: Which one, in words for people; empty when there is none.
        reason: What is the matter, in its own words.
    """

    state: KeyringState
    backend: str = ""
    reason: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether it answers."""
        return self.state is KeyringState.READY

    @property
    def message(self) -> str:
        """What is the matter, in one line."""
        name = f"the keyring ({self.backend})" if self.backend else "the keyring"
        return {
            KeyringState.READY: f"{name} answers",
            KeyringState.LOCKED: f"{name} is locked, and nobody answers its question for the password",
            KeyringState.MISSING: f"no keyring can be used: {self.reason}",
            KeyringState.SILENT: f"{name} gives no answer within {TIMEOUT_S:.0f} s",
            KeyringState.FAILED: f"{name} failed: {self.reason}",
        }[self.state]

    @property
    def remedy(self) -> str:
        """What to do about it, in one line; empty when nothing is the matter."""
        instead = "set LFSSYNC_TOKEN, or give the service a systemd credential named lfssync"
        if self.state is KeyringState.LOCKED and self.backend == keyring_process.FILE:
            return "put its password into KEYRING_PROPERTY_KEYRING_KEY or the systemd credential lfssync.keyring"
        return {
            KeyringState.READY: "",
            KeyringState.LOCKED: f"unlock it by logging in to the desktop, or {instead}",
            KeyringState.MISSING: f"install and start gnome-keyring in your session, or {instead}",
            KeyringState.SILENT: f"restart it, or {instead}",
            KeyringState.FAILED: f"see whether other programs can use it, or {instead}",
        }[self.state]

    def error(self) -> BlockedError:
        """The same as an error, for a command that cannot do without."""
        return BlockedError(self.message, self.remedy)


class KeyringError(Exception):
    """The keyring cannot be used now; `availability` says why."""

    def __init__(self, availability: Availability) -> None:
        super().__init__(availability.message)
        self.availability = availability


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keyring of the user that an environment belongs to.

    Args:
        environment: Usually `os.environ`: where the session bus is, and what opens an encrypted file.
        timeout_s: How long a call may take, in seconds.
    """

    environment: Mapping[str, str]
    timeout_s: float = TIMEOUT_S

    def find(self, host: str) -> Credential | None:
        """The login for a host, or None.

        Args:
            host: `HOST` or `HOST:PORT`.

        Raises:
            KeyringError: It cannot be used.
        """
        answer = self._require("find", host)
        return Credential(answer["username"], answer["secret"], SOURCE) if "secret" in answer else None

    def keep(self, host: str, credential: Credential) -> str:
        """Keep the login for a host in the place of the one that was there; gives the backend's name for people.

        Raises:
            KeyringError: It cannot be used.
        """
        answer = self._require("keep", host, username=credential.username, secret=credential.secret)
        return str(answer["backend"])

    def forget(self, host: str) -> bool:
        """Delete the login for a host; says whether there was one.

        Raises:
            KeyringError: It cannot be used.
        """
        return bool(self._require("forget", host).get("was_there"))

    def availability(self) -> Availability:
        """Whether it can be used from here, within the time limit."""
        return _availability(self._call({"action": "look"}))

    def _require(self, action: str, host: str, **more: str) -> dict[str, Any]:
        answer = self._call({"action": action, "service": f"lfssync:{host}"} | more)
        availability = _availability(answer)
        if not availability.is_usable:
            raise KeyringError(availability)
        return answer

    def _call(self, request: dict[str, str]) -> dict[str, Any]:
        """The child's last word; `silent` when it had none, and what it said on the way when it did not end."""
        variables = child_environment(self.environment)
        if _is_nowhere(variables):
            return {"state": KeyringState.MISSING, "reason": keyring_process.NO_BUS}
        # Only what an import needs: the folder that the caller stands in is not where to find code.
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        sent = json.dumps(request | {"phrase": keyring_phrase(self.environment), "path": path}).encode()
        with _child(variables) as child:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(sent)
                child.stdin.close()
            lines = _read(child, time.monotonic() + self.timeout_s).splitlines()
        try:
            answer = json.loads(lines[-1])
        except (IndexError, ValueError):
            return {"state": KeyringState.SILENT}
        return answer if isinstance(answer, dict) else {"state": KeyringState.SILENT}


def child_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a call: without tokens, without what chooses a backend, with a session bus if there is one.

    A service has `XDG_RUNTIME_DIR` and the user's bus in it, but often nothing that says so.
    """
    clean = clean_environment(inherited)
    kept = {name: value for name, value in clean.items() if not name.startswith(("KEYRING_", "PYTHON"))}
    runtime = inherited.get("XDG_RUNTIME_DIR", "")
    if not kept.get("DBUS_SESSION_BUS_ADDRESS") and os.path.isabs(runtime) and Path(runtime, "bus").is_socket():
        kept["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return kept


def _is_nowhere(variables: Mapping[str, str]) -> bool:
    """Whether a child with these variables would find no keyring: it need not look, which takes it 0.15 s."""
    home, bus = variables.get("HOME"), variables.get("DBUS_SESSION_BUS_ADDRESS")
    if sys.platform != "linux" or bus or not home:
        return False
    data = variables.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    return not os.path.exists(os.path.join("/", data, *keyring_process.FILE_PLACE))


def _availability(answer: Mapping[str, Any]) -> Availability:
    return Availability(KeyringState(answer["state"]), answer.get("backend", ""), answer.get("reason", ""))


@contextlib.contextmanager
def _child(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child process with pipes; leaving the block kills its group and reaps it."""
    child = subprocess.Popen(
        [sys.executable, "-I", keyring_process.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()  # last: until then its number, and that of its group, belong to nobody else
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _read(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What a child says until it closes its pipe, or the time is over."""
    assert child.stdout is not None
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while len(said) < _ANSWER_BYTES_MAX and selector.select(max(0.0, deadline - time.monotonic())):
            block = os.read(child.stdout.fileno(), 1 << 16)
            if not block:
                break
            said += block
    return said
