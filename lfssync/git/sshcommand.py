"""How a command is run on a remote's host: with the very ssh that git itself would call for this remote.

Beside `gitcommand`, for `transfer.endpoint`. The one thing to know: what the user has told git about ssh (a program, a
key, a jump host) holds here, too, in git's own order; and the words of a command are quoted, because the shell on the
other side splits what ssh sends.

Source: git(1), GIT_SSH_COMMAND, GIT_SSH, GIT_SSH_VARIANT; git-config(1), core.sshCommand, ssh.variant.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lfssync.git.addresses import last_value
from lfssync.git.gitcommand import Git, Output, environment, run_child, ssh_variables
from lfssync.rules.remotes import Remote

ANSWER_TIMEOUT_S = 60.0

_PORT_OPTIONS = {"plink": ["-P"], "putty": ["-P"], "tortoiseplink": ["-batch", "-P"]}
"""Those that are not OpenSSH; its own option is `-p`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository as ssh reaches it.

    Args:
        login: `user@host`, or the host alone.
        port: As text, empty for ssh's own choice.
        path: What the host is asked for; with a leading `/` when the address was a URL.
    """

    login: str
    port: str
    path: str


def place_of(remote: Remote) -> Place:
    """Where an ssh remote is: `ssh://user@host:port/path` with its escapes undone, or `user@host:path`."""
    if not remote.url.startswith("ssh://"):
        user = remote.url.partition("@")[0]
        return Place(f"{user}@{remote.host}", "", remote.path)
    url = urlsplit(remote.url)
    user = f"{unquote(url.username)}@" if url.username else ""
    return Place(f"{user}{remote.host}", str(url.port or ""), unquote(url.path))


def ssh_words(
    place: Place, command: Sequence[str], variables: Mapping[str, str], configured: str = "", variant: str = ""
) -> list[str]:
    """The command line that runs a command there.

    Args:
        place: The host, the login and the port.
        command: The words to run on the other side.
        variables: The environment: `GIT_SSH_COMMAND`, `GIT_SSH` and `GIT_SSH_VARIANT` count.
        configured: git's `core.sshCommand`.
        variant: git's `ssh.variant`.
    """
    shell = variables.get("GIT_SSH_COMMAND") or configured
    program = shell or variables.get("GIT_SSH") or "ssh"
    kind = variables.get("GIT_SSH_VARIANT") or variant or _kind_of(program, is_shell=bool(shell))
    port = [*_PORT_OPTIONS.get(kind, ["-p"]), place.port] if place.port else []
    words = [*port, place.login, shlex.join(command)]
    return ["sh", "-c", f'{shell} "$@"', shell, *words] if shell else [program, *words]


def _kind_of(program: str, *, is_shell: bool) -> str:
    try:
        first = shlex.split(program)[0] if is_shell else program
    except (ValueError, IndexError):
        return "ssh"
    return os.path.basename(first).lower().removesuffix(".exe")


def run_there(place: Place, command: Sequence[str], git: Git) -> Output:
    """Run a command on a remote's host; any exit status is an answer.

    Args:
        place: Where.
        command: The words to run there.
        git: Its settings say how ssh is called, and its `stop` ends the wait.

    Raises:
        TransientError: No answer within a minute, or ssh could not be started.
    """
    settings = git.settings()
    variables = environment(os.environ) | ssh_variables(settings)
    configured, variant = last_value(settings, "core.sshcommand"), last_value(settings, "ssh.variant")
    words = ssh_words(place, command, variables, configured, variant)
    return run_child("ssh", words, variables, ANSWER_TIMEOUT_S, git.stop)
