"""The legal clock of Article 12(3) GDPR: one calendar month, counted as Regulation (EEC, Euratom) 1182/71 counts.

Article 3(1): the day of the event is not counted. Article 3(2)(c): a period in months ends with the last hour of the
day that has the same date as the event, or of the month's last day where there is no such date. Article 3(4): a
period that would end on a holiday, Saturday or Sunday ends with the last hour of the next working day.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DAY_MS = 24 * 60 * 60 * 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DueDate:
    """``raw`` is the date before rolling; ``due_at`` the last millisecond of the rolled date, of the epoch."""

    raw: date
    rolled: date
    due_at: int


def millis(moment: datetime) -> int:
    """Milliseconds of the epoch of an aware ``moment``."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment")
    return (moment - _EPOCH) // timedelta(milliseconds=1)  # by way of a float it would be one too few now and then


def moment(millis: int) -> datetime:
    """The UTC time of ``millis``."""
    return _EPOCH + timedelta(milliseconds=millis)


def add_months(day: date, months: int) -> date:
    """The same date ``months`` later, or that month's last day where it has no such date."""
    index = day.year * 12 + (day.month - 1) + months
    year, month = divmod(index, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


def next_working_day(day: date, holidays: frozenset[date]) -> date:
    """``day`` itself, or the first day after it that is no Saturday, Sunday or holiday."""
    while day.weekday() >= 5 or day in holidays:
        day += timedelta(days=1)
    return day


def due_date(received_at: int, zone: tzinfo, holidays: frozenset[date], months: int = 1) -> DueDate:
    """When a request received at ``received_at`` (milliseconds) is due, in the tenant's ``zone``."""
    raw = add_months(moment(received_at).astimezone(zone).date(), months)
    rolled = next_working_day(raw, holidays)
    end = datetime.combine(rolled + timedelta(days=1), time(), tzinfo=zone)
    return DueDate(raw, rolled, millis(end) - 1)
