"""What hosts refuse, as tables: sizes, binary files, names, crowded folders, and model cards."""

from __future__ import annotations

import pytest

from lfssync.hosts import UNKNOWN_LIMITS, Limits
from lfssync.hosts.preflight import (
    CARD,
    GITHUB,
    HUGGING_FACE,
    NO_PREFLIGHT,
    Preflight,
    limits_of,
    preflight_of,
    wrong_card,
)
from lfssync.model import LfsObject, Signature, Staged

MIB = 1 << 20
TEXT = b"some words\n"
BINARY = b"GGUF\0\0\0"
ON_HUB = Preflight(HUGGING_FACE, CARD)
ON_GITHUB = Preflight(GITHUB)


@pytest.mark.parametrize(
    ("url", "environment", "limits"),
    [
        ("https://huggingface.co/me/m", {}, HUGGING_FACE),
        ("git@hf.co:me/m", {}, HUGGING_FACE),
        ("https://huggingface.co/me/m", {"HF_ENDPOINT": "https://hub.example.org"}, HUGGING_FACE),
        ("https://hub.example.org/me/m", {"HF_ENDPOINT": "https://hub.example.org/"}, HUGGING_FACE),
        ("https://hub.example.organisation/me/m", {"HF_ENDPOINT": "https://hub.example.org"}, UNKNOWN_LIMITS),
        ("https://hub.example.org/me/m", {}, UNKNOWN_LIMITS),
        ("https://github.com/me/m.git", {}, GITHUB),
        ("ssh://git@ssh.github.com:443/me/m.git", {}, GITHUB),
        ("https://github.com.example.org/me/m.git", {}, UNKNOWN_LIMITS),
        ("https://gitlab.com/me/m.git", {}, UNKNOWN_LIMITS),
        ("/mnt/nas/m.git", {}, UNKNOWN_LIMITS),
        ("ext::sh -c x", {}, UNKNOWN_LIMITS),
    ],
)
def test_limits_go_by_the_host(url: str, environment: dict[str, str], limits: Limits) -> None:
    assert limits_of(url, environment) == limits


@pytest.mark.parametrize(
    ("path", "size_bytes", "head", "is_lfs", "words"),
    [
        (b"a.txt", 10 * MIB, TEXT, False, None),
        (b"a.txt", 10 * MIB + 1, TEXT, False, "takes files over 10 MiB only as LFS objects"),
        (b"a.txt", 10 * MIB + 1, TEXT, True, None),
        (b"a.gguf", 7, BINARY, False, "takes binary files only as LFS objects"),
        (b"a.gguf", 7, BINARY, True, None),
        (b"a.gguf", 500_000_000_000, BINARY, True, None),
        (b"a.gguf", 500_000_000_001, BINARY, True, "takes no file over 500.0 GB"),
        (b".cache/a.txt", 7, TEXT, False, "nothing that is called .cache"),
        (b"a/.cache/b.gguf", 7, BINARY, True, "nothing that is called .cache"),
        (b"a/.cached", 7, TEXT, False, None),
        (b"README.md", 30, b"---\nlicense: [\n---\n", False, "does not take its metadata (line "),
        (b"docs/README.md", 30, b"---\nlicense: [\n---\n", False, None),
        (b"README.md", 30, b"---\nlicense: mit\n---\n", False, None),
    ],
)
def test_what_the_hub_refuses(path: bytes, size_bytes: int, head: bytes, is_lfs: bool, words: str | None) -> None:
    reason = ON_HUB.refusal(path, size_bytes, head, is_lfs)
    assert (reason is None) if words is None else (words in (reason or ""))
    assert NO_PREFLIGHT.refusal(path, size_bytes, head, is_lfs) is None


@pytest.mark.parametrize(
    ("size_bytes", "is_lfs", "is_refused", "remark"),
    [
        (50 * MIB, False, False, ""),
        (50 * MIB + 1, False, False, "complained about"),
        (100 * MIB + 1, False, True, "complained about"),
        (2_000_000_000, True, False, ""),
        (2_000_000_001, True, False, "by the plan of the account"),
    ],
)
def test_what_github_refuses_and_remarks(size_bytes: int, is_lfs: bool, is_refused: bool, remark: str) -> None:
    reason = ON_GITHUB.refusal(b"w.bin", size_bytes, BINARY, is_lfs)
    assert (reason is not None) is is_refused
    lfs = LfsObject("0" * 64, size_bytes) if is_lfs else None
    staged = Staged(b"w.bin", Signature(size_bytes, 0, 0, 0, 0o100644), "0" * 40, lfs)
    remarks = ON_GITHUB.remarks([staged])
    assert (remark in remarks[0] and "GitHub" in remarks[0]) if remark else remarks == []
    assert NO_PREFLIGHT.remarks([staged]) == []


def test_what_becomes_lfs_follows_the_host() -> None:
    assert ON_HUB.binary_limit_bytes == 0
    assert ON_GITHUB.binary_limit_bytes == NO_PREFLIGHT.binary_limit_bytes > 0
    assert ON_HUB.lfs_threshold_bytes(MIB) == MIB
    assert ON_HUB.lfs_threshold_bytes(1 << 40) == 10 * MIB
    assert NO_PREFLIGHT.lfs_threshold_bytes(1 << 40) == 1 << 40


def test_a_full_folder_takes_nothing_new() -> None:
    small = Preflight(Limits("Somebody", folder_entries=3))
    present = [b"a/1", b"a/2", b"a/b/1", b"top"]
    refused = small.crowded([b"a/3", b"a/b/2", b"c/1", b"d/1", b"new"], present)
    assert sorted(refused) == [b"a/3", b"d/1", b"new"]
    assert refused[b"a/3"] == "Somebody takes 3 entries in a folder, and a is full: use sub-folders"
    assert "the top folder" in refused[b"new"]
    assert small.crowded([b"a/b/2", b"a/b/3"], present) == {}
    assert Preflight(UNKNOWN_LIMITS).crowded([b"a/3"], present) == {}


def test_a_card_is_the_readme_at_the_top_of_the_repository() -> None:
    url = "https://huggingface.co/me/m"
    assert preflight_of(url, "", {}) == ON_HUB
    assert preflight_of(url, "weights", {}).card is None
    assert preflight_of("/mnt/nas/m.git", "", {}) == NO_PREFLIGHT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ""),
        (b"# A model\n", ""),
        (b"---\n---\n", ""),
        (b"---\nno end\n", ""),
        (b"---\nlicense: mit\nlanguage: en\ntags: [a, b]\n---\n# Model\n", ""),
        (b"---\r\nlicense: mit\r\nlanguage:\r\n- en\r\n---\r\n", ""),
        (b"\xef\xbb\xbf---\nlicense: [mit]\n---\n", "license must be a word"),
        (b"---\nlicense: 2\n---\n", "license must be a word"),
        (b"---\nlanguage: no\n---\n", "language must be a list of words"),
        (b"---\ntags: [a, 1]\n---\n", "tags must be a list of words"),
        (b"---\ntags: {a: b}\n---\n", "tags must be a list of words"),
        (b"---\nbase_model: me/m\nbase_model_relation: child\n---\n", "base_model_relation must be one of adapter"),
        (b"---\nmodel-index:\n- name: m\n  results: []\n---\n", ""),
        (b"---\nmodel-index:\n- results: []\n---\n", "model-index must be a list of tables with a name"),
        (b"---\nmodel-index: {}\n---\n", "model-index must be a list of tables with a name"),
        (b"---\n- a\n---\n", "no table of names and values"),
        (b"---\nlicense: mit\ntags: [a\n---\n", "line 4: "),
        (b"---\na: b: c\n---\n", "line 2: mapping values are not allowed"),
        (b"---\ndate: 2024-99-99\n---\n", "it is no YAML"),
        (b"---\nlicense: \xff\n---\n", "it is no YAML"),
        (b"---\na: " + b"[" * 5000 + b"\n---\n", "it is no YAML"),
        (b"---\na: !!python/object/apply:os.system ['true']\n---\n", "line 2: could not determine a constructor"),
    ],
)
def test_cards(text: bytes, words: str) -> None:
    found = wrong_card(text)
    assert words in found
    assert bool(found) is bool(words)
