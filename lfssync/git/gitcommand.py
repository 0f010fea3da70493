"""The one door to the git program: a clean environment, a time limit, a process group, and errors in our own words.

Stands below `repository` and `delivery`; nobody else starts git. GitPython reads history for us (`history`), but its
`Git.execute` keeps the whole inherited environment and cannot end a group of children, so commands go through here.
The one thing to know: the environment is built from an allow-list of `GIT_*` names and never carries a token, and every
call names its git dir, so that no variable, hook or file of the mirrored directory decides what is run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lfssync.credentials import Credentials, nobody
from lfssync.credentials.passing import explained, is_on_web, named_beside, with_logins
from lfssync.errors import NetworkError, StoppedError, TransientError, UserError
from lfssync.git import asked
from lfssync.git.addresses import Setting, fetched_from, last_value
from lfssync.git.giterrors import explain
from lfssync.git.leash import leash

LOCAL_TIMEOUT_S = 900.0
NETWORK_TIMEOUT_S = 6 * 3600.0
"""A first push of a long plain history may take hours; a stalled one ends earlier by the low-speed limits below."""

_INHERITED_GIT = re.compile(
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|SSL_\w+|HTTP_\w+|PROXY_SSL_\w+|EXEC_PATH|CONFIG_GLOBAL|CONFIG_SYSTEM|CONFIG_NOSYSTEM)"
)
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSPHRASE|PASSW(OR)?D|_PASS$|(API|AUTH|ACCESS|PRIVATE|ENCRYPTION)_?KEY|(^|_)PAT$", re.IGNORECASE
)
"""Names of variables that hold secrets. A credential helper that wants one finds it in its own file or keyring."""

_PINNED = (
    "core.hooksPath=/dev/null",  # nothing planted runs, and the order of secure and push is ours
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.quotePath=false",
    "core.fsync=committed,reference",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "push.followTags=false",
    "push.gpgSign=false",
    "push.recurseSubmodules=no",
    "fetch.recurseSubmodules=false",
    "fetch.prune=false",
    "fetch.pruneTags=false",
    "protocol.ext.allow=never",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=300",  # a host may think about a large push for minutes, with next to nothing on the wire
)
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15"
"""Never asks, and notices a dead connection."""

_QUICK = frozenset({"config", "for-each-ref", "rev-parse", "symbolic-ref", "update-ref", "merge-base", "mktag"})
"""What asks or tells the git dir alone and is over in milliseconds, of which a leash would be a third."""

_LOOK_S = 0.25
"""So often a running command looks whether it shall stop, in seconds."""

_GRACE_S = 5.0
"""So long a command may take to put its temporary files away when it is ended, in seconds."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a git command answered: its exit status, raw standard output, and standard error as text."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as one stripped line of text."""
        return self.stdout.decode("utf-8", "replace").strip()


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: the user's own, without stray `GIT_*` settings and without tokens.

    Args:
        inherited: Usually `os.environ`.

    Returns:
        A new mapping. Prompts are off, transports are limited to an allow-list, messages are untranslated.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if not _SECRET.search(name) and (not name.startswith("GIT_") or _INHERITED_GIT.fullmatch(name))
    }
    return kept | {
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
        "GIT_ASKPASS": "",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_LFS_SKIP_PUSH": "1",
        "SSH_ASKPASS_REQUIRE": "never",
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "C",
    }


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Make `os.environ` what a child may see, for a library that hands all of it to git; for commands of one thread."""
    before = dict(os.environ)
    after = environment(before)
    try:
        for name in before.keys() - after.keys():
            del os.environ[name]
        os.environ.update(after)
        yield
    finally:
        for name in after.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git on one git dir.

    Args:
        git_dir: Absolute path of the git dir.
        object_dir: Where objects live instead of `git_dir/objects`, or None (used when the mirrored directory is a
            working copy: its objects, but our configuration).
        stop: When set, running children are ended and `TransientError` is raised.
        login: Who knows the login for a remote; without one, git asks its own credential helpers.
    """

    git_dir: Path
    object_dir: Path | None = None
    stop: threading.Event | None = None
    login: Credentials = field(default_factory=nobody)
    _settings: list[Setting] = field(default_factory=list, init=False, repr=False, compare=False)

    def settings(self) -> Sequence[Setting]:
        """What git's configuration says here, our own pinned settings included."""
        if not self._settings:
            question = ("config", "--list", "--show-scope", "--show-origin", "-z")
            known = asked.settings(self.git_dir, lambda: self.run(*question).stdout, environment(os.environ))
            self._settings.extend(known)
        return self._settings

    def run(
        self,
        *arguments: str | bytes,
        given: bytes | None = None,
        extra: Mapping[str, str] | None = None,
        timeout_s: float = LOCAL_TIMEOUT_S,
        accept: Sequence[int] = (0,),
        remote: str = "",
        stdout: int = subprocess.PIPE,
        before: Sequence[str] = (),
    ) -> Output:
        """Run one git command to its end.

        Args:
            arguments: What stands after `git`.
            given: Bytes for standard input.
            extra: More environment variables.
            timeout_s: Seconds until the whole process group is ended.
            accept: Exit statuses that are answers and not failures.
            remote: Who the command talks to: decides how ssh is called, and tells in an error.
            stdout: An open descriptor for standard output, which is then not in the answer.
            before: What stands before `git`, such as `nice`.

        Raises:
            LfssyncError: Of the kind that git's own words tell (see `explain`).
        """
        is_elsewhere = bool(remote) and not remote.startswith("/")
        variables = (ssh_variables(self.settings()) if is_elsewhere else {}) | dict(extra or {})
        held = () if not remote and _name(arguments) in _QUICK else leash()

        def run_once(settings: Sequence[str], fds: Sequence[int]) -> Output:
            with (
                _input(given) as stdin,
                self.start(
                    *settings,
                    *arguments,
                    extra=variables,
                    stdin=stdin,
                    stdout=stdout,
                    fds=fds,
                    before=(*held, *before),
                ) as child,
            ):
                answer, stderr = _communicate(child, timeout_s, self.stop)
            return Output(child.returncode, answer or b"", stderr.decode("utf-8", "replace"))

        if is_on_web(remote):  # where git goes for it (`url.<base>.insteadOf`) is where it asks for a login
            real = fetched_from(remote, self.settings())
            output = with_logins(self.login, real, named_beside(real, arguments), run_once)
        else:
            output = run_once((), ())
        if output.status not in accept:
            raise explained(explain(_name(arguments), output.status, output.stderr, remote), self.login, remote)
        return output

    @contextlib.contextmanager
    def start(
        self,
        *arguments: str | bytes,
        extra: Mapping[str, str] | None = None,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        fds: Sequence[int] = (),
        before: Sequence[str] = (),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command with pipes, and open descriptors to inherit; leaving the block ends its process group."""
        variables = environment(os.environ) | dict(extra or {})
        if self.object_dir is not None:
            variables["GIT_OBJECT_DIRECTORY"] = str(self.object_dir)
        settings = [word for setting in _PINNED for word in ("-c", setting)]
        command = [*before, "git", *settings, f"--git-dir={self.git_dir}", *arguments]
        try:
            child = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=variables,
                cwd=empty_folder(),
                start_new_session=True,
                pass_fds=fds,
            )
        except FileNotFoundError:
            raise not_installed("git") from None
        except OSError as error:
            raise TransientError(f"git could not be started: {error.strerror}", "it is tried again") from error
        try:
            yield child
        finally:
            _end(child)


def _name(arguments: Sequence[str | bytes]) -> str:
    """The command among git's arguments, which options of git itself may stand before: `lfs push`, `ls-remote`."""
    words = [os.fsdecode(word) for word in arguments]
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] == "-c" else 1
    return " ".join(words[at : at + (2 if words[at : at + 1] == ["lfs"] else 1)])


def ssh_variables(settings: Sequence[Setting]) -> dict[str, str]:
    """How git and git-lfs shall call ssh, unless the user has told git already."""
    variables = environment(os.environ)
    if "GIT_SSH_COMMAND" in variables or "GIT_SSH" in variables or last_value(settings, "core.sshcommand"):
        return {}
    return {"GIT_SSH_COMMAND": _SSH}


def run_child(
    name: str, command: Sequence[str], variables: Mapping[str, str], timeout_s: float, stop: threading.Event | None
) -> Output:
    """Run another program for git, such as ssh, under the same rules; any exit status is an answer.

    Args:
        name: What it is called in messages.
        command: The program and its arguments.
        variables: Its whole environment; see `environment`.
        timeout_s: Seconds until its process group is ended.
        stop: When set, it is ended at once.

    Raises:
        TransientError: It could not be started, took too long, or was stopped.
    """
    try:
        child = subprocess.Popen(
            [*leash(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            cwd=empty_folder(),
            start_new_session=True,
        )
    except OSError as error:
        raise TransientError(f"{name} could not be started: {error.strerror}", f"install {name}") from error
    try:
        answer, stderr = _communicate(child, timeout_s, stop, name)
    finally:
        _end(child)
    return Output(child.returncode, answer or b"", stderr.decode("utf-8", "replace"))


@contextlib.contextmanager
def _input(given: bytes | None) -> Iterator[int]:
    """Standard input for a child: a file in memory, because `communicate` forgets its input at a time-out."""
    if given is None:
        yield subprocess.DEVNULL
        return
    with open(os.memfd_create("input"), "w+b") as file:
        file.write(given)
        file.seek(0)
        yield file.fileno()


def _communicate(
    child: subprocess.Popen[bytes], timeout_s: float, stop: threading.Event | None, name: str = "git"
) -> tuple[bytes | None, bytes]:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return child.communicate(timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                raise StoppedError(f"{name} was done") from None
            if time.monotonic() > deadline:
                raise NetworkError(f"{name} gave no answer within {timeout_s:.0f} s", "it is tried again") from None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what is left of a child's process group, reap it, close its pipes.

    The child is reaped last: until then its number cannot be given to another process, so the signals meet nobody else.
    """
    if child.returncode is None:
        _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.01)
        _signal_group(child, signal.SIGKILL)  # helpers of git that outlived it
        child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _signal_group(child: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signum)


@functools.cache
def empty_folder() -> str:
    """Children run here, so that no file of the caller's current directory is ever found by a relative name."""
    return "/" if os.access("/", os.X_OK) else tempfile.gettempdir()


def not_installed(package: str) -> UserError:
    """What to say about a program that is missing."""
    return UserError(f"{package} is not installed", f"install it, on Debian: apt-get install {package}")
