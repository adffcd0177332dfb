"""Parses days and deadlines of the command line. All are in UTC: a day is from midnight to midnight UTC."""

from datetime import UTC, date, datetime, time, timedelta

from configs.errors import ConfigError


def day(text: str, flag: str, now: datetime) -> str:
    """Parses YYYY-MM-DD, `today` or `yesterday`.

    Args:
        text: the value of the flag.
        flag: its name, for the error message.
        now: the current time, with a time zone.

    Returns the day as YYYY-MM-DD. Raises ConfigError.
    """
    today = now.astimezone(UTC).date()
    if text in ("today", "yesterday"):
        return (today - timedelta(days=text == "yesterday")).isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is not a date; write YYYY-MM-DD, today or yesterday (UTC)") from None


def days(first: str, last: str) -> list[str]:
    """The days from `first` to `last`, both included. Empty if `last` is before `first`."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def days_before(text: str, count: int) -> str:
    """The day `count` days before; the first day of the calendar if that is earlier than it."""
    start = date.fromisoformat(text)
    return (start - timedelta(days=min(count, (start - date.min).days))).isoformat()


def clock(text: str, flag: str) -> time:
    """Parses HH:MM in UTC. Raises ConfigError, which names `flag`."""
    try:
        hour, minute = text.split(":")
        if not (hour + minute).isascii() or not len(hour) == len(minute) == 2:
            raise ValueError
        return time(int(hour), int(minute), tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is not a time; write HH:MM, in UTC") from None


def deadline(text: str, now: datetime, flag: str = "--deadline") -> datetime:
    """Parses a deadline.

    Args:
        text: HH:MM, for the next time that it is so late in UTC, or an ISO date and time, in UTC unless it has a zone.
        now: the current time, with a time zone.
        flag: the flag's name, for the error message.

    Raises ConfigError.
    """
    if "-" not in text:
        moment = datetime.combine(now.astimezone(UTC), clock(text, flag))
        return moment if moment > now else moment + timedelta(days=1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{flag}: {text!r} is not a time; write HH:MM or YYYY-MM-DDTHH:MM, in UTC, or with a zone such as +02:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
