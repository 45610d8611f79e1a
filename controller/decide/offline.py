"""Contradictions on paper: what can't hold together whatever the cluster looks like. Called by `cli.validate`.

Known are the nodes and labels that manifests name, and guests that selectors name by VMID. There may be more nodes, without
labels, and more guests; nothing is said that one of these could disprove. Memory is not known at all.
"""

import json
from collections.abc import Iterable, Mapping

from controller.decide import rules
from controller.decide.contradictions import Facts, contradictions
from controller.model.conflict import Conflict
from controller.model.desired import Rule, Spread
from controller.model.ids import NodeName, Vmid
from controller.specs import NODE_LABEL, GuestSelector, PlacementPolicy, Specs

_MORE_NODES = 40
"""Nodes that nobody has named and that may be there all the same."""


def on_paper(specs: Specs) -> tuple[Conflict, ...]:
    """Every contradiction between the PlacementPolicies of one cluster."""
    policies = list(specs.placements.values())
    guests = _guests(policies)
    matched = {policy.ref: tuple(_matched(policy.spec.guest_selector, guests)) for policy in policies}
    named = {name for policy in policies for name in _named(policy)} | {n.node_name for n in specs.nodes.values()}
    labels: dict[NodeName, Mapping[str, str]] = {name: {NODE_LABEL: name} for name in sorted(named)}
    labels |= {node.node_name: node.labels for node in specs.nodes.values()}
    unnamed = [NodeName(f"another node {number}") for number in range(1, _MORE_NODES + 1)]
    found = rules.rules(policies, matched, {**labels, **{name: {NODE_LABEL: str(name)} for name in unnamed}})
    nodes = frozenset((*labels, *unnamed))
    counted = rules.reaching([rule for rule in found if not _counts_the_unknown(rule, specs)], nodes)
    facts = Facts(nodes, at={}, needs={}, limits={}, guests={vmid: text for vmid, (text, _) in guests.items()})
    return contradictions(counted, facts)


def _guests(policies: Iterable[PlacementPolicy]) -> dict[Vmid, tuple[str, GuestSelector]]:
    """Guests by VMID, and one that stands for those that a selector means, with a negative number."""
    guests: dict[Vmid, tuple[str, GuestSelector]] = {}
    others: list[GuestSelector] = []
    for selector in (policy.spec.guest_selector for policy in policies):
        if _only_vmids(selector):
            guests |= {vmid: (f"guest {vmid}", selector) for vmid in selector.vmids}
        elif selector not in others:
            others.append(selector)
    for number, selector in enumerate(others, start=1):
        text = "every guest" if selector == GuestSelector() else f"a guest with {_said(selector)}"
        guests[Vmid(-number)] = (text, selector)
    return guests


def _said(selector: GuestSelector) -> str:
    written = selector.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return " and ".join(f"{key} {json.dumps(value)}" for key, value in written.items())


def _only_vmids(selector: GuestSelector) -> bool:
    return bool(selector.vmids) and selector == GuestSelector(vmids=selector.vmids)


def _matched(selector: GuestSelector, guests: Mapping[Vmid, tuple[str, GuestSelector]]) -> Iterable[Vmid]:
    for vmid, (_, own) in guests.items():
        if selector in (own, GuestSelector()) if vmid < 0 else selector == GuestSelector() or _names(selector, vmid):
            yield vmid


def _names(selector: GuestSelector, vmid: Vmid) -> bool:
    return _only_vmids(selector) and vmid in selector.vmids


def _named(policy: PlacementPolicy) -> tuple[NodeName, ...]:
    rule = policy.spec.node_affinity or policy.spec.node_anti_affinity
    return rule.nodes if rule is not None else ()


def _counts_the_unknown(rule: Rule, specs: Specs) -> bool:
    """A spread of guests that are not all known may come out even after all; so may one over nodes that nobody has named."""
    selector = specs.placements[rule.ref.name].spec.guest_selector
    return isinstance(rule, Spread) and (not _only_vmids(selector) or rule.topology_key == NODE_LABEL)
