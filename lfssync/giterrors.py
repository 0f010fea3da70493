"""What git says when it fails, in our own kinds of error.

Used by `gitcommand`, `fastimport` and `delivery`. The one thing to know: git has no error numbers, only words;
children run untranslated (`LC_ALL=C.UTF-8`) so that these patterns hold, and the first that matches decides, so the
narrow come first.
"""

from __future__ import annotations

import re

from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError, UserError

_CLASSES: tuple[tuple[str, type[LfssyncError], str], ...] = (
    (
        r"could not read (Username|Password)|Authentication failed|Invalid username or password|"
        r"HTTP Basic: Access denied|Permission denied \(|returned error: 401|terminal prompts disabled|Host key verification failed",
        AuthError,
        "give git credentials for this remote (a credential helper or an ssh key the agent knows)",
    ),
    (
        r"returned error: 403|Permission to .* denied|not allowed to push",
        AuthError,
        "use an account that may write there",
    ),
    (
        r"does not appear to be a git repository|repository '.*' not found|Repository not found|returned error: 404|"
        r"No such file or directory.*\n?.*Could not read from remote",
        BlockedError,
        "check the address, create the repository, or point the mirror elsewhere",
    ),
    (
        r"Could not resolve|Connection (refused|reset|timed out)|Failed to connect|timed out|early EOF|hung up|RPC failed|"
        r"returned error: (408|429|5\d\d)|Network is unreachable|Could not read from remote|unable to access|"
        r"Operation too slow",
        TransientError,
        "the network or the host is out of reach; it is tried again",
    ),
    (r"detected dubious ownership", UserError, "let git trust it: git config --global --add safe.directory DIR"),
    (
        r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|Cannot allocate memory|"
        r"Too many open files|Resource temporarily unavailable|Permission denied|unable to create temporary file",
        TransientError,
        "free disk space or mend the permissions of lfssync's state folder; it is tried again",
    ),
    (r"\.lock'?: File exists", TransientError, "another git command is at work there; it is tried again"),
)


def explain(command: str, status: int, stderr: str, remote: str = "") -> LfssyncError:
    """Translate a failed git command into one of our errors, by git's own (untranslated) words.

    Args:
        command: The git command, for the message.
        status: Its exit status.
        stderr: What it said, untranslated.
        remote: Who it talked to, if anybody.
    """
    where = f" at {remote}" if remote else ""
    words = last_words(stderr) or f"exit status {status}"
    for pattern, kind, remedy in _CLASSES:
        if re.search(pattern, stderr):
            return kind(f"git {command}{where}: {words}", remedy)
    return LfssyncError(f"git {command}{where}: {words}", "see what git says there")


def last_words(stderr: str) -> str:
    """The most telling line of git's standard error: the last `fatal:` or `error:`, else the last one of all."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: error", "ERROR:"))]
    return (telling or lines or [""])[0 if telling else -1].removeprefix("fatal: ").removeprefix("error: ")
