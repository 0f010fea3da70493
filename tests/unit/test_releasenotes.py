"""Release notes: what is told, and that nothing in a tree can make them long or dangerous."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lfssync.results import Difference, Version
from lfssync.rules.releasenotes import DIFFERENCES, FILES, NAME_CHARACTERS, notes

OID = "1" * 64


def blob(size_bytes: int, lfs: str | None = None) -> Version:
    return Version("100644", size_bytes, "2" * 40, lfs)


def test_a_first_release() -> None:
    told = notes({b"config.json": blob(20), b"model.safetensors": blob(5_200_000_000, OID)}, "step 500", None)
    assert told.splitlines() == [
        "2 files, 5.2 GB, 1 in LFS", "step 500", "", "Files:", "  model.safetensors (5.2 GB)", "  config.json (20 B)",
    ]  # fmt: skip


def test_what_differs_from_the_release_before() -> None:
    differences = [
        Difference(b"a", None, blob(9)), Difference(b"b", blob(3000, OID), blob(4000, OID)),
        Difference(b"c", blob(5), blob(5)), Difference(b"d", blob(7), None),
    ]  # fmt: skip
    told = notes({b"a": blob(9)}, "", ("v1", differences)).splitlines()
    assert told[2:8] == [
        "Since v1: 1 added (9 B), 2 changed (4.0 kB), 1 removed (7 B)",
        "+ a (9 B)", "~ b (3.0 kB → 4.0 kB)", "~ c (5 B)", "- d (7 B)", "",
    ]  # fmt: skip
    assert "The same files as in v1" in notes({}, "", ("v1", []))


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=80, unique=True))
def test_names_do_no_harm(names: list[bytes]) -> None:
    told = notes(dict.fromkeys(names, blob(1)), "", ("v1", [Difference(name, None, blob(1)) for name in names]))
    lines = told.split("\n")
    assert len(lines) <= FILES + DIFFERENCES + 7
    for line in lines:
        assert line.isprintable()
        assert len(line) <= NAME_CHARACTERS + 20
