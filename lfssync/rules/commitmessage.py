"""Commit subjects that people can read: `Add 4 files, change 1 (5.2 GB): model-00001-of-00004.safetensors, …`.

Pure; called by `pipeline` when it commits. The one thing to know: a file name may hold anything, so it is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence

from lfssync.model import human_bytes, show

SUBJECT_CHARACTERS = 100
BODY_LINES = 50


def message(
    added: Sequence[bytes], changed: Sequence[bytes], removed: Sequence[bytes], content_bytes: int, telling: str = ""
) -> str:
    """The commit message for a set of changes: a subject, and a body that lists the files when the subject cannot.

    Args:
        added, changed, removed: Paths, the most telling first.
        content_bytes: Size of the added and changed files together.
        telling: Where the training stood, printable; may be empty.
    """
    counts = [(verb, len(paths)) for verb, paths in (("add", added), ("change", changed), ("remove", removed)) if paths]
    words = [
        f"{verb} {count}" + (f" file{'s' if count > 1 else ''}" if place == 0 else "")
        for place, (verb, count) in enumerate(counts)
    ]
    lead = ", ".join(words).capitalize() + (f" ({human_bytes(content_bytes)})" if added or changed else "")
    lead += f" at {telling}" if telling else ""
    names = [show(path) for path in (*added, *changed, *removed)]
    if not names:
        return "Mirror what is there already\n"
    subject = f"{lead}: {_fitting(names, max(SUBJECT_CHARACTERS - len(lead) - 2, 20))}"
    if len(names) <= 1:
        return subject + "\n"
    return "\n".join([subject, "", *_listed(added, changed, removed)]) + "\n"


def group_message(
    verb: str, name: bytes, telling: str, paths: tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]],
    content_bytes: int,
) -> str:  # fmt: skip
    """The commit message for a checkpoint: `Add checkpoint-500: step 500, eval_loss 1.234 (6 files, 5.2 GB)`.

    Args:
        verb: What happens to it.
        name: The path of its folder.
        telling: What its trainer says about it, printable; may be empty.
        paths: What is added, changed and removed, the most telling first.
        content_bytes: Size of the added and changed files together.
    """
    added, changed, removed = paths
    count = len(added) + len(changed) or len(removed)
    size = f", {human_bytes(content_bytes)}" if added or changed else ""
    ending = f"{': ' if telling else ''}{telling} ({count} file{'s' if count != 1 else ''}{size})"
    shown = _fitting([show(name)], max(SUBJECT_CHARACTERS - len(verb) - len(ending) - 1, 20))
    return "\n".join([f"{verb} {shown}{ending}", "", *_listed(added, changed, removed)]) + "\n"


def _listed(added: Sequence[bytes], changed: Sequence[bytes], removed: Sequence[bytes]) -> list[str]:
    """The lines of a body: what happened to each file, as far as there is room."""
    lines = [f"{sign} {show(path)}" for sign, paths in (("+", added), ("~", changed), ("-", removed)) for path in paths]
    more = [f"… and {len(lines) - BODY_LINES} more"] if len(lines) > BODY_LINES else []
    return lines[:BODY_LINES] + more


def _fitting(names: list[str], room: int) -> str:
    """As many names as fit; the first one always, cut in the middle when it must be."""
    first = names[0]
    if len(first) > room:
        half = max((room - 1) // 2, 8)
        first = f"{first[:half]}…{first[-half:]}"
    text = first
    for name in names[1:]:
        if len(text) + len(name) + 5 > room:
            return f"{text}, …"
        text = f"{text}, {name}"
    return text
