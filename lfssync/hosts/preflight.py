"""What a host would refuse when it is pushed, found before anything is committed. Pure.

Beside the line: the one module of this room that a pass imports; `stage` asks about each file that it is about to read.
The one thing to know: a refused push takes everything with it, and what is in a commit stays in the way for ever, so
one bad file has to wait alone while the weights go on.

Source: hub-docs, storage limits, model cards, repositories; GitHub Docs, about large files and Git LFS.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfssync.errors import UserError
from lfssync.hosts import UNKNOWN_LIMITS, Limits
from lfssync.model import Staged, human_bytes, show
from lfssync.rules.attributes import BINARY_LIMIT_BYTES, is_binary
from lfssync.rules.remotes import is_on_hub, parse_remote

MIB = 1 << 20
CARD = b"README.md"
CARD_LIMIT_BYTES = MIB
"""Longer cards are not looked into."""

HUGGING_FACE = Limits(
    "Hugging Face",
    lfs_object_bytes=500_000_000_000,
    plain_file_bytes=10 * MIB,
    folder_entries=10_000,
    binary_needs_lfs=True,
    has_cards=True,
    forbidden_names=frozenset({b".git", b".cache"}),
)
GITHUB = Limits("GitHub", lfs_warn_bytes=2_000_000_000, plain_file_bytes=100 * MIB, plain_warn_bytes=50 * MIB)

_LIMITS = {
    "huggingface.co": HUGGING_FACE,
    "hf.co": HUGGING_FACE,
    "github.com": GITHUB,
    "ssh.github.com": GITHUB,
}
_FRONT = re.compile(rb"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_WORDS = ("license", "license_name", "license_link", "library_name", "pipeline_tag", "thumbnail")
_LISTS = ("language", "tags", "datasets", "metrics", "base_model")
_RELATIONS = ("adapter", "merge", "quantized", "finetune")
_IGNORE = "leave it out with `ignore`"
_ALLOW = "take the line out of .gitattributes that keeps it from being one"


def limits_of(url: str, environment: Mapping[str, str]) -> Limits:
    """What the host of a remote takes; nothing is known about most.

    Args:
        url: As `parse_remote` gives it.
        environment: `HF_ENDPOINT` counts.
    """
    if is_on_hub(url, environment):
        return HUGGING_FACE
    try:
        return _LIMITS.get(parse_remote(url, Path("/")).host, UNKNOWN_LIMITS)
    except UserError:  # somebody else says so
        return UNKNOWN_LIMITS


@dataclass(frozen=True, slots=True)
class Preflight:
    """The limits of a mirror's host, as staging needs them.

    Args:
        limits: See `Limits`.
        card: The path whose metadata the host checks, or None.
    """

    limits: Limits = UNKNOWN_LIMITS
    card: bytes | None = None

    def lfs_threshold_bytes(self, wanted: int) -> int:
        """Files above this become LFS objects, so that the host takes them."""
        return wanted if self.limits.plain_file_bytes is None else min(wanted, self.limits.plain_file_bytes)

    @property
    def binary_limit_bytes(self) -> int:
        """Binary files above this become LFS objects."""
        return 0 if self.limits.binary_needs_lfs else BINARY_LIMIT_BYTES

    def refusal(self, path: bytes, size_bytes: int, head: bytes, is_lfs: bool) -> str | None:
        """Why the host would not take a file, and what to do about it; None when it would.

        Args:
            path: In the mirrored directory.
            size_bytes: Of the file.
            head: Its first bytes; of the card all that is to be checked.
            is_lfs: Whether it becomes an LFS object.
        """
        limits = self.limits
        if name := next((part for part in path.split(b"/") if part in limits.forbidden_names), None):
            return f"{limits.host} takes nothing that is called {show(name)}: {_IGNORE}"
        if is_lfs:
            if limits.lfs_object_bytes is not None and size_bytes > limits.lfs_object_bytes:
                return (
                    f"{limits.host} takes no file over {human_bytes(limits.lfs_object_bytes)}: split it, or {_IGNORE}"
                )
            return None
        if limits.plain_file_bytes is not None and size_bytes > limits.plain_file_bytes:
            over = f"{limits.plain_file_bytes // MIB} MiB"
            return f"{limits.host} takes files over {over} only as LFS objects: {_ALLOW}, or {_IGNORE}"
        if limits.binary_needs_lfs and is_binary(head):
            return f"{limits.host} takes binary files only as LFS objects: {_ALLOW}, or {_IGNORE}"
        if path == self.card and (wrong := wrong_card(head)):
            return f"{limits.host} does not take its metadata ({wrong}): correct the lines between the two ---"
        return None

    def crowded(self, new: Iterable[bytes], present: Iterable[bytes]) -> dict[bytes, str]:
        """New files that a folder has no room for, with the reason.

        Args:
            new: Paths about to be added.
            present: All paths that are there, and stay.
        """
        limit = self.limits.folder_entries
        if limit is None:
            return {}
        entries: Counter[bytes] = Counter()
        seen: set[bytes] = set()
        for path in present:
            _enter(path, entries, seen)
        refused = {}
        for path in sorted(new):
            full = next(
                (folder for folder, entry in _steps(path) if entry not in seen and entries[folder] >= limit), None
            )
            if full is None:
                _enter(path, entries, seen)
            else:
                where = show(full) or "the top folder"
                refused[path] = (
                    f"{self.limits.host} takes {limit} entries in a folder, and {where} is full: use sub-folders"
                )
        return refused

    def remarks(self, staged: Iterable[Staged]) -> list[str]:
        """What the host takes, but not from everybody or not gladly."""
        found = []
        for one in staged:
            size_bytes = one.signature.size_bytes
            warn_bytes = self.limits.lfs_warn_bytes if one.lfs else self.limits.plain_warn_bytes
            if warn_bytes is not None and size_bytes > warn_bytes:
                what = "LFS objects" if one.lfs else "files outside LFS"
                over = human_bytes(warn_bytes) if one.lfs else f"{warn_bytes // MIB} MiB"
                ending = "may be refused, by the plan of the account" if one.lfs else "are complained about"
                found.append(
                    f"{show(one.path)} ({human_bytes(size_bytes)}): {what} over {over} {ending} by {self.limits.host}"
                )
        return found


NO_PREFLIGHT = Preflight()
"""For remotes that take everything, as far as is known."""


def preflight_of(url: str, into: str, environment: Mapping[str, str]) -> Preflight:
    """What is to be looked at for a mirror.

    Args:
        url: Its remote.
        into: Its sub-folder of the repository; a README in there is no card.
        environment: `HF_ENDPOINT` counts.
    """
    limits = limits_of(url, environment)
    return Preflight(limits, CARD if limits.has_cards and not into else None)


def wrong_card(text: bytes) -> str:
    """What is wrong with the metadata of a model card; empty when nothing is, or when there is none.

    Args:
        text: Of README.md.
    """
    front = _FRONT.match(text.removeprefix(b"\xef\xbb\xbf"))
    if front is None:
        return ""
    import yaml

    try:
        found = yaml.safe_load(front[1].decode())
    except yaml.YAMLError as error:
        return _where(error)
    except (ValueError, RecursionError):  # bytes that are no text, a date that is none, brackets without end
        return "it is no YAML"
    if found is None:
        return ""
    return _wrong_values(found) if isinstance(found, dict) else "it is no table of names and values"


def _where(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or "it is no YAML").split())
    return f"line {mark.line + 2}: {problem}" if mark is not None else problem


def _wrong_values(data: dict[Any, Any]) -> str:
    for key in _WORDS:
        if key in data and not isinstance(data[key], str):
            return f"{key} must be a word"
    for key in _LISTS:
        values = data.get(key, [])
        if not all(isinstance(value, str) for value in (values if isinstance(values, list) else [values])):
            return f"{key} must be a list of words"
    if data.get("base_model_relation", _RELATIONS[0]) not in _RELATIONS:
        return f"base_model_relation must be one of {', '.join(_RELATIONS)}"
    index = data.get("model-index", [])
    if not isinstance(index, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in index
    ):
        return "model-index must be a list of tables with a name"
    return ""


def _steps(path: bytes) -> list[tuple[bytes, bytes]]:
    """The folders that a path goes through, each with the path of what it has in it."""
    parts = path.split(b"/")
    return [(b"/".join(parts[:count]), b"/".join(parts[: count + 1])) for count in range(len(parts))]


def _enter(path: bytes, entries: Counter[bytes], seen: set[bytes]) -> None:
    for folder, entry in _steps(path):
        if entry not in seen:
            seen.add(entry)
            entries[folder] += 1
