"""Clusters by the dozen: a cluster file with as many nodes and guests as one likes, from a seed.

Used by benchmarks, the demo and tests that need size.
"""

import random

from controller.simulator.seed import (
    AccessFile,
    AclFile,
    ClusterFile,
    DiskFile,
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
    owner = token.partition("!")[0]
    return ClusterFile(
        name=name,
        version=version,
        nodes={f"pve{number + 1}": NodeFile(cpus=32, memory=memory) for number in range(nodes)},
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
