"""What the values of `tag` and `keep` may be: what is released when, and which checkpoints stay at the tip.

Beside `settings`, for the configuration. The one thing to know: a name is filled in for a try here, so one that git
would refuse, or a field that is none, is refused with file and line before anything runs.
"""

from __future__ import annotations

import re
from typing import Any

from lfssync.configuration.settings import nearest, string, table
from lfssync.errors import UserError
from lfssync.rules.refnames import check_branch, check_tag
from lfssync.rules.releaserules import FIELDS, fields_of, filled, is_lower_better
from lfssync.wishes import MARKER, Keep, Rule, When

_WORDS = ("marker", "push", "checkpoint", "daily", "weekly", "best METRIC", "lowest METRIC", "highest METRIC")
_METRIC = re.compile(r"[A-Za-z0-9_./-]{1,40}")
_ALWAYS = frozenset({"name", "date", "week", "commit"})
_OF_CHECKPOINTS = _ALWAYS | {"checkpoint", "step", "epoch"}
_KNOWN = {
    When.MARKER: _ALWAYS,
    When.PUSH: _ALWAYS,
    When.DAILY: _ALWAYS,
    When.WEEKLY: _ALWAYS,
    When.CHECKPOINT: _OF_CHECKPOINTS,
    When.BEST: FIELDS,
}
_SAMPLE = {
    "name": "my-model", "date": "2026-11-26", "week": "2026-W48", "commit": "1234567", "checkpoint": "checkpoint-500",
    "step": "500", "epoch": "2", "value": "1.234",
}  # fmt: skip
_EXAMPLE = 'write it like {when = "checkpoint", name = "step-{step}"}'


def release_rules(value: Any) -> tuple[Rule, ...]:
    """The rules in a table, or in an array of tables.

    Raises:
        UserError: One of them is none.
    """
    if not isinstance(value, dict | list):
        raise UserError("must be a table, or an array of tables", _EXAMPLE)
    return tuple(_rule(table(one)) for one in (value if isinstance(value, list) else [value]))


def _rule(given: dict[str, Any]) -> Rule:
    for key in given:
        if key not in ("when", "name", "branch", "file"):
            raise UserError(f'has the unknown key "{key}"', nearest(key, ["when", "name", "branch", "file"]))
    if "when" not in given:
        raise UserError("has a rule without `when`", _EXAMPLE)
    when, metric, lower = _when(string(given["when"]))
    name, branch, file = (string(given.get(key, "")) for key in ("name", "branch", "file"))
    if when is When.MARKER and name:
        raise UserError("a marker names the tag itself", "leave `name` out")
    if when is not When.MARKER and "file" in given:
        raise UserError(f'`file` means nothing with when = "{given["when"]}"', "leave it out")
    if when is not When.MARKER and not name and not branch:
        raise UserError("has a rule with neither `name` nor `branch`", _EXAMPLE)
    if name:
        check_tag(_tried(name, _KNOWN[when]))
        if not set(fields_of(name)) - {"name"}:
            raise UserError(
                f"{name!r} would be the same for every release, and tags are never moved",
                "put a field such as {step} or {date} into it, or use `branch` for a branch that moves",
            )
    if branch:
        check_branch(_tried(branch, frozenset({"name"})))
    return Rule(when, name, branch, metric, lower, _file(file or MARKER))


def _when(text: str) -> tuple[When, str, bool]:
    word, _, metric = text.partition(" ")
    if metric:
        if word not in ("best", "lowest", "highest") or not _METRIC.fullmatch(metric):
            raise UserError(f"when = {text!r} is none", 'write it like "best eval_loss" or "highest eval_f1"')
        return When.BEST, metric, is_lower_better(metric) if word == "best" else word == "lowest"
    if word in ("best", "lowest", "highest"):
        raise UserError(f"when = {text!r} names no metric", f'write it like "{word} eval_loss"')
    if word not in list(When):
        raise UserError(f"when = {text!r} is none", nearest(word, _WORDS))
    return When(word), "", True


def _tried(template: str, allowed: frozenset[str]) -> str:
    """A template, filled in with what such fields look like."""
    try:
        used = fields_of(template)
    except ValueError as error:
        raise UserError(f"{template!r}: {error}", _EXAMPLE) from None
    for name in used:
        if name not in allowed:
            known = ", ".join(f"{{{one}}}" for one in sorted(allowed))
            raise UserError(f"{template!r} has the unknown field {{{name}}}", f"there are {known}")
    return filled(template, _SAMPLE) or ""


def _file(text: str) -> str:
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts) or not text.isprintable():
        raise UserError(f"file {text!r} is no path within the directory", f'write it like "{MARKER}"')
    return text


def keep_policy(value: Any) -> Keep:
    """Which checkpoints stay at the tip.

    Raises:
        UserError: The table is none of that kind.
    """
    given = table(value)
    for key in given:
        if key not in ("last", "best", "tags"):
            raise UserError(f'has the unknown key "{key}"', nearest(key, ["last", "best", "tags"]))
    last, best, tags = given.get("last"), string(given.get("best", "")), given.get("tags", False)
    if last is not None and (not isinstance(last, int) or isinstance(last, bool) or last < 1):
        raise UserError(f"last = {last!r} is not a number above 0", "write it like {last = 3}")
    if not isinstance(tags, bool):
        raise UserError("tags must be true or false", "write it like {last = 3, tags = true}")
    if given and last is None:
        raise UserError("says nothing about how many checkpoints stay", "write it like {last = 3}")
    word, _, metric = best.partition(" ")
    if not metric:
        word, metric = "best", word
    if best and (word not in ("best", "lowest", "highest") or not _METRIC.fullmatch(metric)):
        raise UserError(f"best = {best!r} is no metric", 'write it like "eval_loss" or "highest eval_f1"')
    if not best:
        return Keep(last, tags=tags)
    return Keep(last, metric, is_lower_better(metric) if word == "best" else word == "lowest", tags)
