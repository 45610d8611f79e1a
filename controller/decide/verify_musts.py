"""The second opinion about Musts: whether a move, with all before it in flight, breaks a rule or breaks it further.

Called by `decide.verify`. Reads policies as they are written, not as the planners boil them down.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.decide.selectors import matches
from controller.model.ha_rules import rule_owner
from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed
from controller.model.plan import Move, Plan
from controller.specs import PlacementPolicy, Specs
from controller.specs.placementpolicy import Enforcement, WhenUnsatisfiable
from controller.specs.pvecluster import Coexistence, PveClusterSpec

Places = Mapping[Vmid, set[NodeName]]


def gave_way_rightly(plan: Plan, specs: Specs) -> Iterator[str]:
    """Only the lowest Must of a conflict gives way, of equals the one whose name comes last."""
    for conflict in plan.conflicts:
        policies = [specs.placements.get(ref.name) for ref in conflict.parties if ref.kind == "PlacementPolicy"]
        known = [policy for policy in policies if policy is not None and _is_must(policy)]
        if len(known) < len(policies):
            yield f"{conflict.loser} gives way to something that is no Must"
        elif known and conflict.loser != min(sorted(known, key=_name, reverse=True), key=_priority).ref:
            yield f"{conflict.loser} gives way to a policy that ranks no higher"


def _name(policy: PlacementPolicy) -> str:
    return policy.name


def _priority(policy: PlacementPolicy) -> int:
    return policy.spec.priority


def _is_must(policy: PlacementPolicy) -> bool:
    spec = policy.spec
    soft = spec.spread is not None and spec.spread.when_unsatisfiable is WhenUnsatisfiable.PLACE_ANYWAY
    return spec.enforcement is Enforcement.MUST and not spec.suspend and not soft


@dataclass(frozen=True, slots=True)
class Ground:
    """The labels of all nodes, and those nodes that take guests at this moment."""

    labels: Mapping[NodeName, Mapping[str, str]]
    accepting: frozenset[NodeName]


class Musts:
    """The Musts in force, asked about one move after the other."""

    def __init__(self, plan: Plan, specs: Specs, seen: Observed, memory: Memory, ground: Ground) -> None:
        self._seen, self._labels, self._accepting = seen, ground.labels, ground.accepting
        self._cluster: PveClusterSpec = specs.clusters[seen.cluster].spec
        losers = {conflict.loser for conflict in plan.conflicts}
        self._policies = [p for p in specs.placements.values() if _is_must(p) and p.ref not in losers]
        self._ends = {vmid: flight.target for vmid, flight in memory.flights.items()}
        self._ends |= {move.vmid: move.target for move in plan.all_moves}

    def broken_by(self, move: Move, guest: Guest, places: Places) -> Iterator[str]:
        """What the move breaks while guests may be on all of their `places`."""
        if guest.ha_managed and self._cluster.ha.coexistence is not Coexistence.IGNORE:
            yield from self._undone_by_ha(move, guest, places)
        for policy in self._policies:
            if not self._selects(policy, guest):
                continue
            spec = policy.spec
            rule = spec.keep_apart or spec.keep_together or spec.spread
            if rule is None:
                if not self._allows(policy, move.target):
                    yield f"{policy.ref} rules the target out"
                continue
            key = rule.topology_key
            domain = self._labels.get(move.target, {}).get(key)
            if domain is None:
                yield f"{policy.ref} needs label {key} on the target"
            elif spec.keep_apart is not None:
                yield from self._crowds(policy, key, move, places)
            elif spec.keep_together is not None:
                yield from self._parts(policy, key, move, places)
            else:
                yield from self._tilts(policy, key, move, places)

    def _undone_by_ha(self, move: Move, guest: Guest, places: Places) -> Iterator[str]:
        writes = self._cluster.ha.coexistence is Coexistence.COORDINATE
        for rule in self._seen.ha_rules:
            if writes and rule_owner(rule.comment) is not None:
                continue  # it follows the policies, which are judged themselves
            if guest.sid in rule.resources and rule.strict and move.target not in rule.nodes:
                yield f"HA rule {rule.name} does not allow the target"
            for vmid, other in self._seen.guests.items() if guest.sid in rule.apart else ():
                kept_off = other.sid in rule.apart and other.ha_managed and vmid != move.vmid
                if kept_off and move.target in places.get(vmid, ()):
                    yield f"HA rule {rule.name} keeps it apart from {other}"

    def _selects(self, policy: PlacementPolicy, guest: Guest) -> bool:
        return matches(self._cluster.managed_guests, guest) and matches(policy.spec.guest_selector, guest)

    def _allows(self, policy: PlacementPolicy, node: NodeName) -> bool:
        rule = policy.spec.node_affinity or policy.spec.node_anti_affinity
        assert rule is not None
        selector = rule.node_selector
        named = selector.matches(self._labels.get(node, {})) if selector is not None else node in rule.nodes
        return named is (policy.spec.node_affinity is not None)

    def _members(self, policy: PlacementPolicy) -> list[Vmid]:
        return [vmid for vmid, guest in self._seen.guests.items() if self._selects(policy, guest)]

    def _domains(self, key: str, nodes: Iterable[NodeName]) -> set[str]:
        return {self._labels[node][key] for node in nodes if key in self._labels.get(node, {})}

    def _crowds(self, policy: PlacementPolicy, key: str, move: Move, places: Places) -> Iterator[str]:
        rule = policy.spec.keep_apart
        assert rule is not None
        domain = self._labels[move.target][key]
        there = {vmid for vmid in self._members(policy) if domain in self._domains(key, places.get(vmid, ()))}
        if move.vmid not in there and len(there) >= rule.max_per_domain:
            yield f"{policy.ref} allows {rule.max_per_domain} in {domain}, it would be {len(there) + 1}"

    def _parts(self, policy: PlacementPolicy, key: str, move: Move, places: Places) -> Iterator[str]:
        """To where others are already, or where all of them are going to be."""
        domain = self._labels[move.target][key]
        others = [vmid for vmid in self._members(policy) if vmid != move.vmid]
        now = [self._domains(key, places.get(vmid, ())) for vmid in others]
        at_rest = {next(iter(where)) for where in now if len(where) == 1} or set().union(*now)
        ends = [self._domains(key, [self._ends.get(vmid, self._seen.guests[vmid].node)]) for vmid in others]
        if others and domain not in at_rest and any(end != {domain} for end in ends):
            yield f"{policy.ref} would be split: not all of it goes to {domain}"

    def _tilts(self, policy: PlacementPolicy, key: str, move: Move, places: Places) -> Iterator[str]:
        rule = policy.spec.spread
        assert rule is not None
        members = self._members(policy)
        could = {n for v in members for n in self._labels if self._allowed(self._seen.guests[v], n)}
        counted = self._domains(key, could) & self._domains(key, self._accepting)
        before = _skew([self._domains(key, places.get(vmid, ())) for vmid in members], counted)
        after = _skew(
            [
                self._domains(key, {*places.get(vmid, ()), *([move.target] if vmid == move.vmid else [])})
                for vmid in members
            ],
            counted,
        )
        if after > max(rule.max_skew, before):
            yield f"{policy.ref} allows a difference of {rule.max_skew}, it could become {after}"

    def _allowed(self, guest: Guest, node: NodeName) -> bool:
        about_nodes = (p for p in self._policies if p.spec.node_affinity or p.spec.node_anti_affinity)
        return all(self._allows(policy, node) for policy in about_nodes if self._selects(policy, guest))


def _skew(places: Iterable[set[str]], counted: Iterable[str]) -> int:
    """The greatest difference that may come about: a guest at both ends of a flight may end at either."""
    most: Counter[str] = Counter()
    least: Counter[str] = Counter()
    for where in places:
        most.update(where)
        if len(where) == 1:
            least.update(where)
    fullest = max(most.values(), default=0)
    return fullest - min((least[domain] for domain in counted), default=fullest)
