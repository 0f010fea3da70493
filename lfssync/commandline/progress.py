"""Progress bars on a terminal: one for each phase of a pass, and one for each large file in flight.

It stands beside the line: steps call a `Monitor` with `Plan` and `Progress` values, from several threads. The one thing
to know: a monitor must neither slow the transfer down nor break it, not even when the terminal is stopped with Ctrl-S
or goes away. So an event only changes numbers, and a thread of its own draws them; if drawing fails there are simply no
bars.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from lfssync.commandline.terminal import console, escape
from lfssync.model import Plan, Progress, State, show

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import Task, TaskID
    from rich.text import Text

FILES_SHOWN_MAX = 6
"""How many files are shown at the same time."""

FILE_SHOWN_BYTES_MIN = 1 << 20
"""Smaller files are done before anybody can read their name; only the phase's own bar counts them."""

FIRST_PAINT_AFTER_S = 0.3
"""What is done sooner shows no bars: they would only flicker."""

PAINT_EVERY_S = 0.1
STOP_WITHIN_S = 2.0
"""How long the end of a command waits for a terminal that does not take what is drawn."""

NAME_CHARACTERS_MAX = 60
BAR_CHARACTERS_MIN, BAR_CHARACTERS_MAX = 8, 40
FIGURES_CHARACTERS = 38
"""Room for size, speed and time left, with the spaces between them."""

_WORDS = {State.STAGING: "reading", State.UPLOADING: "uploading", State.PUSHING: "pushing"}


@dataclass(frozen=True, slots=True)
class Row:
    """One bar.

    Args:
        key: What it is about: a phase, and a file of it or None.
        name: What stands before the bar, escaped.
        done_bytes: How far it is.
        size_bytes: Where it ends; None while nobody knows.
    """

    key: tuple[State | None, bytes | None]
    name: str
    done_bytes: int = 0
    size_bytes: int | None = None


@dataclass(slots=True)
class _Phase:
    plan: Plan
    done_bytes: int = 0
    finished: set[bytes] = field(default_factory=set)
    in_flight: dict[bytes, Progress] = field(default_factory=dict)


class Standing:
    """The numbers behind the bars, without a screen; not for several threads at once.

    Args:
        title: What the bars are about.
    """

    def __init__(self, title: str) -> None:
        self._title = escape(title)
        self._phases: dict[State, _Phase] = {}
        self._why = ""

    def waits(self, why: str) -> None:
        """Until the next event nothing goes on, for this reason."""
        self._why = escape(why)

    def record(self, event: Plan | Progress) -> None:
        """Take in an event; a plan starts its phase anew, and progress without a plan is nothing to show."""
        self._why = ""
        if isinstance(event, Plan):
            self._phases.pop(event.state, None)
            self._phases[event.state] = _Phase(event)
            return
        phase = self._phases.get(event.state)
        if phase is None or event.path in phase.finished:
            return
        before = phase.in_flight.get(event.path)
        phase.done_bytes += event.done_bytes - (before.done_bytes if before else 0)
        if event.done_bytes < event.size_bytes:
            phase.in_flight[event.path] = event
        else:
            phase.in_flight.pop(event.path, None)
            phase.finished.add(event.path)

    def rows(self) -> list[Row]:
        """What to draw: each phase, and below it the files that were begun first and are still in flight.

        Or else what is waited for.
        """
        if self._why:
            return [Row((None, None), f"{self._title}: waiting: {self._why}")]
        if not self._phases:
            return [Row((None, None), f"{self._title}: looking for changes")]
        rows: list[Row] = []
        free = FILES_SHOWN_MAX
        for state, phase in self._phases.items():
            name = f"{self._title}: {_WORDS.get(state, state.value)} {len(phase.finished)} of {phase.plan.files}"
            rows.append(Row((state, None), name, phase.done_bytes, phase.plan.size_bytes))
            large = [event for event in phase.in_flight.values() if event.size_bytes >= FILE_SHOWN_BYTES_MIN][:free]
            rows += [Row((state, one.path), f"  {show(one.path)}", one.done_bytes, one.size_bytes) for one in large]
            free -= len(large)
        return rows


class Bars:
    """A monitor that draws bars. Use as a context: it draws from entry to exit and leaves nothing on the screen.

    Args:
        title: What the bars are about.
        stream: A terminal.
    """

    def __init__(self, title: str, stream: TextIO) -> None:
        self._standing = Standing(title)
        self._stream = stream
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._painter = threading.Thread(target=self._paint, name="lfssync-progress", daemon=True)

    def __enter__(self) -> Self:
        self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._painter.join(STOP_WITHIN_S)

    def __call__(self, event: Plan | Progress) -> None:
        """Take in an event; from any thread, returns at once and never raises."""
        with self._lock:
            self._standing.record(event)

    def waits(self, why: str) -> None:
        """Show what is waited for, until the next event; as above."""
        with self._lock:
            self._standing.waits(why)

    def _paint(self) -> None:
        if self._ended.wait(FIRST_PAINT_AFTER_S):
            return  # rich was not even imported
        try:
            with _display(self._stream) as screen:
                tasks: dict[object, TaskID] = {}
                while True:
                    is_last = self._ended.wait(PAINT_EVERY_S)
                    with self._lock:
                        rows = self._standing.rows()
                    _draw(screen, tasks, rows)
                    if is_last:
                        return
        except Exception:  # whatever a terminal does, the transfer goes on, without bars
            logging.getLogger(__name__).debug("no progress bars", exc_info=True)


def _draw(screen: Display, tasks: dict[object, TaskID], rows: list[Row]) -> None:
    """Make the display's tasks those of the rows."""
    keys = {row.key for row in rows}
    for key in [key for key in tasks if key not in keys]:
        screen.remove_task(tasks.pop(key))
    for row in rows:
        name = _end_of(row.name, _name_characters(screen.console.width)) if row.key[1] is not None else row.name
        if row.key not in tasks:
            tasks[row.key] = screen.add_task(name, total=row.size_bytes, completed=row.done_bytes)
        screen.update(tasks[row.key], description=name, completed=row.done_bytes)
    screen.refresh()


def _bar_characters(width: int) -> int:
    return min(BAR_CHARACTERS_MAX, max(BAR_CHARACTERS_MIN, width // 4 - 10))


def _name_characters(width: int) -> int:
    return min(NAME_CHARACTERS_MAX, max(12, width - _bar_characters(width) - FIGURES_CHARACTERS))


def _end_of(name: str, characters: int) -> str:
    """A long name's last characters: the end is what tells the files of a folder apart. The indent stays."""
    return name if len(name) <= characters else "  …" + name[3 - characters :]


def _display(stream: TextIO) -> Display:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Display
    from rich.table import Column
    from rich.text import Text

    class Size(DownloadColumn):
        """Says nothing while the size is not known yet."""

        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    class Speed(TransferSpeedColumn):
        """Says nothing while nothing has moved yet."""

        def render(self, task: Task) -> Text:
            return Text() if task.speed is None else super().render(task)

    screen = console(stream)
    return Display(
        TextColumn("{task.description}", markup=False),  # names are no markup
        BarColumn(_bar_characters(screen.width)),
        Size(table_column=Column(no_wrap=True)),
        Speed(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
        console=screen,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,  # answers go to standard output, whatever is drawn here
    )
