"""The cluster file: a Proxmox VE cluster written down in YAML, and its reader.

Read by `drover simulate`, by stories, tests and benchmarks; `simulator.generate` makes large ones. `docs/cluster-file.json`
is its JSON Schema.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from controller.simulator import calendar
from controller.simulator.units import GIB, KIB, MIB, SIZE_PATTERN, parse_size
from controller.yamlpos import Document, YamlError, parse

Version = Literal["8.4", "9.0", "9.1", "9.2"]
NODE_NAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$"

Size = Annotated[
    int,
    BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}]}),
]
"""Bytes, or text such as `32GiB`. As a rate: bytes per second."""


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


Moment = Annotated[float, BeforeValidator(_moment), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})]
"""Epoch seconds, or ISO 8601 text; UTC unless it says otherwise."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


class CpuFile(_Part):
    """A node's processor, as `/proc/cpuinfo` names it."""

    model: str = "AMD EPYC 7543P 32-Core Processor"
    vendor: Literal["AuthenticAMD", "GenuineIntel"] = "AuthenticAMD"
    family: str = "25"
    mhz: str = "2794.750"
    flags: str = (
        "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
        "rdtscp lm constant_tsc nopl pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand "
        "lahf_lm svm abm sse4a bmi1 avx2 bmi2 rdseed adx sha_ni"
    )


class NodeFile(_Part):
    """One node."""

    cpus: int = Field(16, ge=1, description="Threads.")
    sockets: int = Field(1, ge=1)
    memory: Size = 64 * GIB
    cpu: CpuFile = CpuFile()
    version: Version | None = Field(None, description="PVE release; the cluster's when absent.")
    link: Size = Field(1150 * MIB, gt=0, description="Bytes per second each way: 10 Gbit/s less TCP/IP's share.")
    ssh: Size = Field(
        500 * MIB, gt=0, description="Most that one ssh stream carries per second: one core of AES, 400-1000 MiB/s."
    )
    stream: Size = Field(
        1200 * MIB,
        gt=0,
        description="Most that one migration in the clear carries per second: one TCP stream of one thread.",
    )
    overhead: Size = Field(2 * GIB, description="Memory that the node itself uses.")
    root_disk: Size = 94 * GIB
    uptime: float = Field(864000.0, ge=0, description="Seconds since boot at the start.")
    ip: str | None = Field(None, description="10.0.0.<number of the node> when absent.")
    timezone: str = "UTC"
    bridges: tuple[str, ...] = ("vmbr0",)
    config: dict[str, str | int] = Field({}, description="Node configuration, such as `description`.")
    standalone: bool = Field(False, description="In no cluster until it joins one: `POST /cluster/config/join`.")


class StorageFile(_Part):
    """One entry of storage.cfg, its size and its fill."""

    type: Literal[
        "dir", "nfs", "cifs", "cephfs", "rbd", "zfspool", "zfs", "lvm", "lvmthin", "btrfs", "iscsi", "pbs"
    ] = "dir"
    content: tuple[str, ...] = ("images", "rootdir")
    shared: bool | None = Field(None, description="True for types that are shared by nature, else false.")
    nodes: tuple[str, ...] = Field((), description="Restriction; empty = every node.")
    disable: bool = False
    size: Size = Field(1024 * GIB, description="Per node unless shared.")
    used: Size = Field(0, description="By others than the guests in this file.")
    config: dict[str, str | int] = Field({}, description="Further keys of storage.cfg, such as `path` or `bwlimit`.")

    @property
    def is_shared(self) -> bool:
        """Whether all nodes see the same volumes (pve-storage: the plugins' `shared` property)."""
        inherent = self.type in ("nfs", "cifs", "cephfs", "rbd", "zfs", "iscsi", "pbs")
        return inherent if self.shared is None else self.shared


class DiskFile(_Part):
    """A volume of a guest."""

    storage: str
    size: Size = 32 * GIB
    used: Size | None = Field(None, description="Written part; a quarter of the size when absent.")
    volume: str | None = Field(None, description="Name below the storage, `vm-<vmid>-disk-<n>` when absent.")
    options: str = Field("", description="Further options as in the guest's configuration: `iothread=1,replicate=0`.")


class GuestFile(_Part):
    """One guest: its configuration and how it behaves."""

    type: Literal["qemu", "lxc"] = "qemu"
    name: str | None = None
    node: str
    status: Literal["running", "stopped", "paused"] = "running"
    memory: Size = Field(2 * GIB, ge=MIB)
    cores: int = Field(2, ge=1)
    sockets: int = Field(1, ge=1)
    cpu: str | None = Field(
        "x86-64-v2-AES", description="CPU type of the configuration; PVE's own web page makes this one."
    )
    disks: dict[str, DiskFile] = {}
    nets: dict[str, str] | None = Field(
        None, description="`net0: virtio,bridge=vmbr0`; one on vmbr0 when absent, none when empty."
    )
    iso: str | None = Field(None, description="Volume in the CD drive ide2, such as `local:iso/debian.iso`.")
    tags: tuple[str, ...] = ()
    pool: str | None = None
    lock: str | None = None
    template: bool = False
    config: dict[str, str | int] = Field({}, description="Further keys as in the guest's configuration file.")
    snapshots: tuple[str, ...] = ()
    ctime: int | None = Field(None, description="Creation time in `meta`; derived from the VMID when absent.")
    uptime: float = Field(86400.0, ge=0)
    load: float = Field(0.05, ge=0, le=1, description="Fraction of its CPUs in use.")
    touched: float = Field(0.75, ge=0, le=1, description="Part of memory that is not zero pages: those cost nothing.")
    dirty: Size = Field(20 * MIB, description="Memory written per second while running.")
    working: Size | None = Field(
        None, description="The part of memory that is written again and again; a tenth of `memory` when absent."
    )
    written: Size = Field(256 * KIB, description="Disk bytes written per second, what replication has to send.")
    stops_in: float | None = Field(
        5.0, description="Seconds that a clean shutdown takes; null = the guest does not listen."
    )
    agent: bool = Field(False, description="Whether a guest agent runs in it, for one whose `config` names it.")
    ha: dict[str, str | int] | None = Field(None, description="HA resource: `{state: started, …}`.")

    @model_validator(mode="after")
    def _check(self) -> "GuestFile":
        if self.template and self.status != "stopped":
            raise ValueError("a template cannot run; allowed: status: stopped")
        return self


class PoolFile(_Part):
    """A resource pool; guests name theirs, storages are listed."""

    comment: str = ""
    storages: tuple[str, ...] = ()


class UserFile(_Part):
    """A user."""

    enable: bool = True
    expire: int = 0
    comment: str | None = None
    password: str | None = None
    groups: tuple[str, ...] = ()


TokenName = Annotated[str, Field(pattern=r"^[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+$")]
"""`user@realm!name`; the name has two characters at least (pve-access-control: PVE/AccessControl.pm)."""


class TokenFile(_Part):
    """An API token, under `user@realm!name`."""

    secret: str
    privsep: bool = True
    expire: int = 0
    comment: str | None = None


class AclFile(_Part):
    """One access control entry; `to` is a user, a token `user@realm!name`, or a group `@name`."""

    path: str = "/"
    role: str
    to: str
    propagate: bool = True


class AccessFile(_Part):
    """Users, tokens, roles and rights beyond root@pam and the built-in roles."""

    users: dict[str, UserFile] = {}
    groups: dict[str, str] = Field({}, description="Name to comment.")
    tokens: dict[TokenName, TokenFile] = {}
    roles: dict[str, tuple[str, ...]] = {}
    acl: tuple[AclFile, ...] = ()


class HaFile(_Part):
    """HA rules (9.x) and groups (8.x), by name, as the API takes them; resources are named by their guests."""

    rules: dict[str, dict[str, str | int]] = {}
    groups: dict[str, dict[str, str | int]] = {}


class FaultFile(BaseModel):
    """Something that happens `at` seconds after the start; further keys are the arguments of `do`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    at: float = Field(ge=0)
    do: str


class ExpectFile(_Part):
    """What should be true of a guest `at` seconds after the start; what is not named may be anything."""

    at: float = Field(ge=0)
    guest: int
    node: str | None = None
    status: Literal["running", "stopped", "paused"] | None = None
    lock: str | None = Field(None, description="A lock's name, or `none`.")


class ClusterFile(_Part):
    """A whole cluster."""

    name: str = "simcluster"
    version: Version = "9.2"
    start: Moment = Field(1777629600.0, description="What time it is at the start; 2026-05-01 10:00 UTC when absent.")
    nodes: dict[Annotated[str, Field(pattern=NODE_NAME)], NodeFile] = Field(min_length=1)
    storages: dict[str, StorageFile] = {}
    pools: dict[str, PoolFile] = {}
    guests: dict[Annotated[int, Field(ge=100, le=999_999_999)], GuestFile] = {}
    options: dict[str, str | int] = Field({}, description="datacenter.cfg, values as PVE writes them.")
    mappings: dict[Literal["pci", "usb", "dir"], dict[str, dict[str, Any]]] = Field(
        {}, description="Resource mappings: `pci: {gpu1: {map: [node=pve1,path=0000:01:00.0,…]}}`."
    )
    cpu_models: dict[Annotated[str, Field(pattern=NODE_NAME)], dict[str, str | int]] = Field(
        {}, description="Custom CPU models by name: `lab: {reported-model: EPYC-Rome, flags: +pcid}`."
    )
    access: AccessFile = AccessFile()
    ha: HaFile = HaFile()
    replication: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{2,8}-[0-9]{1,9}$")], dict[str, str | int | float]] = (
        Field({}, description="Replication jobs by id: `100-0: {target: pve2, schedule: '*/15'}`.")
    )
    faults: tuple[FaultFile, ...] = ()
    expect: tuple[ExpectFile, ...] = ()
    error_bodies: Literal["full", "bare"] = Field(
        "full", description="`bare`: errors without a `message` in their body, as before PVE 8.3."
    )

    @model_validator(mode="after")
    def _check(self) -> "ClusterFile":
        problems = list(_references(self))
        if problems:
            raise ValueError("\n".join(f"{'/'.join(map(str, path))}\t{text}" for path, text in problems))
        return self


Problem = tuple[tuple[str | int, ...], str]
"""Where in a cluster file something is wrong, and what."""
CHECKS: list[Callable[["ClusterFile"], Iterator[Problem]]] = []
"""Further checks of a whole file; `simulator.faults` adds that of the timeline."""


def _references(file: ClusterFile) -> Iterator[Problem]:
    yield from _of_guests(file)
    if all(node.standalone for node in file.nodes.values()):
        yield ("nodes",), "all are standalone; allowed: all but one, which can create the cluster"
    for name, storage in file.storages.items():
        for node in storage.nodes:
            if node not in file.nodes:
                yield ("storages", name, "nodes"), _no("node", node, file.nodes)
    for ident, job in file.replication.items():
        if int(ident.partition("-")[0]) not in file.guests:
            yield ("replication", ident), f"there is no guest {ident.partition('-')[0]}"
        if job.get("target") not in file.nodes:
            yield ("replication", ident), _no("node", job.get("target"), file.nodes)
        try:
            calendar.parse(str(job.get("schedule", "*/15")))
        except ValueError:
            yield (
                ("replication", ident, "schedule"),
                f"{job.get('schedule')!r} is not a calendar event; allowed: such as */15 or mon..fri 22:00",
            )
    for number, expected in enumerate(file.expect):
        if expected.guest not in file.guests:
            yield ("expect", number, "guest"), f"there is no guest {expected.guest}"
    for check in CHECKS:
        yield from check(file)


def _of_guests(file: ClusterFile) -> Iterator[Problem]:
    for vmid, guest in file.guests.items():
        where = ("guests", vmid)
        if guest.node not in file.nodes:
            yield (*where, "node"), _no("node", guest.node, file.nodes)
        if guest.pool is not None and guest.pool not in file.pools:
            yield (*where, "pool"), _no("pool", guest.pool, file.pools)
        for key, disk in guest.disks.items():
            if disk.storage not in file.storages:
                yield (*where, "disks", key, "storage"), _no("storage", disk.storage, file.storages)


def _no(kind: str, name: object, allowed: Iterable[str]) -> str:
    return f"there is no {kind} {name!r}; allowed: {', '.join(allowed) or 'none'}"


class ClusterFileError(Exception):
    """A cluster file that cannot be used; one line `file:line:column: field: what is wrong` per problem."""


def load(source: str | Path) -> ClusterFile:
    """Read a cluster file from a path, or from text when `source` is a string with a newline.

    Raises ClusterFileError with every problem, and OSError when the file cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        text, file = source, "<text>"
    else:
        text, file = Path(source).read_text(encoding="utf-8"), str(source)
    try:
        documents = parse(text, file)
    except YamlError as error:
        raise ClusterFileError(str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ClusterFileError(
            f"{file}:1:1: expected one document with the keys of a cluster, such as nodes and guests"
        )
    try:
        return ClusterFile.model_validate(documents[0].value)
    except ValidationError as error:
        raise ClusterFileError("\n".join(_problems(error, documents[0]))) from error


def _problems(error: ValidationError, document: Document) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        path = tuple(step for step in detail["loc"] if step != "[key]")
        if path:
            yield _line(document, path, _sentence(detail))
            continue
        for line in str(detail["ctx"]["error"]).splitlines():
            where, _, what = line.partition("\t")
            yield _line(document, tuple(int(s) if s.isdigit() else s for s in where.split("/")), what)


def _line(document: Document, path: tuple[str | int, ...], sentence: str) -> str:
    return f"{document.position(path)}: {'.'.join(map(str, path))}: {sentence}"


def _sentence(detail: Mapping[str, Any]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is missing"
        case "literal_error":
            return f"{detail['input']!r} is not possible; allowed: {detail['ctx']['expected']}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {detail['input']!r}"
