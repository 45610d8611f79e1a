"""PlacementPolicies from what PVE HA and ProxLB are told about guests today. Called by `export.manifests`.

Rules and groups of PVE HA: pve-ha-manager: PVE/HA/Rules/NodeAffinity.pm, PVE/HA/Rules/ResourceAffinity.pm, PVE/HA/Groups.pm.
ProxLB reads tags of guests: `plb_affinity_*` and `plb_anti_affinity_*` name groups, `plb_pin_*` nodes, `plb_ignore_*` guests
that it leaves alone (its documentation, 1.1).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from controller.decide.export.document import Document, Names, Value
from controller.model.facts import HaRule
from controller.model.ha_rules import rule_owner
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Observed

FILE = "placement.yaml"
_TOGETHER, _APART, _PIN, _IGNORE = "plb_affinity_", "plb_anti_affinity_", "plb_pin_", "plb_ignore_"


def ignored(seen: Observed) -> tuple[str, ...]:
    """Tags of guests that ProxLB leaves alone."""
    return tuple(tag for tag in _tags(seen) if tag.startswith(_IGNORE))


def from_ha(seen: Observed, names: Names, left_out: list[str]) -> Iterator[Document]:
    """A policy for each rule and each group of PVE HA; it goes on keeping them itself."""
    by_sid = {guest.sid: vmid for vmid, guest in seen.guests.items()}
    for rule in sorted(seen.ha_rules, key=lambda rule: rule.name):
        members = sorted(by_sid[sid] for sid in rule.resources or rule.together or rule.apart if sid in by_sid)
        said = _of_rule(rule, members)
        if said is None:
            left_out.append(f"{rule.name} of PVE HA binds nobody who is there: no policy says it")
            continue
        owner = rule_owner(rule.comment)
        notes = [f"Says what {rule.name!r} of PVE HA says, which PVE goes on keeping by itself."]
        if rule.comment and owner is None:
            notes.append(f"Its comment there: {' '.join(rule.comment.split())}")
        yield Document(FILE, "PlacementPolicy", names.of(owner or rule.name), said, tuple(notes))
    off = sorted(seen.ha_rules_off, key=lambda rule: rule.name)
    left_out += [f"{rule.name} of PVE HA is not in force ({rule.off}): no policy says it" for rule in off]


def _of_rule(rule: HaRule, members: Sequence[Vmid]) -> dict[str, Value] | None:
    if not members or (not rule.nodes and len(members) < 2):
        return None
    selector: dict[str, Value] = {"guestSelector": {"vmids": [int(vmid) for vmid in members]}}
    if rule.nodes:
        ranked: list[Value] = [str(node) for node in sorted(rule.nodes, key=lambda node: (-rule.nodes[node], node))]
        enforcement: dict[str, Value] = {} if rule.strict else {"enforcement": "Should"}
        return {**selector, **enforcement, "nodeAffinity": {"nodes": ranked}}
    return {**selector, "keepTogether" if rule.together else "keepApart": {}}


def from_tags(seen: Observed, names: Names, left_out: list[str]) -> Iterator[Document]:
    """A policy for each group that ProxLB's tags name, and one for each set of nodes that they pin guests to."""
    for prefix, rule, text in ((_TOGETHER, "keepTogether", "together"), (_APART, "keepApart", "apart")):
        for tag, members in _tags(seen).items():
            if not tag.startswith(prefix):
                continue
            if len(members) < 2:
                left_out.append(f"tag {tag} is on one guest alone ({members[0]}): no policy says it")
                continue
            spec: dict[str, Value] = {"guestSelector": {"tags": {"any": [tag]}}, rule: {}}
            note = f"ProxLB keeps guests with tag {tag} {text}."
            yield Document(FILE, "PlacementPolicy", names.of(tag), spec, (note,))
    yield from _pins(seen, names, left_out)


def _pins(seen: Observed, names: Names, left_out: list[str]) -> Iterator[Document]:
    """With several pins a guest may be on any of their nodes, so each set of pins is a policy."""
    by_text = {str(node).lower(): node for node in seen.nodes}
    nodes = {tag: by_text.get(tag.removeprefix(_PIN).lower()) for tag in _tags(seen) if tag.startswith(_PIN)}
    lost = sorted(tag for tag, node in nodes.items() if node is None)
    left_out += [f"tag {tag} names no node of this cluster: no policy says it" for tag in lost]
    pins: dict[str, NodeName] = {tag: node for tag, node in nodes.items() if node is not None}
    sets: dict[tuple[str, ...], list[Vmid]] = defaultdict(list)
    for vmid, guest in seen.guests.items():
        if chosen := tuple(sorted(guest.tags & pins.keys())):
            sets[chosen].append(vmid)
    for chosen in sorted(sets):
        others = sorted(pins.keys() - set(chosen))
        tags: dict[str, Value] = {"all": list[Value](chosen), **({"none": list[Value](others)} if others else {})}
        where: list[Value] = [str(pins[tag]) for tag in chosen]
        spec: dict[str, Value] = {"guestSelector": {"tags": tags}, "nodeAffinity": {"nodes": where}}
        note = f"ProxLB keeps guests with {' and '.join(chosen)} on {' or '.join(map(str, where))}."
        name = names.of("-".join(["plb-pin", *(str(pins[tag]) for tag in chosen)]))
        yield Document(FILE, "PlacementPolicy", name, spec, (note,))


def _tags(seen: Observed) -> Mapping[str, list[Vmid]]:
    found: dict[str, list[Vmid]] = defaultdict(list)
    for vmid, guest in sorted(seen.guests.items()):
        for tag in guest.tags:
            found[tag].append(vmid)
    return dict(sorted(found.items()))
