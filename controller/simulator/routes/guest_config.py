"""A guest's configuration: reading it, what is pending, writing it, and its snapshots.

Registered with `routes.registry`; qemu-server: PVE/API2/Qemu.pm, pve-container: PVE/API2/LXC/Config.pm.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any

from controller.simulator.access import forbidden, only_root
from controller.simulator.api import REASONS, ApiError
from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.preconditions import properties, require_unlocked
from controller.simulator.routes.registry import Call, route
from controller.simulator.schema import schema_for
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World

_CONTROL = (
    "node", "vmid", "digest", "delete", "revert", "skiplock", "force", "background_delay", "import-working-storage",
)  # fmt: skip
_AT_ONCE = {
    "name", "description", "tags", "onboot", "protection", "startup", "hookscript", "hostname", "lock", "migrate_downtime",
    "migrate_speed", "shares", "template", "snaptime", "autostart", "tdf",
}  # fmt: skip
"""Keys that take effect while the guest runs (qemu-server: PVE/QemuServer.pm vmconfig_hotplug_pending)."""
_TAG = re.compile(r"[a-z0-9_][a-z0-9_+.-]*", re.IGNORECASE)


@route("GET", "/nodes/{node}/qemu/{vmid}/config")
def machine_config(call: Call) -> dict[str, Any]:
    """Return the configuration, pending changes applied unless `current=1`."""
    return _config(call, call.guest("qemu"))


@route("GET", "/nodes/{node}/lxc/{vmid}/config")
def container_config(call: Call) -> dict[str, Any]:
    """Return the configuration."""
    return _config(call, call.guest("lxc"))


def _config(call: Call, guest: Guest) -> dict[str, Any]:
    if call.get("snapshot") is not None:
        return {**guest.config, **_snapshot(guest, str(call.get("snapshot"))), "digest": guest.digest}
    answer = {**guest.config, "digest": guest.digest}
    if guest.snapshots:
        answer["parent"] = next(reversed(guest.snapshots))
    if not call.get("current"):
        for key in guest.deletes:
            answer.pop(key, None)
        answer |= guest.pending
    return answer


def _snapshot(guest: Guest, name: str) -> dict[str, Any]:
    if name not in guest.snapshots:
        raise ApiError(500, f"snapshot '{name}' does not exist")
    return guest.snapshots[name]


@route("GET", "/nodes/{node}/qemu/{vmid}/pending")
def machine_pending(call: Call) -> list[dict[str, Any]]:
    """List every key with its value and what waits for the next start."""
    return _pending(call.guest("qemu"))


@route("GET", "/nodes/{node}/lxc/{vmid}/pending")
def container_pending(call: Call) -> list[dict[str, Any]]:
    """List every key with its value and what waits for the next start."""
    return _pending(call.guest("lxc"))


def _pending(guest: Guest) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {
        key: {"key": key, "value": value} for key, value in {**guest.config, "digest": guest.digest}.items()
    }
    for key, value in guest.pending.items():
        rows.setdefault(key, {"key": key})["pending"] = value
    for key, force in guest.deletes.items():
        rows.setdefault(key, {"key": key})["delete"] = force
    return list(rows.values())


@route("GET", "/nodes/{node}/qemu/{vmid}/snapshot")
@route("GET", "/nodes/{node}/lxc/{vmid}/snapshot")
def snapshots(call: Call) -> list[dict[str, Any]]:
    """List snapshots and the present."""
    guest = call.guest("lxc" if "/lxc/" in call.request.path else "qemu")
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "description": "",
            "snaptime": snapshot["snaptime"],
            **({"vmstate": 0} if guest.type == "qemu" else {}),
        }
        for name, snapshot in guest.snapshots.items()
    ]
    return [
        *rows,
        {"name": "current", "description": "You are here!", "digest": guest.digest, "running": int(guest.running)},
    ]


@route("PUT", "/nodes/{node}/qemu/{vmid}/config")
def set_machine_config(call: Call) -> None:
    """Change the configuration at once."""
    _write(call, call.guest("qemu"))


@route("PUT", "/nodes/{node}/lxc/{vmid}/config")
def set_container_config(call: Call) -> None:
    """Change the configuration at once."""
    _write(call, call.guest("lxc"))


@route("POST", "/nodes/{node}/qemu/{vmid}/config")
def set_machine_config_later(call: Call) -> str:
    """Change the configuration in a worker."""
    guest = call.guest("qemu")
    _check(call, guest)

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.1
        changes = " ".join(f"-{key} {value}" for key, value in _changes(call).items())
        task.log.append(f"update VM {guest.vmid}: {changes}")
        if not call.world.quorate(call.node.name):
            raise TaskFailed(_unwritable(call, guest))
        try:
            _apply(call.world, guest, call.params, _changes(call))
        except ApiError as error:
            raise TaskFailed(error.reason) from error

    return call.world.spawn(call.node.name, "qmconfig", str(guest.vmid), call.auth.full, body).upid


def _write(call: Call, guest: Guest) -> None:
    _check(call, guest)
    if not call.world.quorate(call.node.name):
        raise ApiError(500, _unwritable(call, guest))
    _apply(call.world, guest, call.params, _changes(call))


def _unwritable(call: Call, guest: Guest) -> str:
    return f"unable to open file '/etc/pve/{guest.conf}.tmp.{call.node.pid()}' - Permission denied"


def _changes(call: Call) -> dict[str, Any]:
    changes = {key: value for key, value in call.params.items() if key not in _CONTROL}
    if "tags" in changes:
        changes["tags"] = normalise_tags(call.world, str(changes["tags"]))
    return changes


def _words(text: object) -> list[str]:
    return [word for word in re.split(r"[;,\s]+", str(text or "")) if word]


def _check(call: Call, guest: Guest) -> None:
    """Make the checks of the request: who may change what, the lock, the digest."""
    changes, delete = _changes(call), _words(call.get("delete"))
    if not changes and not delete and not call.get("revert"):
        raise ApiError(500, "no options specified")
    only_root(call.auth, call.params, "skiplock")
    require_device_rights(call, changes | dict.fromkeys(delete, ""))
    known = schema_for(call.node.version).find("PUT", call.request.path)[0].parameters
    for key in delete:
        if key not in known and re.sub(r"\d+$", "[n]", key) not in known:
            raise ApiError(400, REASONS[400], errors={"delete": f"unknown option '{key}'"})
    _check_rights(call, guest, {*changes, *delete})
    if "tags" in changes or "tags" in delete:
        _check_tags(call, guest, _words(changes.get("tags", "")))
    if call.get("digest") is not None and call.get("digest") != guest.digest:
        raise ApiError(500, "checksum mismatch (file change by other user?)")
    if not call.get("skiplock"):
        require_unlocked(guest)


def require_device_rights(call: Call, changes: Mapping[str, Any]) -> None:
    """Refuse keys that only root@pam itself may set (qemu-server: PVE/API2/Qemu.pm check_vm_modify_config_perm)."""
    if call.auth.is_root:
        return
    for key, value in changes.items():
        for pattern, free, why in _ROOTS_DEVICES:
            if re.fullmatch(pattern, key) and not re.search(free, str(value)):
                raise ApiError(500, f"only root can set '{key}' config{why}")


_ROOTS_DEVICES = (
    (r"lock|args|hookscript", r"(?!)", ""),
    (r"hostpci\d+", r"mapping=|^$", " for non-mapped devices"),
    (r"(serial|parallel)\d+", r"^socket$|^$", " for real devices"),
    (r"usb\d+", r"mapping=|spice|^$", " for real devices"),
)
"""Keys, the values that anybody may give them, and how the refusal ends."""


def _check_rights(call: Call, guest: Guest, keys: set[str]) -> None:
    path = f"/vms/{guest.vmid}"
    for key in sorted(keys):
        call.check(path, _privilege(key))


def _privilege(key: str) -> str:
    for pattern, privilege in _PRIVILEGES:
        if re.fullmatch(pattern, key):
            return f"VM.Config.{privilege}"
    return "VM.Config.Options"


_PRIVILEGES = (
    (r"cores|sockets|cpu|vcpus|cpulimit|cpuunits|numa\d*|affinity", "CPU"),
    (r"memory|balloon|shares|swap", "Memory"),
    (r"net\d+|searchdomain|nameserver|hostname", "Network"),
    (r"(?:scsi|virtio|sata|ide|mp|unused)\d+|rootfs|efidisk0|tpmstate0|boot|bootdisk|scsihw", "Disk"),
    (r"kvm|acpi|machine|vga|watchdog|audio0|bios|args|hostpci\d+|usb\d+|serial\d+|parallel\d+|rng0", "HWType"),
    (r"ci(?:user|password|type|custom|upgrade)|ipconfig\d+|sshkeys", "Cloudinit"),
)


def _check_tags(call: Call, guest: Guest, tags: list[str]) -> None:
    """Guard registered tags (pve-guest-common: PVE/GuestHelpers.pm assert_tag_permissions)."""
    if call.allowed("/", "Sys.Modify"):
        return
    registered = set(_words(call.world.options.get("registered-tags")))
    for tag in sorted(registered & (set(tags) ^ set(_words(guest.config.get("tags"))))):
        raise forbidden(f"/, Sys.Modify for modifying tag '{tag}'")


def normalise_tags(world: World, text: str) -> str:
    """Write tags as PVE does: lower case, unique and sorted, unless `tag-style` says otherwise.

    Raises ApiError 400 for characters a tag may not have.
    """
    tags = _words(text)
    if not all(_TAG.fullmatch(tag) for tag in tags):
        raise ApiError(400, REASONS[400], errors={"tags": "invalid format - invalid characters in tag\n"})
    style = properties(world, "tag-style")
    if style.get("case-sensitive") != "1":
        tags = [tag.lower() for tag in tags]
    unique = list(dict.fromkeys(tags))
    return ";".join(unique if style.get("ordering") == "config" else sorted(unique))


def _detach(guest: Guest, key: str) -> None:
    """Drop a key; the volume behind a drive stays as `unusedN` (qemu-server: PVE/QemuServer.pm vmconfig_register_unused_drive)."""
    text = str(guest.config.pop(key, ""))
    volid = text.partition(",")[0]
    if re.fullmatch(r"(?:scsi|virtio|sata|ide|mp)\d+", key) and ":" in volid and "media=cdrom" not in text:
        number = next(n for n in range(256) if f"unused{n}" not in guest.config)
        guest.config[f"unused{number}"] = volid


def _apply(world: World, guest: Guest, params: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    if not params.get("skiplock"):
        require_unlocked(guest)
    world.touch(guest)
    for key in _words(params.get("revert")):
        guest.pending.pop(key, None)
        guest.deletes.pop(key, None)
    for key in _words(params.get("delete")):
        guest.pending.pop(key, None)
        if guest.running and key not in _AT_ONCE:
            guest.deletes[key] = 2 if params.get("force") else 1
        else:
            _detach(guest, key)
    for key, value in changes.items():
        guest.deletes.pop(key, None)
        disc = "media=cdrom" in str(guest.config.get(key)) and "media=cdrom" in str(value)  # discs are changed at once
        if guest.running and key not in _AT_ONCE and not disc and guest.config.get(key) != value:
            guest.pending[key] = value
        else:
            guest.pending.pop(key, None)
            guest.config[key] = value
    if guest.config.get("tags") == "":
        del guest.config["tags"]
    world.log("guest-config", guest=guest.vmid, keys=",".join(sorted({*changes, *_words(params.get("delete"))})))
