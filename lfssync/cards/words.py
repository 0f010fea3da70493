"""Values out of foreign files, as a card may show them: numbers, names of a known shape, short printable words. Pure.

Used by everything that reads or writes a card. The one thing to know: all that reaches Markdown goes through `code` or
`escaped`, and all that reaches the metadata through a shape.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-])){0,94}[A-Za-z0-9_]|[A-Za-z0-9]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}")
_ISO_639_1 = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj
kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv
ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti
tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_LANGUAGES = frozenset(_ISO_639_1.split())
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|&~$!{}]")
_ID_CHARACTERS = 96
NUMBER_MAX = 10**18

Table = dict[str, Any]


def table(text: bytes) -> Table:
    """The JSON object in a text; an empty one where there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def sub(value: Table, key: str) -> Table:
    """A table within a table; an empty one where there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def items(value: object, limit: int) -> list[Any]:
    """The first entries of a list; one word counts as a list of one."""
    if isinstance(value, str):
        return [value]
    return value[:limit] if isinstance(value, list) else []


def word(value: object) -> str:
    """A short word without blanks, such as `cosine` or `F32`; empty for anything else."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def class_name(value: object) -> str:
    """The name of a class, such as `BertModel`; empty for anything else."""
    return value if isinstance(value, str) and _CLASS.fullmatch(value) else ""


def language(value: object) -> str:
    """What has the shape of a language's code, such as `en` or `pt-BR`; empty for anything else."""
    return value if isinstance(value, str) and _LANGUAGE.fullmatch(value) else ""


def common_language(value: object) -> str:
    """A language that surely has this code, by ISO 639-1; empty for anything else."""
    return value if isinstance(value, str) and value in _LANGUAGES else ""


def number(value: object) -> int | float | None:
    """A finite number of moderate size, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if abs(value) < NUMBER_MAX else None


def count(value: object) -> int | None:
    """A whole number that is not negative, or None."""
    found = number(value)
    return found if isinstance(found, int) and found >= 0 else None


def repository_id(value: object) -> str:
    """What has the shape of a repository's name on the Hub, `owner/name` or `name`; empty for anything else.

    Source: `validate_repo_id` of huggingface_hub.
    """
    if not isinstance(value, str) or len(value) > _ID_CHARACTERS:
        return ""
    parts = value.split("/")
    if len(parts) > 2 or value.endswith(".git") or not all(_PART.fullmatch(part) for part in parts):
        return ""
    return value


def printable(text: str, limit: int = 80) -> str:
    """A text in one line, without what cannot be seen, cut to so many characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def code(text: str, limit: int = 80) -> str:
    """A text as a code span, which also stands in a table."""
    shown = printable(text, limit).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`" if shown else ""


def escaped(text: str, limit: int = 120) -> str:
    """A text in which nothing is Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text, limit)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def shown(value: float) -> str:
    """A number for people."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def many(value: int) -> str:
    """A large number for people, such as `22.7 M`."""
    size = float(value)
    for unit in ("", " k", " M", " B"):
        if size < 999.95 or unit == " B":
            return f"{size:.1f}{unit}" if unit else f"{value}"
        size /= 1000
    return str(value)
