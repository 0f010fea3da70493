"""People on the tests' own machine (`box`), with lfssync installed as the README says.

The one thing to know: lfssync is installed there from a wheel that is built of this tree, and not from the tree itself;
only what it depends on comes from the environment of the tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.box import ROOT, Box, wait_for

PROGRAMS = Path("/opt/pipx/venvs/lfssync")
SYSTEM_PROGRAM = Path("/usr/local/bin/lfssync")
UNIT = "lfssync.service"


def install(box: Box, folder: Path) -> None:
    """Build a wheel of this tree in a folder, and install it in the box for everybody."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = folder.glob("*.whl")
    there = Path("/opt", wheel.name)
    box.path(there).write_bytes(wheel.read_bytes())
    box.run(f"{sys.base_prefix}/bin/python3", "-m", "venv", "--without-pip", PROGRAMS)
    pip = (sys.executable, "-m", "pip", "--python", PROGRAMS / "bin" / "python", "install")
    box.run(*pip, "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", there)
    packages = box.run("sh", "-c", f"echo {PROGRAMS}/lib/python3*/site-packages").strip()
    box.path(packages).joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    box.run("ln", "-s", PROGRAMS / "bin" / "lfssync", SYSTEM_PROGRAM)


@dataclass(frozen=True)
class Person:
    """A user of the box who has logged in once.

    Args:
        box: The machine.
        name: Who.
    """

    box: Box
    name: str

    @property
    def home(self) -> Path:
        """Their home, as they see it."""
        return Path("/home", self.name)

    @property
    def program(self) -> Path:
        """Where pipx has put lfssync for them."""
        return self.home / ".local" / "bin" / "lfssync"

    def call(self, *words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as them."""
        return self.box.call(*words, user=self.name, given=given)

    def run(self, *words: str | Path, given: str = "") -> str:
        """The same for a command that must succeed."""
        return self.box.run(*words, user=self.name, given=given)

    def lfssync(self, *words: str | Path, given: str = "") -> str:
        """Run an lfssync command that must succeed."""
        return self.run(self.program, *words, given=given)

    def write(self, path: Path, text: str) -> None:
        """Write a file of theirs."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat > "$0"', path, given=text)

    def read(self, path: Path) -> str:
        """Read a file of theirs."""
        return self.run("cat", path)

    def shown(self, *names: str, unit: str = UNIT) -> dict[str, str]:
        """What systemd shows about the service."""
        said = self.run("systemctl", "--user", "show", *(f"--property={name}" for name in names), unit)
        return dict(line.split("=", 1) for line in said.splitlines())

    def pid(self) -> int:
        """The number of the daemon in the box, or 0."""
        return int(self.shown("MainPID")["MainPID"])

    def drop_in(self, text: str, unit: str = UNIT) -> None:
        """Change the unit the way users are told to."""
        self.write(self.home / ".config" / "systemd" / "user" / f"{unit}.d" / "override.conf", text)
        self.run("systemctl", "--user", "daemon-reload")

    def status(self) -> dict[str, Any]:
        """What `lfssync status --json` says."""
        document = json.loads(self.lfssync("status", "--json"))
        assert isinstance(document, dict)
        return document

    def arrives(self, remote: Path, path: str, text: str) -> None:
        """Wait until a file has a content on the branch main of a bare repository."""
        wait_for(lambda: self.is_there(remote, path, text), f"{path} in {remote}")

    def is_there(self, remote: Path, path: str, text: str) -> bool:
        """Whether it has."""
        done = self.call("git", "-C", remote, "cat-file", "blob", f"main:{path}")
        return done.returncode == 0 and done.stdout == text

    def journal(self, *words: str) -> list[dict[str, Any]]:
        """Entries of the service in the journal, oldest first."""
        said = self.box.run("journalctl", f"_SYSTEMD_USER_UNIT={UNIT}", f"_UID={self.uid()}", "-o", "json", *words)
        return [json.loads(line) for line in said.splitlines()]

    def uid(self) -> int:
        """Their number."""
        return int(self.run("id", "-u"))


@contextmanager
def somebody(box: Box, name: str, *, lingers: bool = True) -> Iterator[Person]:
    """Somebody new, who has lfssync and a service manager that runs; nothing of theirs runs when the block is left."""
    box.run("useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", name)
    person = Person(box, name)
    person.run("sh", "-c", f"mkdir -p .local/bin && ln -s {PROGRAMS}/bin/lfssync .local/bin")
    if lingers:
        box.run("loginctl", "enable-linger", name)
        wait_for(lambda: box.path(f"/run/user/{person.uid()}/systemd/private").exists(), "their service manager")
    try:
        yield person
    finally:
        box.call("loginctl", "disable-linger", name)
        box.call("systemctl", "stop", f"user@{person.uid()}.service")


def as_root(box: Box, *words: str) -> str:
    """Run an lfssync command as root that must succeed."""
    return box.run(SYSTEM_PROGRAM, *words)


def python(box: Box, code: str, unit: str) -> None:
    """Run Python of the tests in the box, as a service, until the box ends or that is stopped."""
    service = ("systemd-run", "--quiet", f"--unit={unit}", "--collect", f"--working-directory={ROOT}")
    box.run(*service, sys.executable, "-c", code)


GIT_HOST = """
import signal, sys
from pathlib import Path
from tests import host
with host.serve(Path("/srv/git")) as address:
    Path("/run/git-host").write_text(address)
    signal.pause()
"""


def git_host(box: Box, *repositories: str) -> str:
    """Serve bare repositories over HTTP to who has the login of `tests.host`; gives the host's address."""
    for name in repositories:
        box.run("git", "init", "--quiet", "--bare", "--initial-branch=main", f"/srv/git/{name}.git")
    python(box, GIT_HOST, "git-host")
    place = box.path("/run/git-host")
    wait_for(lambda: place.exists() and place.read_text(), "the git host")
    return place.read_text()
