"""What the release rules want: pure, from what came into a branch to the tags and branches that shall be there.

Asked by `versions.applying` after a verified pass. The one thing to know: a rule goes through the commits once, oldest
first, and what it has to remember of that is its *state*. Whether they come in one go or in many, with any number of
restarts between, the same is wanted; a rule without a state is new, or its state was lost, and then begins with what is
there now instead of with all that ever was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from lfssync.errors import UserError
from lfssync.rules.refnames import check_tag
from lfssync.wishes import Rule, When

FIELDS = frozenset({"name", "date", "week", "commit", "checkpoint", "step", "epoch", "value"})
"""What may stand in braces in the name of a tag."""

SHORT = 7
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNFIT = re.compile(r"[\x00-\x20\x7f~^:?*\[\\/{}\ud800-\udfff]|\.\.+|@(?=\{)")
_MARKER_CHARACTERS = 200
_LOWER = re.compile(
    r"(^|[_./-])(\w*loss|perplexity|ppl|\w*error|err|wer|cer|mse|mae|rmse|mape|nll|bpb|bpc|fid)($|[_./-])"
)

State = dict[str, Any]
"""What a rule remembers; a JSON value."""


class Kind(Enum):
    """What is wanted."""

    TAG = "tag"
    BRANCH = "branch"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that a commit brought.

    Args:
        folder: Its path within the directory, as text.
        step: From its trainer, else from its name, or None.
        epoch: From its trainer, or None.
        metrics: What was measured at that step.
        stays: Whether it is still at the tip as this commit brought it.
    """

    folder: str
    step: int | None = None
    epoch: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """A commit of the branch.

    Args:
        commit: 40 hex digits.
        at: When it was made, in seconds since the epoch.
        checkpoints: What it brought, the oldest first.
    """

    commit: str
    at: float
    checkpoints: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """How things are now.

    Args:
        mirror: The mirror's name.
        head: The commit that the remote was just proven to hold.
        now: Seconds since the epoch.
        markers: What the marker files in `head` say, by their path.
        is_settled: Whether nothing of the directory waits to be committed.
        unfit: Why some of the marker files can be none, by their path.
    """

    mirror: str
    head: str
    now: float
    markers: Mapping[str, str] = field(default_factory=dict)
    is_settled: bool = True
    unfit: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tag that shall exist, or a branch that shall point somewhere.

    Args:
        rule: Why.
        kind: Which of the two.
        name: Its short name, good for git.
        commit: What it shall point at.
        text: A tag's message.
    """

    rule: Rule
    kind: Kind
    name: str
    commit: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all rules together want.

    Args:
        wanted: Tags first, each name once; a branch once, where it shall be in the end.
        problems: What cannot be, in words for people.
        waiting: What is not yet, in the same.
        states: What the rules remember for the next time, by `Rule.key`.
    """

    wanted: tuple[Wanted, ...]
    problems: tuple[str, ...]
    waiting: tuple[str, ...]
    states: dict[str, State]


@dataclass(frozen=True, slots=True)
class _Call:
    """A rule acts: on a commit, with what is known about it; or it says why it cannot."""

    commit: str
    fields: Mapping[str, str]
    text: str
    name: str = ""
    fault: str = ""


def evaluate(
    rules: Sequence[Rule],
    states: Mapping[str, State],
    fresh: Sequence[Happening],
    history: Callable[[], Sequence[Happening]],
    moment: Moment,
) -> Verdict:
    """What the rules want now.

    Args:
        rules: The mirror's.
        states: What they remember.
        fresh: What came since then, oldest first.
        history: Gives all that ever came, for rules that remember nothing.
        moment: How things are now.
    """
    wanted: dict[tuple[Kind, str], Wanted] = {}
    problems: list[str] = []
    after: dict[str, State] = {}
    for rule in rules:
        state = states.get(rule.key)
        happenings = fresh if state is not None or rule.when in (When.MARKER, When.PUSH) else history()
        after[rule.key], calls = _ACTS[rule.when](rule, state, happenings, moment)
        for call in calls:
            for one in _wishes(rule, call, problems):
                before = wanted.get((one.kind, one.name))
                if one.kind is Kind.BRANCH or before is None:
                    wanted.pop((one.kind, one.name), None)  # where it comes last counts
                    wanted[one.kind, one.name] = one
                elif before.commit != one.commit:
                    problems.append(taken(one, before.commit))
    ordered = sorted(wanted.values(), key=lambda one: one.kind is Kind.BRANCH)
    waiting = [rule.file for rule in rules if after[rule.key].get("waits")]
    told = tuple(f"{file} names a release, which is made as soon as nothing else waits" for file in waiting)
    return Verdict(tuple(ordered), tuple(dict.fromkeys(problems)), told, after)


def sleep(rules: Sequence[Rule], states: Mapping[str, State], now: float) -> bool:
    """Whether no rule can want anything that it did not want before, as long as the branch stays where it is.

    Args:
        rules: The mirror's.
        states: What they remember.
        now: Seconds since the epoch.
    """
    for rule in rules:
        state = states.get(rule.key)
        if state is None or state.get("waits"):
            return False
        if rule.when in _PERIODS and state.get("commit") and state["period"] < _PERIODS[rule.when](now):
            return False
    return True


def taken(wanted: Wanted, there: str) -> str:
    """The words for a tag that exists already and points elsewhere."""
    return f"the tag {wanted.name} is on {there[:SHORT]} already, so it is not put on {wanted.commit[:SHORT]}"


def _wishes(rule: Rule, call: _Call, problems: list[str]) -> Iterator[Wanted]:
    if call.fault:
        problems.append(call.fault)
        return
    name = call.name or (filled(rule.name, call.fields) if rule.name else None)
    if name is not None:
        try:
            yield Wanted(rule, Kind.TAG, check_tag(name), call.commit, call.text)
        except UserError as error:
            problems.append(f"a release rule cannot name {call.commit[:SHORT]}: {error.message}")
            return
    branch = filled(rule.branch, call.fields) if rule.branch else None
    if branch is not None:
        yield Wanted(rule, Kind.BRANCH, branch, call.commit)


def filled(template: str, fields: Mapping[str, str]) -> str | None:
    """A template with its fields filled in; None when there is nothing to fill one in with."""
    if any(name not in fields for name in _FIELD.findall(template)):
        return None
    return _FIELD.sub(lambda match: _UNFIT.sub("-", fields[match[1]]), template)


def fields_of(template: str) -> list[str]:
    """What stands in braces in a template.

    Raises:
        ValueError: A brace stands alone.
    """
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise ValueError("a brace stands alone")
    return _FIELD.findall(template)


def is_lower_better(metric: str) -> bool:
    """Whether a metric is one of which less is better, by its name: losses, errors, perplexities."""
    return _LOWER.search(metric.lower()) is not None


def better(rule_is_lower: bool, value: float, best: float | None) -> bool:
    """Whether a value is better than the best so far; one that is no number never is."""
    if not math.isfinite(value):
        return False
    return best is None or (value < best if rule_is_lower else value > best)


# ---- what makes each kind of rule act: its state afterwards, and its calls in order


def _marker(
    rule: Rule, state: State | None, happenings: Sequence[Happening], moment: Moment
) -> tuple[State, list[_Call]]:
    """The version that a file names, as soon as nothing else waits; once for each text."""
    whole = moment.markers.get(rule.file, "")
    text = whole.strip()
    version, _line_end, message = whole.partition("\n")
    fault = moment.unfit.get(rule.file) or _fault(version)
    known = f"{fault}: {text}" if text and fault else text  # mended, it is something new
    seen = state or {}
    if not text or known == seen.get("text"):
        return {"text": known}, []
    fields = _fields(moment.mirror, moment.head, moment.now)
    if fault:
        return {"text": known}, [_Call(moment.head, fields, "", fault=f"{rule.file} makes no release: {fault}")]
    if not moment.is_settled:
        return seen | {"waits": True}, []
    return {"text": known}, [
        _Call(moment.head, fields, message.strip() or version, version.strip()[:_MARKER_CHARACTERS])
    ]


def _fault(line: str) -> str:
    """Why the first line of a marker cannot be a version, whatever git thinks of it as a name; empty if it can."""
    if line.startswith("\ufeff"):
        return "it begins with a byte order mark; save it as UTF-8 without one"
    if "\ufffd" in line:
        return "its first line is no text in UTF-8; save it as such"
    return "" if line.strip() else "its first line is empty; write the version there"


def _push(_: Rule, state: State | None, happenings: Sequence[Happening], moment: Moment) -> tuple[State, list[_Call]]:
    """What the remote holds now, when that is something else than before."""
    if state is not None and not happenings:
        return {}, []
    at = happenings[-1].at if happenings else moment.now
    return {}, [_Call(moment.head, _fields(moment.mirror, moment.head, at), "")]


def _checkpoint(
    rule: Rule, state: State | None, happenings: Sequence[Happening], moment: Moment
) -> tuple[State, list[_Call]]:
    """Every checkpoint that came; of those that came before the rule, the ones that are still there."""
    return {}, [
        _Call(one.commit, _fields(moment.mirror, one.commit, one.at, checkpoint), checkpoint.folder)
        for one in happenings
        for checkpoint in one.checkpoints
        if state is not None or checkpoint.stays
    ]


def _best(
    rule: Rule, state: State | None, happenings: Sequence[Happening], moment: Moment
) -> tuple[State, list[_Call]]:
    """Every checkpoint that was better than all before it; of those before the rule, the best alone."""
    best: float | None = (state or {}).get("value")
    calls = []
    for one in happenings:
        for checkpoint in one.checkpoints:
            value = checkpoint.metrics.get(rule.metric)
            if value is None or not better(rule.is_lower_better, value, best):
                continue
            best = value
            fields = _fields(moment.mirror, one.commit, one.at, checkpoint) | {"value": f"{value:.4g}"}
            calls.append(_Call(one.commit, fields, f"{checkpoint.folder}: the best {rule.metric} so far, {value:.4g}"))
    return {"value": best}, calls if state is not None else calls[-1:]


def _scheduled(
    rule: Rule, state: State | None, happenings: Sequence[Happening], moment: Moment
) -> tuple[State, list[_Call]]:
    """The last commit of every period that is over; of those before the rule, the last one alone."""
    period_of = _PERIODS[rule.when]
    open_ = dict(state or {})
    calls: list[_Call] = []

    def close(period: str) -> None:
        """All that came before a period is over."""
        if open_.get("commit") and open_["period"] < period:
            fields = _fields(moment.mirror, open_["commit"], open_["at"])
            calls.append(_Call(open_["commit"], fields, f"The last state of {open_['period']}"))
            open_.update(commit=None, done=open_["period"])

    for one in happenings:
        period = max(period_of(one.at), open_.get("period", ""))  # a clock that was put back opens no old period
        close(period)
        if period > open_.get("done", ""):
            open_.update(period=period, commit=one.commit, at=one.at)
    close(period_of(moment.now))
    return open_, calls if state is not None else calls[-1:]


_ACTS: Mapping[When, Callable[[Rule, State | None, Sequence[Happening], Moment], tuple[State, list[_Call]]]] = {
    When.MARKER: _marker,
    When.PUSH: _push,
    When.CHECKPOINT: _checkpoint,
    When.DAILY: _scheduled,
    When.WEEKLY: _scheduled,
    When.BEST: _best,
}


_LAST_S = 253402300799.0
"""The end of the year 9999."""


def _moment(at: float) -> datetime:
    """When a commit was made; what it says itself may be any number."""
    return datetime.fromtimestamp(min(max(at, 0.0), _LAST_S), UTC)


def _day(at: float) -> str:
    return _moment(at).strftime("%Y-%m-%d")


def _week(at: float) -> str:
    return _moment(at).strftime("%G-W%V")


_PERIODS: Mapping[When, Callable[[float], str]] = {When.DAILY: _day, When.WEEKLY: _week}


def _fields(mirror: str, commit: str, at: float, checkpoint: Checkpoint | None = None) -> dict[str, str]:
    fields = {"name": mirror, "commit": commit[:SHORT], "date": _day(at), "week": _week(at)}
    if checkpoint is not None:
        fields["checkpoint"] = checkpoint.folder.rpartition("/")[2]
        if checkpoint.step is not None:
            fields["step"] = str(checkpoint.step)
        if checkpoint.epoch is not None:
            fields["epoch"] = f"{round(checkpoint.epoch, 2):g}"
    return fields
