"""Storage replication: jobs, the minute tick of each node's scheduler, the runs, and what a move of the guest does to them.

Driven by the world's clock; asked by `simulator.routes.replication` and by migrations. The rules are those of pve-manager:
PVE/API2/Replication.pm, pve-guest-common: PVE/Replication.pm, ReplicationConfig.pm and ReplicationState.pm.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from controller.simulator import calendar
from controller.simulator.engine import Interrupted, Process, Wait
from controller.simulator.guests import Drive, Guest
from controller.simulator.network import Flow
from controller.simulator.storage import Storage, Volume, storage_of

if TYPE_CHECKING:
    from controller.simulator.world import World

DEFAULT_SCHEDULE = "*/15"
LOCK_PATIENCE = 2.0
PREPARE, SEND_START, FINALIZE = 3.0, 2.0, 3.0
"""Fixed seconds of a run: ssh to the target, the start of a send, tidying up there; 7 to 12 in all on a real cluster."""
STREAM_OVERHEAD = 624
"""Bytes of an incremental stream without changes, as `zfs send` estimates it."""
_MINUTE = 60.0


class ReplicationFailed(Exception):  # noqa: N818 - the text of PVE's `die`, kept in the job's `error`
    """A run gave up."""


@dataclass(slots=True)
class State:
    """What a node knows of a job it ran; lives on that node alone. Moments are epoch seconds, 0 = never."""

    last_sync: int = 0
    last_try: int = 0
    fail_count: int = 0
    duration: float | None = None
    error: str = ""
    pid: int = 0
    last_pass: float = 0.0
    log: list[str] = field(default_factory=list)
    sending: "Sending | None" = None


@dataclass(slots=True)
class Sending:
    """A stream under way, of which `zfs send` tells every second; the lines are written when somebody reads them."""

    flow: Flow
    dataset: str
    told_at: float
    told_bytes: float = 0.0


@dataclass(slots=True)
class Run:
    """One synchronisation: its job, where it tells, whose state it keeps, and who owns its streams."""

    job: dict[str, Any]
    log: Callable[[str], None]
    state: State
    owner: object
    snapshot: str = ""


class Replication:
    """All replication of one cluster. Sleeps until there is a first job."""

    def __init__(self, world: "World", jobs: dict[str, dict[str, Any]]) -> None:
        self._world = world
        self.jobs = jobs
        self._states: dict[tuple[str, str], State] = {}
        self._running: dict[str, Process] = {}
        self._snapshots: dict[tuple[str, str], set[str]] = {}
        self._ticking = False
        for job in jobs.values():
            job.setdefault("source", world.guests[job["guest"]].node)
        if jobs:
            self.wake()

    # -- what the API tells

    def state(self, node: str, ident: str) -> State:
        """Return the state of a job on a node."""
        return self._states.setdefault((node, ident), State())

    def on_node(self, node: str) -> list[dict[str, Any]]:
        """Return the jobs whose guest is on a node now; repairs those of guests that came without a migration."""
        self._fix_stolen(node)
        return [job for job in self.jobs.values() if self._belongs(job, node)]

    def _belongs(self, job: dict[str, Any], node: str) -> bool:
        guest = self._world.guests.get(job["guest"])
        return guest is not None and guest.node == node and job["target"] != node

    def _fix_stolen(self, node: str) -> None:
        for job in self.jobs.values():
            guest = self._world.guests.get(job["guest"])
            if guest is not None and guest.node == node and job.get("source") != node:
                self._switch(job, job.get("source", ""), node)

    @staticmethod
    def _switch(job: dict[str, Any], old: str, new: str) -> None:
        if job["target"] == new:
            job["target"] = old
        job["source"] = new

    def row(self, node: str, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job as its node lists it."""
        state = self.state(node, job["id"])
        guest = self._world.guests[job["guest"]]
        row = {key: value for key, value in job.items() if value != ""}
        row |= {"vmtype": guest.type, "next_sync": self.next_sync(job, state)}
        row |= {"last_sync": state.last_sync, "last_try": state.last_try, "fail_count": state.fail_count}
        if state.duration is not None:
            row["duration"] = state.duration
        if state.error:
            row["error"] = state.error
        if state.pid:
            row["pid"] = state.pid
        return row

    def next_sync(self, job: dict[str, Any], state: State) -> int:
        """Return when a job is due: an event after the last try, a retry after a failure, 1 for a removal, 0 for not at all."""
        if "remove_job" in job:
            return 1
        if state.fail_count:
            if job["target"] not in self._world.nodes or not self._world.online(job["source"], job["target"]):
                return 0
            return state.last_try + 60 * (5 * state.fail_count if state.fail_count <= 3 else 30)
        return calendar.parse(str(job.get("schedule", DEFAULT_SCHEDULE))).next_after(state.last_try)

    def replicated(self, guest: Guest) -> list[Drive]:
        """Return the drives that a job copies; raises ReplicationFailed for a volume that none can."""
        found = []
        for drive in [*guest.drives(), *guest.unused()]:
            if drive.cdrom or not drive.replicate or drive.volid == "none":
                continue
            storage = self._world.storages.get(storage_of(drive.volid))
            if storage is None:
                raise ReplicationFailed(f"unable to replicate local file/device '{drive.volid}'")
            if storage.shared:
                continue
            if storage.type != "zfspool":
                raise ReplicationFailed(f"missing replicate feature on volume '{drive.volid}'")
            found.append(drive)
        return found

    def log(self, node: str, ident: str) -> list[str]:
        """Return the log of the last run of a job on a node, with how far a stream is by now."""
        state = self.state(node, ident)
        if state.sending is not None and state.pid:
            self._tell(node, ident, state, state.sending)
        return state.log

    def _tell(self, node: str, ident: str, state: State, sending: Sending) -> None:
        """One line per second since the last reading; in between the stream is taken to have flowed evenly."""
        self._world.network.settle()
        seconds = int(self._world.now - sending.told_at)
        gained = sending.flow.sent - sending.told_bytes
        for second in range(1, seconds + 1):
            moment = sending.told_at + second
            sent = sending.told_bytes + gained * second / seconds
            clock = self._stamp(node, moment)
            line = f"{clock.partition(' ')[2]}   {_zfs_size(sent):>6}   {sending.dataset}"
            state.log.append(f"{clock} {ident}: {line}")
        if seconds:
            sending.told_at, sending.told_bytes = sending.told_at + seconds, sending.flow.sent

    def job_to(self, guest: Guest, target: str) -> dict[str, Any] | None:
        """Return the guest's job towards a node."""
        return next((job for job in self.jobs.values() if job["guest"] == guest.vmid and job["target"] == target), None)

    # -- time

    def wake(self) -> None:
        """Begin the minute ticks; called whenever a job is added or changed."""
        if not self._ticking:
            self._ticking = True
            self._world.at(self._world.now // _MINUTE * _MINUTE + _MINUTE, self._tick)

    def _tick(self) -> None:
        if not self.jobs:
            self._ticking = False
            return
        self._world.after(_MINUTE, self._tick)
        for name, node in self._world.nodes.items():
            working = self._running.get(name)
            if not node.powered or not self._world.quorate(name) or (working is not None and working.alive):
                continue
            if any(self._due(name, job) for job in self.on_node(name)):
                self._running[name] = Process(self._world.engine, self._pass(name), lambda _failure: None)
                self._running[name].start()

    def _due(self, node: str, job: dict[str, Any]) -> bool:
        moment = self.next_sync(job, self.state(node, job["id"]))
        return bool(moment) and moment <= self._world.now and ("remove_job" in job or not job.get("disable"))

    def _pass(self, node: str) -> Generator[Wait, Any, None]:
        """One process: every due job once, one after another."""
        begin = self._world.now
        pid = self._world.nodes[node].pid()
        while True:
            due = [
                job
                for job in self.on_node(node)
                if self._due(node, job) and self.state(node, job["id"]).last_pass < begin
            ]
            if not due or not self._world.nodes[node].powered:
                return
            job = min(due, key=lambda job: self._rank(node, job))
            self.state(node, job["id"]).last_pass = self._world.now
            yield from self._job(node, job, pid)

    def _rank(self, node: str, job: dict[str, Any]) -> tuple[float, int, int, str]:
        state = self.state(node, job["id"])
        return (state.last_pass, self.next_sync(job, state), job["guest"], job["id"])

    def _job(self, node: str, job: dict[str, Any], pid: int) -> Generator[Wait, Any, None]:
        world, guest = self._world, self._world.guests[job["guest"]]
        waited = 0.0
        while guest.busy or guest.replicating:
            if waited >= LOCK_PATIENCE:
                return
            yield 0.5
            waited += 0.5
        state = self.state(node, job["id"])
        begin = world.now
        state.pid, state.last_try, state.log = pid, int(begin), []
        guest.replicating = True

        def log(text: str) -> None:
            state.log.append(f"{self._stamp(node)} {job['id']}: {text}")

        error = ""
        try:
            if "remove_job" in job:
                yield from self._remove(node, job, log)
            else:
                yield from self.sync(Run(job, log, state, state))
        except (ReplicationFailed, Interrupted) as failure:
            error = str(failure)
            log(f"end replication job with error: {error}")
        guest.replicating = False
        self._finished(node, job, state, begin, error)

    def _finished(self, node: str, job: dict[str, Any], state: State, begin: float, error: str) -> None:
        world = self._world
        state.pid, state.duration, state.error = 0, round(world.now - begin, 6), error
        state.fail_count = state.fail_count + 1 if error else 0
        if not error:
            state.last_sync = int(begin)
        if job["id"] in self.jobs:
            world.log("replication", job=job["id"], source=node, target=job["target"], error=error or None)

    def _stamp(self, node: str, moment: float | None = None) -> str:
        zone = ZoneInfo(self._world.nodes[node].file.timezone)
        return datetime.fromtimestamp(self._world.now if moment is None else moment, tz=zone).strftime(
            "%Y-%m-%d %H:%M:%S"
        )

    # -- one run

    def sync(self, run: Run) -> Generator[Wait, Any, None]:
        """Copy what changed to the target of a job and tell it to the run's log; raises ReplicationFailed."""
        world, job, log = self._world, run.job, run.log
        guest = world.guests[job["guest"]]
        source, target, begin = guest.node, job["target"], int(world.now)
        volumes = [drive.volid for drive in self.replicated(guest)]
        log("start replication job")
        log(
            f"guest => {'CT' if guest.type == 'lxc' else 'VM'} {guest.vmid}, running => {guest.pid if guest.running else 0}"
        )
        log(f"volumes => {','.join(volumes)}")
        yield PREPARE * world.random.uniform(0.8, 1.2)
        self._prepare(run, volumes)
        bases = {volid: self._base(job, volid, source, target) for volid in volumes}
        run.snapshot = f"__replicate_{job['id']}_{begin}__"
        for volid in volumes:
            log(f"create snapshot '{run.snapshot}' on {volid}")
            self._snaps(source, volid).add(run.snapshot)
        rate = job.get("rate")
        log(f"using secure transmission, rate limit: {f'{rate} MByte/s' if rate else 'none'}")
        try:
            for volid in volumes:
                yield from self._send(run, volid, bases[volid])
        except (ReplicationFailed, Interrupted):
            for volid in volumes:
                self._snaps(source, volid).discard(run.snapshot)
            raise
        old = {volid: base for volid, base in bases.items() if base and f"_{job['id']}_" in base}
        for volid, base in old.items():
            log(f"delete previous replication snapshot '{base}' on {volid}")
            self._snaps(source, volid).discard(base)
        yield FINALIZE * world.random.uniform(0.8, 1.2)
        for volid, base in old.items():
            log(f"(remote_finalize_local_job) delete stale replication snapshot '{base}' on {volid}")
            self._snaps(target, volid).discard(base)
        log("end replication job")

    def _prepare(self, run: Run, volumes: list[str]) -> None:
        world, job = self._world, run.job
        guest, target = world.guests[job["guest"]], job["target"]
        if target not in world.nodes:
            raise ReplicationFailed(f"hostname lookup '{target}' failed - failed to get address info")
        ssh = (
            f"/usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={target}'"
            f" -o 'UserKnownHostsFile=/etc/pve/nodes/{target}/ssh_known_hosts'"
            f" -o 'GlobalKnownHostsFile=none' root@{world.nodes[target].ip}"
        )
        arguments = f"{job['id']} {' '.join(volumes)} --last_sync {run.state.last_sync}"
        failed = f"command '{ssh} -- pvesr prepare-local-job {arguments}' failed: exit code 255"
        if not world.connected(guest.node, target):
            raise ReplicationFailed(failed)
        for volid in volumes:
            name = storage_of(volid)
            if not world.storages[name].active(target):
                run.log(f"(remote_prepare_local_job) storage '{name}' is not available on node '{target}'")
                raise ReplicationFailed(failed)

    def _base(self, job: dict[str, Any], volid: str, source: str, target: str) -> str:
        """The newest snapshot that both sides have, "" when the target has no such volume yet."""
        common = self._snaps(source, volid) & self._snaps(target, volid)
        if common:
            own = {name for name in common if f"_{job['id']}_" in name}
            return max(own or common, key=_moment)
        if volid in self._storage(volid).place(target):
            raise ReplicationFailed(
                f"No common base snapshot on volume(s) {volid}\nPlease remove the problematic volume(s) from the target"
            )
        return ""

    def _send(self, run: Run, volid: str, base: str) -> Generator[Wait, Any, None]:
        world, job, log, snapshot = self._world, run.job, run.log, run.snapshot
        guest, target = world.guests[job["guest"]], job["target"]
        storage = self._storage(volid)
        volume = storage.place(guest.node)[volid]
        size = self._changed(guest, volume, base) if base else volume.used
        log(f"incremental sync '{volid}' ({base} => {snapshot})" if base else f"full sync '{volid}' ({snapshot})")
        ceiling = float(world.nodes[guest.node].file.ssh)
        if rate := job.get("rate"):
            ceiling = min(ceiling, float(rate) * 1_000_000)
            log(
                f"using a bandwidth limit of {int(float(rate) * 1_000_000)} bytes per second for transferring '{volid}'"
            )
        yield SEND_START * world.random.uniform(0.8, 1.2)
        dataset = f"{storage.config.get('pool', 'rpool/data')}/{volid.partition(':')[2]}@{snapshot}"
        log(f"{f'send from @{base} to' if base else 'full send of'} {dataset} estimated size is {_zfs_size(size)}")
        log(f"total estimated size is {_zfs_size(size)}")
        log(f"TIME        SENT   SNAPSHOT {dataset}")
        export = f"set -o pipefail && pvesm export {volid} zfs - -with-snapshots 1 -snapshot {snapshot}"
        if storage.used(target) + size > storage.size:
            stream = "incremental" if base else "new filesystem"
            log(f"cannot receive {stream} stream: out of space")
            raise ReplicationFailed(f"command '{export}' failed: exit code 1")
        flow = world.network.start(guest.node, target, float(size), ceiling, run.owner)
        run.state.sending = Sending(flow, dataset, world.now)
        arrived = yield flow.done
        self._tell(guest.node, job["id"], run.state, run.state.sending)
        run.state.sending = None
        if arrived is False:
            raise ReplicationFailed(f"command '{export}' failed: exit code 255")
        log(f"successfully imported '{volid}'")
        storage.place(target)[volid] = replace(volume)
        # A stream of ZFS brings every snapshot along and destroys what the sender has not: those of other jobs, too
        # (pve-storage: PVE/Storage/ZFSPoolPlugin.pm, volume_export). So all copies of a volume have one in common.
        self._snapshots[(target, volid)] = set(self._snaps(guest.node, volid))
        run.state.last_sync = _moment(snapshot)

    def _changed(self, guest: Guest, volume: Volume, base: str) -> int:
        seconds = max(0.0, self._world.now - _moment(base))
        written = guest.written * min(seconds, self._world.now - guest.started_at) if guest.running else 0.0
        return min(volume.used, int(written) + STREAM_OVERHEAD)

    def _storage(self, volid: str) -> Storage:
        return self._world.storages[storage_of(volid)]

    def _snaps(self, node: str, volid: str) -> set[str]:
        return self._snapshots.setdefault((node, volid), set())

    def _remove(self, node: str, job: dict[str, Any], log: Callable[[str], None]) -> Generator[Wait, Any, None]:
        """Carry out a removal: the replica goes when it is `full`, the guest's own snapshots always, then the entry."""
        world, target = self._world, job["target"]
        log("start replication job")
        yield PREPARE * world.random.uniform(0.8, 1.2)
        if job["remove_job"] == "full":
            if target not in world.nodes or not world.connected(node, target):
                raise ReplicationFailed(f"command '/usr/bin/ssh root@{target}' failed: exit code 255")
            for volid in self._volumes_of(job):
                if not any(f"__replicate_{job['id']}_" in name for name in self._snaps(target, volid)):
                    continue  # what has no snapshot of this job is not its copy (pve-manager: PVE/CLI/pvesr.pm)
                self._storage(volid).place(target).pop(volid, None)
                self._snapshots.pop((target, volid), None)
                log(f"(remote_prepare_local_job) delete stale volume '{volid}'")
        for volid in self._volumes_of(job):
            names = self._snaps(node, volid)
            names.difference_update([name for name in names if f"__replicate_{job['id']}_" in name])
        log("job removed")
        self.drop(job["id"])

    def _volumes_of(self, job: dict[str, Any]) -> Iterator[str]:
        for drive in self._world.guests[job["guest"]].drives():
            storage = self._world.storages.get(storage_of(drive.volid))
            if storage is not None and storage.type == "zfspool":
                yield drive.volid

    def drop(self, ident: str) -> None:
        """Forget a job and its states at once, cleaning nothing."""
        self.jobs.pop(ident, None)
        for key in [key for key in self._states if key[1] == ident]:
            del self._states[key]

    def crashed(self, node: str) -> None:
        """The node lost power: what it was sending is over, and what it knew of its jobs stays as it was."""
        working = self._running.pop(node, None)
        if working is not None:
            working.kill()
        for job in self.jobs.values():
            state, guest = self.state(node, job["id"]), self._world.guests.get(job["guest"])
            if state.pid:
                self._world.network.release(state)
                state.pid, state.sending = 0, None
                if guest is not None:
                    guest.replicating = False

    # -- moves of the guest

    def before_move(
        self, guest: Guest, target: str, log: Callable[[str], None], owner: object
    ) -> Generator[Wait, Any, list[str]]:
        """Run the job towards the target of a migration, if there is one; returns the volumes that need no other copy.

        Raises ReplicationFailed.
        """
        job = self.job_to(guest, target)
        if job is None:
            return []
        log("replicating disk images")
        state = self.state(guest.node, job["id"])
        begin = self._world.now
        state.last_try = int(begin)
        yield from self.sync(Run(job, log, state, owner))
        state.last_sync, state.fail_count, state.error = int(begin), 0, ""
        state.duration = round(self._world.now - begin, 6)
        return [drive.volid for drive in self.replicated(guest)]

    def moved(self, guest: Guest, source: str, target: str, copied: dict[str, str]) -> None:
        """Follow a finished migration: jobs get their new source, the one to the new node turns round, states go along.

        copied: volumes that went with their snapshots (an offline copy of ZFS), old name to new.
        """
        for old, new in copied.items():
            if self._storage(old).type == "zfspool" and not guest.running:
                self._snapshots[(target, new or old)] = set(self._snaps(source, old))
            self._snapshots.pop((source, old), None)
        for job in self.jobs.values():
            if job["guest"] != guest.vmid or (guest.type == "lxc" and job["target"] != target):
                continue
            self._switch(job, source, target)
            if (source, job["id"]) in self._states:
                self._states[(target, job["id"])] = self._states.pop((source, job["id"]))


def _moment(snapshot: str) -> int:
    """When a replication snapshot was made, epoch seconds."""
    return int(snapshot.rstrip("_").rpartition("_")[2])


def _zfs_size(size: float) -> str:
    for unit in ("B", "K", "M", "G"):
        if size < 1024 or unit == "G":
            return f"{size:.0f}{unit}" if unit in ("B", "K") else f"{size:.2f}{unit}"
        size /= 1024
    raise AssertionError("unreachable")
