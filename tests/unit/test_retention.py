"""Retention: what may leave the tip, for any checkpoints and any policy."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lfssync.rules.retention import Candidate, decide
from lfssync.wishes import Keep

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        folder=st.one_of(st.integers(0, 30).map(lambda n: b"checkpoint-%d" % n), st.binary(min_size=1, max_size=5)),
        files=st.just(2),
        size_bytes=st.just(10),
        is_here=st.booleans(),
        metrics=st.dictionaries(st.just("eval_loss"), st.one_of(st.floats(), st.integers(0, 3).map(float))),
        tags=st.sampled_from([(), ("v1",)]),
    ),
    unique_by=lambda one: one.folder,
    max_size=12,
)
POLICIES = st.builds(
    Keep,
    last=st.one_of(st.none(), st.integers(1, 5)),
    best=st.sampled_from(["", "eval_loss", "eval_f1"]),
    is_lower_better=st.booleans(),
    tags=st.booleans(),
)


@given(POLICIES, CANDIDATES)
def test_what_has_a_reason_stays(keep: Keep, candidates: list[Candidate]) -> None:
    decisions = decide(keep, candidates)
    assert {one.candidate.folder for one in decisions} == {one.folder for one in candidates}
    leaving = [one.candidate for one in decisions if not one.reason]
    if keep.last is None:
        assert leaving == []
        return
    assert not any(one.is_here for one in leaving)
    assert all(one.reason for one in decisions[: keep.last])
    if keep.tags:
        assert not any(one.tags for one in leaving)
    values = [one.metrics[keep.best] for one in candidates if math.isfinite(one.metrics.get(keep.best, math.nan))]
    if values:
        best = min(values) if keep.is_lower_better else max(values)
        assert any(one.metrics.get(keep.best) == best for one in candidates if one not in leaving)
    rest = [one for one in candidates if one not in leaving]
    assert all(one.reason for one in decide(keep, rest))  # nothing more leaves when that is done


def test_the_words() -> None:
    told = [
        Candidate(b"checkpoint-%d" % step, 2, 5, step == 100, {"eval_loss": loss}, tags)
        for step, loss, tags in ((100, 3.0, ()), (200, 1.5, ()), (300, 2.0, ("v1",)), (400, 1.5, ()), (1000, 9.0, ()))
    ]
    reasons = {one.candidate.folder: one.reason for one in decide(Keep(1, "eval_loss", True, True), told)}
    assert reasons == {
        b"checkpoint-1000": "one of the newest", b"checkpoint-400": "", b"checkpoint-300": "tagged v1",
        b"checkpoint-200": "the best eval_loss, 1.5", b"checkpoint-100": "in the directory",
    }  # fmt: skip
