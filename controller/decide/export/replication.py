"""ReplicationPolicies from the replication jobs that are there. Called by `export.manifests`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from controller.decide.export.document import Document, Names, Value
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest, Observed, ReplicationJob
from controller.model.replication import DEFAULT_SCHEDULE, is_for_move, owner_of

FILE = "replication.yaml"
_Key = tuple[tuple[NodeName, ...], str, float | None, bool, str]


def from_jobs(seen: Observed, names: Names, left_out: list[str]) -> Iterator[Document]:
    """A policy for guests whose jobs say the same.

    It names a guest's own node and its targets as one set: when a guest moves to its replica, PVE turns the job round, and the
    policy still holds.
    """
    groups: dict[_Key, list[Vmid]] = defaultdict(list)
    for vmid, jobs in _by_guest(seen).items():
        guest = seen.guests.get(vmid)
        key = _key(guest, jobs) if guest is not None else f"guest {vmid} has replication jobs and is not there"
        if isinstance(key, str):
            left_out.append(f"{key}: no policy says it")
        else:
            groups[key].append(vmid)
    for (nodes, schedule, rate, enabled, owner), members in sorted(groups.items(), key=_order):
        spec: dict[str, Value] = {
            "guestSelector": {"vmids": [int(vmid) for vmid in members]},
            "targets": {"nodes": [str(node) for node in nodes]},
            "adoptExisting": True,
        }
        spec |= {"schedule": schedule} if schedule != DEFAULT_SCHEDULE else {}
        spec |= {"rateMBps": rate} if rate is not None else {}
        spec |= {} if enabled else {"enabled": False}
        jobs_ = f"The replication jobs of {len(members)} guest{'s' if len(members) > 1 else ''} on {', '.join(nodes)}."
        note = "adoptExisting lets Drover change them when this policy is changed; deletionPolicy Orphan never removes one."
        name = names.of(owner or "-".join(["replicate", *map(str, nodes)]))
        yield Document(FILE, "ReplicationPolicy", name, spec, (jobs_, note))


def _order(item: tuple[_Key, list[Vmid]]) -> tuple[list[str], str, float, bool, str]:
    nodes, schedule, rate, enabled, owner = item[0]
    return [str(node) for node in nodes], schedule, rate or 0.0, enabled, owner


def _by_guest(seen: Observed) -> dict[Vmid, list[ReplicationJob]]:
    found: dict[Vmid, list[ReplicationJob]] = defaultdict(list)
    for job in seen.jobs:
        if not job.removing and not is_for_move(job.comment):
            found[job.vmid].append(job)
    return dict(sorted(found.items()))


def _key(guest: Guest, jobs: Sequence[ReplicationJob]) -> _Key | str:
    """What the jobs of a guest say; a sentence where one policy can't say it."""
    if any(job.target == guest.node or job.source not in (None, guest.node) for job in jobs):
        return f"the replication jobs of {guest} are just being turned round"
    says = {(job.schedule, job.rate_mb_s, not job.disabled, owner_of(job.comment) or "") for job in jobs}
    if len(says) > 1:
        return f"the replication jobs of {guest} differ in schedule, rate, owner or whether they are enabled"
    schedule, rate, enabled, owner = next(iter(says))
    if rate is not None and rate < 1:
        return f"a replication job of {guest} is limited to {rate:g} MB/s, less than a policy can say"
    return tuple(sorted({guest.node, *(job.target for job in jobs)})), schedule, rate, enabled, owner
