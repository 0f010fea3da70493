"""Files as training writes them, byte for byte: made with the libraries themselves where those are light enough.

The one thing to know: Parquet and Arrow are put together by hand from their specifications, because their library is
larger than all others of the tests together.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import h5py  # type: ignore[import-untyped]
import numpy as np
import safetensors.numpy

from tests.helpers import random_bytes


def tensors(seed: int = 1, count: int = 2, values: int = 8) -> dict[str, np.ndarray]:
    """Weights that differ for each seed."""
    source = np.random.default_rng(seed)
    return {f"layer.{number}.weight": source.standard_normal(values, dtype=np.float32) for number in range(count)}


def safetensors_file(seed: int = 1, count: int = 2, values: int = 8) -> bytes:
    """A safetensors file of so many tensors with so many values each."""
    return safetensors.numpy.save(tensors(seed, count, values), {"format": "pt"})


def npy_file(array: np.ndarray) -> bytes:
    """What `numpy.save` writes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def npz_file(seed: int = 1) -> bytes:
    """What `numpy.savez` writes."""
    stream = io.BytesIO()
    np.savez(stream, **tensors(seed))  # type: ignore[arg-type]
    return stream.getvalue()


def zip_file(entries: Mapping[str, bytes], comment: bytes = b"") -> bytes:
    """An archive that compresses nothing, as torch writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of no certain time, as torch does
        archive.comment = comment
    return stream.getvalue()


def torch_file(seed: int = 1, values: int = 32) -> bytes:
    """The layout of `torch.save`, with the 64-bit end record that it always has."""
    names = {"archive/data.pkl": b"\x80\x02}.", "archive/version": b"3\n", "archive/data/0": random_bytes(seed, values)}
    return with_large_end(zip_file(names))


def with_large_end(archive: bytes) -> bytes:
    """An archive with a 64-bit end record before its plain one. Source: APPNOTE.TXT, 4.3.14 and 4.3.15."""
    end = archive[-22:]
    *_, entries, size_bytes, offset, _ = struct.unpack("<4s4H2LH", end)
    at = len(archive) - 22
    large = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size_bytes, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return archive[:at] + large + locator + end


def hdf5_file(libver: str = "earliest", user_block_bytes: int = 0) -> bytes:
    """What Keras 2 writes."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver, userblock_size=user_block_bytes) as file:
        file["layer/weight"] = np.arange(20.0)
        file.attrs["backend"] = "none"
    return stream.getvalue()


def gguf_file(count: int = 2, tokens: Sequence[str] = ("a", "b")) -> bytes:
    """What the converters of llama.cpp write, with another last tensor than a round number of bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_token_list(list(tokens))
        writer.add_array("numbers", [1, 2, 3])
        writer.add_name("tiny")
        for number in range(count):
            writer.add_tensor(f"blk.{number}.weight", np.arange(3 + number, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def parquet_file(seed: int = 1, magic: bytes = b"PAR1") -> bytes:
    """The frame of a Parquet file: pages, a footer that begins as Thrift's does, its length."""
    footer = b"\x15\x04\x19\x2c" + random_bytes(seed, 20)
    return magic + random_bytes(seed + 1, 60) + footer + struct.pack("<I", len(footer)) + magic


def arrow_message(body: bytes) -> bytes:
    """A message of an Arrow stream: a table whose fourth field is the length of the body."""
    fields = struct.pack("<6H", 12, 16, 0, 0, 0, 8)
    table = struct.pack("<iIq", 16, 0, len(body))
    metadata = struct.pack("<I", 20) + fields.ljust(16, b"\0") + table
    metadata = metadata.ljust(-(-len(metadata) // 8) * 8, b"\0")
    return b"\xff\xff\xff\xff" + struct.pack("<i", len(metadata)) + metadata + body


def arrow_stream(seed: int = 1, parts: int = 3) -> bytes:
    """What the datasets library writes, under the name of `.arrow`."""
    messages = [arrow_message(b""), *(arrow_message(random_bytes(seed + number, 32)) for number in range(parts))]
    return b"".join(messages) + b"\xff\xff\xff\xff\0\0\0\0"


def arrow_file(seed: int = 1) -> bytes:
    """An Arrow file, which is a stream with a footer."""
    footer = random_bytes(seed, 24)
    return b"ARROW1\0\0" + arrow_stream(seed) + footer + struct.pack("<I", len(footer)) + b"ARROW1"


def index_file(shards: Sequence[str]) -> bytes:
    """A `*.index.json` that lists shards."""
    weights = {f"layer.{number}.weight": shard for number, shard in enumerate(shards)}
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}, indent=2).encode()


def whole_files() -> dict[str, bytes]:
    """One whole file of every kind, by a name that says which."""
    return {
        "model.safetensors": safetensors_file(),
        "empty.safetensors": safetensors.numpy.save({}),
        "pytorch_model.bin": torch_file(),
        "optimizer.pt": zip_file({"archive/data.pkl": b"x" * 30}),
        "commented.ckpt": zip_file({"a": b"b"}, comment=b"a comment"),
        "none.zip": zip_file({}),
        "model.keras": zip_file({"config.json": b"{}", "model.weights.h5": hdf5_file()[:200]}),
        "arrays.npz": npz_file(),
        "array.npy": npy_file(np.arange(12, dtype="<i2").reshape(3, 4)),
        "scalar.npy": npy_file(np.array(1.0)),
        "texts.npy": npy_file(np.array(["one", "two"])),
        "weights.h5": hdf5_file(),
        "latest.h5": hdf5_file("latest"),
        "model.gguf": gguf_file(),
        "aligned.gguf": gguf_file(3, ("x",) * 100),
        "table.parquet": parquet_file(),
        "sealed.parquet": parquet_file(magic=b"PARE"),
        "data.arrow": arrow_stream(),
        "file.arrow": arrow_file(),
        "old.feather": parquet_file(magic=b"FEA1"),
        "config.json": b'{"a": [1, -2.5e3, true, null, "\\u00e9\xc3\xa9 \\n"], "b": {}}',
        "list.json": b"[]",
    }
