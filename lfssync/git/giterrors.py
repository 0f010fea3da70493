"""What git and git-lfs say when they fail, in our own kinds of error.

Used by `gitcommand`, `fastimport` and `delivery`. The one thing to know: git has no error numbers, only words;
children run untranslated (`LC_ALL=C.UTF-8`) so that these patterns hold, and the first that matches decides, so the
narrow come first.
"""

from __future__ import annotations

import re
import signal

from lfssync.credentials.answering import split
from lfssync.errors import AuthError, LfssyncError, NetworkError, RefusedError, TransientError, UserError

_CLASSES: tuple[tuple[str, type[LfssyncError], str], ...] = (
    (
        r"detected dubious ownership in repository at '(?P<folder>[^']*)'",
        UserError,
        "if you trust its owner: git config --global --add safe.directory '{folder}'",
    ),
    (
        r"transport '[^']*' not allowed|Unable to find remote helper|is not a git command|unknown repository extension",
        UserError,
        "see what git says there",
    ),
    (
        r"(returned error:|RPC failed; HTTP) 30[1278]",
        RefusedError,
        "it has moved: put its new address into the configuration",
    ),
    (
        r"Unsupported proxy|resolve proxy|from proxy|proxy CONNECT|to proxy",
        NetworkError,
        "check http.proxy in your git configuration, and the variables http_proxy and https_proxy",
    ),
    (
        r"could not read (Username|Password)|Authentication (failed|required)|Invalid username or password|"
        r"HTTP Basic: Access denied|Permission denied \(|returned error: 401|terminal prompts disabled|"
        r"Host key verification failed|Authorization error|Git credentials for \S+ not found",
        AuthError,
        "{login}",
    ),
    (
        r"returned error: 403|Permission to .* denied|not allowed to push|must have push access",
        AuthError,
        "use an account that may write there: {login}",
    ),
    (
        r"does not appear to be a git repository|repository '.*' not found|Repository (or object )?not found|"
        r"returned error: 404|No such file or directory.*\n?.*Could not read from remote",
        RefusedError,
        "check the address and its permissions, create the repository, or point the mirror elsewhere",
    ),
    (
        r"aborted by hook|hook declined",
        RefusedError,
        "see what the remote's hook says",
    ),
    (
        r"returned error: (413|507|509)|Insufficient Storage|over (its|your) (data )?quota|Bandwidth limit exceeded",
        RefusedError,
        "make room at the host, or mirror elsewhere",
    ),
    (
        r"returned error: (408|429|5\d\d)|RPC failed; HTTP (4|5)\d\d|Rate limit|Server error",
        TransientError,
        "check the network, and that the host is up",
    ),
    (
        r"Could not resolve|no such host|Connection (refused|reset|timed out|closed)|Failed to connect|timed out|"
        r"i/o timeout|early EOF|hung up|RPC failed|Network is unreachable|No route to host|Could not read from remote|"
        r"unable to access|Operation too slow",
        NetworkError,
        "check the network, and that the host is up",
    ),
    (
        r"reference broken|bad object refs/",
        LfssyncError,
        "lfssync makes its git dir anew from the remote and the directory",
    ),
    (
        r"\.lock'?: File exists|cannot lock ref '[^']*': (is at|reference already exists|unable to resolve)",
        TransientError,
        "another git command is at work there: let it finish",
    ),
    (
        r"No space left on device|Out of diskspace|Disk quota exceeded|Read-only file system|Input/output error|"
        r"Cannot allocate memory|Out of memory|Too many open files|Resource temporarily unavailable|Permission denied|"
        r"unable to create (temporary file|thread)|couldn't (write|close|set) '",
        TransientError,
        "free disk space or mend the permissions of lfssync's state folder",
    ),
)


_TELLING = ("fatal: ", "error: ", "remote: error", "ERROR: ", "ssh: ", "Host key verification failed")
_ADVICE = ("Errors logged to ", "Use `git lfs logs last`")


def explain(command: str, status: int, stderr: str, remote: str = "") -> LfssyncError:
    """Translate a failed git command into one of our errors, by git's own (untranslated) words.

    Args:
        command: The git command, for the message.
        status: Its exit status; below 0 the number of the signal that ended it.
        stderr: What it said, untranslated.
        remote: Who it talked to, if anybody.
    """
    where = f" at {remote}" if remote else ""
    words = telling_line(stderr) or f"exit status {status}"
    if remote:  # which is named already
        words = re.sub(rf"\s*(?:'{re.escape(remote)}/?'|{re.escape(remote)}/?(?=$|\s))", "", words).strip()
    for pattern, kind, remedy in _CLASSES:
        if found := re.search(pattern, stderr, re.IGNORECASE):
            told = found.groupdict() | {"login": login_remedy(remote)}
            return kind(f"git {command}{where}: {words}", remedy.format(**told))
    if status < 0:
        ended = f"git {command}{where} was ended by signal {-status} ({signal.strsignal(-status)})"
        return TransientError(ended, "see whether memory ran out")
    return LfssyncError(f"git {command}{where}: {words}", "see what git says there")


def login_remedy(remote: str) -> str:
    """What to do where a remote does not know us."""
    protocol, user, host, _ = split(remote)
    if protocol not in ("https", "http"):
        return "let your ssh agent hold a key that the host knows"
    return f"run lfssync login {host}" + (f" --username {user}" if user else "")


def telling_line(stderr: str) -> str:
    """The most telling line of git's standard error: the first that names an error, else the last one of all.

    What follows the first is what came of it: `Could not read from remote repository`, `failed to push some refs`.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(_ADVICE)]
    telling = [line for line in lines if line.startswith(_TELLING) or "Permission denied (" in line]
    return (telling or lines[-1:] or [""])[0].removeprefix("fatal: ").removeprefix("error: ")
