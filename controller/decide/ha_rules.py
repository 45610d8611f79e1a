"""Rules of PVE HA as Musts over the guests that it looks after: PVE keeps them itself, and undoes what breaks them.

Called by `decide.desired`. pve-ha-manager: PVE/HA/Rules/NodeAffinity.pm, PVE/HA/Rules/ResourceAffinity.pm.
"""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from controller.model.desired import Apart, NodeRule, Rule, Together
from controller.model.facts import HaRule
from controller.model.ha_rules import rule_owner
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Observed
from controller.model.reasons import Why
from controller.specs import NODE_LABEL

HA_RULE = "HaRule"
"""Kind of the reference to a rule of PVE HA."""
_ABOVE_ALL = 1001
"""Before the highest priority that a policy may have."""


def rules(seen: Observed, usable: Collection[NodeName], *, writes: bool = False) -> tuple[Rule, ...]:
    """Every rule that binds a guest; `usable`: nodes that HA would put guests on.

    writes: Drover's own rules follow the policies, and do not bind them.
    """
    by_sid = {guest.sid: vmid for vmid, guest in seen.guests.items() if guest.ha_managed}
    return tuple(
        found
        for rule in seen.ha_rules
        if not (writes and rule_owner(rule.comment))
        for found in _rules(rule, seen, by_sid, frozenset(usable))
    )


def _rules(rule: HaRule, seen: Observed, by_sid: Mapping[str, Vmid], usable: frozenset[NodeName]) -> Iterator[Rule]:
    here = frozenset(seen.nodes)
    if rule.nodes:
        stays = {by_sid[sid] for sid in rule.resources if sid in by_sid and sid in seen.ha_stays}
        goes_back = {by_sid[sid] for sid in rule.resources if sid in by_sid} - stays
        if rule.strict and stays:
            yield _nodes(rule.name, stays, here.intersection(rule.nodes))
        if goes_back:
            yield _nodes(f"{rule.name} (failback)", goes_back, _best(rule, here, usable))
    domains = MappingProxyType({node: str(node) for node in sorted(here)})
    together = frozenset(by_sid[sid] for sid in rule.together if sid in by_sid)
    if len(together) > 1:
        yield Together(
            ref=ObjectRef(HA_RULE, rule.name),
            members=together,
            corrects=False,
            priority=_ABOVE_ALL,
            topology_key=NODE_LABEL,
            domains=domains,
        )
    apart = frozenset(by_sid[sid] for sid in rule.apart if sid in by_sid)
    if len(apart) > 1:
        yield Apart(
            ref=ObjectRef(HA_RULE, rule.name),
            members=apart,
            corrects=False,
            priority=_ABOVE_ALL,
            topology_key=NODE_LABEL,
            domains=domains,
            most=1,
        )


def _best(rule: HaRule, here: frozenset[NodeName], usable: frozenset[NodeName]) -> frozenset[NodeName]:
    """The nodes of the highest priority of which one is in service: anywhere else HA would take the guest back from."""
    up = {node: priority for node, priority in rule.nodes.items() if node in usable}
    if not up:
        return here.intersection(rule.nodes) if rule.strict else here
    best = max(up.values())
    return frozenset(node for node, priority in rule.nodes.items() if priority == best and node in here)


def _nodes(name: str, members: Collection[Vmid], nodes: frozenset[NodeName]) -> NodeRule:
    return NodeRule(
        ref=ObjectRef(HA_RULE, name),
        members=frozenset(members),
        corrects=False,
        priority=_ABOVE_ALL,
        why=Why.NODE_AFFINITY,
        nodes=nodes,
    )
