"""The numbers behind the progress bars are right whatever order the events come in; the bars themselves are seen in
`tests/integration/test_cli_output.py`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lfssync.commandline.progress import FILE_SHOWN_BYTES_MIN, FILES_SHOWN_MAX, Row, Standing
from lfssync.model import Plan, Progress, State

UP, READ = State.UPLOADING, State.STAGING
BIG = 100 * FILE_SHOWN_BYTES_MIN


def standing(*events: Plan | Progress) -> list[Row]:
    numbers = Standing("m")
    for event in events:
        numbers.record(event)
    return numbers.rows()


def test_before_any_plan_it_is_looking() -> None:
    assert standing() == [Row((None, None), "m: looking for changes")]
    assert standing(Progress(UP, b"a", 1, BIG)) == standing()


def test_a_phase_and_its_large_files_in_flight() -> None:
    assert standing(
        Plan(UP, 3, 2 * BIG + 5), Progress(UP, b"a", BIG, BIG), Progress(UP, b"b", 7, BIG), Progress(UP, b"small", 1, 5)
    ) == [
        Row((UP, None), "m: uploading 1 of 3", BIG + 8, 2 * BIG + 5),
        Row((UP, b"b"), "  b", 7, BIG),
    ]


def test_phases_stand_side_by_side_and_a_new_plan_starts_its_phase_anew() -> None:
    events: list[Plan | Progress] = [
        Plan(READ, 1, BIG),
        Plan(UP, 1, BIG),
        Progress(READ, b"a", BIG, BIG),
        Progress(UP, b"a", 1, BIG),
    ]
    assert [row.name for row in standing(*events)] == ["m: reading 1 of 1", "m: uploading 0 of 1", "  a"]
    assert [row.name for row in standing(*events, Plan(UP, 2, BIG))] == ["m: reading 1 of 1", "m: uploading 0 of 2"]


def test_only_a_few_files_are_shown_and_they_stay_in_their_place() -> None:
    begun = [Progress(UP, b"%02d" % number, 1, BIG) for number in range(20)]
    shown = [row.key[1] for row in standing(Plan(UP, 20, 20 * BIG), *begun, begun[7])]
    assert shown == [None, *(b"%02d" % number for number in range(FILES_SHOWN_MAX))]


def test_what_is_waited_for_is_shown_until_something_happens() -> None:
    numbers = Standing("m")
    numbers.record(Plan(READ, 1, BIG))
    numbers.waits("a\x1b: open for writing")
    assert numbers.rows() == [Row((None, None), "m: waiting: a\\x1b: open for writing")]
    numbers.record(Progress(READ, b"a", BIG, BIG))
    assert numbers.rows() == [Row((READ, None), "m: reading 1 of 1", BIG, BIG)]


def test_names_are_escaped() -> None:
    numbers = Standing("m\x1b")
    numbers.record(Plan(UP, 1, BIG))
    numbers.record(Progress(UP, b"[red]\x1b[2J\xff\n", 1, BIG))
    assert [row.name for row in numbers.rows()] == ["m\\x1b: uploading 0 of 1", "  [red]\\x1b[2J\\xff\\n"]


sizes = st.lists(st.integers(1, 3 * FILE_SHOWN_BYTES_MIN), min_size=1, max_size=12)


@given(sizes=sizes, data=st.data())
def test_totals_are_exact_in_every_order_even_when_an_end_is_told_twice(sizes: list[int], data: st.DataObject) -> None:
    steps = {
        number: [*sorted(data.draw(st.lists(st.integers(0, size), max_size=4))), size, size]
        for number, size in enumerate(sizes)
    }
    numbers = Standing("m")
    numbers.record(Plan(UP, len(sizes), sum(sizes)))
    last = 0
    while steps:
        number = data.draw(st.sampled_from(sorted(steps)))
        numbers.record(Progress(UP, b"%d" % number, steps[number].pop(0), sizes[number]))
        if not steps[number]:
            del steps[number]
        total, *files = numbers.rows()
        assert last <= total.done_bytes <= sum(sizes)
        assert len(files) <= FILES_SHOWN_MAX
        last = total.done_bytes
    assert numbers.rows() == [Row((UP, None), f"m: uploading {len(sizes)} of {len(sizes)}", sum(sizes), sum(sizes))]
