"""The calls Drover makes, typed: model nouns come back, and `DroverError` is all that is raised.

Used by `observe` (reads), `act` (starting and following moves) and `app` (the self-check). One instance per cluster.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeVar
from urllib.parse import quote

from controller.model.errors import Ambiguous, Rejected, Retry
from controller.model.facts import CpuModel, HaRule, JobState, Setup
from controller.model.ids import GuestKind, NodeName, Upid, Vmid
from controller.model.observed import Guest, GuestConfig, Node, Preconditions, ReplicationJob, Storage, Task
from controller.model.plan import MoveOptions
from controller.model.reasons import Why
from controller.model.replication import ReplicationState
from controller.pve import decode, decode_facts, decode_guest, tasklog
from controller.pve.decode import ClusterOptions, ClusterStatus, HaStatus, NodeTime, Resources
from controller.pve.decode_facts import HaResource
from controller.pve.errors import translate
from controller.pve.transport import HttpFailure, Json, Param, Params, Transport
from controller.pve.upid import UpidError, parse
from controller.pve.values import DecodeError, flag, integer, record, text

LOG_PAGE: Final = 1000
"""Lines of a task log per call; a running migration writes about one per second and disk."""
LOG_PAGES: Final = 20
"""Pages of the log of a finished replication run that are read: five hours of one line per second."""
TASKS_PAGE: Final = 500

Noun = TypeVar("Noun")


class PveClient:
    """One cluster's API. Every method raises DroverError: see `pve.errors` for which one when."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # The cluster

    async def version(self) -> tuple[int, ...]:
        """pve-manager's version on the node that answered, such as (9, 2, 11); clusters may be mixed."""
        return await self._read("/version", _version)

    async def cluster_status(self) -> ClusterStatus:
        """Name, quorum and membership, as the answering node sees them. Needs Sys.Audit on /."""
        return await self._read("/cluster/status", decode.cluster_status)

    async def resources(self, kind: str | None = None) -> Resources:
        """All guests, nodes and storages that the token may see; `kind`: only `vm`, `node` or `storage`.

        Numbers are up to 10 s old, node, lock and tags are immediate (pve-manager: PVE/API2/Cluster.pm).
        """
        return await self._read("/cluster/resources", decode.resources, {"type": kind} if kind else None)

    async def tasks(self) -> tuple[Task, ...]:
        """Running tasks and up to 25 finished ones per node, about 10 s old. Without Sys.Audit on / a token sees none."""
        return await self._read("/cluster/tasks", decode.tasks)

    async def ha_manager_status(self) -> HaStatus:
        """What PVE HA says of the nodes. Needs Sys.Audit on /."""
        return await self._read("/cluster/ha/status/manager_status", decode.ha_status)

    async def replication_jobs(self) -> tuple[ReplicationJob, ...]:
        """All jobs of guests that the token may see."""
        return await self._read("/cluster/replication", decode.replication_jobs)

    async def permissions(self) -> Mapping[str, Mapping[str, bool]]:
        """The caller's effective rights: path -> privilege -> whether it holds below the path too."""
        return await self._read("/access/permissions", decode.permissions)

    async def rights(self, path: str) -> frozenset[str]:
        """The caller's privileges on one object, such as `/vms/101`, whatever ACL they come from."""
        found = await self._read("/access/permissions", decode.permissions, {"path": path})
        return frozenset(name for name in found.get(path, {}))

    async def cpu_flags(self) -> Mapping[str, frozenset[NodeName]]:
        """QEMU's name of a CPU flag -> the nodes whose KVM supports it; since 9.2. Needs Sys.Audit on /nodes."""
        return await self._read("/cluster/qemu/cpu-flags", decode_facts.cpu_flags)

    async def settable_cpu_flags(self, node: NodeName) -> Mapping[str, frozenset[NodeName]]:
        """As `cpu_flags`, for the few flags that a VM's config may name; anybody may ask. 9.1 only names them."""
        return await self._read(f"/nodes/{_quoted(node)}/capabilities/qemu/cpu-flags", decode_facts.cpu_flags)

    async def cpu_models(self) -> Mapping[str, CpuModel]:
        """CPU models that an administrator has defined, without those that the token may not see; since 9.2."""
        return await self._read("/cluster/qemu/custom-cpu-models", decode_facts.cpu_models)

    async def ha_resource(self, kind: GuestKind, vmid: Vmid) -> HaResource:
        """How PVE HA was told to look after the guest. Raises when it does not. Needs Sys.Audit on /."""
        return await self._read(f"/cluster/ha/resources/{_sid(kind, vmid)}", decode_facts.ha_resource)

    async def ha_rules(self, kind: GuestKind, vmid: Vmid) -> tuple[HaRule, ...]:
        """Rules in force that name the guest, since 9.0. Needs Sys.Audit on /."""
        sid = _sid(kind, vmid)
        return await self._read(
            "/cluster/ha/rules", lambda answer: decode_facts.ha_rules(answer, sid), {"resource": sid}
        )

    async def all_ha_rules(self) -> tuple[HaRule, ...]:
        """Every rule, in force or not, since 9.0. Needs Sys.Audit on /."""
        return await self._read("/cluster/ha/rules", decode_facts.every_ha_rule)

    async def ha_rule(self, name: str) -> tuple[HaRule, str]:
        """One rule as it is now, and the digest that a change of it may name. Raises Rejected(NOT_FOUND)."""
        return await self._read(f"/cluster/ha/rules/{_quoted(name)}", decode_facts.ha_rule)

    async def create_ha_rule(self, rule: HaRule) -> None:
        """Make a rule, which HA follows at once: it may move guests within seconds. Needs Sys.Console on /.

        Raises Rejected when PVE finds that it can't be with the others (pve-ha-manager: PVE/API2/HA/Rules.pm).
        """
        await self._call("POST", self._transport.post, "/cluster/ha/rules", {"rule": rule.name, **_ha_rule(rule)})

    async def change_ha_rule(self, rule: HaRule, *, digest: str) -> None:
        """Give a rule other guests or nodes; it stays of its type. Raises as `create_ha_rule`, Stale(STATE_CHANGED)."""
        params = {**_ha_rule(rule), **({"digest": digest} if digest else {})}
        await self._call("PUT", self._transport.put, f"/cluster/ha/rules/{_quoted(rule.name)}", params)

    async def remove_ha_rule(self, name: str) -> None:
        """Remove a rule; PVE says nothing when there is none."""
        await self._call("DELETE", self._transport.delete, f"/cluster/ha/rules/{_quoted(name)}", None)

    async def ha_resources(self) -> Mapping[str, HaResource]:
        """How PVE HA was told to look after each of its resources, by its name for them (vm:101). Needs Sys.Audit on /."""
        return await self._read("/cluster/ha/resources", decode_facts.ha_resources)

    async def ha_groups(self) -> Mapping[str, tuple[HaRule, bool]]:
        """All groups of PVE 8 as `ha_group` gives one. Needs Sys.Audit on /."""
        return await self._read("/cluster/ha/groups", decode_facts.ha_groups)

    async def ha_group(self, name: str) -> tuple[HaRule, bool]:
        """A group of PVE 8 as a rule, and whether it has failback. Needs Sys.Audit on /."""
        return await self._read(f"/cluster/ha/groups/{_quoted(name)}", decode_facts.ha_group)

    async def options(self) -> ClusterOptions:
        """Datacenter settings about migrations. Without Sys.Audit on / PVE leaves them out."""
        return await self._read("/cluster/options", decode.options)

    # Nodes

    async def node_version(self, node: NodeName) -> tuple[int, ...]:
        """pve-manager's version on `node`."""
        return await self._read(f"/nodes/{_quoted(node)}/version", _version)

    async def node_time(self, node: NodeName) -> NodeTime:
        """The node's own clock and zone."""
        return await self._read(f"/nodes/{_quoted(node)}/time", _time)

    async def node_status(self, node: NodeName) -> Node:
        """Memory and CPU of the node right now, by its own word. Says nothing about HA."""
        return await self._read(f"/nodes/{_quoted(node)}/status", lambda answer: decode.node_status(answer, node))

    async def machines(self, node: NodeName) -> frozenset[str]:
        """Versions of QEMU's machines that `node` can run, such as `pc-q35-9.2+pve1`."""
        return await self._read(f"/nodes/{_quoted(node)}/capabilities/qemu/machines", decode_facts.machines)

    async def takes_conntrack(self, node: NodeName) -> bool:
        """Whether `node` can migrate connection tracking along (`has-dbus-vmstate`), since 9.0.

        Needs Sys.Audit on the node. Raises Rejected(NOT_SUPPORTED) on 8.x.
        """
        path = f"/nodes/{_quoted(node)}/capabilities/qemu/migration"
        return await self._read(path, lambda answer: flag(record(answer).get("has-dbus-vmstate")))

    async def node_storages(self, node: NodeName) -> tuple[Storage, ...]:
        """Storages that are enabled on `node`, right now. PVE activates them all: a dead one holds the answer up."""
        path = f"/nodes/{_quoted(node)}/storage"
        return await self._read(path, lambda answer: decode_facts.storages(answer, node), {"enabled": True})

    async def networks(self, node: NodeName) -> frozenset[str]:
        """Bridges and VNets of `node`, without those that the token may not see (SDN.Audit)."""
        path = f"/nodes/{_quoted(node)}/network"
        return await self._read(path, decode_facts.networks, {"type": "any_bridge"})

    # Guests

    async def job_states(self, node: NodeName, vmid: Vmid) -> tuple[JobState, ...]:
        """Replication jobs of a guest that is on `node`. PVE takes the cluster's lock for this: not for every second."""
        path = f"/nodes/{_quoted(node)}/replication"
        return await self._read(path, decode_facts.job_states, {"guest": vmid})

    async def replication_states(self, node: NodeName, *, at: float) -> tuple[ReplicationState, ...]:
        """How all jobs of guests on `node` stand. at: epoch seconds of our clock, noted in the answer.

        PVE takes the cluster's lock for this, also to turn round the jobs of guests that came without a migration; without
        quorum it waits 10 s in vain (pve-manager: PVE/API2/Replication.pm): seldom, and one node after the other.
        """
        path = f"/nodes/{_quoted(node)}/replication"
        return await self._read(path, lambda answer: decode_facts.replication_states(answer, node, at))

    async def replication_log(self, node: NodeName, job_id: str) -> tuple[str, ...]:
        """The log of the job's last run on `node`, up to LOG_PAGES pages: what went wrong stands at its end."""
        found: tuple[str, ...] = ()
        for _ in range(LOG_PAGES):
            lines, _ = await self.job_log(node, job_id, len(found))
            found += lines
            if len(lines) < LOG_PAGE:
                break
        return found

    async def pending(self, node: NodeName, kind: GuestKind, vmid: Vmid) -> Mapping[str, str]:
        """Changes of the config that wait for a cold start: key -> new value, "" = removed."""
        return await self._read(f"{_guest(node, kind, vmid)}/pending", decode_facts.pending)

    async def guest_setup(
        self, node: NodeName, kind: GuestKind, vmid: Vmid, *, read_at: float
    ) -> tuple[GuestConfig, Setup]:
        """As `guest_config`, with all that matters right before a move, in one call."""
        path = f"{_guest(node, kind, vmid)}/config"
        return await self._read(
            path,
            lambda answer: (
                decode_guest.guest_config(answer, kind, vmid, read_at=read_at),
                decode_facts.setup(answer, kind),
            ),
            {"current": True},
        )

    async def guest_status(self, node: NodeName, kind: GuestKind, vmid: Vmid) -> Guest:
        """The guest right now. Raises Stale(GUEST_MOVED) when its config is not on `node`."""
        path = f"{_guest(node, kind, vmid)}/status/current"
        return await self._read(path, lambda answer: decode_guest.guest_status(answer, node, kind, vmid))

    async def guest_config(self, node: NodeName, kind: GuestKind, vmid: Vmid, *, read_at: float = 0.0) -> GuestConfig:
        """The config in force (pending changes left out). read_at: epoch seconds, noted in the answer."""
        path = f"{_guest(node, kind, vmid)}/config"
        return await self._read(
            path, lambda answer: decode_guest.guest_config(answer, kind, vmid, read_at=read_at), {"current": True}
        )

    async def preconditions(self, node: NodeName, kind: GuestKind, vmid: Vmid) -> Preconditions | None:
        """PVE's own verdict about moving the guest; None where PVE has no such call (containers before 9.0).

        Raises Busy while the guest is locked and Retry without quorum: PVE refuses to say anything then.
        """
        try:
            return await self._read(f"{_guest(node, kind, vmid)}/migrate", decode_guest.preconditions)
        except Rejected as error:
            if error.why is Why.NOT_SUPPORTED:
                return None
            raise

    async def migrate(
        self, node: NodeName, kind: GuestKind, vmid: Vmid, target: NodeName, options: MoveOptions, *, running: bool
    ) -> Upid:
        """Start moving the guest from `node` to `target`; returns PVE's task, which has only begun.

        Raises Ambiguous when the task may exist although no answer tells its id: observe, never call again.
        """
        path = f"{_guest(node, kind, vmid)}/migrate"
        answer = await self._call(
            "POST", self._transport.post, path, migrate_params(kind, target, options, running=running)
        )
        try:
            return parse(text(answer)).upid
        except UpidError as error:
            raise Ambiguous(Why.ANSWER_LOST, f"POST {path}: {error}") from None

    async def shut_down(self, node: NodeName, kind: GuestKind, vmid: Vmid) -> None:
        """Ask a guest to shut down; PVE waits for it, and never stops it by force. PVE HA is told for those it looks after.

        Needs VM.PowerMgmt. Whatever is wrong with the guest ends the task, not the call (qemu-server: PVE/API2/Qemu.pm).
        """
        await self._call("POST", self._transport.post, f"{_guest(node, kind, vmid)}/status/shutdown", None)

    async def start(self, node: NodeName, kind: GuestKind, vmid: Vmid) -> None:
        """Ask for a guest to be started, through PVE HA where that looks after it. Needs VM.PowerMgmt; as `shut_down`."""
        await self._call("POST", self._transport.post, f"{_guest(node, kind, vmid)}/status/start", None)

    async def ping_agent(self, node: NodeName, vmid: Vmid) -> None:
        """Ask the guest agent of a running VM for a sign of life; PVE waits 3 s for it (qemu-server: PVE/QMPClient.pm).

        Raises whatever PVE says when there is none. Needs VM.GuestAgent.Audit on the guest, VM.Monitor before 9.0.
        """
        await self._call("POST", self._transport.post, f"{_guest(node, GuestKind.QEMU, vmid)}/agent/ping", None)

    async def monitor(self, node: NodeName, vmid: Vmid, command: str) -> str:
        """What QEMU answers to a command of its monitor. Needs what `pve.monitor` names (qemu-server: PVE/API2/Qemu.pm)."""
        path = f"{_guest(node, GuestKind.QEMU, vmid)}/monitor"
        return text(await self._call("POST", self._transport.post, path, {"command": command}))

    async def set_drives(self, node: NodeName, vmid: Vmid, drives: Mapping[str, str], *, digest: str) -> None:
        """Change what is in CD drives of a VM. Needs VM.Config.CDROM; PVE checks that volumes exist.

        Raises Stale(STATE_CHANGED) when the config is not the one of `digest` any more (qemu-server: PVE/API2/Qemu.pm).
        """
        path = f"{_guest(node, GuestKind.QEMU, vmid)}/config"
        await self._call("PUT", self._transport.put, path, {**drives, "digest": digest})

    # Replication jobs

    async def replication_job(self, job_id: str) -> tuple[ReplicationJob, str]:
        """One job as it is configured now, and the digest that a change of it may name. Raises Rejected(NOT_FOUND)."""
        return await self._read(_job(job_id), decode.replication_job)

    async def create_job(
        self,
        job_id: str,
        target: NodeName,
        *,
        source: NodeName,
        schedule: str,
        rate_mb_s: float | None,
        comment: str,
    ) -> None:
        """Make a job; PVE compares `source` with where the guest is, and knows nothing of the target's storages and state.

        Raises Stale(JOB_EXISTS) when there is one of this id or to this target, Rejected(NOT_REPLICABLE) for a volume that no
        job can copy, Stale(GUEST_GONE, GUEST_MOVED). Needs Datastore.Allocate on /storage before 9.0, VM.Replicate on the guest
        since (pve-manager: PVE/API2/ReplicationConfig.pm).
        """
        params: dict[str, Param] = {"id": job_id, "type": "local", "target": target, "source": source}
        params |= {"schedule": schedule, "comment": comment}
        params |= {} if rate_mb_s is None else {"rate": rate_mb_s}
        await self._call("POST", self._transport.post, "/cluster/replication", params)

    async def change_job(
        self, job_id: str, values: Mapping[str, Param], *, delete: Collection[str] = (), digest: str = ""
    ) -> None:
        """Change keys of a job and take others away; target and type are fixed. PVE calls a job without `disable` enabled.

        Raises Stale(STATE_CHANGED) when the jobs are not those of `digest` any more, Rejected(NOT_FOUND).
        """
        params = dict(values)
        params |= {"delete": ",".join(sorted(delete))} if delete else {}
        params |= {"digest": digest} if digest else {}
        await self._call("PUT", self._transport.put, _job(job_id), params)

    async def remove_job(self, job_id: str, *, keep_data: bool = False, force: bool = False) -> None:
        """Have a job removed: PVE marks it, and the guest's node cleans up within a minute or when the target is back.

        keep_data: only the snapshots on the source go, the replica stays. force: the entry goes at once, nothing is cleaned up;
        PVE does not take both. Raises Rejected(NOT_FOUND) when there is no such job.
        """
        params: dict[str, Param] = {"force": True} if force else {"keep": True} if keep_data else {}
        await self._call("DELETE", self._transport.delete, _job(job_id), params or None)

    async def sync_now(self, node: NodeName, job_id: str) -> None:
        """Make a job due at the next minute; `node` is where its guest is.

        Raises Busy(GUEST_LOCKED) after 10 s while a run is under way, Rejected(NOT_FOUND) when the guest is elsewhere.
        """
        path = f"/nodes/{_quoted(node)}/replication/{_quoted(job_id)}/schedule_now"
        await self._call("POST", self._transport.post, path, None)

    async def job_log(self, node: NodeName, job_id: str, start: int = 0) -> tuple[tuple[str, ...], int]:
        """Up to LOG_PAGE lines of the last run of a job on `node`, from line `start`, and the start of the next read."""
        path = f"/nodes/{_quoted(node)}/replication/{_quoted(job_id)}/log"
        lines = await self._read(path, tasklog.real_lines, {"start": start, "limit": LOG_PAGE})
        return lines, start + len(lines)

    # Tasks

    async def node_tasks(
        self, node: NodeName, *, vmid: Vmid | None = None, source: str = "archive", since: int | None = None
    ) -> tuple[Task, ...]:
        """Tasks of one node, newest end first. source: `archive` (finished), `active` or `all`. since: epoch by its clock."""
        params: dict[str, Param] = {"source": source, "limit": TASKS_PAGE}
        params |= {} if vmid is None else {"vmid": vmid}
        params |= {} if since is None else {"since": since}
        return await self._read(f"/nodes/{_quoted(node)}/tasks", decode.tasks, params)

    async def task_status(self, upid: Upid) -> Task:
        """The task by its node's word. Raises Rejected(NOT_FOUND) for a task the node no longer knows."""
        return await self._read(f"{_task(upid)}/status", decode.task_status)

    async def task_log(self, upid: Upid, start: int = 0) -> tuple[tuple[str, ...], int]:
        """Up to LOG_PAGE lines from line `start` (0 = the first), and the start of the next read."""
        lines = await self._read(f"{_task(upid)}/log", tasklog.real_lines, {"start": start, "limit": LOG_PAGE})
        return lines, start + len(lines)

    async def stop_task(self, upid: Upid) -> None:
        """Ask PVE to stop the task; the call takes up to 5 s, and a migration cleans up after itself."""
        await self._call("DELETE", self._transport.delete, _task(upid), None)

    # The wire

    async def _read(self, path: str, decoded: Callable[[Json], Noun], params: Params | None = None) -> Noun:
        answer = await self._call("GET", self._transport.get, path, params)
        try:
            return decoded(answer)
        except DecodeError as error:
            raise Retry(Why.PVE_ERROR, f"GET {path}: {error}") from None

    async def _call(
        self, method: str, call: Callable[[str, Params | None], Awaitable[Json]], path: str, params: Params | None
    ) -> Json:
        try:
            return await call(path, params)
        except HttpFailure as failure:
            raise translate(failure, method=method, path=path) from failure


def migrate_params(kind: GuestKind, target: NodeName, options: MoveOptions, *, running: bool) -> dict[str, Param]:
    """Parameters of a migration; any key that the node does not know makes PVE refuse the whole call.

    A VM takes `online` and `with-local-disks`, a container `restart` (it stops, moves and starts). bwlimit is in KiB/s.
    """
    params: dict[str, Param] = {"target": target}
    if kind is GuestKind.QEMU:
        params |= {"online": True} if running and options.online else {}
        params |= {"with-local-disks": True} if options.with_local_disks else {}
        params |= {"targetstorage": options.target_storage} if options.target_storage else {}
        params |= {"with-conntrack-state": True} if running and options.conntrack else {}
    elif running and options.restart:
        params |= {"restart": True}
    if kind is GuestKind.LXC and options.target_storage:
        params["target-storage"] = options.target_storage
    if options.bandwidth_limit_mib_s:
        params |= {"bwlimit": options.bandwidth_limit_mib_s * 1024}
    return params


def _version(answer: Json) -> tuple[int, ...]:
    return decode.version(text(record(answer).get("version")))


def _time(answer: Json) -> NodeTime:
    row = record(answer)
    epoch = integer(row.get("time"))
    if epoch is None:
        raise DecodeError("a node's time without a time")
    return NodeTime(epoch, text(row.get("timezone")))


def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _guest(node: NodeName, kind: GuestKind, vmid: Vmid) -> str:
    return f"/nodes/{_quoted(node)}/{kind.value}/{vmid}"


def _ha_rule(rule: HaRule) -> dict[str, Param]:
    """Parameters of a rule but its name; PUT wants the type as well."""
    members = ",".join(rule.resources or rule.together or rule.apart)
    if not rule.nodes:
        affinity = "positive" if rule.together else "negative"
        return {"type": "resource-affinity", "resources": members, "affinity": affinity, "comment": rule.comment}
    nodes = ",".join(f"{node}:{priority}" if priority else node for node, priority in rule.nodes.items())
    common: dict[str, Param] = {"type": "node-affinity", "resources": members, "nodes": nodes}
    return {**common, "strict": rule.strict, "comment": rule.comment}


def _job(job_id: str) -> str:
    return f"/cluster/replication/{_quoted(job_id)}"


def _sid(kind: GuestKind, vmid: Vmid) -> str:
    return f"{'ct' if kind is GuestKind.LXC else 'vm'}:{vmid}"


def _task(upid: Upid) -> str:
    """Where the task's node answers for it. Raises Rejected when `upid` is none."""
    try:
        node = parse(upid).node
    except UpidError as error:
        raise Rejected(Why.BAD_REQUEST, str(error)) from None
    return f"/nodes/{_quoted(node)}/tasks/{quote(upid, safe=':@!')}"
