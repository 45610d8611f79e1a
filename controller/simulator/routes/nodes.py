"""Calls about a node itself: status, configuration, network, capabilities.

Registered with `routes.registry`; pve-manager: PVE/API2/Nodes.pm and its children.
"""

import hashlib
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from controller.simulator import statistics
from controller.simulator.api import ApiError
from controller.simulator.nodes import PCI_DEVICES, Node, fingerprint
from controller.simulator.routes.registry import Call, route


@route("GET", "/nodes")
def index(call: Call) -> list[dict[str, Any]]:
    """List the nodes as the asked one sees them."""
    world, viewer = call.world, call.viewer.name
    dump = statistics.dump(world, viewer)
    rows = []
    for name in world.nodes:
        online = world.online(viewer, name)
        numbers = dump.nodes.get(name)
        row: dict[str, Any] = {"id": f"node/{name}", "node": name, "type": "node"}
        row["ssl_fingerprint"] = world.fingerprints.get(name, fingerprint(name))
        if online and numbers is None:
            rows.append(row)
            continue
        row |= {"status": "online" if online else "offline", "level": ""}
        if numbers is not None and call.allowed(f"/nodes/{name}", "Sys.Audit"):
            row |= numbers if online else {key: numbers[key] for key in ("maxcpu", "maxmem", "maxdisk")}
        rows.append(row)
    return rows


@route("GET", "/nodes/{node}/status")
def status(call: Call) -> dict[str, Any]:
    """Return the node's hardware and load."""
    node, file = call.node, call.node.file
    memory, cpus = statistics.usage(call.world, node)
    used = int(min(file.memory, file.overhead + memory))
    load = cpus / file.cpus
    kernel = node.release.kernel
    build = "#1 SMP PREEMPT_DYNAMIC PMX"
    answer: dict[str, Any] = {
        "uptime": max(0, int(call.world.now - node.booted_at)),
        "idle": 0,
        "wait": 0,
        "cpu": min(1.0, load + 0.01),
        "loadavg": [f"{cpus + 0.1:.2f}", f"{cpus + 0.08:.2f}", f"{cpus + 0.05:.2f}"],
        "kversion": f"Linux {kernel} {build}",
        "current-kernel": {"sysname": "Linux", "release": kernel, "version": build, "machine": "x86_64"},
        "boot-info": {"mode": "efi", "secureboot": 0},
        "cpuinfo": _cpuinfo(node),
        "memory": {"total": file.memory, "used": used, "free": file.memory - used},
        "ksm": {"shared": 0},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": file.root_disk, "used": file.root_disk // 10, "free": file.root_disk * 9 // 10},
        "pveversion": f"pve-manager/{node.release.manager}/{node.release.repoid}",
    }
    answer["rootfs"]["avail"] = answer["rootfs"]["free"]
    if node.at_least("9.0"):
        answer["memory"]["available"] = file.memory - used
    return answer


def _cpuinfo(node: Node) -> dict[str, Any]:
    cpu, file = node.file.cpu, node.file
    return {
        "model": cpu.model,
        "vendor": cpu.vendor,
        "family": cpu.family,
        "mhz": cpu.mhz,
        "flags": cpu.flags,
        "sockets": file.sockets,
        "cores": max(1, file.cpus // 2),
        "cpus": file.cpus,
        "hvm": "1",
        "user_hz": 100,
    }


@route("GET", "/nodes/{node}/time")
def time(call: Call) -> dict[str, Any]:
    """Return the node's clock and zone; `localtime` is a count of seconds too."""
    zone = call.node.file.timezone
    offset = datetime.fromtimestamp(call.world.now, tz=ZoneInfo(zone)).utcoffset()
    assert offset is not None
    now = int(call.world.now)
    return {"time": now, "localtime": now + int(offset.total_seconds()), "timezone": zone}


@route("GET", "/nodes/{node}/config")
def config(call: Call) -> dict[str, Any]:
    """Return the node's own configuration; empty without a digest."""
    held = call.node.config
    if not held:
        return {}
    digest = hashlib.sha1(repr(sorted(held.items())).encode(), usedforsecurity=False).hexdigest()
    answer = {**held, "digest": digest}
    if "description" in answer:
        answer["description"] = str(answer["description"]).removesuffix("\n") + "\n"
    wanted = call.get("property")
    return answer if wanted is None else {key: answer[key] for key in (wanted,) if key in answer}


@route("PUT", "/nodes/{node}/config")
def set_config(call: Call) -> None:
    """Write the node's own configuration."""
    if not call.world.quorate(call.node.name):
        path = f"/etc/pve/nodes/{call.node.name}/config.tmp.{call.node.pid()}"
        raise ApiError(500, f"unable to open file '{path}' - Permission denied")
    for key in str(call.get("delete", "")).replace(",", " ").replace(";", " ").split():
        call.node.config.pop(key, None)
    changes = {key: value for key, value in call.params.items() if key not in ("node", "delete", "digest")}
    call.node.config.update(changes)


@route("GET", "/nodes/{node}/network")
def network(call: Call) -> list[dict[str, Any]]:
    """List interfaces; bridges only for those who may see them."""
    wanted = str(call.get("type", ""))
    common: dict[str, Any] = {"active": 1, "families": ["inet"], "method6": "manual"}
    rows: list[dict[str, Any]] = []
    if wanted in ("", "eth"):
        rows.append({**common, "iface": "eno1", "type": "eth", "method": "manual", "priority": 3})
    for number, bridge in enumerate(call.node.file.bridges):
        path = f"/sdn/zones/localnetwork/{bridge}"
        if wanted and "bridge" not in wanted and wanted != "include_sdn":
            continue
        if not call.allowed(path, "SDN.Audit", "SDN.Use", any_of=True):
            continue
        row = {**common, "iface": bridge, "type": "bridge", "autostart": 1, "priority": 4 + number, "bridge_fd": "0"}
        row |= {"bridge_stp": "off", "bridge_ports": "eno1" if number == 0 else ""}
        if number == 0:
            row |= {"method": "static", "address": call.node.ip, "netmask": "24", "cidr": f"{call.node.ip}/24"}
        else:
            row["method"] = "manual"
        rows.append(row)
    return rows


@route("GET", "/nodes/{node}/capabilities/qemu/migration")
def migration_capabilities(call: Call) -> dict[str, bool]:
    """Say whether connection tracking can move along; absent before 9.0."""
    if not call.node.at_least("9.0"):
        raise ApiError(501, f"Method 'GET {call.request.path}' not implemented")
    return {"has-dbus-vmstate": True}


@route("GET", "/nodes/{node}/capabilities/qemu/machines")
def machines(call: Call) -> list[dict[str, Any]]:
    """List the machine versions that the node's QEMU can run."""
    major, minor = map(int, call.node.release.qemu.split(".")[:2])
    versions = [(m, n) for m in range(6, major + 1) for n in range(3) if (m, n) <= (major, minor)]
    rows = []
    for kind, name in (("i440fx", "pc-i440fx"), ("q35", "pc-q35")):
        for m, n in reversed(versions):
            rows.append({"id": f"{name}-{m}.{n}", "type": kind, "version": f"{m}.{n}"})
            rows.append({"id": f"{name}-{m}.{n}+pve0", "type": kind, "version": f"{m}.{n}+pve0"})
    return rows


@route("GET", "/nodes/{node}/capabilities/qemu/cpu")
def cpu_models(call: Call) -> list[dict[str, Any]]:
    """List CPU models; answered by the node that was asked, whatever the path says."""
    names = {"EPYC": "AuthenticAMD", "EPYC-Rome": "AuthenticAMD", "EPYC-Milan": "AuthenticAMD", "host": "default"}
    names |= {"Skylake-Server": "GenuineIntel", "Icelake-Server": "GenuineIntel", "kvm64": "GenuineIntel"}
    names |= dict.fromkeys(("x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"), "default")
    abstract = {"abstract": 1} if call.viewer.at_least("9.2") else {}
    return [
        {"name": name, "vendor": vendor, "custom": 0, **(abstract if name.startswith("x86-64") else {})}
        for name, vendor in names.items()
    ]


@route("GET", "/nodes/{node}/hardware/pci")
def pci_devices(_call: Call) -> list[dict[str, Any]]:
    """List PCI devices."""
    return [
        {"id": address, "vendor": vendor, "device": device, "class": kind, "iommugroup": -1,
         "subsystem_vendor": vendor, "subsystem_device": device}
        for address, (vendor, device, kind) in PCI_DEVICES.items()
    ]  # fmt: skip


@route("GET", "/nodes/{node}/hardware/usb")
def usb_devices(_call: Call) -> list[dict[str, Any]]:
    """List USB devices; the simulated nodes have none."""
    return []


@route("GET", "/nodes/{node}/apt/versions")
def package_versions(call: Call) -> list[dict[str, Any]]:
    """List the packages that matter for migrations."""
    release = call.node.release
    packages = {
        "proxmox-ve": call.node.version + ".0",
        "pve-manager": release.manager,
        "qemu-server": release.qemu_server,
        "pve-qemu-kvm": f"{release.qemu}-1",
        "pve-ha-manager": release.ha_manager,
    }
    return [
        {
            "Package": name,
            "Version": number,
            "OldVersion": number,
            "CurrentState": "Installed",
            "Origin": "Proxmox",
            "Arch": "amd64",
            "Priority": "optional",
            "Section": "admin",
            "Title": name,
            "Description": name,
        }
        for name, number in packages.items()
    ]
