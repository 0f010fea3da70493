"""JSON: a document is complete when it can be read, and incomplete when only its end is missing.

The one thing to know: documents that are too large to be read for this alone are judged by their last character, which
can only show that something is missing.
"""

from __future__ import annotations

import codecs
import json
import re

from lfssync.formats.reading import COMPLETE, Finding, Reader, incomplete, unknown
from lfssync.model import human_bytes

READ_MAX_BYTES = 4 << 20
_SPACE = b" \t\r\n"
_ENDS = {b"{": b"}", b"[": b"]"}
_BROKEN_OFF = re.compile(
    r"""[-+.\deE]*                                     # a number
    | t(r(u)?)? | f(a(l(s)?)?)? | n(u(l)?)?            # a word
    | N(a)? | -?I(n(f(i(n(i(t)?)?)?)?)?)?              # words that Python writes besides
    """,
    re.VERBOSE,
)


def check(reader: Reader) -> Finding:
    """See whether a document is all there."""
    ends = f"ends after {human_bytes(reader.size_bytes)} in the middle of its JSON"
    edge_bytes = 1024
    first = reader.at(0, edge_bytes).removeprefix(codecs.BOM_UTF8).lstrip(_SPACE)[:1]
    if reader.size_bytes > READ_MAX_BYTES:
        last = reader.at(reader.size_bytes - edge_bytes, edge_bytes).rstrip(_SPACE)[-1:]
        return unknown("too large to look into") if last in (b"", _ENDS.get(first, last)) else incomplete(ends)
    content = reader.at(0, reader.size_bytes)
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content)
        json.loads(text)
    except json.JSONDecodeError as error:
        return incomplete(ends) if _is_broken_off(error) else unknown("is no JSON")
    except (ValueError, RecursionError):
        return unknown("is no JSON")
    return COMPLETE if first in _ENDS else unknown("is a single value, which may go on")


def _is_broken_off(error: json.JSONDecodeError) -> bool:
    """Whether the parser went wrong for want of more."""
    rest = error.doc[error.pos :].strip()
    if error.msg.startswith("Unterminated string"):
        return True
    if error.msg.startswith("Invalid \\u"):
        return len(rest) < 6 and '"' not in rest
    return _BROKEN_OFF.fullmatch(rest) is not None
