"""Days and deadlines as the command line writes them: all in UTC, day D is [D, D+1)."""

from datetime import UTC, date, datetime, time, timedelta

from configs.errors import ConfigError


def day(text: str, flag: str, now: datetime) -> str:
    """YYYY-MM-DD of a date, `today` or `yesterday` (by UTC's calendar). Raises ConfigError naming the flag."""
    today = now.astimezone(UTC).date()
    if text in ("today", "yesterday"):
        return (today - timedelta(days=text == "yesterday")).isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is no date; write YYYY-MM-DD, today or yesterday (UTC)") from None


def days(first: str, last: str) -> list[str]:
    """Each day from `first` to `last`, both included; none where `last` lies before."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def earlier(text: str, count: int) -> str:
    """The day that lies `count` days before; the calendar's first where it has not so many."""
    found = date.fromisoformat(text)
    return (found - timedelta(days=min(count, (found - date.min).days))).isoformat()


def clock(text: str, flag: str) -> time:
    """HH:MM in UTC. Raises ConfigError naming the flag."""
    try:
        hour, minute = text.split(":")
        if not (hour + minute).isascii() or not len(hour) == len(minute) == 2:
            raise ValueError
        return time(int(hour), int(minute), tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is no time; write HH:MM, in UTC") from None


def deadline(text: str, now: datetime, flag: str = "--deadline") -> datetime:
    """The next such time of day, or the moment that an ISO time names; UTC where it names no zone.

    Raises ConfigError naming the flag.
    """
    if "-" not in text:
        found = datetime.combine(now.astimezone(UTC), clock(text, flag))
        return found if found > now else found + timedelta(days=1)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{flag}: {text!r} is no time; write HH:MM or YYYY-MM-DDTHH:MM, in UTC, or with a zone as +02:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
