"""Which tensors differ between two versions of a safetensors file, told by their headers alone.

Asked by `history`. The one thing to know: a header is at the beginning of its file, so a file of any size costs two
short reads a side, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lfssync.errors import LfssyncError, TransientError
from lfssync.formats.reading import Reader
from lfssync.formats.safetensors import tensors
from lfssync.results import Difference, Tensor, TensorChange, Version
from lfssync.versions.contents import Contents

FILES = 64
"""So many files are looked into for one difference."""

_FIRST_BYTES = 64 << 10
"""Most headers are shorter, and then one read is enough."""


def compared(near: Contents, differences: Sequence[Difference]) -> list[Difference]:
    """Differences with what their tensors say; a remote that does not answer is asked no further.

    Args:
        near: Where the bytes are.
        differences: What differs, by path.
    """
    done: list[Difference] = []
    looked, given_up = 0, ""
    for one in differences:
        if one.old is None or one.new is None or not one.path.endswith(b".safetensors"):
            done.append(one)
            continue
        looked += 1
        if looked > FILES:
            given_up = f"only the first {FILES} files are looked into"
        if given_up:
            done.append(replace(one, unseen=given_up))
            continue
        try:
            done.append(replace(one, tensors=changes(header(near, one.old), header(near, one.new))))
        except LfssyncError as error:
            done.append(replace(one, unseen=error.message))
            given_up = error.message if isinstance(error, TransientError) else ""
    return done


def changes(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> tuple[TensorChange, ...]:
    """The tensors that were added, removed, reshaped or retyped, by name."""
    names = sorted(old.keys() | new.keys())
    return tuple(TensorChange(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def header(near: Contents, version: Version) -> dict[str, Tensor]:
    """The tensors of one version of a file.

    Raises:
        LfssyncError: Its bytes are not to be had, or it is no such file.
    """
    if version.git_mode == "120000":
        raise LfssyncError("it is a link")
    start = near.part(version, 0, _FIRST_BYTES)

    def read(count: int, offset: int) -> bytes:
        found = start[offset : offset + count]
        rest = count - len(found)
        return found + near.part(version, offset + len(found), rest) if rest else found

    found = tensors(Reader(version.size_bytes, read))
    if found is None:
        raise LfssyncError("its header cannot be read, or is too large to look into")
    return found
