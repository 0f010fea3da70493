"""Brings together our branch and a remote branch that went its own way; nothing is forced, nothing is lost.

Used by `delivery` when a push finds the remote ahead. Path by path: what we changed since the common ancestor is as we
have it, all else is as the remote has it; a path changed on both sides so keeps the local bytes, and the remote's
version stays in history as the other parent.
The one thing to know: `.gitattributes` is the exception. Both sides add lines to it for files of their own, so it is
merged line by line; otherwise the other side's LFS files would turn into mere pointers in every clone. And a card that
lfssync drafted gives way to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from lfssync.git.fastimport import Edit, Ident
from lfssync.git.repository import Refs, Repository
from lfssync.line.classification import NAME, attribute_files, names_above, no_longer_lfs
from lfssync.rules.attributes import Block, join, split
from lfssync.rules.cardmark import NAME as CARD
from lfssync.rules.cardmark import is_untouched


def merge(repository: Repository, refs: Refs, who: Ident) -> Refs:
    """Merge the remote's branch with ours.

    Args:
        repository: The mirror's.
        refs: `head` and `tip` are both there and neither contains the other.
        who: Author and committer.
    """
    assert refs.head is not None
    assert refs.tip is not None
    base = repository.merge_base(refs.head, refs.tip)
    ours, theirs = repository.differences(base, refs.head), repository.differences(base, refs.tip)
    ours = _giving_way(repository, ours, theirs)
    return repository.merge(refs, ours, _attributes(repository, base, refs.head, refs.tip, ours, theirs), who)


def _giving_way(repository: Repository, ours: list[Edit], theirs: Sequence[Edit]) -> list[Edit]:
    """Our edits without a card that lfssync drafted where they touched it as well: nothing of a person's goes."""
    touched = {edit.path for edit in theirs}
    both = [edit for edit in ours if edit.path in touched and edit.path.rpartition(b"/")[2] == CARD and edit.blob_oid]
    cards = repository.contents([(edit.blob_oid or "").encode() for edit in both])
    drafted = [edit for edit, card in zip(both, cards, strict=True) if card is not None and is_untouched(card)]
    return [edit for edit in ours if edit not in drafted]


def _attributes(
    repository: Repository, base: str, head: str, tip: str, ours: Sequence[Edit], theirs: Sequence[Edit]
) -> dict[bytes, bytes]:
    """The attribute files that get another content than ours, by path."""
    names = [edit.path for edit in ours if edit.blob_oid is not None and edit.path.rpartition(b"/")[2] == NAME]
    if not names:
        return {}
    in_base, in_head, in_tip = (attribute_files(repository, revision, names) for revision in (base, head, tip))
    ours_changed = {edit.path for edit in ours}
    theirs_changed = {edit.path for edit in theirs} - ours_changed
    texts = {
        name: merged_text(
            in_base.get(name, b""), in_head.get(name, b""), in_tip.get(name, b""),
            frozenset(path.removeprefix(_folder(name)) for path in theirs_changed if path.startswith(_folder(name))),
        )
        for name in names
    }  # fmt: skip
    lost = _lost(repository, (head, ours), (tip, [edit for edit in theirs if edit.path in theirs_changed]), texts)
    for path in lost:
        name = max((name for name in names if path.startswith(_folder(name))), key=len, default=None)
        if name is not None:
            text, block = split(texts[name])
            paths = block.paths | {path.removeprefix(_folder(name))}
            texts[name] = join(text, Block(block.default_patterns, paths))
    return {name: text for name, text in texts.items() if text != in_head.get(name)}


def _lost(
    repository: Repository, head: tuple[str, Sequence[Edit]], tip: tuple[str, Sequence[Edit]], texts: dict[bytes, bytes]
) -> set[bytes]:
    """Paths with a pointer that was LFS where it comes from and would not be under the merged attribute files."""
    found: set[bytes] = set()
    for revision, edits in (head, tip):
        pointers = repository.pointers(edit.blob_oid for edit in edits if edit.blob_oid is not None)
        paths = [edit.path for edit in edits if edit.blob_oid in pointers and edit.git_mode != "120000"]
        files = attribute_files(repository, revision, [NAME, *names_above(*paths)])
        before = repository.verdicts(files, paths)
        after = repository.verdicts(files | texts, paths)
        found |= no_longer_lfs(before, after)
    return found


def merged_text(base: bytes, ours: bytes, theirs: bytes, changed_by_them: frozenset[bytes]) -> bytes:
    """One attribute file out of three: the user's text of who changed it (ours, when both did), the blocks united.

    Args:
        base, ours, theirs: The file in the common ancestor and on both sides; empty where it is not there.
        changed_by_them: Paths that only they changed, from the file's folder: what they say about those counts.
    """
    base_text, base_block = split(base)
    our_text, our_block = split(ours)
    their_text, their_block = split(theirs)
    dropped = (base_block.paths - their_block.paths) & changed_by_them
    paths = (our_block.paths - dropped) | (their_block.paths - base_block.paths)
    text = their_text if our_text == base_text else our_text
    return join(text, Block(our_block.default_patterns or their_block.default_patterns, paths))


def _folder(name: bytes) -> bytes:
    return name.removesuffix(NAME)
