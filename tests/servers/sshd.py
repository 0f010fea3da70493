"""OpenSSH's own server on the loopback, which lets a client do what a git host lets it do, and nothing else.

It knows one user, the one who runs the tests, by a key of its own, and every command goes through `forced.py`: git's
two, below one folder, and `git-lfs-authenticate`, whose answer a test sets. The one thing to know: a server process is
started for each connection, as inetd does it, so the port is ours from the start, and nothing is left to guess.

Source: sshd(8), sshd_config(5).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOOK_S = 0.02
_GRACE_S = 5.0
_FORCED = Path(__file__).with_name("forced.py")


@dataclass
class Sshd:
    """A running server.

    Args:
        port: Where it listens on 127.0.0.1.
        root: The folder with the bare repositories, named like `me/model.git`.
        folder: Its private folder.
    """

    port: int
    root: Path
    folder: Path

    @property
    def user(self) -> str:
        """The one user that it knows."""
        return pwd.getpwuid(os.getuid()).pw_name

    def url(self, repository: str) -> str:
        """A repository's address as a URL."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}/{repository}"

    def scp(self, repository: str) -> str:
        """The same in the short form, which has no room for the port: `command` brings it along."""
        return f"{self.user}@127.0.0.1:{repository}"

    @property
    def command(self) -> str:
        """What a client's `GIT_SSH_COMMAND` or `core.sshCommand` must be: the key, the known host, the port."""
        options = {
            "IdentityFile": self.folder / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
            "Port": self.port,
        }
        words = ["ssh", "-F", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
        return shlex.join(words)

    @property
    def asked(self) -> list[str]:
        """The commands that clients gave, in order."""
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def answer(
        self,
        document: Mapping[str, Any] | str = "{}",
        *,
        status: int = 0,
        stderr: str = "",
        hangs: bool = False,
        has_lfs_transfer: bool = False,
    ) -> None:
        """Say what `git-lfs-authenticate` answers from now on.

        Args:
            document: Its standard output: JSON, or any text.
            status: Its exit status; 127 is that of a command that does not exist.
            stderr: What it says to people.
            hangs: Whether it answers nothing, and does not end.
            has_lfs_transfer: Whether the server also speaks LFS over ssh itself, at least its first line.
        """
        settings = {
            "stdout": document if isinstance(document, str) else json.dumps(document),
            "status": status,
            "stderr": stderr,
            "hangs": hangs,
            "has_lfs_transfer": has_lfs_transfer,
            "root": str(self.root),
            "home": os.environ["HOME"],
            "log": str(self.folder / "asked"),
        }
        fresh = self.folder / "settings.new"
        fresh.write_text(json.dumps(settings))
        fresh.rename(self.folder / "settings")


@contextmanager
def sshd(folder: Path, root: Path) -> Iterator[Sshd]:
    """Let a server answer until the block ends.

    Args:
        folder: Its private folder, which is made.
        root: The folder with the bare repositories.
    """
    folder.mkdir(parents=True)
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "sshd is not installed; run make venv"
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(
            mode=0o755, exist_ok=True
        )  # its privileges are dropped there; packages leave that to init
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Sshd(listener.getsockname()[1], root, folder)
        _write_keys(server)
        _configure(server)
        server.answer()
        with _accepting(listener, [program, "-i", "-e", "-f", str(folder / "sshd_config")], folder / "log"):
            yield server


def _write_keys(server: Sshd) -> None:
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(server.folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    shutil.copyfile(server.folder / "user_key.pub", server.folder / "authorized_keys")
    key = (server.folder / "host_key.pub").read_text()
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {key}")


def _configure(server: Sshd) -> None:
    forced = shlex.join([sys.executable, "-I", "-S", str(_FORCED), str(server.folder / "settings")])
    (server.folder / "sshd_config").write_text(
        f"""\
HostKey {server.folder}/host_key
AuthorizedKeysFile {server.folder}/authorized_keys
ForceCommand {forced}
AcceptEnv GIT_PROTOCOL
AuthenticationMethods publickey
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PidFile none
AllowTcpForwarding no
"""
    )


@contextmanager
def _accepting(listener: socket.socket, command: list[str], log: Path) -> Iterator[None]:
    """Start a process for each connection, and end and reap them all with the block."""
    ended = threading.Event()
    sessions: list[subprocess.Popen[bytes]] = []
    listener.settimeout(_LOOK_S)

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection = listener.accept()[0]
                connection.setblocking(True)
                with connection, open(log, "ab") as said:
                    wire = connection.fileno()
                    session = subprocess.Popen(command, stdin=wire, stdout=wire, stderr=said, start_new_session=True)
                    sessions.append(session)
            for session in sessions:
                session.poll()

    thread = threading.Thread(target=accept, name="sshd")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for session in sessions:
            _end(session)


def _end(session: subprocess.Popen[bytes]) -> None:
    if session.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session.pid, signal.SIGTERM)
    try:
        session.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()
