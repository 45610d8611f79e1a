"""Words of QEMU's own monitor that Drover speaks, and how its answers read. Used by `act.pilot` through `pve.client`.

Syntax and answers are those of QEMU (hmp-commands.hx; migration/dirtyrate.c, hmp_info_dirty_rate; migration-hmp-cmds.c): a
dirty rate comes in whole MiB/s, `max-bandwidth` is taken in MiB/s, `downtime-limit` in milliseconds. PVE wants Sys.Modify on /
for all but `info` (qemu-server: PVE/API2/Qemu/HMPPerms.pm).
"""

from typing import Final

MEASURE_SECONDS: Final = 1
MEASURE: Final = f"calc_dirty_rate {MEASURE_SECONDS}"
MEASURED: Final = "info dirty_rate"
_MIB: Final = 1 << 20


def dirty_rate(answer: str) -> float | None:
    """Bytes per second by which a guest changed its memory; None while that is not measured."""
    told = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in answer.splitlines())}
    number, *_ = told.get("Dirty rate") or [""]
    return float(int(number) * _MIB) if told.get("Status") == ["measured"] and number.isdecimal() else None


def set_bandwidth(mib_s: int) -> str:
    """The command that sets what a running migration may send per second."""
    return f"migrate_set_parameter max-bandwidth {mib_s}"


def set_downtime(milliseconds: int) -> str:
    """The command that sets how long the guest may stand still at the end."""
    return f"migrate_set_parameter downtime-limit {milliseconds}"
