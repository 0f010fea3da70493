"""What travels over the control socket comes out as it went in, whatever the paths and words are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import (
    AuthError,
    BlockedError,
    LfssyncError,
    NotDoneError,
    TransientError,
    UserError,
)
from lfssync.model import Deferred, PassResult, Plan, Progress, Receipt, State
from lfssync.results import Release
from lfssync.service.protocol import (
    error_document,
    error_of,
    event_document,
    event_of,
    line,
    pass_document,
    pass_result,
    release_document,
    release_of,
)

KINDS = (LfssyncError, UserError, AuthError, TransientError, BlockedError, NotDoneError)
counts = st.integers(0, 1 << 50)
oids = st.text("0123456789abcdef", min_size=40, max_size=40)
# Words may quote file names, so they may have what Python makes of bytes that are no text.
words = st.text(st.characters(exclude_categories=()))
paths = st.binary(min_size=1).filter(lambda path: b"\0" not in path)
receipts = st.builds(Receipt, words, oids, counts, counts, st.floats(0, 1e12))
results = st.builds(
    PassResult, st.none() | oids, st.none() | receipts, counts, counts, counts, counts, counts,
    st.lists(st.builds(Deferred, paths, words, counts), max_size=5).map(tuple), st.lists(words, max_size=5).map(tuple),
)  # fmt: skip
events = st.builds(Plan, st.sampled_from(State), counts, counts) | st.builds(
    Progress, st.sampled_from(State), paths, counts, counts
)


def sent(document: dict[str, object]) -> dict[str, object]:
    """The document as the other end reads it, from one line."""
    raw = line(document)
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    received: dict[str, object] = json.loads(raw)
    return received


@given(results)
def test_a_pass_result_survives(result: PassResult) -> None:
    assert pass_result(sent(pass_document(result))) == result


@given(st.builds(Release, words, oids, receipts))
def test_a_release_survives(release: Release) -> None:
    assert release_of(sent(release_document(release))) == release


@given(events)
def test_progress_survives(event: Plan | Progress) -> None:
    assert event_of(sent(event_document(event))) == event


@given(st.sampled_from(KINDS), words, words)
def test_an_error_survives(kind: type[LfssyncError], message: str, remedy: str) -> None:
    error = error_of(json.loads(line(error_document(kind(message, remedy)))))
    assert (type(error), error.message, error.remedy) == (kind, message, remedy)


def test_an_error_of_another_version_is_a_failure() -> None:
    error = error_of({"kind": "melted", "message": "the disk melted", "remedy": "cool it"})
    assert type(error) is LfssyncError
    assert str(error) == "the disk melted; cool it"


@pytest.mark.parametrize("document", [{}, {"state": "dancing", "files": 1, "size": 1}, {"state": "idle", "path": "x"}])
def test_progress_of_another_version_is_an_error_that_the_asker_expects(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        event_of(document)
