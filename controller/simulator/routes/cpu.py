"""Calls about what processors can do: CPU flags by node, and models that an administrator has defined.

Registered with `routes.registry`; pve-manager: PVE/API2/Cluster/Qemu.pm, qemu-server: PVE/API2/Qemu/CPUFlags.pm. None of
them is passed on: the node that is asked answers, whatever the path says.
"""

from collections.abc import Iterable
from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.routes.registry import Call, route

_SETTABLE = (
    "nested-virt", "md-clear", "pcid", "spec-ctrl", "ssbd", "ibpb", "virt-ssbd", "amd-ssbd", "amd-no-ssb", "pdpe1gb",
    "hv-tlbflush", "hv-evmcs", "aes",
)  # fmt: skip
"""Flags that a VM's `cpu` may name (qemu-server: PVE/QemuServer/CPUConfig.pm)."""
_DOTTED = {"sse4-1": "sse4.1", "sse4-2": "sse4.2"}


def qemu_name(flag: str) -> str:
    """QEMU's name of a flag that Linux shows: `sse4.1`, `lahf-lm`."""
    name = flag.replace("_", "-")
    return _DOTTED.get(name, name)


@route("GET", "/nodes/{node}/capabilities/qemu/cpu-flags")
def settable(call: Call) -> list[dict[str, Any]]:
    """List the flags that a VM may name: only their names in 9.1, from 9.2 also the nodes that support them."""
    if not call.viewer.at_least("9.1"):
        raise ApiError(501, f"Method 'GET {call.request.path}' not implemented")
    if not call.viewer.at_least("9.2"):
        return [{"name": name, "description": name} for name in _SETTABLE]
    return _rows(call, _SETTABLE)


@route("GET", "/cluster/qemu/cpu-flags")
def known(call: Call) -> list[dict[str, Any]]:
    """List every flag that QEMU knows, with the nodes whose KVM supports it; since 9.2."""
    _since_9_2(call)
    names = {qemu_name(flag) for node in call.world.nodes.values() for flag in node.file.cpu.flags.split()}
    return _rows(call, sorted(names))


@route("GET", "/cluster/qemu/custom-cpu-models")
def models(call: Call) -> list[dict[str, Any]]:
    """List the models that an administrator has defined; those that the caller may not use are left out. Since 9.2."""
    _since_9_2(call)
    wanted = ("Mapping.Audit", "Mapping.Use", "Mapping.Modify")
    return [
        {"cputype": f"custom-{name}", **values}
        for name, values in call.world.file.cpu_models.items()
        if call.allowed(f"/mapping/cpu/{name}", *wanted, any_of=True)
    ]


def _rows(call: Call, names: Iterable[str]) -> list[dict[str, Any]]:
    """From what every pvestatd broadcast last; a node that is off is forgotten."""
    shown = {
        name: {qemu_name(flag) for flag in node.file.cpu.flags.split()}
        for name, node in call.world.nodes.items()
        if call.world.online(call.viewer.name, name)
    }
    return [{"name": flag, "supported-on": [node for node, flags in shown.items() if flag in flags]} for flag in names]


def _since_9_2(call: Call) -> None:
    if not call.viewer.at_least("9.2"):
        raise ApiError(501, f"Method 'GET {call.request.path}' not implemented")
