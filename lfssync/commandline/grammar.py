"""The command line as data: every command with its group, its arguments and an example.

It stands in front of the line: `cli` builds the parsers and the help from this table, `completion` answers the shells
from it, so the three cannot disagree. The one thing to know: nothing is imported and nothing runs here; a command's
function is the one of the same name in `commands`.
"""

from __future__ import annotations

from lfssync.commandline.cardgrammar import CARD_COMMAND
from lfssync.commandline.syntax import (
    JSON,
    ONE_MIRROR,
    Argument,
    Command,
    Count,
    Values,
    mirror,
    option,
    switch,
)
from lfssync.commandline.versiongrammar import VERSION_COMMANDS

_MAYBE_HOST = Argument(
    ("host",), "hf, gh, gl or HOST[:PORT]; may be left out when all mirrors are on one host", "HOST", Count.AT_MOST_ONE
)
_CREATE = (
    switch("--create", help="create the repository on its host if it is missing; private unless --public"),
    switch("--public", help="let everybody read what --create makes"),
    option("--license", metavar="ID", help="licence of what --create makes, such as apache-2.0"),
)

GLOBAL_OPTIONS = (
    option("--config", metavar="FILE", values=Values.FILES, help="configuration file (or LFSSYNC_CONFIG)"),
    switch("-v", "--verbose", help="say on standard error what is being done"),
)
"""Options that may stand before and after the command."""

HELP_OPTION = switch("-h", "--help", help="show this help and exit")
VERSION_OPTION = switch("--version", help="show the version and exit")

COMMANDS = (
    Command(
        "add",
        "Mirror",
        "start mirroring a directory",
        "Checks that the directory can be read and the remote answers, and writes the mirror into the configuration.",
        (
            "lfssync add ~/outputs/my-model hf:me/my-model",
            "lfssync add ~/outputs/my-model            # to a local repository of its own",
            "lfssync add ~/outputs/my-model hf:me/my-model --create",
        ),
        (
            Argument(("directory",), "the directory to mirror; it is never modified", "DIR", values=Values.FOLDERS),
            Argument(
                ("remote",),
                "hf:, gh:, gl: shorthand, https:// or ssh:// address, host:path, or a bare repository's path; "
                "left out, an embedded local repository is used",
                "REMOTE",
                Count.AT_MOST_ONE,
                Values.FOLDERS,
            ),
            option("--name", metavar="NAME", help="what to call it (the directory's own name)"),
            option("--branch", metavar="BRANCH", help="branch on the remote (main)"),
            option("--quiet", metavar="TIME", help="commit once nothing has changed for so long (5s)"),
            option("--max-wait", metavar="TIME", help="but never later than this after the first change (5m)"),
            option("--into", metavar="PATH", help="sub-folder of the repository to put everything into"),
            *_CREATE,
        ),
    ),
    Command(
        "remove",
        "Mirror",
        "stop mirroring",
        "Takes the mirror out of the configuration. The directory and the remote stay as they are.",
        ("lfssync remove my-model",),
        (ONE_MIRROR, switch("--purge", help="delete what lfssync recorded about it, too")),
    ),
    Command(
        "list",
        "Mirror",
        "show the configured mirrors",
        "One line for every mirror: its name, its directory, its remote and branch.",
        ("lfssync list",),
        (JSON,),
    ),
    Command(
        "status",
        "Mirror",
        "show what each mirror does, and what to do about errors",
        "Says for each mirror what is pending, what waits and why, which commit is verified on the remote, "
        "what is wrong and what to do about it.",
        ("lfssync status", "lfssync status --watch       # until Ctrl-C"),
        (
            mirror(Count.AT_MOST_ONE, "show only this mirror"),
            JSON,
            switch("--watch", help="go on showing it until interrupted; without a terminal, a line for each change"),
        ),
    ),
    Command(
        "pause",
        "Mirror",
        "commit and send nothing for a time",
        "What changes meanwhile is taken when the mirror is resumed. The pause survives restarts, and what is under "
        "way is broken off. sync and tag still do what you ask for.",
        ("lfssync pause my-model --for 2h", "lfssync pause                     # all mirrors, until lfssync resume"),
        (
            mirror(Count.AT_MOST_ONE, "the mirror to pause (all)"),
            option("--for", metavar="TIME", help="end the pause by itself after so long (when it is resumed)"),
        ),
    ),
    Command(
        "resume",
        "Mirror",
        "end a pause",
        "Everything that changed during the pause is taken now.",
        ("lfssync resume my-model",),
        (mirror(Count.AT_MOST_ONE, "the mirror to resume (all)"),),
    ),
    Command(
        "doctor",
        "Mirror",
        "find everything that would fail later, with its remedy",
        "Tries what a pass needs, and changes nothing: programs, directories, disks, remotes, logins, LFS servers. "
        "Exits with 0 only if nothing would fail.",
        ("lfssync doctor my-model",),
        (mirror(Count.AT_MOST_ONE, "look at this mirror only (all)"), JSON),
    ),
    Command(
        "notify",
        "Mirror",
        "try out the notifications of the configuration",
        "Sends a test to everything that [[notify]] names, and says what came of it. No daemon is needed.",
        ("lfssync notify",),
        (),
    ),
    Command(
        "sync",
        "Deliver",
        "bring everything to the remote now",
        "One pass over each mirror, without waiting for the quiet time; returns when the remote is verified. "
        "Exits with 3 when files had to be left out because they are still being written.",
        ("lfssync sync my-model",),
        (
            mirror(Count.ANY, "the mirrors to bring up to date (all)"),
            switch("--accept-deletions", help="approve the deletions that a mirror is blocked on"),
            JSON,
        ),
    ),
    Command(
        "wait",
        "Deliver",
        "return once everything is verified on the remote",
        'Answers "may I shut down?": exits with 0 when it is all there, and with 3 when the time ran out before.',
        ("lfssync wait my-model --timeout 30m && sudo poweroff",),
        (
            mirror(Count.AT_MOST_ONE, "the mirror to wait for (all)"),
            option("--timeout", metavar="TIME", default="10m", help="how long to wait at most (10m)"),
        ),
    ),
    Command(
        "scrub",
        "Deliver",
        "look at all LFS objects on the remote, and mend them",
        "Asks the remote about every LFS object that its history names, and downloads a few to hash them; on a disk "
        "all are hashed. What is missing or damaged is sent again, when the directory or this machine still has it.",
        ("lfssync scrub my-model --sample 10", "lfssync scrub my-model --sample all"),
        (
            mirror(Count.AT_MOST_ONE, "the mirror whose remote to look at (all)"),
            option("--sample", metavar="COUNT", default="3", help="how many objects to download, or all (3)"),
            JSON,
        ),
    ),
    Command(
        "push",
        "Deliver",
        "deliver a directory once, nothing configured",
        "Commits the directory as it is, brings it to the remote and verifies it there.",
        ('lfssync push ./my-model hf:me/my-model -m "First weights" --tag v1.0.0',),
        (
            Argument(("directory",), "the directory to deliver", "DIR", values=Values.FOLDERS),
            Argument(("remote",), "where to: as for `lfssync add`", "REMOTE", values=Values.FOLDERS),
            option("-m", "--message", metavar="TEXT", help="the commit's message"),
            option("--branch", metavar="BRANCH", default="main", help="branch on the remote (main)"),
            option("--tag", metavar="VERSION", help="release it under this tag as well"),
            *_CREATE,
        ),
    ),
    Command(
        "run",
        "Deliver",
        "keep all mirrors up to date, in the foreground",
        "Watches the directories of all mirrors and delivers what settles there, until it is interrupted.",
        ("lfssync run",),
        (),
    ),
    Command(
        "service",
        "Deliver",
        "do that in the background, as a service of systemd",
        "Installs a service of your own and starts it; removes, starts or stops it; shows how it is, or its log. "
        "Exits with 3 when it does not run.",
        (
            "lfssync service install",
            "lfssync service status",
            "lfssync service logs -f                   # until Ctrl-C",
            "sudo lfssync service install --system me  # where nobody logs in",
        ),
        (
            Argument(
                ("action",),
                "install, uninstall, start, stop, status or logs",
                "ACTION",
                choices=("install", "uninstall", "start", "stop", "status", "logs"),
            ),
            switch("-f", "--follow", help="of logs: go on with what comes, until interrupted"),
            option("-n", metavar="COUNT", default="50", help="of logs: how many lines (50)"),
            option("--system", metavar="USER", help="the system's service that runs as this user; as root"),
        ),
    ),
    *VERSION_COMMANDS,
    CARD_COMMAND,
    Command(
        "login",
        "Hosts",
        "keep a token for a host in the keyring",
        "The token is asked for without showing it, or read from standard input; it is checked with the host first. "
        "A host is hf, gh, gl, or HOST[:PORT].",
        ("lfssync login hf", "pass show git-token | lfssync login git.example.org --username me"),
        (_MAYBE_HOST, option("--username", metavar="NAME", help="the user name that goes with it (the host says)")),
    ),
    Command(
        "logout",
        "Hosts",
        "delete a host's token from the keyring",
        "Says who else still has a login for that host.",
        ("lfssync logout hf",),
        (_MAYBE_HOST,),
    ),
    Command(
        "whoami",
        "Hosts",
        "ask a host who you are there",
        "Uses the login that a sync would use, and says where it comes from.",
        ("lfssync whoami hf",),
        (_MAYBE_HOST,),
    ),
    Command(
        "completion",
        "Shell",
        "print a completion script for a shell",
        "Commands, options and the names of your mirrors complete with the Tab key.",
        (
            "source <(lfssync completion bash)         # in ~/.bashrc",
            "source <(lfssync completion zsh)          # in ~/.zshrc",
            "lfssync completion fish | source          # in ~/.config/fish/config.fish",
        ),
        (Argument(("shell",), "bash, zsh or fish", "SHELL", choices=("bash", "zsh", "fish")),),
    ),
)
"""Every command, in the order of `lfssync --help`."""


def command_named(name: str) -> Command | None:
    """The command of that name, or None."""
    return next((command for command in COMMANDS if command.name == name), None)
