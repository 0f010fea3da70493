"""Whether a model card is still the one that lfssync drafted: a last line that holds a digest of all the others. Pure.

Used where a card is committed and where branches are merged. The one thing to know: whoever changes a single character,
on the web or in a clone, makes the card theirs, and from then on nothing overwrites it.
"""

from __future__ import annotations

import hashlib
import re

NAME = b"README.md"
"""What hosts show as the card."""

LIMIT_BYTES = 1 << 20
"""A longer one was not drafted here."""

_MARK = re.compile(rb"\n<!-- lfssync card ([0-9a-f]{64}): kept up to date until somebody edits it -->\n")


def sealed(text: str) -> bytes:
    """The card as it is committed.

    Args:
        text: Markdown that ends with a newline.
    """
    content = text.encode()
    return content + _mark(content)


def is_untouched(card: bytes) -> bool:
    """Whether a committed card is exactly what `sealed` once gave."""
    if len(card) > LIMIT_BYTES:
        return False
    end = card.rfind(b"\n<!-- lfssync card ")
    found = _MARK.fullmatch(card, end) if end >= 0 else None
    return found is not None and card[end:] == _mark(card[:end])


def is_card_name(name: bytes) -> bool:
    """Whether a name stands in the way of a card: on some file systems `readme.md` is the same file."""
    return name.lower() == NAME.lower()


def _mark(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest().encode()
    return b"\n<!-- lfssync card %b: kept up to date until somebody edits it -->\n" % digest
