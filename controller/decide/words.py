"""Numbers as people read them in sentences. Called by everything in `decide` that says one."""

MIB, GIB = 1 << 20, 1 << 30


def size(count: int) -> str:
    """Bytes as `32 GiB`, `1.5 GiB` or `512 MiB`."""
    if abs(count) < GIB:
        return f"{count / MIB:.0f} MiB"
    value = f"{count / GIB:.1f}"
    return f"{value.removesuffix('.0')} GiB"
