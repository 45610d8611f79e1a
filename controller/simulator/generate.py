"""Clusters by the dozen: a cluster file with as many nodes and guests as one likes, from a seed.

Used by benchmarks, the demo and tests that need size.
"""

import random
from typing import Any

from controller.simulator.seed import (
    AccessFile,
    AclFile,
    ClusterFile,
    DiskFile,
    FaultFile,
    GuestFile,
    NodeFile,
    PoolFile,
    StorageFile,
    TokenFile,
    UserFile,
    Version,
)
from controller.simulator.units import GIB, KIB, MIB

_MEMORY = (1, 2, 2, 4, 4, 4, 8, 8, 16, 32)
_TAGS = ("prod", "test", "db", "web", "cache", "batch")
_HEADROOM = 0.7
_VCPUS_PER_THREAD = 2.5


def generate(
    *,
    nodes: int = 3,
    guests: int = 20,
    seed: int = 0,
    version: Version = "9.2",
    containers: float = 0.1,
    local: float = 0.0,
    stopped: float = 0.1,
    token: str = "drover@pve!drover",  # noqa: S107 - the name of a token
    secret: str = "00000000-0000-4000-8000-000000000000",  # noqa: S107 - of a cluster in memory
    name: str = "simcluster",
) -> ClusterFile:
    """Return a cluster of equal nodes whose guests fill at most 70 percent of memory.

    containers, local, stopped: the parts of the guests that are containers, that have their disk on local storage, that do
    not run. token: gets Administrator on everything.
    """
    dice = random.Random(seed)
    parts = {"containers": containers, "local": local, "stopped": stopped}
    found = {100 + number: _guest(dice, 100 + number, nodes, parts) for number in range(guests)}
    total = sum(guest.memory for guest in found.values())
    memory = max(64 * GIB, _rounded(total / nodes / _HEADROOM))
    threads = max(32, 8 * round(sum(guest.cores or 0 for guest in found.values()) / nodes / _VCPUS_PER_THREAD / 8))
    owner = token.partition("!")[0]
    return ClusterFile(
        name=name,
        version=version,
        nodes={f"pve{number + 1}": NodeFile(cpus=threads, memory=memory) for number in range(nodes)},
        storages={
            "ceph": StorageFile(type="rbd", size=max(20, guests) * 64 * GIB),
            "local": StorageFile(type="dir", content=("images", "iso", "rootdir"), size=max(1, guests) * 64 * GIB),
        },
        pools={pool: PoolFile() for pool in ("prod", "test")},
        guests=found,
        access=AccessFile(
            users={owner: UserFile()},
            tokens={token: TokenFile(secret=secret, privsep=False)},
            acl=(AclFile(role="Administrator", to=owner),),
        ),
    )


def storm(file: ClusterFile, *, seconds: float, every: float = 300.0, seed: int = 0) -> tuple[FaultFile, ...]:
    """Return a timeline of accidents, one per `every` seconds on average until `seconds`; what breaks is mended in time.

    Put it into a file with `file.model_copy(update={"faults": storm(…)})`. One node at most is away at a time.
    """
    dice = random.Random(seed)
    found: list[FaultFile] = []
    moment, busy_until = 0.0, 0.0
    while (moment := moment + dice.expovariate(1 / every)) < seconds:
        lasting = dice.random() < 0.4 and moment >= busy_until
        if lasting:
            break_, mend, length = _lasting(dice, file)
            end = moment + length
            busy_until = end + _BREATH
            found += [_fault(moment, *break_), _fault(end, *mend)]
        else:
            found.append(_fault(moment, *_passing(dice, file)))
    return tuple(sorted(found, key=lambda fault: fault.at))


_BREATH = 120.0
_Act = tuple[str, dict[str, Any]]


def _fault(at: float, do: str, arguments: dict[str, Any]) -> FaultFile:
    return FaultFile.model_validate({"at": round(at, 3), "do": do, **arguments})


def _lasting(dice: random.Random, file: ClusterFile) -> tuple[_Act, _Act, float]:
    node = {"node": dice.choice(list(file.nodes))}
    place = {"storage": dice.choice(list(file.storages) or ["local"]), **node}
    choices: list[tuple[_Act, _Act, float]] = [
        (("node-crash", node), ("node-return", node), dice.uniform(60, 900)),
        (("pveproxy-down", node), ("pveproxy-up", node), dice.uniform(10, 300)),
        (("pvedaemon-down", node), ("pvedaemon-up", node), dice.uniform(10, 300)),
        (("partition", {"nodes": [node["node"]]}), ("heal", {}), dice.uniform(30, 600)),
        (("link", {**node, "rate": 10 * MIB}), ("link", {**node, "rate": file.nodes[node["node"]].link}), 300.0),
    ]
    if file.storages:
        choices.append((("storage-inactive", place), ("storage-active", place), dice.uniform(30, 600)))
    return dice.choice(choices)


def _passing(dice: random.Random, file: ClusterFile) -> _Act:
    choices: list[_Act] = [("slow-handler", {}), ("lost-answer", {}), ("unauthorized", {})]
    if file.guests:
        guest = {"guest": dice.choice(list(file.guests))}
        names = ("admin-start", "admin-shutdown", "admin-unlock", "task-stop", "worker-kill", "hollow-ok")
        choices += [(name, guest) for name in names]
        choices.append(("admin-migrate", {**guest, "node": dice.choice(list(file.nodes))}))
        choices.append(("migration-fails", {**guest, "phase": dice.randint(1, 2)}))
    return dice.choice(choices)


def _guest(dice: random.Random, vmid: int, nodes: int, parts: dict[str, float]) -> GuestFile:
    container = dice.random() < parts["containers"]
    memory = dice.choice(_MEMORY) * GIB
    tags = tuple(sorted(dice.sample(_TAGS, dice.randint(0, 2))))
    storage = "local" if dice.random() < parts["local"] else "ceph"
    disk = DiskFile(storage=storage, size=dice.choice((8, 16, 32, 64)) * GIB)
    return GuestFile(
        type="lxc" if container else "qemu",
        name=f"{'ct' if container else 'vm'}-{vmid}",
        node=f"pve{dice.randrange(nodes) + 1}",
        status="stopped" if dice.random() < parts["stopped"] else "running",
        memory=memory,
        cores=dice.choice((1, 2, 2, 4, 8)),
        disks={"rootfs" if container else "scsi0": disk},
        tags=tags,
        pool="prod" if "prod" in tags else "test" if "test" in tags else None,
        load=round(dice.uniform(0.01, 0.4), 3),
        touched=round(dice.uniform(0.3, 0.95), 2),
        dirty=int(dice.lognormvariate(3.0, 1.2) * MIB),
        working=int(memory * dice.uniform(0.02, 0.3)),
        written=int(dice.uniform(16, 2048) * KIB),
        uptime=float(dice.randint(3600, 864000)),
    )


def _rounded(size: float) -> int:
    return int(size / (16 * GIB) + 1) * 16 * GIB
