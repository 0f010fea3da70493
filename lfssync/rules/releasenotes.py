"""The notes in an annotated tag: what is in the release, what its training said, what differs from the one before.

Pure; asked by `releases`. The one thing to know: a tag is for ever and shown everywhere, so names are escaped here, and
both the lists and the names in them are cut to a length that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lfssync.model import human_bytes, show
from lfssync.results import Difference, Version

FILES = 20
DIFFERENCES = 30
NAME_CHARACTERS = 200


def notes(files: Mapping[bytes, Version], telling: str, previous: tuple[str, Sequence[Difference]] | None) -> str:
    """The text that stands below the message of a release.

    Args:
        files: All files of the commit, by path.
        telling: What its trainer said, such as `step 500, eval_loss 1.234`, printable; may be empty.
        previous: The release before it and what differs; None for a first release.
    """
    of_lfs = sum(1 for one in files.values() if one.lfs_oid)
    size_bytes = sum(one.size_bytes for one in files.values())
    paragraphs = [
        [f"{counted(len(files))}, {human_bytes(size_bytes)}, {of_lfs} in LFS", *([telling] if telling else [])]
    ]
    if previous is not None:
        paragraphs.append(_changes(*previous))
    largest = sorted(files.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    listed = [f"  {_name(path)} ({human_bytes(one.size_bytes)})" for path, one in largest[:FILES]]
    paragraphs.append([f"Files{', the largest of them' if len(largest) > FILES else ''}:", *listed])
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def _changes(version: str, differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return [f"The same files as in {version}"]
    kinds = [
        ("added", "+", [one for one in differences if one.old is None]),
        ("changed", "~", [one for one in differences if one.old is not None and one.new is not None]),
        ("removed", "-", [one for one in differences if one.new is None]),
    ]
    told = ", ".join(f"{len(found)} {word} ({_moved(found)})" for word, _, found in kinds if found)
    lines = [f"{sign} {_name(one.path)} ({_sizes(one)})" for _, sign, found in kinds for one in found]
    more = [f"… and {len(lines) - DIFFERENCES} more"] if len(lines) > DIFFERENCES else []
    return [f"Since {version}: {told}", *lines[:DIFFERENCES], *more]


def _moved(differences: Sequence[Difference]) -> str:
    return human_bytes(sum(side.size_bytes for one in differences if (side := one.new or one.old) is not None))


def _sizes(difference: Difference) -> str:
    sides = [human_bytes(side.size_bytes) for side in (difference.old, difference.new) if side is not None]
    return " → ".join(dict.fromkeys(sides))


def _name(path: bytes) -> str:
    name = show(path)
    half = NAME_CHARACTERS // 2
    return name if len(name) <= NAME_CHARACTERS else f"{name[:half]}…{name[-half:]}"


def counted(files: int) -> str:
    """`1 file`, `2 files`."""
    return f"{files} file" if files == 1 else f"{files} files"
