"""The release rules: whatever came, with whatever restarts, the same tags, each once and never moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.releasesettings import keep_policy, release_rules
from lfssync.errors import UserError
from lfssync.rules import releaserules
from lfssync.rules.refnames import check_branch, check_tag
from lfssync.rules.releaserules import (
    Checkpoint,
    Happening,
    Kind,
    Moment,
    State,
    Verdict,
    Wanted,
    evaluate,
    filled,
    is_lower_better,
    sleep,
)  # fmt: skip
from lfssync.wishes import Keep, Rule, When

NOON = 1_795_000_000.0
DAY = 86400.0

RULES = (
    Rule(When.CHECKPOINT, "step-{step}"),
    Rule(When.CHECKPOINT, "{name}/{checkpoint}", "latest"),
    Rule(When.BEST, "best-{step}", "best", "eval_loss"),
    Rule(When.BEST, "f1-{step}-{value}", "", "eval_f1", is_lower_better=False),
    Rule(When.DAILY, "{date}"),
    Rule(When.WEEKLY, "{week}", "weekly"),
    Rule(When.MARKER, branch="stable"),
)


def commit(number: int) -> str:
    return f"{number:040x}"


VALUES = st.one_of(st.floats(), st.sampled_from([0.5, 0.4, math.nan, math.inf, -math.inf]))
CHECKPOINTS = st.builds(
    Checkpoint,
    folder=st.one_of(
        st.text(max_size=20), st.sampled_from(["checkpoint-1", "runs/checkpoint-2", "a{b}", "x..y", ".lock"])
    ),
    step=st.one_of(st.none(), st.integers(0, 20)),
    epoch=st.one_of(st.none(), st.floats(0, 100)),
    metrics=st.dictionaries(st.sampled_from(["eval_loss", "eval_f1", "other"]), VALUES),
    stays=st.booleans(),
)
BROUGHT = st.lists(st.tuples(st.floats(0, 3 * DAY), st.lists(CHECKPOINTS, max_size=3)), max_size=12)
MARKERS = st.one_of(st.text(max_size=12), st.sampled_from(["v2.0.1", "v2.0.1\n\nLonger", "-x", "a b", ""]))


def history_of(brought: list[tuple[float, list[Checkpoint]]]) -> list[Happening]:
    """Commits in the order of time, as git gives them."""
    at, found = NOON, []
    for number, (pause, checkpoints) in enumerate(brought):
        at += pause
        found.append(Happening(commit(number + 1), at, tuple(checkpoints)))
    return found


def judged(
    states: dict[str, State], fresh: Sequence[Happening], moment: Moment, rules: Sequence[Rule] = RULES
) -> Verdict:
    return evaluate(rules, states, fresh, lambda: fresh, moment)


class Remote:
    """Takes what is wanted, as `applying` brings it there: tags once, branches wherever they shall be."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.branches: dict[str, str] = {}

    def take(self, wanted: Sequence[Wanted]) -> None:
        for one in wanted:
            if one.kind is Kind.TAG:
                self.tags.setdefault(one.name, one.commit)
            else:
                self.branches[one.name] = one.commit


def run(
    history: list[Happening], ends: Sequence[int], killed: Sequence[bool], markers: Sequence[str]
) -> tuple[Remote, dict[str, State]]:
    """One evaluation after each of these numbers of commits; a killed one made all it wanted and remembers nothing."""
    remote = Remote()
    states = judged({}, [], Moment("m", commit(0), NOON)).states
    done = 0
    for end, is_killed in zip(ends, killed, strict=True):
        fresh = history[done:end]
        now = fresh[-1].at if fresh else (history[end - 1].at if end else NOON)
        head = history[end - 1].commit if end else commit(0)
        marker = markers[end - 1] if end else ""
        found = judged(states, fresh, Moment("m", head, now, {"RELEASE": marker}))
        remote.take(found.wanted)
        if not is_killed:
            states, done = found.states, end
    return remote, states


@given(st.data())
def test_passes_and_restarts_make_no_difference(data: st.DataObject) -> None:
    history = history_of(data.draw(BROUGHT))
    markers = [""] * len(history)
    ends = sorted(data.draw(st.lists(st.integers(0, len(history)), max_size=6)))
    killed = [data.draw(st.booleans()) for _ in ends]
    every, _ = run(history, [*ends, len(history)], [*killed, False], markers)
    once, _ = run(history, [len(history)], [False], markers)
    assert every.tags == once.tags
    assert every.branches == once.branches


@given(BROUGHT, MARKERS, st.booleans())
def test_what_is_wanted_is_good_for_git_and_each_name_once(
    brought: list[tuple[float, list[Checkpoint]]], marker: str, is_settled: bool
) -> None:
    history = history_of(brought)
    head = history[-1].commit if history else commit(0)
    for states in ({}, judged({}, [], Moment("m", commit(0), NOON)).states):
        found = judged(states, history, Moment("m", head, NOON + 99 * DAY, {"RELEASE": marker}, is_settled))
        names = [(one.kind, one.name) for one in found.wanted]
        assert len(set(names)) == len(names)
        commits = {commit(0), *(one.commit for one in history)}
        for one in found.wanted:
            assert one.commit in commits
            (check_tag if one.kind is Kind.TAG else check_branch)(one.name)
        kinds = [one.kind for one in found.wanted]
        assert kinds == sorted(kinds, key=lambda kind: kind is Kind.BRANCH)


@given(st.lists(VALUES, max_size=10), st.booleans())
def test_the_best_is_the_first_of_the_best_and_never_no_number(values: list[float], is_lower: bool) -> None:
    rule = Rule(When.BEST, "{step}", "best", "m", is_lower)
    history = [
        Happening(commit(n + 1), NOON + n, (Checkpoint("c", n, None, {"m": value}),)) for n, value in enumerate(values)
    ]
    known = judged({}, [], Moment("m", commit(0), NOON), [rule]).states
    wanted = judged(known, history, Moment("m", commit(99), NOON), [rule]).wanted
    steps = [int(one.name) for one in wanted if one.kind is Kind.TAG]
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        assert wanted == ()
        return
    best = min(numbers) if is_lower else max(numbers)
    assert steps[-1] == values.index(best)
    told = [values[step] if is_lower else -values[step] for step in steps]
    assert all(one > other for one, other in pairwise(told))
    assert wanted[-1] == Wanted(rule, Kind.BRANCH, "best", commit(values.index(best) + 1))
    anew = judged({}, history, Moment("m", commit(99), NOON), [rule]).wanted  # its memory was lost
    assert [one.name for one in anew] == [str(values.index(best)), "best"]


def test_a_new_rule_looks_at_what_is_there() -> None:
    gone, there = Checkpoint("checkpoint-1", 1), Checkpoint("checkpoint-2", 2, stays=True)
    history = [Happening(commit(1), NOON, (gone,)), Happening(commit(2), NOON, (there,))]
    rule = Rule(When.CHECKPOINT, "step-{step}")
    assert [one.name for one in judged({}, history, Moment("m", commit(2), NOON), [rule]).wanted] == ["step-2"]


def test_a_name_twice_is_said_and_the_first_stays() -> None:
    history = [Happening(commit(n), NOON, (Checkpoint("checkpoint-5", 5, stays=True),)) for n in (1, 2)]
    found = judged({}, history, Moment("m", commit(2), NOON), [Rule(When.CHECKPOINT, "step-{step}")])
    assert [(one.name, one.commit) for one in found.wanted] == [("step-5", commit(1))]
    assert found.problems == ("the tag step-5 is on 0000000 already, so it is not put on 0000000",)


def test_a_checkpoint_without_what_a_name_needs_is_passed_over() -> None:
    history = [Happening(commit(1), NOON, (Checkpoint("last.ckpt", None, stays=True),))]
    assert judged({}, history, Moment("m", commit(1), NOON), [Rule(When.CHECKPOINT, "step-{step}")]).wanted == ()


def test_days_and_weeks_are_released_when_they_are_over() -> None:
    rules = (Rule(When.DAILY, "{date}"), Rule(When.WEEKLY, "{week}"))
    monday = 1_794_787_200.0  # 2026-11-16 00:00 UTC
    at = [monday + 3600, monday + 7200, monday + DAY, monday + 3 * DAY + 1]
    history = [Happening(commit(n + 1), moment) for n, moment in enumerate(at)]
    states = judged({}, [], Moment("m", commit(0), monday), rules).states
    found = judged(states, history, Moment("m", commit(4), at[-1]), rules)
    assert [(one.name, one.commit) for one in found.wanted] == [("2026-11-16", commit(2)), ("2026-11-17", commit(3))]
    assert sleep(rules, found.states, at[-1])
    assert not sleep(rules, found.states, monday + 4 * DAY)
    later = judged(found.states, [], Moment("m", commit(4), monday + 7 * DAY), rules)
    assert [(one.name, one.commit) for one in later.wanted] == [("2026-11-19", commit(4)), ("2026-W47", commit(4))]
    assert judged(later.states, [], Moment("m", commit(4), monday + 30 * DAY), rules).wanted == ()
    late = [Happening(commit(5), monday + 3 * DAY + 2)]  # made before the day was released, and brought after it
    assert judged(later.states, late, Moment("m", commit(5), monday + 30 * DAY), rules).wanted == ()
    anew = judged({}, history, Moment("m", commit(4), monday + 9 * DAY), rules).wanted
    assert [one.name for one in anew] == ["2026-11-19", "2026-W47"]  # no flood of old days


def test_a_marker_releases_once_nothing_waits() -> None:
    rule = Rule(When.MARKER, branch="stable")
    moment = Moment("m", commit(1), NOON, {"RELEASE": "v2.0.1\n\nLonger context\n"}, is_settled=False)
    waiting = judged({}, [], moment, [rule])
    assert (waiting.wanted, waiting.waiting) == (
        (),
        ("RELEASE names a release, which is made as soon as nothing else waits",),
    )
    assert not sleep([rule], waiting.states, NOON)
    found = judged(waiting.states, [], replace(moment, is_settled=True), [rule])
    assert [(one.kind, one.name, one.text) for one in found.wanted] == [
        (Kind.TAG, "v2.0.1", "Longer context"), (Kind.BRANCH, "stable", ""),
    ]  # fmt: skip
    again = judged(found.states, [], replace(moment, head=commit(2), is_settled=True), [rule])
    assert again.wanted == ()
    bad = judged(found.states, [], replace(moment, markers={"RELEASE": "v 1"}, is_settled=True), [rule])
    assert "' '" in bad.problems[0]


@pytest.mark.parametrize(
    ("text", "fault", "words"),
    [
        ("\nv1\n", "", "its first line is empty; write the version there"),
        (" \t\r\nv1", "", "its first line is empty; write the version there"),
        ("\ufeffv1\n", "", "it begins with a byte order mark; save it as UTF-8 without one"),
        ("v\ufffd1", "", "its first line is no text in UTF-8; save it as such"),
        ("v1", "it is a link", "it is a link"),
    ],
)
def test_a_marker_that_can_be_none_is_said_once_and_releases_once_it_is_mended(
    text: str, fault: str, words: str
) -> None:
    rule = Rule(When.MARKER, branch="stable")
    moment = Moment("m", commit(1), NOON, {"RELEASE": text}, False, {"RELEASE": fault} if fault else {})
    found = judged({}, [], moment, [rule])
    assert (found.wanted, found.waiting, found.problems) == ((), (), (f"RELEASE makes no release: {words}",))
    again = judged(found.states, [], replace(moment, head=commit(2)), [rule])
    assert (again.wanted, again.problems) == ((), ())
    mended = judged(again.states, [], Moment("m", commit(3), NOON, {"RELEASE": "v1"}), [rule])
    assert ([one.name for one in mended.wanted], mended.problems) == (["v1", "stable"], ())


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_marker_says_nothing(text: str) -> None:
    found = judged({}, [], Moment("m", commit(1), NOON, {"RELEASE": text}), [Rule(When.MARKER)])
    assert (found.wanted, found.problems) == ((), ())


@pytest.mark.parametrize(
    "checkpoint", ["a b", "a/../b", "\udcff", "{name}", "{0.__class__}", "a:b^c", "x" * 300, "..", "@{"]
)
def test_what_a_folder_is_called_cannot_break_out(checkpoint: str) -> None:
    name = filled("v-{checkpoint}-1", {"checkpoint": checkpoint})
    assert name is not None
    assert check_tag(name)
    assert "{" not in name
    assert "/" not in name


@pytest.mark.parametrize(
    ("metric", "lower"),
    [("eval_loss", True), ("loss", True), ("val_perplexity", True), ("eval/wer", True), ("eval_rmse", True),
     ("validation_error", True), ("eval_accuracy", False), ("eval_f1", False), ("eval_bleu", False)],
)  # fmt: skip
def test_which_metrics_are_better_lower(metric: str, lower: bool) -> None:
    assert is_lower_better(metric) is lower


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        ({"when": "marker"}, [Rule(When.MARKER)]),
        ({"when": "marker", "file": "meta/V", "branch": "stable"}, [Rule(When.MARKER, "", "stable", file="meta/V")]),
        ([{"when": "checkpoint", "name": "step-{step}"}, {"when": "push", "branch": "latest"}],
         [Rule(When.CHECKPOINT, "step-{step}"), Rule(When.PUSH, "", "latest")]),
        ({"when": "best eval_loss", "name": "best-{step}"}, [Rule(When.BEST, "best-{step}", "", "eval_loss", True)]),
        ({"when": "best eval_f1", "branch": "{name}/best"}, [Rule(When.BEST, "", "{name}/best", "eval_f1", False)]),
        ({"when": "lowest eval_f1", "branch": "worst"}, [Rule(When.BEST, "", "worst", "eval_f1", True)]),
        ({"when": "weekly", "name": "{week}"}, [Rule(When.WEEKLY, "{week}")]),
        ([], []),
    ],
)  # fmt: skip
def test_rules_that_are_some(value: object, rules: list[Rule]) -> None:
    assert release_rules(value) == tuple(rules)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("v1", "must be a table"),
        ([1], "must be a table"),
        ({}, "without `when`"),
        ({"when": "yearly", "name": "{date}"}, "'yearly' is none"),
        ({"when": "best", "name": "{step}"}, "names no metric"),
        ({"when": "best a b", "name": "{step}"}, "is none"),
        ({"when": "worst eval_loss", "name": "{step}"}, "is none"),
        ({"when": "daily"}, "neither `name` nor `branch`"),
        ({"when": "daily", "nam": "{date}"}, 'unknown key "nam"'),
        ({"when": "marker", "name": "v1"}, "leave `name` out"),
        ({"when": "daily", "name": "{date}", "file": "X"}, "means nothing"),
        ({"when": "marker", "file": "../X"}, "no path within"),
        ({"when": "daily", "name": "{step}"}, "unknown field {step}"),
        ({"when": "checkpoint", "name": "{name.__class__}"}, "unknown field {name.__class__}"),
        ({"when": "checkpoint", "name": "{step!r}"}, "unknown field"),
        ({"when": "checkpoint", "name": "{step:>9}"}, "unknown field"),
        ({"when": "checkpoint", "name": "{}-{step}"}, "unknown field {}"),
        ({"when": "checkpoint", "name": "{step}}"}, "brace"),
        ({"when": "checkpoint", "name": "{{step}}"}, "brace"),
        ({"when": "checkpoint", "name": "best"}, "the same for every release"),
        ({"when": "checkpoint", "name": "{name}"}, "the same for every release"),
        ({"when": "checkpoint", "name": "-{step}"}, "starts with '-'"),
        ({"when": "checkpoint", "name": "a b{step}"}, "has ' '"),
        ({"when": "checkpoint", "branch": "at-{step}"}, "unknown field {step}"),
        ({"when": "checkpoint", "branch": "HEAD"}, "current commit"),
    ],
)  # fmt: skip
def test_rules_that_are_none(value: object, words: str) -> None:
    with pytest.raises(UserError) as refused:
        release_rules(value)
    assert words in str(refused.value)


def test_what_keep_takes() -> None:
    assert keep_policy({}) == Keep()
    assert keep_policy({"last": 3, "best": "eval_loss", "tags": True}) == Keep(3, "eval_loss", True, True)
    assert keep_policy({"last": 1, "best": "highest loss"}) == Keep(1, "loss", False)
    for wrong in (
        {"last": 0},
        {"last": True},
        {"last": "3"},
        {"tags": True},
        {"last": 1, "tags": 1},
        {"lst": 3},
        {"last": 1, "best": "a b"},
    ):
        with pytest.raises(UserError):
            keep_policy(wrong)


@pytest.mark.parametrize(("at", "day", "week"), [(-1.0, "1970-01-01", "1970-W01"), (1e15, "9999-12-31", "9999-W52")])
def test_a_commit_may_say_any_time(at: float, day: str, week: str) -> None:
    assert (releaserules._day(at), releaserules._week(at)) == (day, week)
