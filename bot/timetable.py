"""When a chat's poem of the day is due: wall times and zones become moments. No clock, no state.

A wall time is what a clock on the wall of some zone shows. Twice a year, where the clocks are
changed, one does not exist and one exists twice; and a zone may leave out a whole day.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LATE_MAX = timedelta(hours=6)
"""How late a poem of the day may be begun; after that its day is passed over."""
POSTED_MAX = 4
"""Dates that a timetable remembers: more than a clock that is a day wrong can bring back."""

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The one time at which the poem of one day is due."""

    day: date
    """The local date that it is the poem of."""
    moment: datetime
    """When it is due, in UTC; on that date in the zone."""


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """When a chat wants its poem of the day, and which days had theirs."""

    at: time
    """The wall time."""
    zone: ZoneInfo
    """The zone of that time."""
    since: datetime
    """When it was set, in UTC: what was due before that is not wanted."""
    posted: tuple[date, ...] = ()
    """The local dates that had their poem, the last ones only, in the order of posting.

    More than the last one, so that a clock that was wrong and is put right makes no day's poem
    come twice, nor go missing."""

    def next_slot(self, now: datetime) -> Slot:
        """The first slot that is still wanted `now`: of the coming ones, or not `LATE_MAX` old."""
        # A clock that was set back may have left `since` in the future.
        since = max(now - LATE_MAX, min(self.since, now))
        return next(
            slot for slot in slots_after(since, self.at, self.zone) if slot.day not in self.posted
        )

    def with_posted(self, day: date) -> "Timetable":
        """This timetable once `day` had its poem."""
        posted = tuple(dict.fromkeys((*self.posted, day)))
        return replace(self, posted=posted[-POSTED_MAX:])


def slots_after(moment: datetime, at: time, zone: ZoneInfo) -> Iterator[Slot]:
    """The slots after `moment`, one for each local date that exists."""
    day = moment.astimezone(zone).date()
    while True:
        due = moment_of(day, at, zone)
        if due is not None and due > moment:
            yield Slot(day=day, moment=due)
        day += _DAY


def moment_of(day: date, at: time, zone: ZoneInfo) -> datetime | None:
    """When the clocks of `zone` show `at` on `day`, in UTC; the first time, where they do so twice.

    Where they never do, the first moment after, or the last minute of that day before if the day is
    over then. None where the zone has no such day.
    """
    wall = datetime.combine(day, at)
    # PEP 495: in a gap, fold 0 counts by the offset of before and so leads behind it, fold 1 into
    # what is before it.
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    change = _change(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)
    nearest = (change, change - _MINUTE)
    return next((near for near in nearest if near.astimezone(zone).date() == day), None)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the clocks of `zone` were changed, of those between two moments."""
    seconds = range(int(before.timestamp()), int(after.timestamp()) + 1)
    offset = before.astimezone(zone).utcoffset()
    found = bisect_left(
        seconds,
        True,
        key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() != offset,
    )
    return datetime.fromtimestamp(seconds[found], UTC)
