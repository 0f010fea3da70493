"""The command line as data: every command with its group, its arguments and an example.

It stands in front of the line: `cli` builds the parsers and the help from this table, `completion` answers the shells
from it, so the three cannot disagree. The one thing to know: nothing is imported and nothing runs here; a command's
function is the one of the same name in `commands`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Values(StrEnum):
    """What a shell may offer as the value of an argument."""

    ANYTHING = "anything"
    MIRRORS = "mirrors"
    FOLDERS = "folders"
    FILES = "files"


class Count(StrEnum):
    """How many words an argument takes; the values are argparse's own signs."""

    SWITCH = "0"
    ONE = "1"
    AT_MOST_ONE = "?"
    ANY = "*"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command.

    Args:
        names: The option's spellings, such as `-v` and `--verbose`; one word without dashes is a positional argument.
        help: One line for `--help`.
        metavar: What stands for the value in the help; empty for a switch.
        count: How many words it takes.
        values: What a shell may offer for it.
        choices: The only allowed words, or empty.
        default: What it is when it is not given.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    count: Count = Count.ONE
    values: Values = Values.ANYTHING
    choices: tuple[str, ...] = ()
    default: str | None = None

    @property
    def is_option(self) -> bool:
        """True for what starts with a dash."""
        return self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Args:
        name: What the user types; also the name of its function in `commands`.
        group: The heading it stands under in `lfssync --help`.
        summary: One line for `lfssync --help`.
        details: A few sentences for its own `--help`.
        example: Lines that a user can type; with a comment where it helps.
        arguments: Positional ones in their order, then options.
    """

    name: str
    group: str
    summary: str
    details: str
    example: tuple[str, ...]
    arguments: tuple[Argument, ...]

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """The arguments that go by their place."""
        return tuple(argument for argument in self.arguments if not argument.is_option)

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that go by their name."""
        return tuple(argument for argument in self.arguments if argument.is_option)


def _switch(*names: str, help: str) -> Argument:
    return Argument(names, help, count=Count.SWITCH)


def _option(
    *names: str, metavar: str, help: str, default: str | None = None, values: Values = Values.ANYTHING
) -> Argument:
    return Argument(names, help, metavar, default=default, values=values)


def _mirror(count: Count, help: str) -> Argument:
    return Argument(("name" if count is not Count.ANY else "names",), help, "NAME", count, Values.MIRRORS)


_ONE_MIRROR = _mirror(Count.ONE, "the mirror's name")
_MAYBE_MIRROR = _mirror(Count.AT_MOST_ONE, "the mirror's name; may be left out when only one is configured")
_MAYBE_HOST = Argument(
    ("host",), "hf, gh, gl or HOST[:PORT]; may be left out when all mirrors are on one host", "HOST", Count.AT_MOST_ONE
)
_CREATE = (
    _switch("--create", help="create the repository on its host if it is missing; private unless --public"),
    _switch("--public", help="let everybody read what --create makes"),
    _option("--license", metavar="ID", help="licence of what --create makes, such as apache-2.0"),
)
_JSON = _switch("--json", help="print one JSON document instead of text")

GLOBAL_OPTIONS = (
    _option("--config", metavar="FILE", values=Values.FILES, help="configuration file (or LFSSYNC_CONFIG)"),
    _switch("-v", "--verbose", help="say on standard error what is being done"),
)
"""Options that may stand before and after the command."""

HELP_OPTION = _switch("-h", "--help", help="show this help and exit")
VERSION_OPTION = _switch("--version", help="show the version and exit")

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
            _option("--name", metavar="NAME", help="what to call it (the directory's own name)"),
            _option("--branch", metavar="BRANCH", help="branch on the remote (main)"),
            _option("--quiet", metavar="TIME", help="commit once nothing has changed for so long (5s)"),
            _option("--max-wait", metavar="TIME", help="but never later than this after the first change (5m)"),
            _option("--into", metavar="PATH", help="sub-folder of the repository to put everything into"),
            *_CREATE,
        ),
    ),
    Command(
        "remove",
        "Mirror",
        "stop mirroring",
        "Takes the mirror out of the configuration. The directory and the remote stay as they are.",
        ("lfssync remove my-model",),
        (_ONE_MIRROR, _switch("--purge", help="delete what lfssync recorded about it, too")),
    ),
    Command(
        "list",
        "Mirror",
        "show the configured mirrors",
        "One line for every mirror: its name, its directory, its remote and branch.",
        ("lfssync list",),
        (_JSON,),
    ),
    Command(
        "status",
        "Mirror",
        "show what each mirror does, and what to do about errors",
        "Says for each mirror what is pending, what waits and why, which commit is verified on the remote, "
        "what is wrong and what to do about it.",
        ("lfssync status", "lfssync status --watch       # until Ctrl-C"),
        (
            _mirror(Count.AT_MOST_ONE, "show only this mirror"),
            _JSON,
            _switch("--watch", help="go on showing it, once a second, until interrupted"),
        ),
    ),
    Command(
        "doctor",
        "Mirror",
        "find everything that would fail later, with its remedy",
        "Tries what a pass needs, and changes nothing: programs, directories, disks, remotes, logins, LFS servers. "
        "Exits with 0 only if nothing would fail.",
        ("lfssync doctor my-model",),
        (_mirror(Count.AT_MOST_ONE, "look at this mirror only (all)"), _JSON),
    ),
    Command(
        "sync",
        "Deliver",
        "bring everything to the remote now",
        "One pass over each mirror, without waiting for the quiet time; returns when the remote is verified. "
        "Exits with 3 when files had to be left out because they are still being written.",
        ("lfssync sync my-model",),
        (
            _mirror(Count.ANY, "the mirrors to bring up to date (all)"),
            _switch("--accept-deletions", help="approve the deletions that a mirror is blocked on"),
            _JSON,
        ),
    ),
    Command(
        "wait",
        "Deliver",
        "return once everything is verified on the remote",
        'Answers "may I shut down?": exits with 0 when it is all there, and with 3 when the time ran out before.',
        ("lfssync wait my-model --timeout 30m && sudo poweroff",),
        (
            _mirror(Count.AT_MOST_ONE, "the mirror to wait for (all)"),
            _option("--timeout", metavar="TIME", default="10m", help="how long to wait at most (10m)"),
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
            _mirror(Count.AT_MOST_ONE, "the mirror whose remote to look at (all)"),
            _option("--sample", metavar="COUNT", default="3", help="how many objects to download, or all (3)"),
            _JSON,
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
            _option("-m", "--message", metavar="TEXT", help="the commit's message"),
            _option("--branch", metavar="BRANCH", default="main", help="branch on the remote (main)"),
            _option("--tag", metavar="VERSION", help="release it under this tag as well"),
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
        "tag",
        "Versions",
        "release the present state under a version",
        "Brings everything to the remote, puts an annotated tag on it and verifies the tag there. "
        "A tag that exists is never moved.",
        ('lfssync tag v2.0.1 -m "Longer context"',),
        (
            Argument(("version",), "the tag's name, such as v2.0.1", "VERSION"),
            _MAYBE_MIRROR,
            _option("-m", "--message", metavar="TEXT", help="the tag's message"),
            _option("--at", metavar="REVISION", help="tag this revision instead of the present state"),
            _switch("--page", help="make a release page of it, where the host has such pages"),
        ),
    ),
    Command(
        "log",
        "Versions",
        "show what was committed, released and refused",
        "The newest comes first.",
        ("lfssync log my-model -n 5",),
        (_MAYBE_MIRROR, _option("-n", metavar="COUNT", default="20", help="how many entries at most (20)"), _JSON),
    ),
    Command(
        "diff",
        "Versions",
        "show what changed between two revisions",
        "Compares REV1 with REV2; without REV2 with the newest commit; without both, what the newest commit changed. "
        "LFS files are shown by size and oid.",
        ("lfssync diff my-model v2.0.0 v2.0.1",),
        (
            _ONE_MIRROR,
            Argument(("old",), "the older revision: a tag, branch or commit", "REV1", Count.AT_MOST_ONE),
            Argument(("new",), "the newer revision", "REV2", Count.AT_MOST_ONE),
        ),
    ),
    Command(
        "restore",
        "Versions",
        "write a revision into an empty folder",
        "Every LFS file is checked against its oid on the way.",
        ("lfssync restore my-model ./my-model-v2.0.0 --revision v2.0.0",),
        (
            _ONE_MIRROR,
            Argument(("destination",), "an empty or new folder", "DEST", values=Values.FOLDERS),
            _option("--revision", metavar="REV", help="a tag, branch or commit (the newest commit)"),
        ),
    ),
    Command(
        "login",
        "Hosts",
        "keep a token for a host in the keyring",
        "The token is asked for without showing it, or read from standard input; it is checked with the host first. "
        "A host is hf, gh, gl, or HOST[:PORT].",
        ("lfssync login hf", "pass show git-token | lfssync login git.example.org --username me"),
        (_MAYBE_HOST, _option("--username", metavar="NAME", help="the user name that goes with it (the host says)")),
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
