"""When people are notified, by a clock turned by hand: not too early, not too often, and never of an end alone."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.telling import Occasion
from lfssync.telling.letters import TEXT_CHARACTERS, letter
from lfssync.telling.notices import AGAIN_S, LASTS_S, PER_HOUR, Notice, Press, Trouble

AWAY = Trouble("offline", "the host is away", "check the network")
REFUSED = Trouble("unauthorized", "the token is refused", "log in again")
NOW = 1_795_000_000.0


def told(press: Press, trouble: Trouble | None, now: float) -> list[tuple[str, str]]:
    """What is told when the only mirror is in such trouble."""
    return [(one.occasion.value, one.kind) for one in press.news(["m"], {"m": trouble}, [], now)]


def test_what_may_pass_is_told_once_it_lasts_and_then_its_end() -> None:
    press = Press()
    assert told(press, AWAY, NOW) == []
    assert told(press, AWAY, NOW + LASTS_S - 1) == []
    assert told(press, AWAY, NOW + LASTS_S) == [("failure", "offline")]
    assert told(press, AWAY, NOW + 10 * AGAIN_S) == []
    assert told(press, None, NOW + 10 * AGAIN_S + 1) == [("recovery", "offline")]
    assert told(press, None, NOW + 10 * AGAIN_S + 2) == []


def test_what_passed_before_it_was_told_is_never_told() -> None:
    press = Press()
    told(press, AWAY, NOW)
    assert told(press, None, NOW + LASTS_S - 1) == []
    assert told(press, AWAY, NOW + LASTS_S) == []


def test_what_needs_a_person_is_told_at_once_and_once_an_hour_at_most() -> None:
    press = Press()
    assert told(press, REFUSED, NOW) == [("failure", "unauthorized")]
    assert told(press, None, NOW + 10) == [("recovery", "unauthorized")]
    assert told(press, REFUSED, NOW + 20) == []
    assert told(press, None, NOW + 30) == []  # the failure was not told, so its end is not
    assert told(press, REFUSED, NOW + 40) == []
    assert told(press, REFUSED, NOW + AGAIN_S) == [("failure", "unauthorized")]


def test_another_kind_of_trouble_is_news_and_the_end_of_all_is_one() -> None:
    press = Press()
    told(press, AWAY, NOW)
    assert told(press, AWAY, NOW + LASTS_S) == [("failure", "offline")]
    assert told(press, REFUSED, NOW + 200) == [("failure", "unauthorized")]
    assert told(press, AWAY, NOW + 300) == []
    assert told(press, None, NOW + 400) == [("recovery", "offline")]


def test_nothing_is_known_of_a_mirror_before_its_first_pass() -> None:
    press = Press()
    assert told(press, REFUSED, NOW) == [("failure", "unauthorized")]
    later = Press()
    later.recall(json.loads(json.dumps(press.document())), NOW + 5)
    assert later.news(["m"], {}, [], NOW + 6) == []
    assert told(later, REFUSED, NOW + 7) == []
    assert told(later, None, NOW + 8) == [("recovery", "unauthorized")]


def test_a_mirror_that_is_gone_is_forgotten() -> None:
    press = Press()
    told(press, REFUSED, NOW)
    assert press.news([], {}, [], NOW + 1) == []
    assert told(press, None, NOW + 2) == []


def test_a_storm_ends_in_a_summary() -> None:
    press = Press()
    names = [f"run-{number:02}" for number in range(50)]
    first = press.news(names, dict.fromkeys(names, REFUSED), [], NOW)
    assert len(first) == PER_HOUR + 1
    summary = first[-1]
    assert summary.mirror == ""
    assert summary.message.startswith("40 more notifications: run-10 (failure), run-11 (failure), ")
    assert summary.message.endswith(" and 30 more")
    assert press.news(names, dict.fromkeys(names), [], NOW + 60) == []
    (later,) = press.news(names, dict.fromkeys(names), [], NOW + 3600)
    assert later.message.startswith("50 more notifications: run-00 (recovery)")
    release = Notice(Occasion.RELEASE, "run-00", "released v1", version="v1")
    assert press.news(names, dict.fromkeys(names), [release], NOW + 3700) == [release]


def test_a_release_is_told_at_once() -> None:
    release = Notice(Occasion.RELEASE, "m", "released v1", version="v1", commit="c" * 40)
    assert Press().news(["m"], {"m": None}, [release], NOW) == [release]


STEPS = st.lists(
    st.tuples(
        st.floats(-100, 4000), st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([None, AWAY, REFUSED]))
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_there_is_no_storm_and_no_end_without_a_beginning(
    steps: list[tuple[float, dict[str, Trouble | None]]], per_hour: int
) -> None:
    press = Press(per_hour=per_hour)
    now = latest = NOW
    known: dict[str, Trouble | None] = {}
    sent: list[tuple[float, Notice]] = []
    for passed_s, change in steps:
        now += passed_s  # also a clock that is put back
        latest = max(latest, now)
        known |= change
        sent += [(latest, one) for one in press.news("abcdef", known, [], now)]
        again = Press(per_hour=per_hour)
        again.recall(json.loads(json.dumps(press.document())), latest)
        assert again.document() == press.document()
    for moment, _ in sent:
        assert sum(moment - 3600 < at <= moment for at, _ in sent) <= per_hour + 1
    for name in "abcdef":
        mine = [(at, one) for at, one in sent if one.mirror == name]
        failures = [(at, one.kind) for at, one in mine if one.occasion is Occasion.FAILURE]
        for kind in ("offline", "unauthorized"):
            times = [at for at, found in failures if found == kind]
            assert all(later - earlier >= AGAIN_S for earlier, later in itertools.pairwise(times))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["told", "episodes", "sent", "summary", "x"]), inner)
        ),
    )
)
def test_a_note_that_is_broken_counts_for_nothing(document: object) -> None:
    press = Press()
    press.recall(document, NOW)
    assert told(press, None, NOW) == []


def test_what_is_written_for_people_and_for_programs() -> None:
    failure = Notice(Occasion.FAILURE, "m", "the host is away", "check the network", "offline", NOW - 130)
    sheet = letter(failure, "https://host/me/m", "gpu-1", NOW)
    assert sheet.text == "m on gpu-1: offline for 2 min: the host is away; check the network"
    assert sheet.title == "m: offline"
    assert sheet.document["text"] == sheet.document["content"] == sheet.text
    assert {key: sheet.document[key] for key in ("event", "mirror", "kind", "since", "at", "version")} == {
        "event": "failure",
        "mirror": "m",
        "kind": "offline",
        "since": "2026-11-18T11:04:30Z",
        "at": "2026-11-18T11:06:40Z",
        "version": None,
    }
    recovery = letter(Notice(Occasion.RECOVERY, "m", "it works again", kind="offline", since=NOW - 7300), "", "h", NOW)
    assert recovery.text == "m on h: works again after 2 h (offline)"
    release = Notice(Occasion.RELEASE, "m", "released v1", version="v1", commit="c" * 40)
    assert letter(release, "/srv/m.git", "h", NOW).text == "m on h: released v1 (ccccccc) to /srv/m.git"
    summary = Notice(Occasion.FAILURE, "", "2 more notifications: a, b")
    assert letter(summary, "", "h", NOW).text == "lfssync on h: 2 more notifications: a, b"


def test_what_a_file_is_called_gives_no_orders() -> None:
    evil = Notice(
        Occasion.FAILURE, "m", "<!channel> @everyone \x1b[31m\nsecond\udcff" + "x" * 5000, "r", "blocked", NOW
    )
    sheet = letter(evil, "", "h", NOW)
    assert "<!" not in sheet.text
    assert "@everyone" not in sheet.text
    assert sheet.text.isprintable() or "\N{ZERO WIDTH SPACE}" in sheet.text
    assert "\n" not in sheet.text
    assert len(sheet.text) <= TEXT_CHARACTERS
    assert sheet.document["message"].startswith("<!channel> @everyone \x1b[31m\nsecond\\xff")
    json.dumps(sheet.document).encode("ascii")
