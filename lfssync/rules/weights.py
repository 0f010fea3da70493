"""Which weights of an earlier save a new one puts out of date, by their names alone. Pure; asked by `pipeline`.

The one thing to know: loaders look for `model.safetensors` first and for the index of shards afterwards. So a model
that grew into shards, pushed over one that was a single file, would load with the old weights if that file stayed.

Source: transformers, the order of names in `PreTrainedModel.from_pretrained`
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Family = tuple[bytes, bytes]
"""What all files of one set of weights have in common: the beginning of their paths, and their ending."""

_SHARD = re.compile(rb"(?P<stem>.+)-\d{5}-of-\d{5}(?P<ending>\.safetensors|\.bin)", re.DOTALL)
_INDEX = re.compile(rb"(?P<stem>.+)(?P<ending>\.safetensors|\.bin)\.index(?P<variant>\.[^./]+)?\.json", re.DOTALL)
_SINGLE = re.compile(rb"(?P<stem>.+)(?P<ending>\.safetensors|\.bin)", re.DOTALL)


def outdated(written: Iterable[bytes], there: Iterable[bytes]) -> list[bytes]:
    """What else there is of the sets of weights of which something was written; sorted.

    Args:
        written: Paths of what is saved now.
        there: Paths of what an earlier save left.
    """
    left = set(there)
    if not left:
        return []
    new = set(written)
    families = {family for path in new if (family := _family(path))}
    return sorted(path for path in left - new if _family(path) in families)


def _family(path: bytes) -> Family | None:
    for pattern in (_SHARD, _INDEX, _SINGLE):
        if found := pattern.fullmatch(path):
            variant = found.groupdict().get("variant") or b""
            return found["stem"] + variant, found["ending"]
    return None
