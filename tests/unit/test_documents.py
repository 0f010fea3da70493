"""The documents of `--json` have the keys that the contract promises, and survive any name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync import __version__
from lfssync.answers import DaemonInfo, Headway, LogEntry, LogKind, MirrorStatus
from lfssync.commandline import documents, versiondocuments
from lfssync.errors import BlockedError
from lfssync.model import Deferred, Mirror, PassResult, Receipt, State

COMMIT = "3f2a91c" + 33 * "0"
NOON = 1_795_000_000.0
RECEIPT = Receipt("refs/heads/main", COMMIT, objects=3, object_bytes=5, verified_at=NOON)
STATUS = MirrorStatus("my-model", "/data/outputs/my-model", "https://huggingface.co/me/my-model", "main", State.IDLE)


def through_json(document: documents.Document) -> Any:
    """What a script gets: strict JSON, in UTF-8."""
    return json.loads(json.dumps(document).encode("utf-8"))


def test_status_is_the_contracts_document() -> None:
    status = STATUS._replace(
        state=State.BLOCKED,
        pending_files=2,
        pending_bytes=7,
        deferred=(Deferred(b"model.safetensors", "open for writing", 7),),
        head=COMMIT,
        pushed=COMMIT,
        verified_at=NOON,
        error={"kind": "blocked", "message": "m", "remedy": "r", "since": "2026-11-18T11:00:00Z"},
        tags=("v2.0.1",),
    )
    assert through_json(documents.status_document([status], DaemonInfo(True, 4242, NOON, ("odd",)))) == {
        "version": __version__,
        "daemon": {"running": True, "pid": 4242, "since": "2026-11-18T11:06:40Z", "complaints": ["odd"]},
        "mirrors": [
            {
                "name": "my-model",
                "path": "/data/outputs/my-model",
                "remote": "https://huggingface.co/me/my-model",
                "branch": "main",
                "state": "blocked",
                "pending": {"files": 2, "bytes": 7},
                "deferred": [{"path": "model.safetensors", "reason": "open for writing"}],
                "head": COMMIT,
                "pushed": COMMIT,
                "verified_at": "2026-11-18T11:06:40Z",
                "error": {"kind": "blocked", "message": "m", "remedy": "r", "since": "2026-11-18T11:00:00Z"},
                "tags": ["v2.0.1"],
                "scrubbed_at": None,
                "progress": None,
                "waits": None,
                "looked": True,
                "paused": None,
            }
        ],
    }


def test_a_pause_is_told_in_times() -> None:
    def told(paused: dict[str, float | None]) -> Any:
        status = documents.status_document([STATUS._replace(paused=paused)], DaemonInfo(False))
        return through_json(status)["mirrors"][0]["paused"]

    assert told({"since": NOON, "until": None}) == {"since": "2026-11-18T11:06:40Z", "until": None}
    assert told({"since": None, "until": NOON}) == {"since": None, "until": "2026-11-18T11:06:40Z"}


def test_what_goes_on_is_told_in_numbers() -> None:
    progress = Headway(State.UPLOADING, 2, 5, 1_000, 4_000, 500.4)
    status = STATUS._replace(
        state=State.UPLOADING, progress=progress, waits={"why": "the night", "until": NOON}, looked=False
    )
    (one,) = through_json(documents.status_document([status], DaemonInfo(True, 4242, NOON)))["mirrors"]
    assert one["progress"] == {
        "files": {"done": 2, "total": 5},
        "bytes": {"done": 1_000, "total": 4_000},
        "bytes_per_second": 500,
        "seconds_left": 6,
    }
    assert one["waits"] == {"why": "the night", "until": "2026-11-18T11:06:40Z"}
    assert one["looked"] is False


def test_the_time_of_an_error_is_a_time_like_all_others() -> None:
    recorded: dict[str, Any] = {"kind": "failed", "message": "m", "remedy": "r", "since": NOON}
    document = documents.status_document([STATUS._replace(error=recorded)], DaemonInfo(False, None, None))
    assert document["mirrors"][0]["error"]["since"] == "2026-11-18T11:06:40Z"


def test_what_is_not_known_yet_is_null() -> None:
    document = through_json(documents.status_document([STATUS], DaemonInfo(False, None, None)))
    assert document["daemon"] == {"running": False, "pid": None, "since": None, "complaints": []}
    (mirror,) = document["mirrors"]
    assert [mirror[key] for key in ("head", "pushed", "verified_at", "error")] == [None] * 4


@pytest.mark.parametrize("state", State)
def test_states_are_the_contracts_words(state: State) -> None:
    document = documents.status_document([STATUS._replace(state=state)], DaemonInfo(False, None, None))
    assert document["mirrors"][0]["state"] == state.value


def test_sync_tells_success_and_failure_with_the_same_keys() -> None:
    done = documents.pass_document("a", PassResult(COMMIT, RECEIPT, added=4, changed=1, content_bytes=9, sent_bytes=5))
    failed = documents.failure_document("b", BlockedError("most files are gone", "approve it"))
    document = through_json(documents.sync_document([done, failed]))
    assert document["version"] == __version__
    first, second = document["mirrors"]
    assert first == {
        "name": "a",
        "commit": COMMIT,
        "verified_at": "2026-11-18T11:06:40Z",
        "files": {"added": 4, "changed": 1, "removed": 0},
        "bytes": 9,
        "sent_bytes": 5,
        "deferred": [],
        "warnings": [],
        "error": None,
    }
    assert second.keys() == first.keys()
    assert second["error"] == {"kind": "blocked", "message": "most files are gone", "remedy": "approve it"}
    assert second["verified_at"] is None


def test_list_and_log() -> None:
    mirror = Mirror("a", Path("/data/a"), "/srv/a.git", into="sub", embedded=True)
    assert through_json(documents.list_document([mirror]))["mirrors"] == [
        {"name": "a", "path": "/data/a", "remote": "/srv/a.git", "branch": "main", "into": "sub", "embedded": True}
    ]
    entries = [LogEntry(NOON, LogKind.RELEASE, COMMIT, "v1", ("v1",)), LogEntry(NOON, LogKind.FAILED, None, "broke")]
    assert through_json(versiondocuments.log_document("a", entries)) == {
        "version": __version__,
        "name": "a",
        "entries": [
            {"at": "2026-11-18T11:06:40Z", "kind": "release", "commit": COMMIT, "text": "v1", "tags": ["v1"]},
            {"at": "2026-11-18T11:06:40Z", "kind": "failed", "commit": None, "text": "broke", "tags": []},
        ],
    }


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_stays_exactly_as_it_is(text: str) -> None:
    assert documents.exact(text) == text
    assert documents.exact_path(text.encode()) == text


@pytest.mark.parametrize(("path", "shown"), [(b"a\xffb", "a\\xffb"), (b"a\nb", "a\nb"), ("ä".encode(), "ä")])
def test_bytes_that_are_no_text_become_visible(path: bytes, shown: str) -> None:
    assert documents.exact_path(path) == shown
    assert documents.exact(path.decode("utf-8", "surrogateescape")) == shown


@given(path=st.binary(), text=st.text(st.characters(exclude_categories=())))
def test_every_document_can_be_read_by_a_strict_reader(path: bytes, text: str) -> None:
    status = STATUS._replace(path=text, deferred=(Deferred(path, text),), error={"message": text, "remedy": text})
    document = documents.status_document([status], DaemonInfo(False, None, None))
    assert through_json(document) == document
    json.dumps(document, ensure_ascii=False).encode("utf-8")
