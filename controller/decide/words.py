"""Numbers as people read them in sentences. Called by everything in `decide` that says one."""

from controller.model.reasons import Why

MIB, GIB = 1 << 20, 1 << 30
_HALF = 80
"""Characters of each end of a long error, which is often a whole command line: how it begins, and how it ended."""


def size(count: int) -> str:
    """Bytes as `32 GiB`, `1.5 GiB` or `512 MiB`."""
    if abs(count) < GIB:
        return f"{count / MIB:.0f} MiB"
    value = f"{count / GIB:.1f}"
    return f"{value.removesuffix('.0')} GiB"


def duration(seconds: float) -> str:
    """Seconds as `148 s`, `12 min` or `3.5 h`."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def failure(error: str, why: Why | None) -> str:
    """What PVE said of a failed run, on one line; where that is known, what it means comes first and PVE's words follow."""
    said = " ".join(error.split()) or "PVE gives no reason"
    if len(said) > 2 * _HALF:
        said = f"{said[:_HALF]} … {said[-_HALF:]}"
    if why is None:
        return said
    meaning = why.meaning.rstrip(".")
    return f"{meaning[0].lower()}{meaning[1:]} ({said})"
