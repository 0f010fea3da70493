"""The card of a mirror as people work on it: found, drafted, written into the directory, edited.

Called by the command `card`, and by nothing else: this is the one place where lfssync writes into a mirrored directory,
one file, README.md, and only because the user asked for exactly that. The one thing to know: what a person wrote is
never replaced unseen; a file that appeared or changed meanwhile stays, and the new text is kept aside.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lfssync.cards.checking import Problem, problems
from lfssync.cards.drafting import draft
from lfssync.errors import LfssyncError, UserError
from lfssync.git import workingcopy
from lfssync.git.gitcommand import Git
from lfssync.git.repository import Repository
from lfssync.line.holdings import of_directory
from lfssync.model import Mirror
from lfssync.rules.cardmark import LIMIT_BYTES, NAME, is_card_name, is_untouched

ASIDE = "card-draft.md"
"""What an edited card is called in the mirror's state folder until it is written."""


class Source(StrEnum):
    """Where a card was found."""

    DIRECTORY = "directory"
    BRANCH = "branch"


@dataclass(frozen=True, slots=True)
class Card:
    """A card.

    Args:
        content: Of README.md.
        source: Where it was found.
        is_ours: Whether it is still what lfssync drafted.
    """

    content: bytes
    source: Source
    is_ours: bool


def present(mirror: Mirror, state_dir: Path) -> Card | None:
    """The card of a mirror: that in the directory, else that on the branch; None when there is none.

    Raises:
        UserError: README.md is no file, or is too large for a card.
    """
    here = _in_directory(mirror)
    if here is not None:
        return Card(here, Source.DIRECTORY, False)
    there = _on_branch(mirror, state_dir)
    return None if there is None else Card(there, Source.BRANCH, is_untouched(there))


def require(mirror: Mirror, state_dir: Path) -> Card:
    """The card of a mirror.

    Raises:
        UserError: There is none.
    """
    card = present(mirror, state_dir)
    if card is None:
        raise UserError(f"{mirror.name} has no README.md", f"draft one with: lfssync card new {mirror.name}")
    return card


def drafted(mirror: Mirror, environment: Mapping[str, str]) -> str:
    """A draft from what the directory holds now.

    Raises:
        UserError: There is no model in it.
        LfssyncError: It cannot be read.
    """
    with of_directory(mirror.path, mirror.ignore) as holdings:
        text = draft(mirror, environment, holdings)
    if text is None:
        raise UserError(
            f"{mirror.path} holds nothing that tells of a model",
            "save a config.json or weights there first, or write README.md by hand",
        )
    return text


def create(mirror: Mirror, state_dir: Path, text: str) -> Path:
    """Write README.md into the directory.

    Args:
        mirror: Whose directory.
        state_dir: Its state folder.
        text: What to write.

    Raises:
        UserError: There is one already, here or on the branch.
    """
    there = _on_branch(mirror, state_dir)
    if there is not None and not is_untouched(there):
        raise UserError(
            f"branch {mirror.branch} has a README.md that a person wrote",
            f"start from that one: lfssync card edit {mirror.name}",
        )
    return _create(mirror, text.encode())


def edit(mirror: Mirror, state_dir: Path, environment: Mapping[str, str], force: bool) -> tuple[Path, list[Problem]]:
    """Have the user edit the card, and write it into the directory if it is right.

    Args:
        mirror: Whose card.
        state_dir: Its state folder.
        environment: `VISUAL` or `EDITOR` is run.
        force: Write it also when it is wrong.

    Returns:
        The file, and what there is to say about it.

    Raises:
        UserError: There is no editor, or the card is wrong; the edited text is kept for the next time.
        LfssyncError: The editor failed.
    """
    editor = shlex.split(environment.get("VISUAL") or environment.get("EDITOR") or "")
    if not editor:
        raise UserError("no editor is known", "set EDITOR, for example: export EDITOR=nano")
    before = present(mirror, state_dir)
    draft_file = state_dir / ASIDE
    if not draft_file.exists():  # else an earlier edit that was not written goes on
        start = before.content if before and not before.is_ours else drafted(mirror, environment).encode()
        draft_file.parent.mkdir(parents=True, exist_ok=True)
        draft_file.write_bytes(start)
    try:
        status = subprocess.run([*editor, str(draft_file)], check=False).returncode
    except OSError as error:
        raise UserError(
            f"the editor {editor[0]} cannot be run: {error.strerror}", "set EDITOR to one that is there"
        ) from error
    if status:
        raise LfssyncError(f"the editor ended with {status}", f"what was written is kept in {draft_file}")
    content = _read(draft_file)
    found = problems(content)
    wrong = [one for one in found if one.is_error]
    if wrong and not force:
        raise UserError(
            f"README.md is not written: {wrong[0].message}",
            f"{wrong[0].remedy}: lfssync card edit {mirror.name} goes on where you were, --force writes it as it is",
        )
    if before is None or before.source is Source.BRANCH:
        file = _create(mirror, content)
    else:
        file = _replace(mirror, before.content, content)
    draft_file.unlink()
    return file, found


def _in_directory(mirror: Mirror) -> bytes | None:
    file = mirror.path / os.fsdecode(NAME)
    try:
        mode = os.lstat(file).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "mend its permissions") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{file} is no plain file", "put the text itself there, no link")
    return _read(file)


def _read(file: Path) -> bytes:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            content = stream.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "mend its permissions") from error
    if len(content) > LIMIT_BYTES:
        raise UserError(f"{file} is larger than 1 MiB", "move parts of it into other files")
    return content


def _on_branch(mirror: Mirror, state_dir: Path) -> bytes | None:
    """The card that was committed last, as far as is known here."""
    folder = state_dir / "repo.git"
    if not (folder / "HEAD").is_file():
        return None
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    repository = Repository(Git(folder, copy.objects if copy else None), mirror.branch)
    prefix = os.fsencode(mirror.into) + b"/" if mirror.into else b""
    (content,) = repository.contents([f"refs/heads/{mirror.branch}:".encode() + prefix + NAME])
    return content if content is not None and len(content) <= LIMIT_BYTES else None


def _create(mirror: Mirror, content: bytes) -> Path:
    file = mirror.path / os.fsdecode(NAME)
    with _told(file):
        other = next((name for name in os.listdir(mirror.path) if is_card_name(os.fsencode(name))), None)
        if other is not None:
            raise UserError(
                f"{mirror.path / other} is there already", f"change it with: lfssync card edit {mirror.name}"
            )
        _write_new(file, content, 0o666)
    return file


def _replace(mirror: Mirror, before: bytes, content: bytes) -> Path:
    """Put a new text in place of the one that was edited, unless that is another one by now."""
    file = mirror.path / os.fsdecode(NAME)
    if _in_directory(mirror) != before:
        raise UserError(
            f"{file} changed while you edited",
            f"copy what you need from {ASIDE} in the state folder, and delete that: your text is kept there",
        )
    if content == before:
        return file
    beside = mirror.path / f".README.md.{os.getpid()}.part"  # a name that is never mirrored
    with _told(file):
        try:
            _write_new(beside, content, stat.S_IMODE(os.lstat(file).st_mode))
            os.rename(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    return file


def _write_new(file: Path, content: bytes, mode: int) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(fd, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(fd)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise UserError(f"{file} is there already", "it stays as it is") from error
    except OSError as error:
        raise LfssyncError(
            f"{file} cannot be written: {error.strerror}", "mend permissions or free disk space"
        ) from error
