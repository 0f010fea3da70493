"""The configuration file: what the user wants mirrored, read and checked as a whole before anything starts.

Stands below the line: a `Configuration` is where every run begins. What is wrong in the file is refused with file and
line, never skipped or guessed, because a mis-spelt key that is passed over means files that are not mirrored.
The one thing to know: `parse` looks at the text alone. Whether directories meet through symlinks only the disk can
tell, so whoever starts passes calls `check_directories` as well.

Every command reads the configuration; what only `tag` and `keep` need is imported where they are met.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lfssync.configuration.patterns import (
    Claims,
    MirrorPattern,
    complete,
    escape,
    is_pattern,
    matches,
    resolve_branch,
    resolve_into,
    resolve_remote,
    unescape,
)
from lfssync.configuration.settings import (
    absolute_path,
    choice,
    commits,
    duration,
    folder_patterns,
    hours_of_day,
    ignore_patterns,
    lfs_url,
    rate,
    rescan_interval,
    size,
    string,
    table,
    tables,
)
from lfssync.configuration.tables import Table
from lfssync.configuration.telling import KEYS, Telling, telling
from lfssync.configuration.tomllines import line_of, syntax_error_line
from lfssync.errors import TransientError, UserError
from lfssync.model import CardPolicy, CreatePolicy, DeletePolicy, IncompletePolicy, Mirror, TransferKind
from lfssync.places import PipeError, Places, check_name, mirror_name, without_waiting
from lfssync.wishes import Keep, Rule

__all__ = ["Configuration", "check_directories", "entries", "load", "mirror_name", "parse", "read_text"]


class Configuration(NamedTuple):
    """What a configuration file says.

    Args:
        file: Where it was read from; it need not exist.
        mirrors: The mirrors that are configured one by one, in the order of the file.
        patterns: What makes mirrors of whatever folders there are, in the order of the file; see `patterns.survey`.
        telling: What the daemon tells about itself, and to whom.
    """

    file: Path
    mirrors: tuple[Mirror, ...] = ()
    patterns: tuple[MirrorPattern, ...] = ()
    telling: Telling = Telling()


def load(places: Places) -> Configuration:
    """The configuration on disk; a missing file is an empty one.

    Raises:
        UserError: It cannot be read, or something in it is wrong.
        TransientError: The disk failed.
    """
    return parse(read_text(places.config_file), places.config_file, places)


def read_text(file: Path) -> str:
    """The text of a configuration file as it is, line ends included; empty for a missing file.

    Raises:
        UserError: It may not be read, is no file, or is not UTF-8.
        TransientError: The disk failed.
    """
    try:
        with open(file, "rb", opener=without_waiting) as opened:
            raw = opened.read()
    except FileNotFoundError:
        return ""
    except (PermissionError, IsADirectoryError, NotADirectoryError, PipeError) as error:
        raise UserError(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error
    except OSError as error:
        raise TransientError(f"cannot read {file}: {error.strerror}", "check the disk") from error
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: is not UTF-8", "save the file as UTF-8") from error


def parse(text: str, file: Path, places: Places) -> Configuration:
    """The configuration in a text.

    Args:
        text: TOML.
        file: What to call it in messages.
        places: Where embedded remotes lie, and what `~` stands for.

    Raises:
        UserError: Not TOML, an unknown key, a wrong type, a bad value, or two mirrors that do not go together; says
            `<file>:<line>`.
    """
    found = entries(text, file, places)
    mirrors = tuple(entry for entry in found if isinstance(entry, Mirror))
    claims = Claims()
    for index, entry in enumerate(found):
        conflict = claims.claim(entry, entry.path) if isinstance(entry, Mirror) else None
        if isinstance(entry, Mirror) and not conflict:
            conflict = _moves_anothers_branch(entry, mirrors)
        if conflict:
            raise UserError(f"{file}:{line_of(text, ('mirror', index))}: {conflict.message}", conflict.remedy)
    patterns = (entry._replace(explicit=mirrors) for entry in found if isinstance(entry, MirrorPattern))
    top = _top(text, file)
    told = telling(top, places)
    if told.metrics_file is not None:
        _check_metrics_file(top.below("daemon"), told.metrics_file, found)
    return Configuration(file, mirrors, tuple(patterns), told)


def _check_metrics_file(source: Table, file: Path, found: Iterable[Mirror | MirrorPattern]) -> None:
    """Refuse a file that would be news of the very mirror whose news it tells, every time it is written."""
    for entry in found:
        glob = entry.glob if isinstance(entry, MirrorPattern) else escape(str(entry.path))
        if any(matches(glob, folder) for folder in file.parents):
            source.refuse(UserError(f"metrics_file: {file} is in a mirrored directory", "put it elsewhere"), KEYS[1])


def _moves_anothers_branch(mirror: Mirror, mirrors: Sequence[Mirror]) -> UserError | None:
    moved = {_moved_branch(rule, mirror.name) for rule in mirror.tag if rule.branch}
    for other in mirrors:
        if other.remote == mirror.remote and other.branch in moved:
            return UserError(
                f"tag: {other.branch!r} is the branch that mirror {other.name!r} mirrors", "name another branch to move"
            )
    return None


def entries(text: str, file: Path, places: Places) -> list[Mirror | MirrorPattern]:
    """What each `[[mirror]]` of a text says, in its order; not yet held against each other.

    Raises:
        UserError: As `parse`, but for two mirrors that do not go together.
    """
    top = _top(text, file)
    defaults: dict[str, Any] = top.convert("defaults", table, {})
    default_table = Table(text, file, ("defaults",), defaults, {})
    _check_keys(default_table, "in [defaults]")
    _template(default_table, "name", places)
    mirrors: list[dict[str, Any]] = top.convert("mirror", tables, [])
    return [_entry(Table(text, file, ("mirror", n), values, defaults), places) for n, values in enumerate(mirrors)]


def _top(text: str, file: Path) -> Table:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line, message = syntax_error_line(error, text)
        raise UserError(
            f"{file}:{line}: {message}", "correct the TOML; https://toml.io/en/v1.0.0 has its rules"
        ) from error
    top = Table(text, file, (), document, {})
    _check_keys(top, "at the top of the file", ("defaults", "daemon", "mirror", "notify"))
    return top


def _check_keys(source: Table, where: str, allowed: Collection[str] | None = None) -> None:
    """Refuse the first key that means nothing here, by default any that no mirror has."""
    remedies = dict.fromkeys(_KEYS, "put it into [defaults] or [[mirror]]")
    source.check_keys(
        _KEYS if allowed is None else allowed, where, remedies | dict.fromkeys(KEYS, "put it into [daemon]")
    )


def check_directories(mirrors: Sequence[Mirror]) -> None:
    """Refuse mirrors whose directories are the same or inside each other on disk, symlinks followed.

    Raises:
        UserError: Names the two mirrors.
    """
    claims = Claims()
    for mirror in mirrors:
        conflict = claims.claim(mirror, Path(os.path.realpath(mirror.path)))
        if conflict:
            raise conflict


def _entry(source: Table, places: Places) -> Mirror | MirrorPattern:
    _check_keys(source, "in [[mirror]]")
    path = source.convert("path", lambda value: absolute_path(value, places.home), "")
    if not path:
        source.refuse(UserError("[[mirror]] has no path", 'add path = "..." with the directory to mirror'))
    if is_pattern(path):
        return _pattern(source, path, places)
    directory = Path(unescape(path))
    name = source.convert("name", lambda value: check_name(string(value)), "") or _name_of(source, directory)
    template = _template(source, name, places)
    _check_times(source, template)
    _check_rate(source, template)
    return source.blame("path", lambda: complete(template, name, directory, places))


def _pattern(source: Table, glob: str, places: Places) -> MirrorPattern:
    if "**" in glob:
        source.refuse(UserError("path: ** is not a wild card here", "use one * for each level"), "path")
    if "name" in source.merged:
        source.refuse(
            UserError("name: the mirrors of a pattern are called after their folders", "leave it out"), "name"
        )
    template = _template(source, "name", places)._replace(path=Path(glob))
    _check_times(source, template)
    _check_rate(source, template)
    if template.remote and "{name}" not in f"{template.remote} {template.branch} {template.into}":
        message = "remote: all folders of the pattern would go to the same place"
        source.refuse(UserError(message, "put {name} into remote, branch or into"), "remote")
    return MirrorPattern(glob, template, source.origin())


def _template(source: Table, name: str, places: Places) -> Mirror:
    """What a table says about its mirror; `{name}` is not yet filled in, but checked as if it were."""

    def checked(check: Callable[[str], object]) -> Callable[[Any], str]:
        def conversion(value: Any) -> str:
            check(string(value))
            return string(value)

        return conversion

    def check_remote(text: str) -> None:
        if not text:  # such as from a variable that was not set; nobody means the embedded remote by that
            raise UserError("remote is empty", "leave the key out for an embedded remote, or use hf:owner/name")
        resolve_remote(text, name, places)

    conversions = _KEYS | {
        "remote": checked(check_remote),
        "branch": checked(lambda text: resolve_branch(text, name)),
        "into": checked(lambda text: resolve_into(text, name)),
    }
    settings: dict[str, Any] = {"remote": ""}
    for key in source.merged:
        settings[_FIELDS.get(key, key)] = source.convert(key, conversions[key], None)
    template = Mirror(**(settings | {"name": "", "path": Path()}))
    if template.keep.last is not None and template.delete is not DeletePolicy.KEEP:
        error = UserError(
            'keep: means nothing with delete = "mirror", which takes what is deleted here off the remote at once',
            'add delete = "keep"',
        )
        source.refuse(error, "keep")
    for rule in template.tag:
        if rule.branch and _moved_branch(rule, name) == resolve_branch(template.branch, name):
            error = UserError(f"tag: {rule.branch!r} is the branch that is mirrored", "name another branch to move")
            source.refuse(error, "tag")
    return template


def _moved_branch(rule: Rule, name: str) -> str | None:
    """The branch that a rule of a mirror moves."""
    from lfssync.rules.releaserules import filled

    return filled(rule.branch, {"name": name})


def _release_rules(value: Any) -> tuple[Rule, ...]:
    from lfssync.configuration.releasesettings import release_rules

    return release_rules(value)


def _keep_policy(value: Any) -> Keep:
    from lfssync.configuration.releasesettings import keep_policy

    return keep_policy(value)


def _check_times(source: Table, template: Mirror) -> None:
    if template.quiet_s > template.max_wait_s:
        message = f"quiet ({template.quiet_s:g} s) is longer than max_wait ({template.max_wait_s:g} s)"
        source.refuse(UserError(message, "make max_wait longer or quiet shorter"), source.latter("quiet", "max_wait"))


def _check_rate(source: Table, template: Mirror) -> None:
    if template.rate_limit_bytes and template.transfer is TransferKind.GIT_LFS:
        message = 'rate_limit has no effect with transfer = "git-lfs": the stock program sends as fast as it can'
        remedy = 'leave `transfer` out, or set rate_limit = "0" here'
        source.refuse(UserError(message, remedy), source.latter("rate_limit", "transfer"))


def _name_of(source: Table, directory: Path) -> str:
    try:
        return check_name(directory.name)
    except UserError:
        message = f"path: the folder's name {directory.name!r} cannot be the name of a mirror"
        source.refuse(UserError(message, f'add name = "{mirror_name(directory.name)}" or another'), "path")


_KEYS: dict[str, Callable[[Any], object]] = {
    "name": string,
    "path": string,
    "remote": string,
    "branch": string,
    "into": string,
    "ignore": ignore_patterns,
    "groups": folder_patterns,
    "delete": choice(DeletePolicy),
    "incomplete": choice(IncompletePolicy),
    "create": choice(CreatePolicy),
    "card": choice(CardPolicy),
    "transfer": choice(TransferKind),
    "quiet": duration,
    "max_wait": duration,
    "min_interval": duration,
    "only_between": hours_of_day,
    "commits_per_hour": commits,
    "rescan": rescan_interval,
    "lfs_threshold": size,
    "lfs_url": lfs_url,
    "rate_limit": rate,
    "headroom": size,
    "offline_limit": size,
    "shutdown_grace": duration,
    "tag": _release_rules,
    "keep": _keep_policy,
}
"""What may stand in `[[mirror]]` and `[defaults]`, and what makes a value of it."""

_FIELDS = {
    "quiet": "quiet_s",
    "max_wait": "max_wait_s",
    "min_interval": "min_interval_s",
    "rescan": "rescan_s",
    "lfs_threshold": "lfs_threshold_bytes",
    "rate_limit": "rate_limit_bytes",
    "headroom": "headroom_bytes",
    "offline_limit": "offline_limit_bytes",
    "shutdown_grace": "shutdown_grace_s",
}
"""The fields of `Mirror` that are not called like their key."""
