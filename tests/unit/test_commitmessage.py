"""What people read in `git log`, whatever files are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.rules.commitmessage import BODY_LINES, SUBJECT_CHARACTERS, group_message, message

NAMES = st.lists(st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name), max_size=60)


@pytest.mark.parametrize(
    ("added", "changed", "removed", "size", "subject"),
    [
        ([b"a"], [], [], 5, "Add 1 file (5 B): a"),
        ([b"a", b"b"], [], [], 1000, "Add 2 files (1.0 kB): a, b"),
        ([], [b"model.safetensors"], [], 5_200_000_000, "Change 1 file (5.2 GB): model.safetensors"),
        ([], [], [b"a"], 0, "Remove 1 file: a"),
        ([b"a"], [b"b"], [b"c", b"d"], 7, "Add 1 file, change 1, remove 2 (7 B): a, b, c, d"),
        ([], [b"b"], [b"c"], 7, "Change 1 file, remove 1 (7 B): b, c"),
        ([b"new\nline"], [], [], 1, r"Add 1 file (1 B): new\nline"),
        ([b"\xff\x1b[31m"], [], [], 1, r"Add 1 file (1 B): \xff\x1b[31m"),
        ([], [], [], 0, "Mirror what is there already"),
    ],
)
def test_subject(added: list[bytes], changed: list[bytes], removed: list[bytes], size: int, subject: str) -> None:
    assert message(added, changed, removed, size).splitlines()[0] == subject


def test_one_file_needs_no_body() -> None:
    assert message([b"a"], [], [], 1) == "Add 1 file (1 B): a\n"


def test_the_body_says_what_happened_to_each_file() -> None:
    assert message([b"a", b"b"], [b"c"], [b"d"], 1).splitlines()[1:] == ["", "+ a", "+ b", "~ c", "- d"]


def test_a_long_list_is_cut_in_subject_and_body() -> None:
    lines = message([b"file-%05d" % number for number in range(20_000)], [], [], 1).splitlines()
    assert len(lines[0]) <= SUBJECT_CHARACTERS
    assert lines[0].endswith(", …")
    assert len(lines) == 2 + BODY_LINES + 1
    assert lines[-1] == f"… and {20_000 - BODY_LINES} more"


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    subject = message([b"a" * 200 + b".safetensors"], [], [], 1).splitlines()[0]
    assert len(subject) <= SUBJECT_CHARACTERS
    assert subject.endswith(".safetensors")
    assert "aaa…" in subject


@pytest.mark.parametrize(
    ("verb", "name", "telling", "paths", "size", "subject"),
    [
        (
            "Add", b"checkpoint-500", "step 500, epoch 2.0, eval_loss 1.234", ([b"a"] * 6, [], []), 5_200_000_000,
            "Add checkpoint-500: step 500, epoch 2.0, eval_loss 1.234 (6 files, 5.2 GB)",
        ),
        ("Add", b"runs/checkpoint-500", "", ([b"a"], [], []), 5, "Add runs/checkpoint-500 (1 file, 5 B)"),
        ("Remove", b"checkpoint-100", "", ([], [], [b"a", b"b"]), 0, "Remove checkpoint-100 (2 files)"),
        ("Change", b"a\x1b", "step 1", ([b"a"], [b"b"], [b"c"]), 5, r"Change a\x1b: step 1 (2 files, 5 B)"),
    ],
)  # fmt: skip
def test_the_subject_of_a_checkpoint(
    verb: str, name: bytes, telling: str, paths: tuple[list[bytes], list[bytes], list[bytes]], size: int, subject: str
) -> None:
    lines = group_message(verb, name, telling, paths, size).splitlines()
    assert lines[0] == subject
    assert len(lines) == 2 + sum(map(len, paths))


def test_a_long_name_of_a_checkpoint_is_cut() -> None:
    subject = group_message("Add", b"a/" * 200 + b"checkpoint-5", "step 5", ([b"a"], [], []), 5).splitlines()[0]
    assert len(subject) <= SUBJECT_CHARACTERS
    assert subject.endswith("checkpoint-5: step 5 (1 file, 5 B)")


@given(NAMES, NAMES, NAMES, st.integers(0, 10**15))
def test_any_names_make_a_message_of_lines(
    added: list[bytes], changed: list[bytes], removed: list[bytes], size: int
) -> None:
    text = message(added, changed, removed, size)
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 2 + BODY_LINES + 1
    assert len(lines[0]) <= SUBJECT_CHARACTERS + 20  # the counts themselves may be long, the names then are cut
    assert lines[1:2] in ([], [""])
