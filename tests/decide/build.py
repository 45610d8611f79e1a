"""Small clusters in few words. Used by all tests of `decide`."""

from collections.abc import Iterable, Mapping
from typing import Any

from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import Flight, FlightPhase, Memory, Origin
from controller.model.observed import Guest, HaNodeState, Node, NodeState, Observed, Power
from controller.model.plan import Lane, Move, MoveOptions
from controller.model.reasons import Why
from controller.specs import (
    MigrationPolicy,
    NodeMaintenance,
    PlacementPolicy,
    PveCluster,
    PveNode,
    ReplicationPolicy,
    Resource,
    Specs,
)

GIB = 1 << 30
NAME = ClusterName("default")
AT = 1_800_000_000.0


def node(name: str, gib: int | None = 64, **more: Any) -> Node:
    return Node(
        name=NodeName(name),
        state=more.pop("state", NodeState.ONLINE),
        ha=more.pop("ha", HaNodeState.NONE),
        memory_bytes=None if gib is None else gib * GIB,
        cpus=more.pop("cpus", 64),
        **more,
    )


def guest(vmid: int, on: str, gib: int | None = 4, **more: Any) -> Guest:
    kind = more.pop("kind", GuestKind.QEMU)
    return Guest(
        identity=more.pop("identity", GuestIdentity(Vmid(vmid), kind, f"ctime:{vmid}")),
        name=more.pop("name", f"g{vmid}"),
        node=NodeName(on),
        power=more.pop("power", Power.RUNNING),
        memory_bytes=None if gib is None else gib * GIB,
        cpus=more.pop("cpus", 1),
        tags=frozenset(more.pop("tags", ())),
        **more,
    )


def seen(nodes: Iterable[Node], guests: Iterable[Guest], **more: Any) -> Observed:
    return Observed(
        cluster=NAME,
        at=more.pop("at", AT),
        quorate=True,
        pve_name="lab",
        nodes={n.name: n for n in nodes},
        guests={g.vmid: g for g in guests},
        **more,
    )


def flight(who: Guest, target: str, **more: Any) -> Flight:
    return Flight(
        id=more.pop("id", 1),
        identity=who.identity,
        name=who.name,
        source=NodeName(more.pop("source", who.node)),
        target=NodeName(target),
        why=more.pop("why", Why.NODE_MAINTENANCE),
        cause=more.pop("cause", ObjectRef("NodeMaintenance", "x")),
        lane=more.pop("lane", Lane.DRAIN),
        memory_bytes=more.pop("memory_bytes", who.memory_bytes or 0),
        options=MoveOptions(online=True),
        was_running=True,
        phase=more.pop("phase", FlightPhase.RUNNING),
        started_at=AT,
        **more,
    )


def origin(who: Guest, home: str, **more: Any) -> Origin:
    return Origin(
        identity=more.pop("identity", who.identity),
        node=NodeName(home),
        maintenance=more.pop("maintenance", ObjectRef("NodeMaintenance", f"label-{home}")),
        since=AT,
        expected=NodeName(more.pop("expected", who.node)),
        **more,
    )


def memory(
    flights: Iterable[Flight] = (),
    origins: Mapping[int, Origin] | None = None,
    backoffs: Mapping[int, Any] | None = None,
) -> Memory:
    return Memory(
        flights={f.vmid: f for f in flights},
        origins={Vmid(v): o for v, o in (origins or {}).items()},
        backoffs={Vmid(v): b for v, b in (backoffs or {}).items()},
    )


# Specs


def cluster(**spec: Any) -> PveCluster:
    given = {"endpoints": ["https://pve1.example:8006"], "auth": {"credentialsRef": "lab"}, "mode": "Enforce"}
    capacity = {"reserveMemoryPercent": 0, **spec.pop("capacity", {})}
    return PveCluster.model_validate({"metadata": {"name": "default"}, "spec": {**given, "capacity": capacity, **spec}})


def pve_node(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> PveNode:
    return PveNode.model_validate({"metadata": {"name": name, "labels": dict(labels or {})}, "spec": spec})


def in_maintenance(name: str, word: str = "true") -> PveNode:
    return pve_node(name, {"drover.dev/maintenance": word})


def maintenance(name: str, on: str, **spec: Any) -> NodeMaintenance:
    return NodeMaintenance.model_validate({"metadata": {"name": name}, "spec": {"nodeName": on, **spec}})


def policy(name: str, selector: Mapping[str, Any] | None = None, **spec: Any) -> PlacementPolicy:
    return PlacementPolicy.model_validate(
        {"metadata": {"name": name}, "spec": {"guestSelector": selector or {}, **spec}}
    )


def apart(name: str, *vmids: int, **rule: Any) -> PlacementPolicy:
    return policy(name, {"vmids": list(vmids)}, keepApart=rule)


def only_on(name: str, nodes: Iterable[str], *vmids: int, **spec: Any) -> PlacementPolicy:
    return policy(name, {"vmids": list(vmids)}, nodeAffinity={"nodes": list(nodes)}, **spec)


def migration(name: str, selector: Mapping[str, Any] | None = None, **spec: Any) -> MigrationPolicy:
    return MigrationPolicy.model_validate(
        {"metadata": {"name": name}, "spec": {"guestSelector": selector or {}, **spec}}
    )


def replication(name: str, **spec: Any) -> ReplicationPolicy:
    return ReplicationPolicy.model_validate(
        {"metadata": {"name": name}, "spec": {"guestSelector": {}, "targets": {"nodes": ["pve2"]}, **spec}}
    )


def specs(*resources: Resource) -> Specs:
    own = any(isinstance(resource, PveCluster) for resource in resources)
    return Specs.of(resources if own else (cluster(), *resources))


def applied(look: Observed, moves: Iterable[Move]) -> Observed:
    """The cluster after the moves have been carried out."""
    guests = dict(look.guests)
    for move in moves:
        old = guests[move.vmid]
        guests[move.vmid] = Guest(
            **{name: getattr(old, name) for name in Guest.__slots__} | {"node": move.target},
        )
    return Observed(**{name: getattr(look, name) for name in Observed.__slots__} | {"guests": guests})
