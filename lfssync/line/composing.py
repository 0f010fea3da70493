"""The one file besides `.gitattributes` that a commit may hold and the directory does not: a drafted README.md.

Called by `pipeline` for the last commit of a pass. What drafts it comes from outside, with the session, so that the
line knows nothing of models. The one thing to know: a card is only ever put where there is none, or where the very card
lies that was drafted last; whatever a person wrote, changed or deleted stays so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from lfssync.git.fastimport import Edit, FastImport, blob_oid
from lfssync.git.repository import Repository
from lfssync.line.assembly import Sorted
from lfssync.line.classification import Classification
from lfssync.line.holdings import Holdings
from lfssync.line.plan import CommitPlan
from lfssync.model import Signature, Staged
from lfssync.records.store import Store
from lfssync.rules.attributes import Verdict
from lfssync.rules.cardmark import LIMIT_BYTES, NAME, is_card_name, is_untouched, sealed

Composer = Callable[[Holdings], str | None]
"""Drafts a card from what a directory holds; None when there is nothing to draft. May raise anything."""


TOP_ENTRIES = 9_900
"""A folder with more may have no room for a card: some hosts take 10,000, and refuse the whole push otherwise."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A card to commit.

    Args:
        edit: By its path from the repository's root.
        size_bytes: How large it is.
        is_new: Whether the branch has none yet.
    """

    edit: Edit
    size_bytes: int
    is_new: bool


@dataclass(slots=True)
class Composing:
    """The drafting of one pass.

    Args:
        repository, store: Those of the pass.
        compose: What drafts; None where the mirror wants no cards.
        warnings: Lines for people, added to.
    """

    repository: Repository
    store: Store
    compose: Composer | None
    warnings: list[str] = field(default_factory=list)

    def card(
        self, root_fd: int, head: str | None, ready: Sorted, rules: Classification, stream: FastImport
    ) -> Composed | None:
        """The card that goes along with the last commit; None when there is none, or nothing new to say.

        Args:
            root_fd: The mirrored directory.
            head: The commit that the next one builds on.
            ready: What the pass commits.
            rules: What is LFS.
            stream: Takes the blob.
        """
        if self.compose is None or _has_one(root_fd) or NAME in ready.removed:
            return None
        path = rules.prefix + NAME
        before = self._before(head, path)
        if before is None:
            return None
        text = self._draft(self.compose, root_fd, ready)
        content = sealed(text) if text is not None else before
        if content == before or len(content) > LIMIT_BYTES:
            return None
        if rules.verdicts([NAME])[NAME] is Verdict.LFS:
            self.warnings.append("README.md: .gitattributes makes it an LFS file, so no card is drafted")
            return None
        oid = blob_oid(len(content), [content])
        stream.blob(oid, len(content), [content])
        return Composed(Edit(path, "100644", oid), len(content), not before)

    def _before(self, head: str | None, path: bytes) -> bytes | None:
        """The card that may be replaced, empty where there never was one; None where it is not ours to replace."""
        if head is None:
            return b""
        name = head.encode() + b":" + path
        (kind,) = self.repository.kinds([name])
        if not kind:
            return None if self.repository.had(head, path) else b""
        (content,) = self.repository.contents([name])
        return content if content is not None and is_untouched(content) else None

    def _draft(self, compose: Composer, root_fd: int, ready: Sorted) -> str | None:
        """A draft from exactly what is committed; None when a file of it has changed, so that the next pass drafts."""
        holdings = Holdings(root_fd, self._committed(ready.staged, set(ready.removed)))
        if len({path.partition(b"/")[0] for path in holdings.files}) > TOP_ENTRIES:
            return None
        try:
            text = compose(holdings)
        except Exception as error:  # noqa: BLE001  (a card never stands in the way of the weights)
            self.warnings.append(f"README.md: no card is drafted: {type(error).__name__}: {error}")
            return None
        return None if holdings.missed else text

    def _committed(self, staged: Collection[Staged], removed: set[bytes]) -> dict[bytes, Signature]:
        found = {
            path: known.signature
            for path, known in self.store.everything()
            if known.signature is not None and path not in removed
        }
        found |= {one.path: one.signature for one in staged}
        return {path: signature for path, signature in found.items() if not signature.is_link}


def with_card(made: CommitPlan, card: Composed | None) -> CommitPlan:
    """A plan with the card as one more file."""
    if card is None:
        return made
    return replace(
        made,
        edits=(*made.edits, card.edit),
        added=(*made.added, *([NAME] if card.is_new else [])),
        changed=(*made.changed, *([] if card.is_new else [NAME])),
        content_bytes=made.content_bytes + card.size_bytes,
    )


def _has_one(root_fd: int) -> bool:
    return any(is_card_name(os.fsencode(name)) for name in os.listdir(root_fd))
