"""What an ssh client may do on the server of `sshd.py`, which runs this for every command: a program of its own.

Knows the standard library only, and starts in a few milliseconds. Its one argument is the file with its settings.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import sys
from pathlib import Path
from typing import Any

_HANG_S = 120.0


def main() -> int:
    settings = json.loads(Path(sys.argv[1]).read_text())
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    with open(settings["log"], "a") as log:
        log.write(f"{command}\n")
    words = shlex.split(command)
    match words:
        case ["git-upload-pack" | "git-receive-pack" as program, path]:
            return _git(program, path, settings)
        case ["git", "upload-pack" | "receive-pack" as name, path]:
            return _git(f"git-{name}", path, settings)
        case ["git-lfs-authenticate", _, "upload" | "download"]:
            return _authenticate(settings)
        case ["git-lfs-transfer", _, "upload" | "download"] if settings["has_lfs_transfer"]:
            sys.stdout.write("000eversion=1\n0000")
            sys.stdout.flush()
            sys.stdin.read()
            return 0
        case _:
            sys.stderr.write(f"{words[0] if words else 'shell'}: command not found\n")
            return 127


def _git(program: str, path: str, settings: dict[str, Any]) -> int:
    repository = Path(settings["root"]) / path.lstrip("/")
    variables = {"HOME": settings["home"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    os.execvpe(program.split("-", 1)[0], ["git", program.split("-", 1)[1], str(repository)], os.environ | variables)


def _authenticate(settings: dict[str, Any]) -> int:
    if settings["hangs"]:
        _wait_until_nobody_listens()
    sys.stderr.write(settings["stderr"])
    sys.stdout.write(settings["stdout"])
    return int(settings["status"])


def _wait_until_nobody_listens() -> None:
    poll = select.poll()
    poll.register(sys.stdout, 0)
    poll.poll(_HANG_S * 1000)


if __name__ == "__main__":
    sys.exit(main())
