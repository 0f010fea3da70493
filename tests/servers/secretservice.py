"""A real Secret Service in a session of its own: a private D-Bus, and gnome-keyring on it, without a screen.

The bus is where a user session has it, at `$XDG_RUNTIME_DIR/bus`, and starts no program by itself but those of the
test. The one thing to know: gnome-keyring keeps its file below HOME, so a keyring that was made once is there, and
locked, when the service is started again without its password.

Source: gnome-keyring-daemon(1); dbus-daemon(1).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.children import running

PASSWORD = "keyring-password"

_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
_PROMPTER = "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\nExec=/bin/sleep 120\n"


@contextmanager
def session_bus(folder: Path) -> Iterator[str]:
    """A bus with nobody on it; gives its address. A question that is asked there is never answered.

    Args:
        folder: For configuration and log; made if need be.
    """
    services = folder / "services"
    services.mkdir(parents=True, exist_ok=True)
    (services / "prompter.service").write_text(_PROMPTER)
    socket = Path(os.environ["XDG_RUNTIME_DIR"]) / "bus"
    configuration = folder / "bus.conf"
    configuration.write_text(_CONFIGURATION.format(socket=socket, services=services))
    command = ["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", f"--config-file={configuration}"]
    try:
        with running(command, folder / "bus.log", socket.is_socket):
            yield f"unix:path={socket}"
    finally:
        socket.unlink(missing_ok=True)


@contextmanager
def secret_service(folder: Path) -> Iterator[str]:
    """A keyring that is open; gives the address of the bus that it is on."""
    (folder / "password").parent.mkdir(parents=True, exist_ok=True)
    (folder / "password").write_text(PASSWORD)
    with session_bus(folder) as address, _keyring(folder, address, f"--unlock <{folder}/password"):
        yield address


@contextmanager
def locked_secret_service(folder: Path) -> Iterator[str]:
    """A keyring that is locked; gives the address of the bus that it is on."""
    with secret_service(folder):
        pass
    with session_bus(folder) as address, _keyring(folder, address, "</dev/null"):
        yield address


@contextmanager
def mute_secret_service(folder: Path) -> Iterator[str]:
    """A keyring that was stopped in its tracks and answers nothing; gives the address of the bus that it is on."""
    with session_bus(folder) as address, _keyring(folder, address, "</dev/null") as child:
        os.kill(child.pid, signal.SIGSTOP)
        try:
            yield address
        finally:
            os.kill(child.pid, signal.SIGCONT)


@contextmanager
def _keyring(folder: Path, address: str, ending: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["sh", "-c", f"exec gnome-keyring-daemon --foreground --components=secrets {ending}"]
    variables = {"DBUS_SESSION_BUS_ADDRESS": address}
    with running(command, folder / "keyring.log", lambda: _has_keyring(address), variables) as child:
        yield child


def _has_keyring(address: str) -> bool:
    asked = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner"]
    done = subprocess.run(
        [
            "dbus-send",
            f"--bus={address}",
            "--print-reply",
            f"--dest={asked[0]}",
            *asked[1:],
            "string:org.freedesktop.secrets",
        ],
        capture_output=True,
        timeout=10,
        check=False,
    )
    return b"boolean true" in done.stdout
