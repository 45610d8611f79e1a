"""Why a virtual machine would not start on a node: what QEMU and `qm start` say there.

Called by migrations for the target and by `simulator.power` for an ordinary start. PVE checks none of it before a migration.
"""

import re

from controller.simulator.guests import Guest
from controller.simulator.storage import storages_of
from controller.simulator.world import World

_V2 = {"popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"aes", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
NEEDS = {
    "x86-64-v2": _V2,
    "x86-64-v2-AES": _V2 | {"aes"},
    "x86-64-v3": _V3,
    "x86-64-v4": _V4,
}
"""CPU flags of PVE's own models, by the kernel's names (qemu-server: PVE/QemuServer/CPUConfig.pm)."""


def objections(world: World, guest: Guest, node: str) -> list[str]:
    """Return the lines that a start prints before it fails, empty when it works."""
    host = world.nodes[node]
    for name in storages_of(drive.volid for drive in guest.drives()):
        storage = world.storages.get(name)
        if storage is not None and storage.enabled(node) and not storage.active(node):
            return [f"storage '{name}' is not online"]
    for key, text in guest.config.items():
        bridge = re.search(r"bridge=([^,]+)", str(text)) if re.fullmatch(r"net\d+", key) else None
        if bridge is not None and bridge[1] not in host.file.bridges:
            return [f"bridge '{bridge[1]}' does not exist"]
    model = str(guest.config.get("cpu", "kvm64")).partition(",")[0].removeprefix("cputype=")
    missing = sorted(NEEDS.get(model, set()) - set(host.file.cpu.flags.split()))
    if missing:
        warnings = [f"kvm: warning: host doesn't support requested feature: {flag}" for flag in missing]
        return [*warnings, "kvm: Host doesn't support requested features"]
    version = re.search(r"-(\d+)\.(\d+)", guest.machine)
    if version is not None and (int(version[1]), int(version[2])) > tuple(map(int, host.release.qemu.split(".")[:2])):
        old = f"Installed QEMU version '{host.release.qemu}' is too old to run machine type '{guest.machine}'"
        return [f"{old}, please upgrade node '{node}'"]
    return []
