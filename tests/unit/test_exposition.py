"""Metrics as text, read back by the parsers of Prometheus' own library."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as prometheus

from lfssync.answers import MirrorStatus
from lfssync.model import State
from lfssync.telling.exposition import Family, Form, Kind, Sample, form_for, text_of
from lfssync.telling.measures import FAILURES, Measured, families

NOW = 1_795_000_000.0
STATUS = MirrorStatus(
    *("my-model", "/data/secret-place", "https://huggingface.co/me/secret-name", "main", State.OFFLINE),
    pending_files=3,
    pending_bytes=123,
    verified_at=NOW - 60,
    error={"kind": "offline", "message": "secret words", "remedy": "r", "since": NOW},
)
MEASURED = Measured(STATUS, NOW - 30, 7, {"offline": 2}, 1, 1 << 40, 5, 4, 6)


def openmetrics(text: str) -> list[Metric]:
    """What Prometheus reads in OpenMetrics."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


SAMPLES = st.lists(
    st.builds(
        Sample,
        st.floats(allow_nan=False) | st.integers(-(1 << 60), 1 << 60).map(float),
        st.dictionaries(st.sampled_from(["mirror", "kind"]), st.text(st.characters(codec="utf-8")), max_size=2),
    ),
    max_size=3,
    unique_by=lambda one: tuple(sorted(one.labels.items())),
)


@given(SAMPLES, st.text(st.characters(codec="utf-8")).map(str.strip), st.sampled_from([Kind.COUNTER, Kind.GAUGE]))
def test_what_is_written_is_what_is_read(samples: list[Sample], help_text: str, kind: Kind) -> None:
    if kind is Kind.COUNTER:
        samples = [replace(one, value=abs(one.value)) for one in samples]
    family = Family("lfssync_odd_bytes", kind, help_text, tuple(samples), "bytes")
    text = text_of([family], Form.OPENMETRICS)
    if not samples:
        assert text == "# EOF\n"
        return
    (found,) = openmetrics(text)
    assert (found.name, found.type, found.unit) == ("lfssync_odd_bytes", kind.value, "bytes")
    assert found.documentation == help_text
    wanted = {tuple(sorted(one.labels.items())): one.value for one in samples}
    assert {tuple(sorted(one.labels.items())): one.value for one in found.samples} == wanted
    (older,) = prometheus(text_of([family], Form.PROMETHEUS))
    assert {tuple(sorted(one.labels.items())): one.value for one in older.samples} == wanted


def test_bytes_that_are_no_text_stay_visible() -> None:
    family = Family("a", Kind.GAUGE, "h", (Sample(math.nan, {"name": "caf\udce9"}),))
    ((sample,),) = (one.samples for one in openmetrics(text_of([family], Form.OPENMETRICS)))
    assert sample.labels == {"name": "caf\\xe9"}
    assert math.isnan(sample.value)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.PROMETHEUS),
        ("*/*", Form.PROMETHEUS),
        ("text/plain;version=0.0.4;q=0.5, */*;q=0.1", Form.PROMETHEUS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Form.OPENMETRICS),
        ("Application/OpenMetrics-Text", Form.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1;q=0.5", Form.PROMETHEUS),
        ("text/plain, application/openmetrics-text; q=0", Form.PROMETHEUS),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1",
            Form.OPENMETRICS,
        ),
    ],
)
def test_who_asks_gets_the_form_that_it_reads(accept: str, form: Form) -> None:
    assert form_for(accept) is form


def test_the_metrics_of_a_mirror() -> None:
    other = Measured(STATUS._replace(name="other", state=State.IDLE, error=None, verified_at=None))
    text = text_of(families({"my-model": MEASURED, "other": other}, 1, NOW - 100, NOW), Form.OPENMETRICS)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in openmetrics(text)
        for sample in family.samples
    }
    assert found["lfssync_state", "my-model", "offline"] == 1
    assert sum(value for (name, *_), value in found.items() if name == "lfssync_state") == 2
    assert found["lfssync_pending_files", "my-model"] == 3
    assert found["lfssync_pending_bytes", "my-model"] == 123
    assert found["lfssync_pending_age_seconds", "my-model"] == 30
    assert found["lfssync_pending_age_seconds", "other"] == 0
    assert found["lfssync_verified_timestamp_seconds", "my-model"] == NOW - 60
    assert ("lfssync_verified_timestamp_seconds", "other") not in found
    assert found["lfssync_passes_total", "my-model"] == 7
    assert found["lfssync_pass_failures_total", "my-model", "offline"] == 2
    assert found["lfssync_pass_failures_total", "blocked", "my-model"] == 0
    assert found["lfssync_releases_total", "my-model"] == 1
    assert found["lfssync_read_bytes_total", "my-model"] == 1 << 40
    assert found["lfssync_sent_bytes_total", "my-model"] == 5
    assert found["lfssync_lost_events_total", "my-model"] == 4
    assert found["lfssync_rescans_total", "my-model"] == 6
    assert found["lfssync_mirrors",] == 2
    assert found["lfssync_complaints",] == 1
    assert found["process_resident_memory_bytes",] > 1 << 20
    assert found["process_open_fds",] > 2
    assert any(name == "lfssync_build_info" for name, *_ in found)
    assert "secret" not in text
    counts = [name for name, *_ in found if name == "lfssync_pass_failures_total"]
    assert len(counts) == 2 * len(FAILURES)


def test_the_older_form_has_the_same_numbers() -> None:
    measured = families({"my-model": MEASURED}, 0, NOW - 100, NOW)
    new = {
        sample.name: sample.value for one in openmetrics(text_of(measured, Form.OPENMETRICS)) for sample in one.samples
    }
    text = text_of(measured, Form.PROMETHEUS)
    old = {sample.name: sample.value for one in prometheus(text) for sample in one.samples}
    assert old == new
    assert "# EOF" not in text
    assert "# TYPE lfssync_passes_total counter\n" in text
    assert "# TYPE lfssync_build_info gauge\n" in text
