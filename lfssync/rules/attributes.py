"""What is LFS, as text: lines of `.gitattributes`, pointers, and the decision between a plain blob and an LFS object.

Pure functions for *stage* and *commit*; what git makes of all `.gitattributes` together is a question to `check-attr`.
The one thing to know: a path gets a line of its own only when no pattern covers it. Those lines stand in one marked
block at the end of the root's `.gitattributes`; everything outside of it is the user's and is kept byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

from lfssync.errors import UserError
from lfssync.model import LfsObject, show

HUB_PATTERNS: tuple[str, ...] = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*", "*.mlmodel"),
    *("*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt"),
    *("*.pth", "*.rar", "*.safetensors", "saved_model/**/*", "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz"),
    *("*.zip", "*.zst", "*tfevents*"),
)
"""What Hugging Face writes into every new model repository, in its order."""

DEFAULT_PATTERNS: tuple[str, ...] = (
    *HUB_PATTERNS,
    # Weights that the Hub's list misses. Large and binary files become LFS objects without a pattern too, these only
    # spare them lines of their own. So names that people also give to text (*.plan, *.params, *.task) are not here, nor
    # *.mlpackage folders (their weights are *.bin and *.mlmodel), nor *.safetensors.* (that is the index, a text).
    "*.gguf",  # llama.cpp
    "*.ggml",  # llama.cpp before GGUF
    "*.llamafile",  # llama.cpp with weights in one executable
    "*.keras",  # Keras 3, a zip
    "*.hdf5",  # the other name of *.h5
    "*.onnx_data*",  # ONNX: weights above 2 GB, in one or more parts
    "*.onnx.data",  # ONNX: the same as PyTorch's exporter names it
    "*.ort",  # ONNX Runtime
    "*.engine",  # TensorRT
    "*.distcp",  # torch.distributed.checkpoint: one file per rank
    "*.pte",  # ExecuTorch
    "*.ptl",  # PyTorch Lite
    "*.t7",  # Torch 7
    "*.nemo",  # NVIDIA NeMo, a tar
    "*.mar",  # TorchServe, a zip
    "*.weights",  # Darknet
    "*.caffemodel",  # Caffe
    "*.pdparams",  # PaddlePaddle: training
    "*.pdopt",  # PaddlePaddle: optimizer
    "*.pdiparams",  # PaddlePaddle: inference
    "*.litertlm",  # LiteRT, bundles of *.tflite
    "*.spm",  # SentencePiece, the other name of *.model
)
"""What the block holds for a repository that brings no patterns of its own."""

LINE_LIMIT_BYTES = 2048
"""git skips a longer attribute line, its line feed included; old versions cut it in two. Source: git's attr.h."""

POINTER_LIMIT_BYTES = 1024
"""A blob of this size or more is no pointer. Source: git-lfs docs/spec.md."""

BINARY_LIMIT_BYTES = 64 << 10
"""Larger binary files become LFS objects whatever the threshold for text is; some hosts want them all to be."""

_SUFFIX = b" filter=lfs diff=lfs merge=lfs -text"
_BEGIN = b"# lfssync begin"
_BEGIN_LINE = _BEGIN + b": lfssync rewrites this block, put your own lines outside of it"
_AFTER_CUT = b" (and it has ended the line above)"
_END = b"# lfssync end"
_DEFAULT_LINES = frozenset(pattern.encode() + _SUFFIX for pattern in DEFAULT_PATTERNS)


class Verdict(Enum):
    """What the attributes say about a path."""

    LFS = "filter is lfs"
    REFUSED = "filter is unset or another one: the user's decision against LFS"
    UNSPECIFIED = "nothing"


class Storage(StrEnum):
    """How a file is kept in git."""

    PLAIN = "plain"
    LFS_BY_PATTERN = "lfs-by-pattern"
    LFS_BY_LINE = "lfs-by-line"


@dataclass(frozen=True, slots=True)
class Block:
    """The content of our block.

    Args:
        default_patterns: The lines of `DEFAULT_PATTERNS` are in it.
        paths: From the repository's root; each gets a line of its own.
    """

    default_patterns: bool = False
    paths: frozenset[bytes] = frozenset()


def classify(filter_value: bytes) -> Verdict:
    """What a value of the attribute `filter` means.

    Args:
        filter_value: As `git check-attr -z` prints it: `lfs`, another driver, `unset`, `set` or `unspecified`.

    Source: git-check-attr(1).
    """
    if filter_value == b"lfs":
        return Verdict.LFS
    return Verdict.UNSPECIFIED if filter_value == b"unspecified" else Verdict.REFUSED


def decide(
    verdict: Verdict,
    size_bytes: int,
    is_binary: bool,
    is_pointer_shaped: bool,
    threshold_bytes: int,
    binary_limit_bytes: int = BINARY_LIMIT_BYTES,
) -> Storage:
    """How a file is kept in git; symlinks never come here.

    A text that is shaped like a pointer becomes an LFS object itself, so that no clone takes it for a pointer. An empty
    file is never one, because LFS objects have a size above 0.
    """
    if size_bytes == 0 or verdict is Verdict.REFUSED:
        return Storage.PLAIN
    if verdict is Verdict.LFS:
        return Storage.LFS_BY_PATTERN
    if size_bytes > threshold_bytes or (is_binary and size_bytes > binary_limit_bytes) or is_pointer_shaped:
        return Storage.LFS_BY_LINE
    return Storage.PLAIN


def is_binary(head: bytes) -> bool:
    """Whether git takes a file for binary: a NUL within its first 8000 bytes.

    Source: `buffer_is_binary` in git's xdiff-interface.c.
    """
    return b"\0" in head[:8000]


_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([1-9][0-9]{0,18})\n"
)
_SIZE_LIMIT_BYTES = 1 << 63
"""git-lfs keeps sizes in signed 64 bits."""


def parse_pointer(blob: bytes) -> LfsObject | None:
    """The object that a pointer names, or None for anything but a pointer in the one canonical form.

    Source: git-lfs docs/spec.md.
    """
    found = _POINTER.fullmatch(blob)
    if found is None or int(found[2]) >= _SIZE_LIMIT_BYTES:
        return None
    return LfsObject(found[1].decode(), int(found[2]))


_BETWEEN = r"(?:[ \t\r]*\n|[a-z0-9.-]+ [^\n]*\n)*?"
_POINTER_SHAPE = re.compile(
    r"(?:[ \t\r]*\n|ext-[^\n]*\n)*"
    r"version (?:https://(?:git-lfs|hawser)\.github\.com/spec/v1|http://git-media\.io/v/2)[ \t\r]*\n"
    rf"{_BETWEEN}oid sha256:[0-9A-Za-z]{{64}}[^\n]*\n{_BETWEEN}size [+-]?[0-9]+[ \t\r]*(?:\n|\Z)"
)


def looks_like_pointer(blob: bytes) -> bool:
    """Whether some version of git-lfs could take a file for a pointer when it smudges or scans.

    Wider than any one version: other line ends, blanks around it, no last line end, signs and leading zeros in the
    size, version addresses of before the release, extension lines, and upper-case digits, which 2.x accepted.

    Args:
        blob: The file, or its first 1024 bytes: git-lfs looks no further.
    """
    text = blob[:POINTER_LIMIT_BYTES].decode("utf-8", "surrogateescape").strip()
    return _POINTER_SHAPE.match(text) is not None


_BLANK = b" \t\r\n"
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def is_lfs_line(line: bytes) -> bool:
    """Whether git reads a line as giving its pattern `filter=lfs`; comments, macros and negated patterns do not.

    Source: gitattributes(5).
    """
    text = line.strip(_BLANK)
    if not text or text.startswith((b"#", b"!", b'"!', b"[attr]")) or len(line.rstrip(b"\n")) >= LINE_LIMIT_BYTES:
        return False
    quoted = _QUOTED.match(text)
    words = re.split(rb"[ \t\r\n]+", text[quoted.end() :] if quoted else text)
    filters = [word for word in words[1:] if word.lstrip(b"-!").partition(b"=")[0] == b"filter"]
    return filters[-1:] == [b"filter=lfs"]


_SURELY_FITS_BYTES = (LINE_LIMIT_BYTES - len(_SUFFIX) - 4) // len(b"[[:space:]]")
"""Nothing that a line has for one byte of a name is longer than what it has for a blank."""

_GLOB_SPECIAL = re.compile(rb"[*?\[\\]")
_UNPRINTABLE = re.compile(rb'[\x00-\x1f"\x7f]')
_QUOTED_TEXT = re.compile(rb'[\x00-\x1f"\\\x7f]')
_QUOTED_BYTES = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')


def line_for_path(path: bytes) -> bytes | None:
    """The attribute line that makes exactly this path an LFS file, or None when git would skip it as too long.

    A space is written as git-lfs writes it, `[[:space:]]`, which all readers know; so a name that differs in nothing
    but the kind of white space is matched as well. Names with quotes, control characters or bytes that are no UTF-8
    are quoted as in C, which git and git-lfs read alike.

    Args:
        path: From the repository's root.
    """
    glob = b"/" + _GLOB_SPECIAL.sub(rb"\\\g<0>", path)
    is_text = _is_text(path)
    if is_text and not _UNPRINTABLE.search(path):
        pattern = glob.replace(b" ", b"[[:space:]]")
    else:
        pattern = b'"' + (_QUOTED_TEXT if is_text else _QUOTED_BYTES).sub(_in_c, glob) + b'"'
    line = pattern + _SUFFIX + b"\n"
    return line if len(line) <= LINE_LIMIT_BYTES else None


def has_line(path: bytes) -> bool:
    """Whether there is an attribute line for a path; quick about names of a usual length."""
    return len(path) <= _SURELY_FITS_BYTES or line_for_path(path) is not None


def split(text: bytes) -> tuple[bytes, Block]:
    """Separate the user's text from our block.

    Our block may have been moved, doubled, converted to CRLF or have lost its end. Any line that is not ours stays in
    the user's text wherever it stands.

    Returns:
        The user's text, byte for byte, and what the block holds.
    """
    user: list[bytes] = []
    paths: set[bytes] = set()
    patterns = inside = has_end = False
    ended_by_us = 0, b""  # this many of the user's lines stand above a block that had to end the last one, and how
    lines = re.findall(rb"[^\n]*\n|[^\n]+", text)
    for number, line in enumerate(lines):
        if line.startswith(_END):
            inside = False
        elif line.startswith(_BEGIN):
            inside, has_end = True, _has_end(lines[number + 1 :])
            if _AFTER_CUT in line:
                ended_by_us = len(user), b"\r\n" if line.endswith(b"\r\n") else b"\n"
        elif inside and line.rstrip(b"\r\n") in _DEFAULT_LINES:
            patterns = True
        elif inside and (path := _path_in(line)) is not None:
            paths.add(path)
        else:
            user.append(line)
            inside = inside and has_end  # a block that lost its end is what directly follows its beginning
    if ended_by_us[0] == len(user) > 0:
        user[-1] = user[-1].removesuffix(ended_by_us[1])
    return b"".join(user), Block(patterns, frozenset(paths))


def join(user_text: bytes, block: Block) -> bytes:
    """The user's text and then our block, such that `split` gives both back; the text alone when the block is empty.

    Raises:
        UserError: There is no line for one of the paths, see `line_for_path`.
    """
    if block == Block():
        return user_text
    cut = user_text != b"" and not user_text.endswith(b"\n")
    begin = b"\n" + _BEGIN_LINE + _AFTER_CUT if cut else _BEGIN_LINE
    return b"".join([user_text, begin, b"\n", *_lines(block), _END, b"\n"])


def _lines(block: Block) -> Iterator[bytes]:
    if block.default_patterns:
        yield from (pattern.encode() + _SUFFIX + b"\n" for pattern in DEFAULT_PATTERNS)
    for path in sorted(block.paths):
        line = line_for_path(path)
        if line is None:
            message = f"{show(path)}: the path is too long for a line in .gitattributes"
            raise UserError(message, "shorten it, or give it a pattern in .gitattributes")
        yield line


def _has_end(lines: list[bytes]) -> bool:
    """Whether the block that begins before these lines ends among them."""
    return next((line.startswith(_END) for line in lines if line.startswith((_BEGIN, _END))), False)


_C_ESCAPE = re.compile(rb"\\(?:([0-3][0-7]{2})|(.))", re.DOTALL)
_GLOB_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_GLOB_ESCAPE_OR_SPACE = re.compile(rb"\\(.)|\[\[:space:\]\]", re.DOTALL)


def _path_in(line: bytes) -> bytes | None:
    """The path whose line this is, or None when `line_for_path` would not have written it so."""
    line = line.rstrip(b"\r\n")
    pattern = line.removesuffix(_SUFFIX)
    if pattern.startswith(b'"'):
        glob = _C_ESCAPE.sub(_out_of_c, pattern[1:-1])
        path = _GLOB_ESCAPE.sub(rb"\1", glob)[1:]
    else:
        path = _GLOB_ESCAPE_OR_SPACE.sub(lambda found: found[1] or b" ", pattern)[1:]
    return path if line_for_path(path) == line + b"\n" else None


def _in_c(found: re.Match[bytes]) -> bytes:
    return b"\\" + found[0] if found[0] in b'"\\' else b"\\%03o" % found[0][0]


def _out_of_c(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)]) if found[1] else found[2]


def _is_text(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
