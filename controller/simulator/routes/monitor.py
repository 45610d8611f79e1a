"""QEMU's own monitor, as far as migrations go.

Registered with `routes.registry`. Rights by command are those of qemu-server: PVE/API2/Qemu/HMPPerms.pm; the words are QEMU's
(hmp-commands.hx, migration/dirtyrate.c).
"""

from collections.abc import Callable

from controller.simulator.access import forbidden
from controller.simulator.api import ApiError
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import Call, route
from controller.simulator.units import MIB

_FREE = frozenset({"?", "help", "info"})


@route("POST", "/nodes/{node}/qemu/{vmid}/monitor")
def monitor(call: Call) -> str:
    """Carry a command out, and return what QEMU prints."""
    words = str(call.params["command"]).split()
    verb = words[0] if words else ""
    if verb not in _FREE:
        call.check("/", "Sys.Modify")
        if verb not in _COMMANDS and not call.auth.is_root:
            raise forbidden(f"monitor command '{verb}' is root-only")
    guest = call.guest("qemu")
    if not guest.running:
        raise ApiError(500, f"VM {guest.vmid} not running")
    if verb == "info":
        return _dirty_rate(guest) if words[1:] == ["dirty_rate"] else ""
    command = _COMMANDS.get(verb)
    return command(guest, words[1:]) if command is not None else f"unknown command: '{verb}'\n"


def _calc_dirty_rate(guest: Guest, words: list[str]) -> str:
    guest.measured = guest.dirty if guest.run == "running" else 0.0
    return f"Starting dirty rate measurement with period {words[0] if words else '1'} seconds\n"


def _dirty_rate(guest: Guest) -> str:
    if guest.measured is None:
        return "Status: unstarted\nDirty rate: (not ready)\n"
    return f"Status: measured\nPeriod: 1 (sec)\nMode: page-sampling\nDirty rate: {guest.measured / MIB:.0f} (MB/s)\n"


def _set_parameter(guest: Guest, words: list[str]) -> str:
    if guest.outgoing is None or len(words) != 2:
        return ""  # QEMU keeps it for a migration that may come, and PVE sets its own when one does
    name, value = words
    if name == "max-bandwidth":
        guest.outgoing.restrict(float(value) * MIB if float(value) else float("inf"))
    elif name == "downtime-limit":
        guest.outgoing.limit = float(value) / 1000
    return ""


_COMMANDS: dict[str, Callable[[Guest, list[str]], str]] = {
    "calc_dirty_rate": _calc_dirty_rate,
    "migrate_set_parameter": _set_parameter,
}
