"""Making and unmaking guests: what workers `qmcreate`, `vzcreate`, `qmdestroy`, `qmclone`, `qmtemplate` do and tell.

Started by `routes.creation`. A controller never creates guests, but people and tests do, and their guests have to look as PVE's
(qemu-server: PVE/API2/Qemu.pm, pve-container: PVE/API2/LXC.pm).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.simulator.guests import DRIVE_KEY, VOLUME_KEY, Guest
from controller.simulator.seed import GuestFile
from controller.simulator.storage import FILES, Storage, Volume, formatting, volume_path
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.units import GIB, config_size
from controller.simulator.world import World

LARGEST_IMAGE = 1 << 50
CLOUDINIT_SIZE = 4 << 20
_NEW_VOLUME = re.compile(r"(?P<storage>[A-Za-z][\w.-]*):(?P<size>\d+(\.\d+)?|cloudinit)")


def create(world: World, task: Task, node: str, kind: str, params: Mapping[str, Any]) -> Guest:
    """Allocate the volumes and write the configuration; raises TaskFailed with what PVE says after `unable to create`."""
    vmid = int(params["vmid"])
    config = {key: value for key, value in params.items() if value is not None}
    making = _Making(world, task, node, vmid)
    for key in sorted(config):
        if (VOLUME_KEY if kind == "lxc" else DRIVE_KEY).fullmatch(key):
            config[key] = _volume(making, key, str(config[key]))
    if kind == "lxc":
        template = str(config.pop("ostemplate"))
        _check_template(making, template)
        config = _container_config(config, vmid)
    else:
        config = _machine_config(world, config, vmid)
    file = GuestFile(type="lxc" if kind == "lxc" else "qemu", node=node, status="stopped")
    guest = world.add(vmid, file)
    guest.config = config
    return guest


@dataclass(slots=True)
class _Making:
    """One creation under way: where, for whom, and the volumes made so far."""

    world: World
    task: Task
    node: str
    vmid: int
    made: list[tuple[Storage, str]] = field(default_factory=list)


def _volume(making: _Making, key: str, text: str) -> str:
    world, task, node, vmid = making.world, making.task, making.node, making.vmid
    first, _, rest = text.partition(",")
    match = _NEW_VOLUME.fullmatch(first)
    if match is None:
        return _existing(world, node, text)
    storage = world.storages[match["storage"]]
    if not storage.enabled(node):
        raise TaskFailed(f"storage '{storage.name}' is not available on node '{node}'")
    cloudinit = match["size"] == "cloudinit"
    size = CLOUDINIT_SIZE if cloudinit else int(float(match["size"]) * GIB)
    subvolume = storage.type == "zfspool" and VOLUME_KEY.fullmatch(key) is not None
    volid = storage.volid(vmid, 0, "cloudinit") if cloudinit else storage.free_volid(node, vmid, subvolume=subvolume)
    path = volume_path(storage, volid)
    if storage.type in FILES:
        task.log.append(formatting(path, size, cloudinit=cloudinit))
        if size > LARGEST_IMAGE:
            raise TaskFailed(
                f"unable to create image: qemu-img: {path}: The image size is too large for file format 'raw'"
            )
    storage.place(node)[volid] = Volume(volid, size, size // 8, vmid, ctime=int(world.now))
    making.made.append((storage, volid))
    options = sorted(option for option in rest.split(",") if option)
    options = sorted({*options, "media=cdrom" if cloudinit else f"size={config_size(size)}"})
    made_as = ",".join([volid, *options])
    if (storage.type in FILES and key == "rootfs") or key.startswith("mp"):
        task.log += [
            f"Creating filesystem with {size // 1024} 1k blocks and {size // 4096} inodes",
            f"Filesystem UUID: {_uuid(vmid, 'filesystem')}",
            "Superblock backups stored on blocks: ",
            "\t8193, 24577, 40961, 57345, 73729",
        ]
    elif key != "rootfs":
        task.log.append(f"{key}: successfully created disk '{made_as}'")
    return made_as


def _existing(world: World, node: str, text: str) -> str:
    """A volume that is there gets its size written down."""
    volid, _, _ = text.partition(",")
    storage = world.storages.get(volid.partition(":")[0])
    volume = storage.place(node).get(volid) if storage is not None else None
    return text if volume is None or "size=" in text else f"{text},size={config_size(volume.size)}"


def _check_template(making: _Making, template: str) -> None:
    world, task, node = making.world, making.task, making.node
    storage = world.storages[template.partition(":")[0]]
    if template not in storage.place(node):
        task.log.append(f"volume '{template}' does not exist")
        for place, volid in making.made:
            place.place(node).pop(volid, None)
        raise TaskFailed(f"volume '{template}' does not exist")
    path = str(storage.entry("").get("path", f"/mnt/pve/{storage.name}"))
    task.log.append(f"extracting archive '{path}/template/cache/{template.rpartition('/')[2]}'")
    task.log.append("Total bytes read: 20480 (20KiB, 35MiB/s)")


def _container_config(config: dict[str, Any], vmid: int) -> dict[str, Any]:
    kept = {"arch": "amd64", "ostype": "debian", "hostname": f"CT{vmid}", "memory": 512, "swap": 512} | config
    if not kept.get("unprivileged", 1):
        del kept["unprivileged"]
    for key in [key for key in kept if re.fullmatch(r"net\d+", key)]:
        options = dict(part.partition("=")[::2] for part in str(kept[key]).split(","))
        options = {"hwaddr": _mac(vmid, key), "type": "veth"} | options
        order = sorted(options, key=lambda name: (name != "name", name))
        kept[key] = ",".join(f"{name}={options[name]}" for name in order)
    return kept


def _machine_config(world: World, config: dict[str, Any], vmid: int) -> dict[str, Any]:
    for key in [key for key in config if re.fullmatch(r"net\d+", key)]:
        model, _, rest = str(config[key]).partition(",")
        if "=" not in model:
            config[key] = f"{model}={_mac(vmid, key)}" + (f",{rest}" if rest else "")
    config.setdefault("boot", _boot_order(config))
    config["meta"] = f"creation-qemu=10.1.2,ctime={int(world.now)}"
    config["smbios1"] = f"uuid={_uuid(vmid, 'smbios')}"
    config["vmgenid"] = _uuid(vmid, "generation")
    return config


def _boot_order(config: Mapping[str, Any]) -> str:
    drives = [key for key in sorted(config) if DRIVE_KEY.fullmatch(key) and key not in ("efidisk0", "tpmstate0")]
    disks = [key for key in drives if "media=cdrom" not in str(config[key])][:1]
    discs = [key for key in drives if "media=cdrom" in str(config[key]) and "cloudinit" not in str(config[key])][:1]
    order = [*disks, *discs, *[key for key in sorted(config) if re.fullmatch(r"net\d+", key)][:1]]
    return f"order={';'.join(order)}" if order else " "


def _mac(vmid: int, key: str) -> str:
    digest = hashlib.sha256(f"{vmid} {key}".encode()).digest()
    return ":".join(f"{byte:02X}" for byte in (0xBC, 0x24, 0x11, *digest[:3]))


def _uuid(vmid: int, purpose: str) -> str:
    text = hashlib.sha256(f"{vmid} {purpose} made".encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"
