"""Whether a file is all there: whole ones are, no part of one is, and nothing that is no such file raises or waits."""

from __future__ import annotations

import json
import struct

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lfssync import formats
from lfssync.formats import Completeness, Finding, Reader
from lfssync.formats import gguf as gguf_format
from tests import modelfiles

WHOLE = modelfiles.whole_files()
COMPLETE, INCOMPLETE, UNKNOWN = Completeness


def look(name: str, content: bytes) -> Finding:
    """What the check says; it never reads more than it may at once, nor beyond the end."""

    def read(count: int, offset: int) -> bytes:
        assert 0 < count <= 32 << 20
        assert 0 <= offset < len(content)
        return content[offset : offset + count]

    return formats.check(name.encode(), Reader(len(content), read))


def verdict(name: str, content: bytes) -> Completeness:
    return look(name, content).completeness


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_complete(name: str) -> None:
    assert look(name, WHOLE[name]) == Finding(COMPLETE)


@pytest.mark.parametrize("name", WHOLE)
def test_no_true_prefix_is_complete(name: str) -> None:
    content = WHOLE[name]
    found = [verdict(name, content[:cut]) for cut in range(len(content))]
    assert COMPLETE not in found
    assert found.count(INCOMPLETE) > len(content) * 0.8  # the rest may be whole by what the format says


@pytest.mark.parametrize(
    ("name", "cut", "reason"),
    [
        ("model.safetensors", -1, "ends after 239 B of 240 B"),
        ("model.safetensors", 30, "ends within its header, after 30 B"),
        ("optimizer.pt", 100, "ends after 100 B without the directory of an archive"),
        ("array.npy", -1, "ends after 151 B of 152 B"),
        ("table.parquet", -1, "ends after 95 B without its footer"),
        ("data.arrow", 90, "ends after 90 B within a message"),
        ("config.json", 20, "ends after 20 B in the middle of its JSON"),
        ("weights.h5", 0, "is still empty"),
    ],
)
def test_the_reason_says_what_is_there(name: str, cut: int, reason: str) -> None:
    assert look(name, WHOLE[name][:cut]) == Finding(INCOMPLETE, reason)


@given(st.data())
def test_no_part_of_any_weights_is_complete(data: st.DataObject) -> None:
    content = modelfiles.safetensors_file(*(data.draw(st.integers(low, 40)) for low in (0, 0, 1)))
    assert verdict("a.safetensors", content) is COMPLETE
    cut = data.draw(st.integers(0, len(content) - 1))
    assert verdict("a.safetensors", content[:cut]) is not COMPLETE


@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_side=0)), st.data())
def test_no_part_of_any_array_is_complete(array: np.ndarray, data: st.DataObject) -> None:
    content = modelfiles.npy_file(array)
    assert verdict("a.npy", content) is COMPLETE
    cut = data.draw(st.integers(0, len(content) - 1))
    assert verdict("a.npy", content[:cut]) is INCOMPLETE


@given(
    st.dictionaries(st.text("abc", max_size=5), st.binary(max_size=50) | st.just(WHOLE["none.zip"] * 2), max_size=4),
    st.binary(max_size=20),
    st.booleans(),
    st.data(),
)
def test_no_part_of_any_archive_is_complete(
    entries: dict[str, bytes], comment: bytes, is_large: bool, data: st.DataObject
) -> None:
    """Also of one that holds others, uncompressed, with an end record each."""
    content = modelfiles.zip_file(
        {f"{name}/x": body for name, body in entries.items()}, comment=b"" if is_large else comment
    )
    content = modelfiles.with_large_end(content) if is_large and entries else content
    nested = modelfiles.zip_file({"inner.npz": content, "more": b"more"})
    for whole in (content, nested):
        assert verdict("a.pt", whole) is COMPLETE
        cut = data.draw(st.integers(0, len(whole) - 1))
        assert verdict("a.pt", whole[:cut]) is not COMPLETE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(json_values) | st.dictionaries(st.text(), json_values), st.booleans(), st.data())
def test_every_part_of_a_document_waits(document: object, is_ascii: bool, data: st.DataObject) -> None:
    content = json.dumps(document, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    if b"\xed" not in content:  # half a pair of surrogates is no UTF-8
        assert verdict("a.json", content) is COMPLETE
        cut = data.draw(st.integers(0, len(content) - 1))
        assert verdict("a.json", content[:cut]) is INCOMPLETE


@given(st.integers(0, 200), st.integers(0, 4), st.integers(0, 200))
@settings(max_examples=20)
def test_the_table_of_a_large_gguf_is_followed(tokens: int, tensors: int, cut: int) -> None:
    content = modelfiles.gguf_file(tensors, [f"token {number}" for number in range(max(tokens, 1))])
    assert verdict("a.gguf", content) is COMPLETE
    assert verdict("a.gguf", content[: -1 - cut]) is not COMPLETE


def test_the_sizes_of_tensor_types_are_those_of_the_library() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: theirs[kind] for kind in gguf_format.BLOCKS} == gguf_format.BLOCKS
    assert len(gguf_format.BLOCKS) > 25


def test_a_tensor_of_an_unknown_type_is_no_reason_to_wait() -> None:
    content = WHOLE["model.gguf"]
    row = content.index(b"blk.1.weight") + len(b"blk.1.weight") + 4 + 8
    strange = content[:row] + struct.pack("<I", 999) + content[row + 4 :]
    assert verdict("a.gguf", strange) is UNKNOWN
    assert verdict("a.gguf", strange[: row + 20]) is INCOMPLETE


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.npy", "a.h5", "a.gguf", "a.parquet", "a.arrow", "a.json"])
@given(content=st.binary(max_size=300))
@settings(max_examples=60)
def test_random_bytes_are_never_complete_and_never_raise(name: str, content: bytes) -> None:
    found = verdict(name, content)
    assert found is not COMPLETE or name == "a.json"
    if len(content) > 8 and name != "a.json" and found is INCOMPLETE:
        assert content[:1] in b"\0P\x93\x89GAF\xff{" or content[8:9] == b"{"


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=60)
def test_damage_never_raises(name: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8]))
        content[at : at + len(piece)] = piece
    verdict(name, bytes(content))


@pytest.mark.parametrize("name", sorted({name.rpartition(".")[2] for name in WHOLE} - {"json"}))
def test_what_goes_on_behind_its_end_is_taken_as_it_is(name: str) -> None:
    whole = next(content for other, content in WHOLE.items() if other.endswith(name))
    found = verdict(f"a.{name}", whole + b"more")
    assert found is (INCOMPLETE if name in ("parquet", "feather") else UNKNOWN)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),  # torch before 1.6
        ("model.bin", b""),
        ("model.safetensors", b"\xff" * 40),
        ("model.safetensors", struct.pack("<Q", 5) + b"hello, world"),
        ("model.safetensors", struct.pack("<Q", 2) + b"{]"),
        ("model.safetensors", struct.pack("<Q", 8) + b'{"a": 1}'),
        ("model.safetensors", struct.pack("<Q", 200_000) + b'{"a":' * 40_000),
        ("model.safetensors", struct.pack("<Q", 48) + b'{"a":{"data_offsets":[0,9' + b"9" * 20 + b"]}}"),
        ("version of the pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("array.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16),
        ("array.npy", b"\x93NUMPY\x09\x00\x10\x00" + b"(" * 16),
        ("array.npy", b"\x93NUMPY\x02\x00\xff\xff\x00\x00" + b"(" * 70000),
        ("shape.npy", b"\x93NUMPY\x01\x00\x35\x00" + b"{'descr':'<f4','shape':(99999999999999,99999999999999)}"),
        ("negative.npy", b"\x93NUMPY\x01\x00\x1d\x00" + b"{'descr':'<f4','shape':(-9,)}"),
        ("model.gguf", b"GGUF\x01\0\0\0" + bytes(40)),
        ("model.gguf", b"GGUF\x03\0\0\0" + struct.pack("<QQ", 1, 1) + b"\xff" * 60),
        ("model.h5", b"\x89HDF\r\n\x1a\n\x09" + bytes(100)),
        ("a.arrow", b"\xff\xff\xff\xff\x10\0\0\0" + b"\xff" * 100),
        ("a.json", b"{'a': 1}"),
        ("a.json", b'{"a": 1, // a comment\n "b": 2}'),
        ("a.json", b"\xff\xfe{\0}\0"),
        ("a.json", b"[" * 100_000),
        ("a.json", b"12"),
        ("a.txt", b'{"a":'),
        ("json", b'{"a":'),
        (".json", b'{"a":'),
    ],
)
def test_what_waiting_cannot_mend_is_taken_as_it_is(name: str, content: bytes) -> None:
    assert verdict(name, content) is UNKNOWN


def test_what_lacks_next_to_nothing_says_so() -> None:
    content = modelfiles.safetensors_file(1, 1, 400_000)
    assert look("a.safetensors", content[:-1]) == Finding(INCOMPLETE, "ends 1 B too early")


def test_a_bin_may_be_of_any_format() -> None:
    for name in ("model.safetensors", "config.json"):
        assert verdict("a.bin", WHOLE[name]) is UNKNOWN
    for name in ("model.gguf", "array.npy", "weights.h5"):
        assert verdict("a.bin", WHOLE[name]) is COMPLETE
        assert verdict("a.bin", WHOLE[name][:-1]) is not COMPLETE


def test_names_are_looked_at_without_case_or_folders() -> None:
    assert verdict("a.json/MODEL.SafeTensors", WHOLE["model.safetensors"][:-1]) is INCOMPLETE
    assert verdict("a.json/model", b'{"a"') is UNKNOWN
    assert formats.has_check(b"x/a.PT")
    assert not formats.has_check(b"x.pt/a.log")


def test_a_file_that_was_only_made_room_for_waits() -> None:
    assert look("model.h5", bytes(4096)) == Finding(INCOMPLETE, "has no beginning yet")


def test_a_file_that_its_program_did_not_close_waits() -> None:
    content = bytearray(WHOLE["latest.h5"])
    content[8], content[11] = 3, 1
    assert look("model.h5", bytes(content)) == Finding(INCOMPLETE, "was not closed by the program that wrote it")


def test_an_hdf5_file_within_another_file() -> None:
    content = modelfiles.hdf5_file(user_block_bytes=512)
    assert verdict("model.h5", content) is INCOMPLETE  # its beginning is empty room


def test_large_documents_are_judged_by_their_end() -> None:
    content = b'{"vocab": [' + b"1, " * 2_000_000
    assert look("tokenizer.json", content) == Finding(INCOMPLETE, "ends after 6.0 MB in the middle of its JSON")
    assert verdict("tokenizer.json", content + b"1]}\n") is UNKNOWN


def test_an_archive_full_of_end_records_costs_little() -> None:
    assert verdict("a.zip", b"PK\x03\x04" + b"PK\x05\x06" * 20_000) is INCOMPLETE
