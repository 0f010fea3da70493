"""Who mirrors the folder of a training: the user's daemon where one does, else a companion that is started for it.

Used by `session`, in its thread. The one thing to know: both are asked in the same way, over a socket; so what is not
answered any more is simply looked for anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lfssync.configuration import config, configedit, patterns
from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.integrations import companion
from lfssync.integrations.companion import LOG, places_in
from lfssync.model import Mirror, PassResult, silent
from lfssync.places import Places, mirror_name
from lfssync.records.roster import roster
from lfssync.rules.remotes import parse_remote
from lfssync.rules.told import Told
from lfssync.service.control import ask
from lfssync.service.executors import have_it_read
from lfssync.service.protocol import Document, pass_result

ANSWER_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.1
_END_TIMEOUT_S = 30.0
"""What a companion may take beyond its grace."""

_NOT_TOLD = frozenset({"path", "remote", "embedded", "min_interval", "rescan", "shutdown_grace"})


@dataclass
class Partner:
    """A daemon that mirrors a directory.

    Args:
        places: Where it listens.
        mirror: As what it does so.
        process: Its process, where it was started for this training.
    """

    places: Places
    mirror: Mirror
    process: subprocess.Popen[bytes] | None = None

    def tell(self, told: Told) -> None:
        """Hand on where the training stands."""
        self._ask({"command": "told", "mirror": self.mirror.name, "told": told.document()}, ANSWER_TIMEOUT_S)

    def sync(self, timeout_s: float) -> PassResult:
        """Have everything delivered that is complete.

        Args:
            timeout_s: How long that may take.
        """
        return pass_result(self._ask({"command": "sync", "mirror": self.mirror.name}, timeout_s))

    def trouble(self) -> str | None:
        """Why the mirror does not get on, in words for people, if it does not."""
        answer = self._ask({"command": "ping"}, ANSWER_TIMEOUT_S)
        error = answer["mirrors"].get(self.mirror.name, {}).get("error")
        return f"{error['message']}; {error['remedy']}" if error else None

    def _ask(self, request: Document, timeout_s: float) -> Document:
        answer = ask(self.places.control_socket, request, silent, timeout_s)
        if answer is None:
            raise GoneError(f"nobody mirrors {self.mirror.path} any more", "start lfssync run")
        return answer

    def end(self, grace_s: float) -> None:
        """End a companion, which delivers what is complete before; a user's daemon goes on.

        Args:
            grace_s: How long it may take to do so, in seconds.
        """
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(grace_s + _END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class GoneError(TransientError):
    """The daemon that was asked has ended."""


def find(places: Places, directory: Path, remote: str | None) -> Partner | None:
    """The running daemon that mirrors a directory, or a folder above it.

    Args:
        places: Those of the user.
        directory: The directory.
        remote: Where to; None for anywhere.

    Raises:
        UserError: The configuration or the remote is wrong.
    """
    mirror = configured(places, directory, remote)
    if mirror is None:
        return None
    told = have_it_read(places, places.config_file)
    return Partner(places, mirror) if told and told["same"] else None


def configured(places: Places, directory: Path, remote: str | None) -> Mirror | None:
    """The mirror of the user's configuration that a directory belongs to: the innermost one."""
    real = Path(os.path.realpath(directory))
    url = parse_remote(remote, places.home, places.hub).url if remote else None
    mirrors = [
        mirror
        for mirror in roster(config.load(places), places).mirrors
        if real.is_relative_to(os.path.realpath(mirror.path)) and url in (None, mirror.remote)
    ]
    return max(mirrors, key=lambda mirror: len(os.path.realpath(mirror.path)), default=None)


def start(places: Places, directory: Path, remote: str | None, keys: Mapping[str, str], grace_s: float) -> Partner:
    """Start a companion for a directory.

    Args:
        places: Those of the user.
        directory: The directory; made where it is not there yet.
        remote: Where to; None for where the user's configuration says.
        keys: More keys of a `[[mirror]]`.
        grace_s: How long it goes on at the end, in seconds.

    Raises:
        UserError: It is not said where to, or something is wrong about it.
        TransientError: It did not start.
    """
    table: dict[str, str | list[str]] = {"path": patterns.escape(str(directory)), **keys}
    if remote is not None:
        table["remote"] = remote
    elif mirror := configured(places, directory, None):
        table = {**_table(mirror), **keys}
    else:
        raise UserError(
            f"nobody mirrors {directory}",
            f"give the callback a remote, or: lfssync add {directory} REMOTE; lfssync run",
        )
    table["shutdown_grace"] = f"{max(grace_s, 1):.0f}s"
    folder = places.state_dir / "training" / mirror_name(str(directory).strip("/") or "root")
    own = places_in(folder, places)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own.config_file.unlink(missing_ok=True)
        configedit.add_mirror(own.config_file, table, own)
        [mirror] = config.load(own).mirrors
        process = _spawn(folder)
    except OSError as error:
        raise TransientError(
            f"{error.filename or folder}: {error.strerror}", "mend the disk or its permissions"
        ) from error
    started = Partner(own, mirror, process)
    try:
        _wait_for(started, folder)
    except BaseException:
        started.end(0)
        raise
    return started


def _table(mirror: Mirror) -> dict[str, str | list[str]]:
    """A mirror as the configuration says it, as far as it differs from the defaults."""
    table: dict[str, str | list[str]] = {"path": patterns.escape(str(mirror.path))}
    if not mirror.embedded:
        table["remote"] = mirror.remote
    defaults = Mirror._field_defaults
    for field, value in mirror._asdict().items():
        key = re.sub("_(s|bytes)$", "", field)
        if key in _NOT_TOLD or (field not in defaults and key != "name") or value == defaults.get(field):
            continue
        if isinstance(value, tuple):
            table[key] = list(value)
        elif isinstance(value, Enum):
            table[key] = str(value.value)
        elif field.endswith("_s"):
            table[key] = f"{value * 1000:.0f}ms"
        else:
            table[key] = str(value)
    return table


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process. It is out of reach of the Ctrl-C that is meant for the training."""
    package = Path(companion.__file__).parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    words = [sys.executable, "-P", "-m", "lfssync.integrations.companion", str(folder), str(os.getpid())]
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip


def _wait_for(started: Partner, folder: Path) -> None:
    assert started.process is not None
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and started.process.poll() is None:
        with contextlib.suppress(LfssyncError):
            answer = ask(started.places.control_socket, {"command": "ping"}, silent, ANSWER_TIMEOUT_S)
            if answer and answer.get("pid") == started.process.pid:
                return
        time.sleep(_LOOK_EVERY_S)
    last = (folder / LOG).read_text(errors="backslashreplace").strip().splitlines()[-1:]
    raise TransientError(
        f"the companion that mirrors {started.mirror.path} did not start: {''.join(last)}", f"see {folder / LOG}"
    )
