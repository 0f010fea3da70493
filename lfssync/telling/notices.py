"""What people are notified about, and when: a failure that lasts, its end, a release; and never a storm.

Pure: time and what is known are passed in. `herald` asks it each second, `senders` bring what it says to people. The
one thing to know: a failure that was never told has no end to be told either, so a line that flaps is silent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lfssync.configuration.telling import Occasion

LASTS_S = 120.0
"""What may pass by itself is told once it has lasted so long; what needs a person is told at once."""

AGAIN_S = 3600.0
"""A kind of failure of one mirror is told at most so often."""

PER_HOUR = 10
"""So many notifications an hour go out; the rest are told together, in one more."""

CONFIGURATION = "configuration"
"""The kind of what is wrong with the daemon itself."""

_HOUR_S = 3600.0
_NAMED = 10
_TOLD_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a mirror does not get on: the kind of the error, what happened, and what to do."""

    kind: str
    message: str
    remedy: str

    @property
    def needs_a_person(self) -> bool:
        """Whether it does not pass by itself; a configuration that is being edited is wrong for a while."""
        return self.kind not in ("offline", CONFIGURATION)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people.

    Args:
        occasion: What kind of news it is.
        mirror: Whose; empty for the daemon itself, and for a summary.
        message: What happened.
        remedy: What to do; empty where there is nothing to do.
        kind: The kind of the error, or empty.
        since: Since when it lasts, or lasted, in seconds since the epoch; None for a moment.
        version: What was released, or empty.
        commit: Its commit, or empty.
    """

    occasion: Occasion
    mirror: str
    message: str
    remedy: str = ""
    kind: str = ""
    since: float | None = None
    version: str = ""
    commit: str = ""


@dataclass(slots=True)
class _Episode:
    """A time of trouble of one mirror."""

    since: float
    kind: str
    told: bool = False
    told_kinds: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Press:
    """Decides what is told. All times are seconds since the epoch; a clock that was put back counts as standing still.

    Args:
        lasts_s: See `LASTS_S`.
        again_s: See `AGAIN_S`.
        per_hour: See `PER_HOUR`.
    """

    lasts_s: float = LASTS_S
    again_s: float = AGAIN_S
    per_hour: int = PER_HOUR
    _episodes: dict[str, _Episode] = field(default_factory=dict)
    _told_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _sent_at: list[float] = field(default_factory=list)
    _summary_at: float = float("-inf")
    _held: list[Notice] = field(default_factory=list)
    _now: float = float("-inf")

    def news(
        self,
        names: Collection[str],
        troubles: Mapping[str, Trouble | None],
        releases: Sequence[Notice],
        now: float,
    ) -> list[Notice]:
        """What is to be told now.

        Args:
            names: All mirrors; one that is not there any more is forgotten.
            troubles: What keeps each, or None for one that works; those that nobody knows about yet are left out.
            releases: What was released since the last call.
            now: Seconds since the epoch.
        """
        self._now = now = max(now, self._now)
        for name in self._episodes.keys() - set(names):
            del self._episodes[name]
        found = list(releases)
        for name, trouble in troubles.items():
            notice = self._over(name, now) if trouble is None else self._under_way(name, trouble, now)
            if notice is not None:
                found.append(notice)
        return self._limited(found, now)

    def _under_way(self, name: str, trouble: Trouble, now: float) -> Notice | None:
        episode = self._episodes.setdefault(name, _Episode(now, trouble.kind))
        if trouble.kind != episode.kind:
            episode.kind = trouble.kind
        if trouble.kind in episode.told_kinds:
            return None
        if not trouble.needs_a_person and now - episode.since < self.lasts_s:
            return None
        if now - self._told_at.get((name, trouble.kind), float("-inf")) < self.again_s:
            return None
        episode.told = True
        episode.told_kinds.add(trouble.kind)
        self._note(name, trouble.kind, now)
        return Notice(Occasion.FAILURE, name, trouble.message, trouble.remedy, trouble.kind, episode.since)

    def _over(self, name: str, now: float) -> Notice | None:
        episode = self._episodes.pop(name, None)
        if episode is None or not episode.told:
            return None
        return Notice(Occasion.RECOVERY, name, "it works again", kind=episode.kind, since=episode.since)

    def _note(self, name: str, kind: str, now: float) -> None:
        self._told_at = {key: at for key, at in self._told_at.items() if now - at < self.again_s}
        if len(self._told_at) < _TOLD_AT_MOST:
            self._told_at[name, kind] = now

    def _limited(self, found: Sequence[Notice], now: float) -> list[Notice]:
        """As many of them as may go out; what is held back comes in one summary, at once and then once an hour."""
        self._sent_at = [at for at in self._sent_at if now - at < _HOUR_S]
        going: list[Notice] = []
        for notice in found:
            if len(self._sent_at) < self.per_hour and not self._held:
                self._sent_at.append(now)
                going.append(notice)
            else:
                self._held.append(notice)
        if self._held and now - self._summary_at >= _HOUR_S:
            self._summary_at = now
            going.append(_summary(self._held))
            self._held = []
        return going

    def document(self) -> dict[str, Any]:
        """What the next daemon has to know, so that a restart does not tell everything again."""
        return {
            "told": [[name, kind, at] for (name, kind), at in self._told_at.items()],
            "episodes": {
                name: asdict(one) | {"told_kinds": sorted(one.told_kinds)} for name, one in self._episodes.items()
            },
            "sent": self._sent_at,
            "summary": None if self._summary_at == float("-inf") else self._summary_at,
        }

    def recall(self, document: object, now: float) -> None:
        """Take over what an earlier daemon left; anything else than its document is as good as none.

        Args:
            document: Of `document`.
            now: Seconds since the epoch; what is said to be later was noted by a wrong clock, and counts for nothing.
        """
        try:
            assert isinstance(document, dict)
            told = {(str(name), str(kind)): float(at) for name, kind, at in document["told"] if float(at) <= now}
            episodes = {
                str(name): _Episode(
                    min(float(one["since"]), now), str(one["kind"]), bool(one["told"]), set(map(str, one["told_kinds"]))
                )
                for name, one in document["episodes"].items()
            }
            sent = [float(at) for at in document["sent"] if float(at) <= now][: self.per_hour]
            summary = float("-inf") if document["summary"] is None else min(float(document["summary"]), now)
        except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
            return
        self._told_at, self._episodes, self._sent_at, self._summary_at = told, episodes, sent, summary


def _summary(held: Sequence[Notice]) -> Notice:
    names = list(dict.fromkeys(f"{one.mirror} ({one.occasion.value})" for one in held))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    occasion = next((one.occasion for one in held if one.occasion is Occasion.FAILURE), held[0].occasion)
    message = f"{len(held)} more notification{'s'[: len(held) != 1]}: {', '.join(names[:_NAMED])}{more}"
    return Notice(occasion, "", message, "see lfssync status; others are held back for up to an hour")
