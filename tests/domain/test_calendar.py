"""The legal month: Regulation 1182/71, tenants' zones and holidays, and days that are 23 or 25 hours long."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.calendar import DAY_MS, add_months, due_date, millis, moment, next_working_day

BERLIN, LONDON, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London"), ZoneInfo("America/New_York")

ZONES = [
    UTC,
    BERLIN,
    LONDON,
    NEW_YORK,
    ZoneInfo("Asia/Tokyo"),
    ZoneInfo("Australia/Lord_Howe"),  # moves by half an hour
    ZoneInfo("America/Havana"),  # its clocks change at midnight: a day can begin at one, and midnight come twice
    ZoneInfo("Asia/Beirut"),
    ZoneInfo("Pacific/Kiritimati"),
    timezone(timedelta(hours=-12)),
]

DAYS = [
    # received       due (raw)       rolled          why
    ("2025-01-15",   "2025-02-15",   "2025-02-17",   "the 15th is a Saturday"),
    ("2025-01-16",   "2025-02-16",   "2025-02-17",   "the 16th is a Sunday"),
    ("2025-01-31",   "2025-02-28",   "2025-02-28",   "no 31 February: its last day"),
    ("2025-01-30",   "2025-02-28",   "2025-02-28",   "the same"),
    ("2025-01-29",   "2025-02-28",   "2025-02-28",   "the same"),
    ("2025-01-28",   "2025-02-28",   "2025-02-28",   "the same date"),
    ("2024-01-31",   "2024-02-29",   "2024-02-29",   "a leap year"),
    ("2024-01-30",   "2024-02-29",   "2024-02-29",   "a leap year"),
    ("2024-02-29",   "2024-03-29",   "2024-03-29",   "from the leap day: the same date, not the last one"),
    ("2026-01-31",   "2026-02-28",   "2026-03-02",   "the last day of February is a Saturday"),
    ("2025-02-28",   "2025-03-28",   "2025-03-28",   "from the last day: the same date, not the last one"),
    ("2025-03-31",   "2025-04-30",   "2025-04-30",   "31 days, then 30"),
    ("2025-12-31",   "2026-01-31",   "2026-02-02",   "over the year, and a Saturday"),
    ("2025-11-30",   "2025-12-30",   "2025-12-30",   "the same date"),
    ("2100-01-31",   "2100-02-28",   "2100-03-01",   "1900 and 2100 are no leap years; a Sunday"),
]  # fmt: skip


def at(day: str, time: str = "12:00", zone=UTC) -> int:
    return millis(datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=zone))


@pytest.mark.parametrize("received,raw,rolled", [pytest.param(*row[:3], id=f"{row[0]}: {row[3]}") for row in DAYS])
def test_one_month(received, raw, rolled):
    due = due_date(at(received), UTC, frozenset())
    assert (due.raw.isoformat(), due.rolled.isoformat()) == (raw, rolled)
    assert due.due_at == at(rolled, "00:00") + DAY_MS - 1


@pytest.mark.parametrize("months,raw", [(1, "2025-02-28"), (2, "2025-03-31"), (3, "2025-04-30"), (12, "2026-01-31")])
def test_an_extension_counts_from_the_day_of_receipt_too(months, raw):
    assert due_date(at("2025-01-31"), UTC, frozenset(), months).raw.isoformat() == raw


def test_the_day_of_receipt_is_that_of_the_tenant():
    """Half past eleven in the evening in London is the next day in Berlin; an hour of summer time can be a day."""
    received = at("2025-01-30", "23:30", LONDON)
    assert due_date(received, LONDON, frozenset()).raw == date(2025, 2, 28)
    assert due_date(at("2025-03-09", "23:30", UTC), BERLIN, frozenset()).raw == date(2025, 4, 10)
    assert due_date(at("2025-03-09", "23:30", UTC), LONDON, frozenset()).raw == date(2025, 4, 9)


def test_the_last_hour_of_the_day_is_that_of_the_tenant():
    due = due_date(at("2025-01-15", zone=NEW_YORK), NEW_YORK, frozenset())
    assert due.due_at == at("2025-02-18", "00:00", NEW_YORK) - 1
    assert due.due_at == at("2025-02-18", "05:00", UTC) - 1


def test_a_day_of_23_hours_and_one_of_25():
    spring = due_date(at("2025-02-28", zone=BERLIN), BERLIN, frozenset({date(2025, 3, 28), date(2025, 3, 31)}))
    assert spring.rolled == date(2025, 4, 1)
    clocks_forward = due_date(at("2026-02-27", zone=BERLIN), BERLIN, frozenset())
    assert clocks_forward.rolled == date(2026, 3, 27)
    sunday = next_working_day(date(2025, 3, 30), frozenset())
    assert sunday == date(2025, 3, 31)
    start, end = at("2025-03-30", "00:00", BERLIN), at("2025-03-31", "00:00", BERLIN)
    assert end - start == 23 * 60 * 60 * 1000


def test_midnight_that_does_not_exist():
    """Havana's clocks went from 00:00 to 01:00 on 9 March 2025: the day before ended where one o'clock began."""
    havana = ZoneInfo("America/Havana")
    received = at("2025-02-07", zone=havana)
    end_of_saturday = millis(datetime(2025, 3, 9, 1, tzinfo=havana)) - 1
    due = due_date(received, havana, frozenset({date(2025, 3, 7)}))
    assert due.rolled == date(2025, 3, 10)
    end = datetime.combine(date(2025, 3, 9), datetime.min.time(), tzinfo=havana)
    assert millis(end) - 1 == end_of_saturday


def test_holidays_in_a_row():
    """Christmas: received on 25 November, due on the 25th of December, a Thursday; the 26th is one as well."""
    christmas = frozenset({date(2025, 12, 25), date(2025, 12, 26)})
    due = due_date(at("2025-11-25"), UTC, christmas)
    assert (due.raw, due.rolled) == (date(2025, 12, 25), date(2025, 12, 29))


def test_a_holiday_in_the_middle_changes_nothing():
    assert due_date(at("2025-01-10"), UTC, frozenset({date(2025, 1, 15)})).rolled == date(2025, 2, 10)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        millis(datetime(2025, 1, 31))  # noqa: DTZ001  that is the point


# --- properties ----------------------------------------------------------------------------------------------------

moments = st.integers(at("2002-01-01"), at("2090-01-01"))
zones = st.sampled_from(ZONES)
days = st.dates(date(2002, 1, 1), date(2090, 1, 1))
holiday_sets = st.frozensets(st.dates(date(2025, 1, 1), date(2026, 12, 31)), max_size=40)


@given(moments)
def test_millis_and_moment_are_inverse(value):
    assert millis(moment(value)) == value


@given(days, st.integers(0, 40))
def test_the_date_is_the_same_or_the_last_of_a_shorter_month(day, months):
    later = add_months(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    last = calendar.monthrange(later.year, later.month)[1]
    assert later.day == min(day.day, last)


@given(days, holiday_sets)
def test_a_working_day_is_the_first_that_is_none_of_the_others(day, holidays):
    found = next_working_day(day, holidays)
    assert found >= day
    assert found.weekday() < 5
    assert found not in holidays
    between = [day + timedelta(days=n) for n in range((found - day).days)]
    assert all(other.weekday() >= 5 or other in holidays for other in between)


@given(moments, zones, holiday_sets)
def test_due_is_the_last_millisecond_of_a_working_day_of_the_tenant(received, zone, holidays):
    due = due_date(received, zone, holidays)
    assert due.raw == add_months(moment(received).astimezone(zone).date(), 1)
    assert due.rolled == next_working_day(due.raw, holidays)
    assert moment(due.due_at).astimezone(zone).date() == due.rolled
    assert moment(due.due_at + 1).astimezone(zone).date() == due.rolled + timedelta(days=1)


@given(moments, st.integers(0, 10 * DAY_MS), zones, holiday_sets)
def test_who_asks_later_is_not_due_earlier(received, wait, zone, holidays):
    assert due_date(received, zone, holidays).due_at <= due_date(received + wait, zone, holidays).due_at


@given(moments, zones)
def test_a_month_is_28_to_34_days_without_holidays(received, zone):
    days = (due_date(received, zone, frozenset()).due_at - received) / DAY_MS
    assert 27.9 < days < 34.1  # 31, a Saturday to a Monday, the hours of the first day, an hour of summer time


@given(moments, zones, holiday_sets, st.integers(1, 3))
def test_the_time_of_day_does_not_matter(received, zone, holidays, months):
    start = moment(received).astimezone(zone)
    noon = start.replace(hour=12, minute=0, second=0, microsecond=0)
    assume(noon.date() == start.date())
    assert due_date(received, zone, holidays, months) == due_date(millis(noon), zone, holidays, months)
