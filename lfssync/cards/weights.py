"""What the headers of weights tell: how many values of which types, and what a GGUF or Keras file says of its model.

Used by `reading`. The one thing to know: data is never read, and files that hold pickles (`*.bin`, `*.pt`, `*.ckpt`)
are only counted.

Source: the formats of `lfssync.formats`; keras, `saving_lib.py`.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lfssync.cards import words
from lfssync.cards.facts import Weights
from lfssync.formats import gguf, safetensors
from lfssync.formats.reading import Reader
from lfssync.line.holdings import Holdings
from lfssync.rules.groups import is_index, shards_of

SHARDS = 512
_INDEX_LIMIT_BYTES = 32 << 20
_HEADERS_LIMIT_BYTES = 64 << 20
_ARCHIVE_LIMIT_BYTES = 16 << 20
_ENTRY_LIMIT_BYTES = 4 << 20
_MAIN = (b"model.safetensors", b"adapter_model.safetensors", b"diffusion_pytorch_model.safetensors")


def of_safetensors(holdings: Holdings) -> Weights | None:
    """The weights in the safetensors files at the top of a directory; None when there are none."""
    shards = _shards(holdings)
    if not shards:
        return None
    dtypes: Counter[str] = Counter()
    tensors, left_bytes, is_whole = 0, _HEADERS_LIMIT_BYTES, True
    for shard in shards:
        with holdings.reader(shard) as reader:
            header = safetensors.tensors(reader, left_bytes) if reader and left_bytes > 0 else None
            if header is None or reader is None:
                is_whole = False
                continue
            left_bytes -= int.from_bytes(reader.at(0, 8), "little")
        tensors += len(header)
        for tensor in header.values():
            dtypes[words.word(tensor.dtype) or "other"] += min(math.prod(tensor.shape), words.NUMBER_MAX)
    parameters = sum(dtypes.values())
    is_told = is_whole and parameters < words.NUMBER_MAX
    return Weights(parameters if is_told else None, dtypes if is_told else {}, tensors, len(shards), "safetensors")


def _shards(holdings: Holdings) -> list[bytes]:
    """The files that make up the model, and not other copies of it."""
    top = sorted(path for path in holdings.files if b"/" not in path)
    for path in top:
        if is_index(path) and path.endswith(b".safetensors.index.json"):
            listed = shards_of(path, holdings.read(path, _INDEX_LIMIT_BYTES))
            if listed:
                return sorted(listed & holdings.files.keys())[:SHARDS]
    for path in _MAIN:
        if path in holdings.files:
            return [path]
    files = [path for path in top if path.endswith(b".safetensors")]
    return files if len(files) == 1 else []


@dataclass(frozen=True, slots=True)
class Told:
    """What a file of weights says about its model, besides the weights; unchecked."""

    weights: Weights
    values: words.Table


def of_gguf(holdings: Holdings) -> Told | None:
    """What the largest GGUF file says."""
    files = _by_size(holdings, b".gguf")
    for path in files[:1]:
        with holdings.reader(path) as reader:
            found = gguf.described(reader, _is_wanted) if reader else None
        parameters = sum(found.weights.values()) if found else None
        if found is None or parameters is None or parameters >= words.NUMBER_MAX:
            return Told(Weights(shards=len(files), format="gguf"), {})
        return Told(Weights(parameters, found.weights, found.tensors, len(files), "gguf"), dict(found.values))
    return None


def _is_wanted(key: str) -> bool:
    return key.startswith("general.") or key.endswith(
        (".context_length", ".block_count", ".embedding_length", ".vocab_size", ".attention.head_count")
    )


def of_keras(holdings: Holdings) -> Told | None:
    """What the largest `*.keras` file says: its `metadata.json` and `config.json`."""
    files = _by_size(holdings, b".keras")
    for path in files[:1]:
        with holdings.reader(path) as reader:
            values = _from_archive(reader) if reader else {}
        return Told(Weights(shards=len(files), format="keras"), values)
    return None


def _from_archive(reader: Reader) -> words.Table:
    try:
        with zipfile.ZipFile(_Bounded(reader, _ARCHIVE_LIMIT_BYTES)) as archive:
            return {name: words.table(_entry(archive, f"{name}.json")) for name in ("metadata", "config")}
    except (
        OSError, ValueError, RuntimeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    ):  # fmt: skip
        return {}


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry; nothing when it is too large, or is packed so that it could be."""
    with archive.open(name) as entry:
        content = entry.read(_ENTRY_LIMIT_BYTES + 1)
    return content if len(content) <= _ENTRY_LIMIT_BYTES else b""


class _Bounded(io.RawIOBase):
    """A file that gives only so many bytes altogether: an archive's list of entries may claim any size."""

    def __init__(self, reader: Reader, limit_bytes: int) -> None:
        super().__init__()
        self._reader = reader
        self._left_bytes = limit_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.size_bytes}[whence]
        self._at = start + offset
        if self._at < 0:
            raise ValueError("before the beginning")
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        rest = max(self._reader.size_bytes - self._at, 0)
        count = rest if size < 0 else min(size, rest)
        self._left_bytes -= count
        if self._left_bytes < 0:
            raise ValueError("more than is looked at")
        found = self._reader.at(self._at, count)
        self._at += len(found)
        return found


def of_pickles(files: Iterable[bytes]) -> Weights | None:
    """Weights that are not looked into."""
    found = [path for path in files if b"/" not in path and path.endswith((b".bin", b".pt", b".pth", b".ckpt"))]
    others = (b"training_args.bin", b"optimizer", b"scheduler", b"scaler", b"rng_state")
    found = [path for path in found if not path.startswith(others)]
    return Weights(shards=len(found), format="pytorch") if found else None


def _by_size(holdings: Holdings, ending: bytes) -> list[bytes]:
    found = [path for path in holdings.files if path.endswith(ending) and b"/" not in path]
    return sorted(found, key=lambda path: (-holdings.files[path].size_bytes, path))
