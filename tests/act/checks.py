"""One row for every reason that a check can give: what has to be so in a cluster that it is told, and what is told.

Used by `test_every_check.py`; `tests/house` asks whether any is missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.decide.preflight import Level
from controller.model.reasons import Why
from controller.simulator.api import Request
from controller.specs import Resource
from tests.decide.build import cluster, in_maintenance, migration, only_on
from tests.observe.test_cluster import Scene

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
ADMIN = "PVEAPIToken=bot@pve!drover=s3"
Doing = Callable[[Scene], None]
COPY = migration("copy", localDisks="Copy")
INTEL = {"model": "Intel Xeon Gold 6230", "vendor": "GenuineIntel", "family": "6", "flags": "fpu pni ssse3 popcnt"}
ON_ZFS = {"disks": {"scsi0": {"storage": "zfs", "size": "8GiB"}}}
MANAGED = {"ha": {"state": "started"}}


def mapped_to(storage: str) -> Resource:
    """A policy that puts disks from `zfs` on another storage."""
    return migration("mapped", localDisks="Copy", targetStorage={"zfs": storage})


def yearly(seconds: int) -> Resource:
    """A cluster with a window on new year's day."""
    return cluster(windows=[{"name": "w", "kind": "Allow", "schedule": "0 0 1 1 *", "durationSeconds": seconds}])


@dataclass(frozen=True)
class Row:
    """The world of guest 101 on pve1, which somebody wants to know on pve2, and what one check says about it."""

    check: str
    why: Why
    level: Level
    said: str
    guest: Mapping[str, Any] = field(default_factory=dict)  # fields of guest 101
    file: Mapping[str, Any] = field(default_factory=dict)  # of the cluster file, laid over the plain one
    objects: tuple[Resource, ...] = ()
    asked: str = "pve1"  # the node that answers
    first: tuple[Doing, ...] = ()  # what happens before the first look
    since: float = 0.0  # seconds for which the cluster has been as it is
    before: tuple[Doing, ...] = ()  # what happens before the last look
    after: tuple[Doing, ...] = ()  # what happens between that and the fresh one
    dirty_mib_s: float | None = None  # what was learned of the guest's earlier moves
    to: str | None = "pve2"  # None: where the plan moves it

    def __str__(self) -> str:
        return f"{self.check}: {self.why}"


def fault(do: str, **arguments: Any) -> Doing:
    """Something that happens to the cluster."""
    return lambda scene: scene.fault(do, **arguments)


def refused(path: str, reason: str = "broken pipe", count: int = 1) -> Doing:
    """A call that can't be answered."""
    return fault("refuse", method="GET", path=path, status=500, reason=reason, count=count)


def passing(seconds: float) -> Doing:
    """Time that passes for the cluster alone."""
    return lambda scene: scene.world.advance(scene.world.now + seconds)


def asked(method: str, path: str, **parameters: str) -> Doing:
    """What an administrator does through the API."""

    def do(scene: Scene) -> None:
        scene.world.advance(scene.clock.wall())
        answer = scene.simulator.handle(Request(method, path, parameters, auth=ADMIN, node="pve1"))
        assert answer.status == 200, answer

    return do


def pve(node: str, **fields: Any) -> dict[str, Any]:
    """One node of the cluster file."""
    return {"nodes": {node: fields}}


ROWS = (
    Row(
        "cluster is quorate", Why.NO_QUORUM, FAIL, "the cluster has no quorum",
        after=(fault("node-crash", node="pve2"), fault("node-crash", node="pve3"), passing(20)),
    ),
    Row(
        "source is online", Why.NODE_OFFLINE, FAIL, "pve1 is not online",
        asked="pve3", after=(fault("node-crash", node="pve1"), passing(60)),
    ),
    Row(
        "source is online", Why.HA_FENCING, FAIL, "PVE HA calls pve1 fence", guest=MANAGED, since=60,
        after=(fault("node-crash", node="pve1"), passing(90), fault("node-return", node="pve1"), passing(15)),
    ),
    Row(
        "target is online", Why.TARGET_OFFLINE, FAIL, "pve2 is not online",
        before=(fault("node-crash", node="pve2"), passing(60)),
    ),
    Row("target is another node", Why.ALREADY_THERE, FAIL, "VM 101 db is on pve1 already", to="pve1"),
    Row(
        "target takes guests", Why.TARGET_IN_MAINTENANCE, FAIL, "pve2 is in maintenance",
        objects=(in_maintenance("pve2"),),
    ),
    Row(
        "guest is on the source", Why.GUEST_MOVED, FAIL, "VM 101 db is no longer on pve1",
        after=(fault("admin-place", guest=101, node="pve3"),),
    ),
    Row(
        "guest is the same", Why.IDENTITY_CHANGED, FAIL, "101 is another guest now",
        after=(fault("admin-destroy", guest=101), fault("admin-create", guest=101, node="pve1", like=102)),
    ),
    Row(
        "guest is managed", Why.UNMANAGED, FAIL, "VM 101 db is no longer managed by Drover",
        after=(fault("admin-tag", guest=101, tags=["unmanaged"]),),
    ),
    Row(
        "guest is unlocked", Why.GUEST_LOCKED, FAIL, "VM 101 db is locked (backup)",
        before=(fault("admin-lock", guest=101),),
    ),
    Row(
        "run state is as planned", Why.STATE_CHANGED, FAIL, "VM 101 db was running and is stopped",
        after=(fault("admin-stop", guest=101), passing(5)),
    ),
    Row(
        "guest is no new template", Why.IS_TEMPLATE, FAIL, "VM 101 db is a template now", guest={"status": "stopped"},
        after=(fault("admin-config", guest=101, set={"template": 1}),),
    ),
    Row(
        "container may be restarted", Why.CONTAINER_NEEDS_RESTART, FAIL, "nobody allowed to restart it",
        guest={"type": "lxc", "status": "stopped", "disks": {"rootfs": {"storage": "ceph"}}},
        after=(fault("admin-start", guest=101), passing(10)),
    ),
    Row(
        "no change is pending", Why.CHANGE_PENDING, WARN, "changes of cpu wait for a cold start",
        before=(asked("PUT", "/nodes/pve1/qemu/101/config", cpu="host"),), file=pve("pve2", cpu=INTEL | {"flags": "aes"}),
    ),
    Row(
        "no change is pending", Why.NOT_CHECKED, WARN, "not checked whether changes wait for a cold start",
        after=(refused("/pending"),),
    ),
    Row(
        "ha is settled", Why.HA_UNSETTLED, FAIL, "VM 101 db is in HA state", guest=MANAGED, since=60,
        before=(asked("POST", "/cluster/ha/resources/vm:101/migrate", node="pve3"), passing(12)),
    ),
    Row(
        "ha is settled", Why.HA_MANAGED, FAIL, "VM 101 db is managed by PVE HA now", to=None,
        objects=(only_on("there", ["pve2"], 101),),
        after=(asked("POST", "/cluster/ha/resources", sid="vm:101"), passing(60)),
    ),
    Row(
        "ha would not undo it", Why.HA_WOULD_UNDO, FAIL, "HA rule home allows only pve1", guest=MANAGED, since=60,
        file={"ha": {"rules": {"home": {"type": "node-affinity", "resources": "vm:101", "nodes": "pve1", "strict": 1}}}},
    ),
    Row(
        "ha would not undo it", Why.NOT_CHECKED, WARN, "not checked whether PVE HA would undo the move", guest=MANAGED,
        since=60, after=(refused("/cluster/ha/resources/"),),
    ),
    Row(
        "ha moves nobody along", Why.HA_MOVES_ALONG, WARN, "PVE HA moves vm:102 to pve2 as well", guest=MANAGED, since=60,
        file={
            "guests": {102: MANAGED},
            "ha": {
                "rules": {"pair": {"type": "resource-affinity", "affinity": "positive", "resources": "vm:101,vm:102"}}
            },
        },
    ),
    Row(
        "token may move it", Why.PERMISSION_MISSING, FAIL, "the token lacks VM.Migrate on /vms/101",
        file={"access": {"roles": {"Looker": ("Sys.Audit", "VM.Audit", "Datastore.Audit", "SDN.Audit", "Pool.Audit")},
                         "acl": [{"role": "Looker", "to": "bot@pve"}]}},
    ),
    Row(
        "token may move it", Why.NOT_CHECKED, WARN, "not checked what the token may do with the guest",
        after=(refused("/access/permissions"),),
    ),
    Row(
        "memory fits", Why.WAITING_FOR_ROOM, FAIL, "VM 101 db needs 48 GiB, pve2 has", guest={"memory": "48GiB"},
        file=pve("pve2", memory="32GiB"),
    ),
    Row(
        "memory fits", Why.SIZE_UNKNOWN, FAIL, "how much room pve2 has is unknown",
        before=(fault("admin-create", guest=109, node="pve2", like=102),),
    ),
    Row(
        "vcpus fit", Why.TOO_FEW_CPUS, FAIL, "VM 101 db has 24 vCPUs, pve2 has 16 threads", guest={"cores": 24},
        file=pve("pve1", cpus=32),
    ),
    Row(
        "cpus are not overcommitted", Why.CPU_OVERCOMMITTED, FAIL, "pve2 would have 12 vCPUs on 8 threads",
        guest={"cores": 8}, file={**pve("pve2", cpus=8), "guests": {103: {"cores": 4}}},
        objects=(cluster(capacity={"cpuOvercommitRatio": 1.0}),),
    ),
    Row(
        "processor can run it", Why.CPU_INCOMPATIBLE, FAIL, "CPU type host means AMD EPYC 7543P", guest={"cpu": "host"},
        file=pve("pve2", cpu=INTEL),
    ),
    Row(
        "processor can run it", Why.NOT_CHECKED, WARN, "supports CPU type custom-lab", guest={"cpu": "custom-lab"},
        file=pve("pve2", cpu=INTEL),
    ),
    Row(
        "machine is known to the target", Why.MACHINE_UNKNOWN, FAIL, "which pve2 does not know",
        file=pve("pve2", version="8.4"),
    ),
    Row(
        "machine is known to the target", Why.NOT_CHECKED, WARN, "not checked whether pve2 knows pc-i440fx",
        after=(refused("/capabilities/qemu/machines"),),
    ),
    Row(
        "software is no older there", Why.TARGET_OLDER, WARN, "pve1 runs PVE 9.2.11, pve2 only 9.1.1",
        file=pve("pve2", version="9.1"),
    ),
    Row(
        "software is no older there", Why.NOT_CHECKED, WARN, "pve1 does not tell its version",
        first=(refused("/nodes/pve1/version", count=9),), after=(refused("/nodes/pve1/status"),),
    ),
    Row(
        "not bound to hardware", Why.PINNED_TO_HARDWARE, WARN, "1024 hugepages of 2 MiB on pve2",
        guest={"config": {"hugepages": "2", "numa": 1}},
    ),
    Row(
        "networks are on the target", Why.NETWORK_MISSING, FAIL, "pve2 has no vmbr1, which net0 uses",
        guest={"nets": {"net0": "virtio,bridge=vmbr1"}}, file=pve("pve1", bridges=["vmbr0", "vmbr1"]),
    ),
    Row(
        "networks are on the target", Why.NOT_CHECKED, WARN, "not checked whether pve2 has vmbr0",
        after=(refused("/network"),),
    ),
    Row(
        "pve has given its verdict", Why.STALE, FAIL, "PVE's own check of VM 101 db could not be read",
        after=(refused("/qemu/101/migrate", "VM is locked (backup)"),),
    ),
    Row(
        "pve has given its verdict", Why.NOT_SUPPORTED, OK, "this PVE has no check for containers",
        guest={"type": "lxc", "disks": {"rootfs": {"storage": "ceph"}}}, file={"version": "8.4"},
    ),
    Row(
        "pve allows the target", Why.NOT_ALLOWED_BY_PVE, FAIL, "it has no storage san",
        guest={"disks": {"scsi0": {"storage": "san"}}},
        file={"storages": {"san": {"type": "rbd", "nodes": ["pve1", "pve3"]}}},
    ),
    Row(
        "no device of the node", Why.LOCAL_RESOURCE, FAIL, "can't leave pve1: hostpci0",
        guest={"config": {"hostpci0": "0000:01:00.0"}},
    ),
    Row(
        "no local medium", Why.LOCAL_MEDIA, WARN, "local:iso/debian.iso; they are ejected before the move",
        guest={"iso": "local:iso/debian.iso"}, objects=(migration("eject", localMedia="Eject"),),
    ),
    Row(
        "no local medium", Why.PERMISSION_MISSING, FAIL, "to eject them the token lacks VM.Config.CDROM on /vms/101",
        guest={"iso": "local:iso/debian.iso"}, objects=(migration("eject", localMedia="Eject"),),
        file={"access": {"roles": {"Mover": ("Sys.Audit", "VM.Audit", "VM.Migrate", "Datastore.Audit", "SDN.Audit")},
                         "acl": [{"role": "Mover", "to": "bot@pve"}]}},
    ),
    Row(
        "local disks may move", Why.LOCAL_DISK, FAIL, "says `localDisks: Forbid`",
        guest=ON_ZFS, objects=(migration("forbid", localDisks="Forbid"),),
    ),
    Row(
        "local disks may move", Why.FIRST_SYNC, FAIL, "is on local ZFS: Drover replicates it to pve2 first",
        guest=ON_ZFS,
    ),
    Row(
        "replication leads to the target", Why.FIRST_SYNC, FAIL, "is replicated to pve3: Drover replicates it to pve2 as well",
        guest=ON_ZFS, file={"replication": {"101-0": {"target": "pve3"}}},
    ),
    Row(
        "copied disks can be copied", Why.LINKED_CLONE, FAIL, "is a linked clone, and its base stays on pve1",
        guest={"disks": {"scsi0": {"storage": "zfs", "volume": "base-900-disk-0/vm-101-disk-0"}}}, objects=(COPY,),
    ),
    Row(
        "copied disks can be copied", Why.STORAGE_TYPE, FAIL, "is on storage of type iscsi",
        guest={"disks": {"scsi0": {"storage": "lun"}}}, objects=(COPY,),
        file={"storages": {"lun": {"type": "iscsi", "shared": False}}},
    ),
    Row(
        "copied disks can be copied", Why.LOCAL_SNAPSHOT, FAIL, "has snapshots and is not replicated to pve2",
        guest=ON_ZFS | {"snapshots": ("before",)}, objects=(COPY,),
    ),
    Row(
        "copied disks can be copied", Why.FOREIGN_VOLUME, FAIL, "vm-900-disk-0 belongs to guest 900",
        guest={"disks": {"scsi0": {"storage": "zfs", "volume": "vm-900-disk-0"}}}, objects=(COPY,),
    ),
    Row(
        "copied disks can be copied", Why.LOCAL_RESOURCE, FAIL, "uses /dev/sdb of pve1, which is on no storage",
        guest={"config": {"scsi1": "/dev/sdb"}}, objects=(COPY,),
    ),
    Row(
        "storages are on the target", Why.STORAGE_MISSING, FAIL, "pve2 has no storage nowhere, which scsi0 needs",
        guest=ON_ZFS, objects=(mapped_to("nowhere"),),
    ),
    Row(
        "storages are on the target", Why.STORAGE_OFFLINE, FAIL, "storage ceph is not available on pve2 at this moment",
        before=(fault("storage-inactive", storage="ceph", node="pve2"),),
    ),
    Row(
        "storages are on the target", Why.STORAGE_CONTENT, FAIL, "storage pictures on pve2 takes no images",
        guest=ON_ZFS, objects=(mapped_to("pictures"),),
        file={"storages": {"pictures": {"type": "dir", "content": ["iso"]}}},
    ),
    Row(
        "storages are on the target", Why.NOT_CHECKED, WARN, "not checked whether the storages of its disks work on pve2",
        after=(refused("/nodes/pve2/storage"),),
    ),
    Row(
        "copied disks fit", Why.NO_SPACE, FAIL, "8 GiB would be copied to zfs on pve2, which has 1 GiB free",
        guest=ON_ZFS, objects=(COPY,), after=(fault("storage-full", storage="zfs", free=1 << 30),),
    ),
    Row(
        "copied disks fit", Why.NOT_CHECKED, WARN, "PVE does not say how large it is", objects=(COPY,),
        guest={"disks": {"scsi0": {"storage": "ceph"}, "unused0": {"storage": "zfs"}}},
    ),
    Row(
        "replication leads to the target", Why.NOT_A_REPLICATION_TARGET, FAIL, "is replicated to pve3, not to pve2",
        guest=ON_ZFS, objects=(COPY,), file={"replication": {"101-0": {"target": "pve3"}}},
    ),
    Row(
        "no replication runs", Why.REPLICATION_RUNNING, FAIL, "replication job 101-0 runs just now", guest=ON_ZFS,
        file={"replication": {"101-0": {"target": "pve2"}}}, since=10,
        before=(asked("POST", "/nodes/pve1/replication/101-0/schedule_now"), passing(45)),
    ),
    Row(
        "no replication runs", Why.NOT_CHECKED, WARN, "not checked whether a replication job runs", guest=ON_ZFS,
        file={"replication": {"101-0": {"target": "pve2"}}}, after=(refused("/nodes/pve1/replication"),),
    ),
    Row(
        "replication is well", Why.REPLICATION_FAILING, FAIL, "replication job 101-0 to pve2 has failed", guest=ON_ZFS,
        first=(fault("storage-inactive", storage="zfs", node="pve2"),), since=3600,
        file={"replication": {"101-0": {"target": "pve2"}}},
    ),
    Row(
        "duration is within the policy", Why.TOO_SLOW, WARN, "16 GiB at 10 MiB/s take", guest={"memory": "16GiB"},
        objects=(migration("slow", bandwidthLimitMiBps=10, completionTimeoutSecondsPerGiB=20),),
    ),
    Row("duration is within the policy", Why.NOT_CHECKED, OK, "no bandwidth is set"),
    Row(
        "memory converges", Why.NOT_CONVERGING, WARN, "but only 100 MiB/s are sent",
        objects=(cluster(network={"streamMiBps": 100}),), dirty_mib_s=200.0,
    ),
    Row(
        "change window is open", Why.WINDOW_CLOSED, FAIL, "no Allow window is open; moves may start again",
        objects=(yearly(3600),),
    ),
    Row(
        "change window is open", Why.WINDOW_TOO_SHORT, FAIL, "no window is open for more than 60 s", objects=(yearly(60),),
        guest={"memory": "16GiB"},
    ),
)  # fmt: skip
"""In the order of the checks."""
