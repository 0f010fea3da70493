r"""Metrics as text, in the two forms that monitoring reads: OpenMetrics 1.0 and the older one of Prometheus.

Pure. `measures` makes the families, `endpoint` and `metricsfile` hand out the text. The one thing to know: the two
forms differ in how a counter is called in its own description, in the kinds that there are, and in the last line.

Source: OpenMetrics 1.0.0; Prometheus, "Exposition formats", version 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class Form(Enum):
    """The forms, by the content type that names them."""

    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """What a number means."""

    COUNTER = "counter"
    GAUGE = "gauge"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Sample:
    """A number, and what it is about."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one meaning.

    Args:
        name: Without `_total` and `_info`; ends in the unit where there is one.
        kind: What they are.
        help: One sentence.
        samples: The numbers.
        unit: Such as `bytes` or `seconds`; empty for mere counts.
    """

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]
    unit: str = ""


_SUFFIX = {Kind.COUNTER: "_total", Kind.INFO: "_info", Kind.GAUGE: ""}


def text_of(families: Iterable[Family], form: Form) -> str:
    """The families as text, each line ended by a newline; those without numbers are left out."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += _lines(family, form)
    if form is Form.OPENMETRICS:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


def form_for(accept: str) -> Form:
    """The form to answer in.

    Args:
        accept: The header of that name; who does not name OpenMetrics gets what everybody reads.
    """
    for wish in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in wish.split(";"))
        versions = [one.removeprefix("version=").strip('"') for one in parameters if one.startswith("version=")]
        is_unwanted = any(one.startswith("q=") and not one[2:].strip("0.") for one in parameters)
        if kind == "application/openmetrics-text" and versions in ([], ["1.0.0"]) and not is_unwanted:
            return Form.OPENMETRICS
    return Form.PROMETHEUS


def _lines(family: Family, form: Form) -> Iterable[str]:
    sampled = family.name + _SUFFIX[family.kind]
    is_open = form is Form.OPENMETRICS
    name = family.name if is_open else sampled
    yield f"# TYPE {name} {family.kind.value if is_open or family.kind is Kind.COUNTER else 'gauge'}"
    if family.unit and is_open:
        yield f"# UNIT {name} {family.unit}"
    yield f"# HELP {name} {_escaped(family.help)}" if is_open else f"# HELP {name} {_plain(family.help)}"
    for sample in family.samples:
        pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
        yield f"{sampled}{{{pairs}}} {_number(sample.value)}" if pairs else f"{sampled} {_number(sample.value)}"


def _escaped(text: str) -> str:
    r"""Text between quotes; what is no text at all becomes `\x..`, as everywhere in lfssync."""
    return _plain(text).replace('"', '\\"')


def _plain(text: str) -> str:
    good = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return good.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))
