"""Where everything of lfssync's own lies on disk, and what a mirror may be called.

Stands below the whole line: every other module is told its files by a `Places` value and reads no environment itself.
A mirror's name is here because it *is* a path component: of its state folder and of its embedded remote.
The one thing to know: nothing here looks at the disk, so a place that is named need not exist.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lfssync.errors import UserError
from lfssync.rules.remotes import HUB, hub_endpoint

NAME_CHARACTERS_MAX = 100
"""Longest name of a mirror."""

SOCKET_BYTES_MAX = 107
"""Longest path of a unix socket: 108 bytes with the closing NUL. Source: unix(7)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LOOKS_ESCAPED = re.compile(rb"_0x[0-9a-f]{2}")
_LOOKS_ESCAPED_FIRST = re.compile(rb"0x[0-9a-f]{2}")


class Places(NamedTuple):
    """The files and folders of one lfssync installation; all absolute.

    Args:
        config_file: The configuration, `config.toml`.
        state_dir: What can be rebuilt: working copies and observations.
        data_dir: What must be kept: the embedded remotes.
        runtime_dir: What ends with the daemon: the control socket. Mode 0700, which whoever makes it sees to.
        home: What `~` stands for.
        hub: What `hf:` stands for.
    """

    config_file: Path
    state_dir: Path
    data_dir: Path
    runtime_dir: Path
    home: Path
    hub: str = HUB

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], config: str | os.PathLike[str] | None = None) -> Places:
        """The places that the environment names.

        `XDG_*` values that are empty or relative are ignored; `LFSSYNC_*` values and `config` may be relative to the
        current folder or start with `~/`, and are ignored when empty.

        Args:
            environ: HOME, HF_ENDPOINT, LFSSYNC_CONFIG, LFSSYNC_STATE_DIR, XDG_CONFIG_HOME, XDG_STATE_HOME,
                XDG_DATA_HOME and XDG_RUNTIME_DIR count.
            config: The configuration file named on the command line; it beats LFSSYNC_CONFIG.

        Raises:
            UserError: HOME is not an absolute path.

        Source: XDG Base Directory Specification 0.8.
        """
        if not os.path.isabs(environ.get("HOME", "")):
            raise UserError("HOME is not set to an absolute path", "set HOME to your home folder")
        home = Path(environ["HOME"])

        def base(variable: str, default: Path) -> Path:
            value = environ.get(variable, "")
            return Path(value) if os.path.isabs(value) else default

        def given(value: str) -> Path:
            return home / value[2:] if value.startswith("~/") else Path(os.path.abspath(value))

        config_text = os.fspath(config) if config is not None else environ.get("LFSSYNC_CONFIG", "")
        state_text = environ.get("LFSSYNC_STATE_DIR", "")
        state_dir = given(state_text) if state_text else base("XDG_STATE_HOME", home / ".local/state") / "lfssync"
        runtime_base = base("XDG_RUNTIME_DIR", Path())
        return cls(
            config_file=given(config_text)
            if config_text
            else base("XDG_CONFIG_HOME", home / ".config") / "lfssync" / "config.toml",
            state_dir=state_dir,
            data_dir=base("XDG_DATA_HOME", home / ".local/share") / "lfssync",
            runtime_dir=runtime_base / "lfssync" if runtime_base.is_absolute() else state_dir / "run",
            home=home,
            hub=hub_endpoint(environ),
        )

    def mirror_state(self, name: str) -> Path:
        """The folder of one mirror's state.

        Raises:
            UserError: No mirror can have that name; so no name leads out of the state folder.
        """
        return self.state_dir / "mirrors" / check_name(name)

    def embedded_remote(self, name: str) -> Path:
        """The bare repository of a mirror for which no remote was named.

        Raises:
            UserError: No mirror can have that name.
        """
        return self.data_dir / "remotes" / f"{check_name(name)}.git"

    def without_runtime_dir(self) -> Places:
        """The same as a process has them that was given no XDG_RUNTIME_DIR."""
        return self._replace(runtime_dir=self.state_dir / "run")

    @property
    def control_socket(self) -> Path:
        """The daemon's unix socket: `control.sock` in `runtime_dir`.

        Where that is longer than a unix socket's path may be, it is in a folder below `/tmp` that is named after the
        user and `runtime_dir`, so that daemon and command line agree on it without a word. `/tmp` is everybody's:
        whoever binds or connects must see to it that the folder is the user's own, and 0700.
        """
        path = self.runtime_dir / "control.sock"
        if len(os.fsencode(path)) <= SOCKET_BYTES_MAX:
            return path
        return Path(f"/tmp/lfssync-{os.getuid()}-{_digest(os.fsencode(self.runtime_dir))[:16]}/control.sock")  # noqa: S108 (checked as described above)


def check_name(name: str) -> str:
    """The name of a mirror, unchanged.

    Raises:
        UserError: It has other characters than letters, digits, `.`, `_` and `-`, does not start with a letter or a
            digit, or is longer than 100 characters.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of a mirror",
            "use letters, digits, '.', '_' and '-', and a letter or a digit first"
            + (f", such as {mirror_name(name)!r}" if name else ""),
        )
    if len(name) > NAME_CHARACTERS_MAX:
        raise UserError(f"the name {name!r} is too long", f"use at most {NAME_CHARACTERS_MAX} characters")
    return name


def mirror_name(folder_name: str) -> str:
    """A valid name for a mirror, made from any folder name: two folder names never give the same.

    Ordinary names stay as they are. Every other byte becomes `_0x` and two hex digits (`my model` becomes
    `my_0x20model`), without the `_` where it would come first; so does the first byte of what looks like such an escape
    already. What is too long then is cut and ends in `_0x00` (a byte that no folder name has) and 32 digits of the
    folder name's sha256.

    Args:
        folder_name: A folder name or relative path as `os.fsdecode` gives it; not empty.
    """
    raw = os.fsencode(folder_name)
    parts = []
    for position, byte in enumerate(raw):
        looks_escaped = _LOOKS_ESCAPED if position else _LOOKS_ESCAPED_FIRST
        plain = byte in _PLAIN_BYTES and not looks_escaped.match(raw, position)
        if position == 0:
            parts.append(chr(byte) if plain and chr(byte).isalnum() else f"0x{byte:02x}")
        else:
            parts.append(chr(byte) if plain else f"_0x{byte:02x}")
    name = "".join(parts)
    if len(name) <= NAME_CHARACTERS_MAX:
        return name
    ending = f"_0x00{_digest(raw)[:32]}"
    return name[: NAME_CHARACTERS_MAX - len(ending)] + ending


def _digest(raw: bytes) -> str:
    import hashlib  # loads OpenSSL, which an ordinary start has no need of

    return hashlib.sha256(raw).hexdigest()


class PipeError(OSError):
    """What should be a file is something that would keep its reader waiting."""


def without_waiting(path: str, flags: int) -> int:
    """Opens a file for `open`; what has no end by itself, such as a pipe, is refused instead of waited for.

    Raises:
        PipeError: It is a pipe or a socket.
        OSError: It cannot be opened.
    """
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise PipeError(errno.EINVAL, "it is a pipe and no file", path)
    return fd
