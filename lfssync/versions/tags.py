"""The tags of a mirror: what `lfssync tags` shows, which one comes before a commit, which version comes next.

Reads git and writes nothing. The one thing to know: the remote says which tags there are; what stands here under
their names is a copy.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.git import workingcopy
from lfssync.git.programs import require_programs
from lfssync.git.repository import Repository
from lfssync.line.delivery import Delivery
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.records.store import reading
from lfssync.results import Tag
from lfssync.rules.versionnumbers import Raise, following, newest_first, parse
from lfssync.versions.history import described
from lfssync.versions.looking import contents, everything, own

_TRIED = 50
_WHEN = re.compile(rb"^(?:tagger|committer) .*> (\d{1,15}) [+-]\d{4}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pointing:
    """A tag as git lists it: the object of that name, and the commit at the end of it."""

    oid: str
    commit: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The tags of a mirror.

    Args:
        tags: The newest first; as many as were asked for.
        total: How many there are.
        unreached: Why the remote could not be asked, so that these are those known here; None when it was.
    """

    tags: tuple[Tag, ...]
    total: int
    unreached: LfssyncError | None = None


def on_remote(delivery: Delivery) -> dict[str, Pointing]:
    """All tags of the remote, by short name."""
    return _pointing(delivery.look("refs/tags/*"))


def before(repository: Repository, version: str, commit: str, tags: Mapping[str, Pointing]) -> tuple[str, str] | None:
    """The release before one: its tag, and the commit that it points at.

    For a semantic version it is the next lower one among those in the commit's history, else the youngest of any name.
    A tag whose commit is not here is in no history of ours.

    Args:
        repository: Has the commit.
        version: The new tag.
        commit: What it points at.
        tags: All others, by name.
    """
    listed = repository.git.run(
        "rev-list", "--no-walk=sorted", "--ignore-missing", "--stdin",
        given="".join(f"{one.commit}\n" for one in tags.values()).encode(),
    ).stdout.decode().split() if tags else []  # fmt: skip
    ages = {oid: age for age, oid in enumerate(listed)}
    names = sorted((name for name, one in tags.items() if one.commit in ages and name != version), reverse=True)
    names.sort(key=lambda name: ages[tags[name].commit])
    number = parse(version)
    if number is not None:
        numbers = {name: found for name in names if (found := parse(name)) is not None}
        lower = [name for name, found in numbers.items() if found.precedence < number.precedence]
        lower.sort(key=lambda name: numbers[name].precedence, reverse=True)
        names = [*lower[:_TRIED], *(name for name in names if name not in numbers)]
    for name in names[: 2 * _TRIED]:
        if repository.is_ancestor(tags[name].commit, commit):
            return name, tags[name].commit
    return None


def listing(mirror: Mirror, state_dir: Path, limit: int, session: Session) -> Listing:
    """The tags of a mirror, the newest first.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        limit: At most so many.
        session: When to stop, and who knows the login.
    """
    with _asked(mirror, state_dir, session) as (tags, repository, unreached), reading(state_dir / "state.db") as store:
        near = contents(mirror, state_dir, repository, store, session)
        kinds = zip(tags, repository.kinds([one.commit.encode() for one in tags.values()]), strict=True)
        of_commits = [name for name, kind in kinds if kind == b"commit"]  # a tag may point at anything
        texts = dict(zip(of_commits, repository.texts([tags[name].oid for name in of_commits]), strict=True))
        dates = {name: _when(text) for name, (_, text) in texts.items()}
        found = []
        for name in newest_first(dates.items())[:limit]:
            kind, text = texts[name]
            message = text.partition(b"\n\n")[2].decode("utf-8", "backslashreplace") if kind == b"tag" else ""
            found.append(Tag(name, dates[name], message.strip("\n"), described(near, tags[name].commit)))
    return Listing(tuple(found), len(texts), unreached)


def next_version(mirror: Mirror, state_dir: Path, what: Raise, session: Session) -> str:
    """The version that comes next, by the tags of the remote, of this mirror, and of the user's working copy.

    Raises:
        LfssyncError: The remote cannot be asked.
    """
    ours = own(mirror, state_dir, session)
    with _asked(mirror, state_dir, session) as (tags, _, unreached):
        if unreached is not None:
            raise unreached
        names = {*tags, *(_local(ours) if ours else ())}
    if copy := workingcopy.find(mirror.path) if mirror.path.is_dir() else None:
        names |= _local(Repository(copy.git, mirror.branch)).keys()
    return following(names, what)


@contextlib.contextmanager
def _asked(
    mirror: Mirror, state_dir: Path, session: Session
) -> Iterator[tuple[dict[str, Pointing], Repository, LfssyncError | None]]:
    """The remote's tags, and a repository that has them: our own, or one that is fetched for it.

    When the remote is out of reach these are the tags that are known here, and why.
    """
    require_programs()
    ours = own(mirror, state_dir, session)
    if ours is not None:
        try:
            tags, unreached = on_remote(Delivery(ours, mirror.remote)), None
        except LfssyncError as error:
            if session.stop.is_set():
                raise
            tags, unreached = _local(ours), error
        if all(ours.kinds([oid.encode() for one in tags.values() for oid in (one.oid, one.commit)])):
            yield tags, ours, unreached
            return
    with everything(mirror, state_dir, session) as repository:
        yield _local(repository), repository, None


def _local(repository: Repository) -> dict[str, Pointing]:
    form = "%(refname) %(objectname)%0a%(refname)^{} %(*objectname)"
    lines = repository.git.run("for-each-ref", f"--format={form}", "refs/tags").stdout.decode(
        "utf-8", "surrogateescape"
    )
    pairs = (line.split(" ", 1) for line in lines.splitlines())
    return _pointing({pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1]})


def _pointing(found: Mapping[str, str]) -> dict[str, Pointing]:
    tags = {name: oid for name, oid in found.items() if name.startswith("refs/tags/") and not name.endswith("^{}")}
    return {
        name.removeprefix("refs/tags/"): Pointing(oid, found.get(f"{name}^{{}}", oid)) for name, oid in tags.items()
    }


def _when(text: bytes) -> float:
    """When a tag or a commit was made; 0 for one that does not say."""
    match = _WHEN.search(text.partition(b"\n\n")[0])
    return float(match[1]) if match else 0.0
