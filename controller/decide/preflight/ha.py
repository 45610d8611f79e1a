"""Checks of what PVE HA has to say about a guest that it manages. Listed in `preflight.CHECKS`."""

from collections.abc import Iterator

from controller.decide.gate import HA_SETTLED
from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, wait, warn
from controller.model.facts import HaFacts, HaRule, Topic
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.specs.pvecluster import Coexistence

_UNLISTED = -1
"""Priority of a node that a rule which is not strict does not name (pve-ha-manager: PVE/HA/Rules/NodeAffinity.pm)."""


@check(Why.HA_MANAGED, Why.HA_UNSETTLED)
def ha_is_settled(look: Look) -> tuple[Finding, ...]:
    """PVE HA carries out one request for a guest at a time, and its own plans come first."""
    guest = look.guest
    if guest is None or not guest.ha_managed:
        return ()
    if look.move.lane is not Lane.DRAIN and look.cluster.spec.ha.coexistence is not Coexistence.IGNORE:
        return fail(Why.HA_MANAGED, f"{look.named} is managed by PVE HA now")
    if guest.ha_state not in HA_SETTLED:
        return wait(Why.HA_UNSETTLED, f"{look.named} is in HA state {guest.ha_state}")
    return ()


@check(Why.HA_WOULD_UNDO, Why.NOT_CHECKED)
def ha_would_not_undo_it(look: Look) -> tuple[Finding, ...]:
    """PVE accepts a move against HA's rules, and HA moves the guest back ten seconds later (pve-ha-manager: PVE/HA/Manager.pm)."""
    if look.guest is None or not look.guest.ha_managed:
        return ()
    if look.facts.ha is None:
        return unchecked(look, Topic.HA, "whether PVE HA would undo the move")
    return tuple(_undone(look, look.facts.ha))


def _undone(look: Look, ha: HaFacts) -> Iterator[Finding]:
    target = look.move.target
    for rule in ha.rules:
        if there := _kept_apart(look, rule):
            text = f"HA rule {rule.name} keeps it apart from {', '.join(there)} on {target}"
            yield from fail(Why.HA_WOULD_UNDO, text)
        if not rule.nodes:
            continue
        if rule.strict and target not in rule.nodes:
            yield from fail(Why.HA_WOULD_UNDO, f"HA rule {rule.name} allows only {', '.join(sorted(rule.nodes))}")
        elif ha.failback and (better := _preferred(look, rule)):
            text = f"HA rule {rule.name} prefers {', '.join(better)} to {target}, and failback is on"
            yield from fail(Why.HA_WOULD_UNDO, text)


def _kept_apart(look: Look, rule: HaRule) -> list[str]:
    """Resources of a negative affinity that are on the target, or on their way there: of those PVE's own verdict knows nothing."""
    found = []
    for sid in rule.apart:
        vmid = Vmid(int(number)) if (number := sid.partition(":")[2]).isdecimal() else None
        guest = look.seen.guests.get(vmid) if vmid is not None else None
        if vmid is None or guest is None or vmid == look.move.vmid or not guest.ha_managed:
            continue
        flight = look.memory.flights.get(vmid)
        if look.move.target == (flight.target if flight is not None else guest.node):
            found.append(sid)
    return sorted(found)


def _preferred(look: Look, rule: HaRule) -> list[NodeName]:
    """Nodes in service that the rule likes better than the target."""
    here = rule.nodes.get(look.move.target, _UNLISTED)
    source = look.fresh.source
    nodes = {**look.seen.nodes} | ({source.name: source} if source is not None else {})
    return sorted(
        name for name, priority in rule.nodes.items() if priority > here and name in nodes and nodes[name].usable
    )


@check(Why.HA_MOVES_ALONG)
def ha_moves_nobody_along(look: Look) -> tuple[Finding, ...]:
    """A positive affinity gives the same command to all of its resources (pve-ha-manager: PVE/HA/Manager.pm)."""
    if look.guest is None or not look.guest.ha_managed or look.facts.ha is None:
        return ()
    together = sorted({sid for rule in look.facts.ha.rules for sid in rule.together} - {_sid(look)})
    if not together:
        return ()
    return warn(Why.HA_MOVES_ALONG, f"PVE HA moves {', '.join(together)} to {look.move.target} as well")


def _sid(look: Look) -> str:
    return f"{look.move.kind.noun.lower()}:{look.move.vmid}"
