"""Numbers as people read them in sentences. Called by everything in `decide` that says one."""

MIB, GIB = 1 << 20, 1 << 30


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
