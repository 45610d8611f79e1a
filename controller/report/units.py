"""Numbers as people read them: `8.0 GiB`, `3m12s`, `2026-11-23T06:22:23Z`. Used by the page and by `cli`; pure."""

from datetime import UTC, datetime

_BINARY = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def size(count: float | None) -> str:
    """Bytes in the largest binary unit that keeps at least one digit before the point; `-` when unknown."""
    if count is None:
        return "-"
    for unit, factor in _BINARY:
        if abs(count) >= factor:
            value = count / factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{count:.0f} B"


def rate(bytes_per_second: float | None) -> str:
    """Bytes per second as `112 MiB/s`; `-` when unknown."""
    return "-" if bytes_per_second is None else f"{size(bytes_per_second)}/s"


def duration(seconds: float | None) -> str:
    """Seconds as the two largest units that matter: `41s`, `3m12s`, `5h03m`, `12d04h`; `-` when unknown."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def timestamp(epoch: float) -> str:
    """Epoch seconds as RFC 3339 in UTC with whole seconds, the form of Kubernetes' status fields."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_of(text: str) -> float | None:
    """The reverse of `timestamp`; None for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def count_of(number: int, noun: str) -> str:
    """`1 guest`, `3 guests`: the regular plural of an English noun (`policy` becomes `policies`)."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def some(names: list[str], limit: int = 3) -> str:
    """At most `limit` names, then how many more there are: `a, b, c and 4 more`."""
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def plain(text: str) -> str:
    """`text` without control characters: names and messages come from other systems and go onto terminals."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
