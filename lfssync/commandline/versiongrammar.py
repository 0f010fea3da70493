"""The commands about versions, as data: release, list, look, compare, fetch back.

Part of the table of `grammar`. The one thing to know: a command's function is the one of its name in `versioncommands`.
"""

from __future__ import annotations

from lfssync.commandline.syntax import (
    JSON,
    MAYBE_MIRROR,
    Argument,
    Command,
    Count,
    Values,
    mirror,
    option,
    switch,
)

VERSION_COMMANDS = (
    Command(
        "tag",
        "Versions",
        "release the present state under a version",
        "Brings everything to the remote, puts an annotated tag on it and verifies the tag there. "
        "A tag that exists is never moved.",
        ('lfssync tag v2.0.1 -m "Longer context"', "lfssync tag --next minor my-model"),
        (
            Argument(("version",), "the tag's name, such as v2.0.1; not with --next", "VERSION", Count.AT_MOST_ONE),
            MAYBE_MIRROR,
            Argument(
                ("--next",),
                "count the highest version that there is up: major, minor or patch",
                "PART",
                choices=("major", "minor", "patch"),
            ),
            option("-m", "--message", metavar="TEXT", help="the tag's message; what is in the release goes below it"),
            option("--at", metavar="REVISION", help="tag this revision instead of the present state"),
            switch("--page", help="make a release page of it, where the host has such pages"),
        ),
    ),
    Command(
        "tags",
        "Versions",
        "show the releases",
        "Versions come first, the highest at the top; then all other tags, the youngest at the top. The remote says "
        "which there are.",
        ("lfssync tags my-model -n 5",),
        (MAYBE_MIRROR, option("-n", metavar="COUNT", default="20", help="how many at most (20)"), JSON),
    ),
    Command(
        "log",
        "Versions",
        "show what was committed, released and refused",
        "The newest comes first.",
        ("lfssync log my-model -n 5",),
        (MAYBE_MIRROR, option("-n", metavar="COUNT", default="20", help="how many entries at most (20)"), JSON),
    ),
    Command(
        "diff",
        "Versions",
        "show what changed between two revisions",
        "Compares REV1 with REV2; without REV2 with the newest commit; without both, what the newest commit changed. "
        "LFS files are shown by size and oid, safetensors files also by the tensors that differ: for those only the "
        "beginning of a file is read.",
        ("lfssync diff my-model v2.0.0 v2.0.1",),
        (
            mirror(Count.AT_MOST_ONE, "the mirror's name; may be left out together with both revisions"),
            Argument(("old",), "the older revision: a tag, branch or commit", "REV1", Count.AT_MOST_ONE),
            Argument(("new",), "the newer revision", "REV2", Count.AT_MOST_ONE),
            JSON,
        ),
    ),
    Command(
        "show",
        "Versions",
        "show what a revision is",
        "Its commit, date, author and message, its tags, what the training said, and its files by size and oid.",
        ("lfssync show my-model v2.0.1",),
        (MAYBE_MIRROR, Argument(("revision",), "a tag, branch or commit", "REV"), JSON),
    ),
    Command(
        "restore",
        "Versions",
        "write a revision into an empty folder",
        "Every LFS file is checked against its oid on the way.",
        ("lfssync restore my-model ./my-model-v2.0.0 --revision v2.0.0",),
        (
            MAYBE_MIRROR,
            Argument(("destination",), "an empty or new folder", "DEST", values=Values.FOLDERS),
            option("--revision", metavar="REV", help="a tag, branch or commit (the newest commit)"),
        ),
    ),
    Command(
        "retire",
        "Versions",
        "take old checkpoints off the tip of the branch",
        "By a commit, as the mirror's `keep` says, and only what is gone from the directory. It stays in the history: "
        "a host's quota still counts it, and any earlier commit restores it.",
        ("lfssync retire my-model --dry-run",),
        (MAYBE_MIRROR, switch("--dry-run", help="only show what would leave, and what stays and why"), JSON),
    ),
)
"""In the order of `lfssync --help`."""
