r"""Which entries of the mirrored directory are left out: the mirror's `ignore`, `.gitignore` files, a built-in list.

Stands in the *scan* step: the walk makes one `IgnoreRules`, tells it each directory's `.gitignore` as it meets it, and
asks it about every entry. An ignored directory is not entered, so nothing below it can be brought back, as in git.
The one thing to know: patterns match *bytes* and mean exactly what git means by them, quirks included, because a file
left out by mistake is a file that nobody mirrors. That is why they are translated here: pathspec 1.1 differs from
git in `?`, brackets, tabs, line feeds and non-UTF-8 names, and raises on `[z-a]` and on a trailing back-slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache

BUILT_IN_PATTERNS: tuple[str, ...] = (
    # Written under this name and renamed when complete; the rename is what we mirror.
    "*.tmp",
    "*.part",  # wget, Firefox, yt-dlp
    "*.partial",  # curl wrappers, Internet Explorer
    "*.incomplete",  # huggingface_hub downloads
    "*.crdownload",  # Chromium downloads
    "*.aria2",  # aria2's list of the pieces that are missing
    "tmp-checkpoint-*/",  # transformers' Trainer: renamed to checkpoint-* once all ranks have written
    "*.orbax-checkpoint-tmp*",  # Orbax and Flax: the same
    "*.tempstate[0-9]*",  # TensorFlow's checkpoint writer: the same
    ".goutputstream-*",  # GLib's atomic save
    "*___jb_tmp___",  # JetBrains' atomic save, new content
    "*___jb_old___",  # and old content
    # Editors: copies and locks of what is being edited.
    "*~",  # Emacs, gedit, nano, patch: the version before
    r"\#*#",  # Emacs: unsaved changes
    ".#*",  # Emacs: lock, a symlink that leads nowhere
    ".*.sw[k-p]",  # Vim: swap file of a named buffer; `*.swp` without the dot is also a SolidWorks file
    ".sw[k-p]",  # Vim: swap file of an unnamed buffer
    ".*.kate-swp",  # Kate: swap file
    ".~*",  # LibreOffice locks, rsync's delayed updates
    # Python and its tools: made again whenever they are missing.
    "__pycache__/",
    "*.pyc",
    "*.pyo",
    ".ipynb_checkpoints/",  # Jupyter's own copies; not a training checkpoint
    ".venv/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    # huggingface_hub's bookkeeping of downloads, with its locks. Not `*.lock`: poetry.lock and uv.lock are sources.
    "**/.cache/huggingface/",
    # What file systems and desktops leave behind.
    ".nfs" + "[0-9a-f]" * 24,  # NFS: deleted but still open
    ".fuse_hidden" + "[0-9a-f]" * 16 + "*",  # FUSE: the same
    "lost+found/",  # fsck's own folder in the root of ext file systems, unreadable for users
    ".Trash-[0-9]*/",  # freedesktop.org: trash of a mounted disk, by user id
    ".DS_Store",  # macOS: window positions
    "._*",  # macOS: resource forks on foreign disks; `._x.safetensors` would look like a broken x.safetensors
    "Thumbs.db",  # Windows: thumbnails
    "desktop.ini",  # Windows: folder icons
)
"""What is surely a dropping; the weakest rules of all, so `!name` in a `.gitignore` or in `ignore` brings one back."""

_CACHED_TEXTS = 1024
"""How many `.gitignore` texts stay compiled between scans; a tree has few different ones."""

_GLOB_SPECIAL = b"*?[\\"
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": frozenset(c for c in range(128) if chr(c).isalnum()),
    b"alpha": frozenset(c for c in range(128) if chr(c).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset(range(32)) | {127},
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(c for c in range(128) if chr(c).islower()),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(c for c in range(33, 127) if not chr(c).isalnum()),
    b"space": frozenset(b" \t\n\r"),  # git's own table: neither vertical tab nor form feed
    b"upper": frozenset(c for c in range(128) if chr(c).isupper()),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}
_CLASS = re.compile(rb"\[:([^]\0]*):\]")

# Code points that HFS+ drops from names, as UTF-8; and one well-formed UTF-8 character in git's eyes.
_HFS_IGNORED = rb"(?:\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf)*"
_UTF8 = (
    rb"(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xef(?:[\x80-\xbe][\x80-\xbf]|\xbf[\x80-\xbd])|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})"
)
_GIT_NAME = (
    rb"(?is)"
    # NTFS: back-slash as separator, the short name, trailing dots and blanks, streams
    rb"(?:.*\\)?(?:\.git|git~1)[. ]*(?:[:\\].*)?"
    # HFS+: ignored characters anywhere; git stops reading at bytes that are no UTF-8
    rb"|%b(?:\Z|(?!%b).*)"
) % (_HFS_IGNORED.join((b"", rb"\.", b"g", b"i", b"t", b"")), _UTF8)


def is_git_name(name: bytes) -> bool:
    """Whether git refuses to check out an entry of this name, because some file system would take it for `.git`.

    Such names are never mirrored: a stock clone of the branch would fail on them, on every file.

    Source: git's `core.protectNTFS` and `core.protectHFS` in git-config(1).
    """
    if name.isascii() and b"git" not in name.lower():
        return False  # nearly all names; between the letters there may only be what is not ASCII
    return re.fullmatch(_GIT_NAME, name) is not None


class IgnoreRules:
    """The rules of one scan; strongest first: the mirror's `ignore`, `.gitignore` from deep to shallow, built-in list.

    `.git` stands above all of them: it is left out whatever they say.

    Args:
        root: The mirrored directory; every `directory` below is relative to it, and empty for itself.
        extra: The mirror's `ignore` patterns in gitignore syntax, relative to the root.
    """

    def __init__(self, root: bytes, extra: tuple[str, ...]) -> None:
        self.root = root
        self._outermost = (_compiled("\n".join(extra).encode("utf-8", "surrogateescape")), 0), (_built_in(), 0)
        self._rules_in: dict[bytes, tuple[tuple[_RuleList, int], ...]] = {b"": self._outermost}

    def enter(self, directory: bytes, gitignore_text: bytes | None) -> None:
        """Tell of a directory that the walk enters, after its parent and before its entries.

        Args:
            directory: Relative to the root, `b""` for the root itself.
            gitignore_text: Content of its `.gitignore`; None when it has none, or one that is no regular file: git does
                not read that either.
        """
        rules = self._in_force(directory.rpartition(b"/")[0]) if directory else self._outermost
        if gitignore_text:
            here = (_compiled(gitignore_text), len(directory) + 1 if directory else 0)
            rules = (rules[0], here, *rules[1:])
        self._rules_in[directory] = rules

    def verdict(self, directory: bytes, name: bytes, is_dir: bool) -> bool:
        """Whether an entry of an entered directory is left out.

        Args:
            directory: Relative to the root, `b""` for the root itself.
            name: The entry's name in it.
            is_dir: True for a directory; False for a symlink to one, as in git.
        """
        if is_git_name(name):
            return True
        path = directory + b"/" + name if directory else name
        for rules, base in self._in_force(directory):
            ignored = rules.verdict(name, path, base, is_dir)
            if ignored is not None:
                return ignored
        return False

    def _in_force(self, directory: bytes) -> tuple[tuple[_RuleList, int], ...]:
        """The rule lists for a directory's entries, each with the length of the prefix its patterns do not see."""
        while (rules := self._rules_in.get(directory)) is None:
            directory = directory.rpartition(b"/")[0]
        return rules


class _Rule:
    """One line of a rule list.

    Args:
        glob: The pattern without its marks: leading `!`, trailing `/`.
        pattern: The regular expression for the whole base name or the whole relative path.
        negated: The line brings matches back.
        dir_only: It is about directories only.
        by_name: It looks at the base name, in any directory below.
    """

    def __init__(self, glob: bytes, pattern: bytes, negated: bool, dir_only: bool, by_name: bool) -> None:
        self.glob = glob
        self.pattern = pattern
        self.negated = negated
        self.dir_only = dir_only
        self.by_name = by_name

    @cached_property
    def regex(self) -> re.Pattern[bytes]:
        """The same to be asked; few rules ever are, and to compile them all takes longer than many a scan."""
        return re.compile(self.pattern, re.DOTALL)


class _RuleList:
    """The rules of one text, with a quick test that tells most names apart from all of them at once."""

    def __init__(self, rules: Iterator[_Rule]) -> None:
        self._last_first = tuple(rules)[::-1]
        names = {rule.glob: rule.pattern for rule in self._last_first if rule.by_name}
        literal = {glob for glob in names if _is_literal(glob)}
        suffixed = {glob for glob in names if glob.startswith(b"*") and _is_literal(glob[1:])}
        prefixed = {glob for glob in names if glob.endswith(b"*") and _is_literal(glob[:-1])}
        other = names.keys() - literal - suffixed - prefixed
        self._literals = frozenset(literal)
        self._suffixes = tuple(glob[1:] for glob in suffixed)
        self._prefixes = tuple(glob[:-1] for glob in prefixed)
        self._other_names = _any_of([pattern for glob, pattern in names.items() if glob in other])
        self._paths = _any_of([rule.pattern for rule in self._last_first if not rule.by_name])

    def verdict(self, name: bytes, path: bytes, base: int, is_dir: bool) -> bool | None:
        """True for ignored, False for brought back, None when no line speaks of it; rules see `path[base:]`."""
        if not self._last_first:
            return None
        if not (
            name in self._literals
            or name.endswith(self._suffixes)
            or name.startswith(self._prefixes)
            or (self._other_names is not None and self._other_names.fullmatch(name))
            or (self._paths is not None and self._paths.fullmatch(path, base))
        ):
            return None
        for rule in self._last_first:
            if rule.dir_only and not is_dir:
                continue
            if rule.regex.fullmatch(name) if rule.by_name else rule.regex.fullmatch(path, base):
                return not rule.negated
        return None


@lru_cache(maxsize=_CACHED_TEXTS)
def _compiled(text: bytes) -> _RuleList:
    return _RuleList(_rules(text))


@lru_cache(maxsize=1)
def _built_in() -> _RuleList:
    return _compiled("\n".join(BUILT_IN_PATTERNS).encode())


def _is_literal(glob: bytes) -> bool:
    return not any(c in _GLOB_SPECIAL for c in glob)


def _any_of(patterns: list[bytes]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    return re.compile(b"|".join(b"(?:%b)" % pattern for pattern in patterns), re.DOTALL)


def _rules(text: bytes) -> Iterator[_Rule]:
    """The rules in a text, in its order; lines that can never match are left out.

    Source: "PATTERN FORMAT" in gitignore(5).
    """
    for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if line.startswith(b"#"):
            continue
        glob = _without_trailing_spaces(line.removesuffix(b"\r").partition(b"\0")[0])
        negated = glob.startswith(b"!")
        glob = glob[negated:]
        dir_only = glob.endswith(b"/")
        glob = glob[: len(glob) - dir_only]
        by_name = b"/" not in glob
        pattern = _translated(glob if by_name else glob.removeprefix(b"/"))
        if glob and pattern is not None:
            yield _Rule(glob, pattern, negated, dir_only, by_name)


_KEPT = re.compile(rb"(?: *(?:\\.|[^ \\]))*(?: *\\\Z)?", re.DOTALL)


def _without_trailing_spaces(line: bytes) -> bytes:
    """The line without its trailing spaces, of which the first may be kept by a back-slash."""
    return kept[0] if (kept := _KEPT.match(line)) else line


_SLASH = re.compile(rb"\\?/")
_STARS = re.compile(rb"\*+")
_DEEP = re.compile(rb"\*\*+(\\?/|\Z)")
_NAME_BYTES = frozenset(range(1, 256)) - {ord("/")}
_WITHIN_NAME = b"[^/]*"
_DIRECTORIES = {b"/": b"(?:[^/]*/)*", b"\\/": b"(?:[^/]*/)+"}  # git wants at least one before an escaped slash


def _translated(glob: bytes) -> bytes | None:
    """The regular expression for a glob, to be matched against a whole text; None for a glob that never matches.

    Source: gitignore(5); where that is silent, git's own `wildmatch` and `match_pathname`.
    """
    blocks = [[[b""]]]  # blocks stand between `**/`, components between `/`, segments between `*`
    gaps: list[bytes] = []  # what lies between two blocks
    at = 0
    while at < len(glob):
        block = blocks[-1]
        # git compares a literal head first and cuts it off, so in `head**/tail` the stars stand at a beginning too.
        if (deep := _DEEP.match(glob, at)) and (glob[at - 1 : at] == b"/" or _is_literal(glob[:at])):
            at = deep.end()
            if deep[1]:
                gaps.append(_DIRECTORIES[deep[1]])
                blocks.append([[b""]])
            else:
                block[-1][-1] += b".*"
        elif stars := _STARS.match(glob, at):
            at = stars.end()
            block[-1].append(b"")
        elif slash := _SLASH.match(glob, at):
            at = slash.end()
            block.append([b""])
        elif (found := _one_byte(glob, at)) is not None:
            block[-1][-1] += found[0]
            at = found[1]
        else:
            return None
    components = ([_spread(part, [_WITHIN_NAME] * (len(part) - 1)) for part in block] for block in blocks)
    return _spread([b"/".join(block) for block in components], gaps)


def _spread(parts: list[bytes], gaps: list[bytes]) -> bytes:
    """Parts in this order, with any number of gaps between each two.

    A part between two gaps is tried at its leftmost place only (an atomic group): if the rest fails there, it fails
    further right as well. So a glob of many stars costs what its length says, and no `.gitignore` can stall a scan.
    """
    if not gaps:
        return parts[0]
    middle = b"".join(b"(?>%b?%b)" % (gap, part) for gap, part in zip(gaps[:-1], parts[1:-1], strict=True))
    return parts[0] + middle + gaps[-1] + parts[-1]


def _one_byte(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """The expression for what stands at `at` and matches one byte, and where it ends; None where it is cut off."""
    first = glob[at : at + 1]
    if first == b"[":
        return _bracket(glob + b"\0", at + 1)
    if first == b"?":
        return b"[^/]", at + 1
    if first != b"\\":
        return re.escape(first), at + 1
    escaped = glob[at + 1 : at + 2]
    return (re.escape(escaped), at + 2) if escaped else None


def _bracket(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """As `_one_byte` for what follows a `[`; `glob` ends with a NUL, which stands for "cut off"."""
    members: set[int] = set()
    negated = glob[at] in b"!^"
    at += negated
    start = at
    low = 0  # where a range may begin, 0 for nowhere
    while at == start or glob[at] != ord("]"):
        is_range = glob[at] == ord("-") and low > 0 and glob[at + 1] not in b"]\0"
        if not is_range and (named := _CLASS.match(glob, at)):
            if named[1] not in _CLASSES:
                return None
            members |= _CLASSES[named[1]]
            low, at = 0, named.end()
            continue
        at += is_range
        at += glob[at] == ord("\\")
        byte = glob[at]
        if byte == 0:
            return None
        members.update(range(low, byte + 1) if is_range else (byte,))
        low = 0 if is_range else byte
        at += 1
    matching = sorted(_NAME_BYTES - members if negated else _NAME_BYTES & members)
    return b"[%b]" % _ranges(matching) if matching else b"(?!)", at + 1


def _ranges(members: list[int]) -> bytes:
    """Bytes in their order as the inside of a character class; ranges are compiled in a fraction of the time."""
    ranges: list[list[int]] = []
    for byte in members:
        if ranges and byte == ranges[-1][1] + 1:
            ranges[-1][1] = byte
        else:
            ranges.append([byte, byte])
    return b"".join(b"\\x%02x-\\x%02x" % (first, last) for first, last in ranges)
