"""Sizes and PVE's way to print them.

Used by the cluster file, by guests' configurations and by task logs.
"""

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3

SIZE_PATTERN = r"^(\d+(?:\.\d+)?)\s*([KMGTPkmgtp]?)(?:iB|B)?$"
_SIZE = re.compile(SIZE_PATTERN)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(text: str) -> int:
    """Return bytes for `32G`, `32GiB`, `512M`, `1.5T` or plain digits; powers of 1024, as everywhere in PVE.

    Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; allowed: a number with K, M, G or T, such as 32G or 512MiB")
    return int(float(match[1]) * 1024 ** _POWER[match[2].upper()])


def config_size(size: int) -> str:
    """Bytes as PVE writes them into a disk's `size=` (pve-common: PVE/JSONSchema.pm format_size)."""
    for unit in ("", "K", "M", "G"):
        if size % 1024 or size == 0:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


def render_bytes(size: float, digits: int = 1) -> str:
    """Bytes as PVE writes them into logs: `105.9 MiB` (pve-common: PVE/Format.pm render_bytes)."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.{digits}f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def render_duration(seconds: float) -> str:
    """`2m 40s` as in block job lines (pve-common: PVE/Format.pm render_duration)."""
    rest = int(seconds)
    parts = []
    for name, length in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{name}")
    if rest or not parts:
        parts.append(f"{rest}s")
    return " ".join(parts)


def clock_duration(seconds: float) -> str:
    """`00:02:40` as at the end of a migration's log."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
