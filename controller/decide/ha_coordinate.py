"""`ha.coexistence: Coordinate`: which rules PVE HA should have, so that it keeps the policies' Musts for its guests by itself.

Called by `decide.pipeline`. What PVE takes and what it refuses: pve-ha-manager: PVE/HA/Rules/NodeAffinity.pm, ResourceAffinity.pm.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.decide import rules
from controller.decide.scene import Scene
from controller.decide.selectors import node_labels
from controller.model.desired import Apart, NodeRule, Rule, Spread, Together
from controller.model.facts import HaRule
from controller.model.ha_rules import (
    Coordination,
    RuleAction,
    RuleState,
    RuleVerb,
    rule_comment,
    rule_name,
    rule_owner,
)
from controller.model.ids import ObjectRef
from controller.model.reasons import Why
from controller.specs import NODE_LABEL
from controller.specs.pvecluster import Coexistence


def plan(scene: Scene) -> Coordination:
    """Every rule that is missing, differs or is wanted no more, and how each Must about guests of PVE HA stands."""
    seen = scene.seen
    if scene.cluster.spec.ha.coexistence is not Coexistence.COORDINATE or seen.partial:
        return Coordination()  # what a token does not see is no reason to take it out of a rule
    found = rules.rules(
        scene.specs.placements.values(), scene.wanted.matched, node_labels(seen.nodes, scene.specs.nodes.values())
    )
    losers = {conflict.loser for conflict in scene.wanted.conflicts}
    musts = [rule for rule in found if rule.must and rule.ref not in losers]
    if seen.ha_has_rules is not True:
        return Coordination(states=tuple(_not_here(scene, musts)))
    book = _Book(scene, [rule for rule in seen.ha_rules if rule_owner(rule.comment) is None])
    # About nodes first: a group is refused where its members have several such rules.
    for must in sorted(musts, key=lambda rule: not isinstance(rule, NodeRule)):
        book.write(must)
    own = {rule.name: rule for rule in (*seen.ha_rules, *seen.ha_rules_off) if rule_owner(rule.comment) is not None}
    actions = tuple(_actions(own, book.wanted))
    return Coordination(actions, tuple(_states(book, own, actions)))


def _sids(scene: Scene, rule: Rule) -> tuple[str, ...]:
    guests = scene.seen.guests
    return tuple(sorted(guests[v].sid for v in rule.members if v in guests and guests[v].ha_managed))


def _not_here(scene: Scene, musts: Sequence[Rule]) -> Iterator[RuleState]:
    for rule in musts:
        if not _sids(scene, rule):
            continue
        if scene.seen.ha_has_rules is None:
            yield RuleState(rule.ref, False, Why.NOT_OBSERVED_YET, "the rules of PVE HA have not been read yet")
        else:
            text = (
                "PVE HA has no rules before 9.0, where its groups become rules once all nodes are upgraded: "
                "what the policy says is not written there"
            )
            yield RuleState(rule.ref, False, Why.NOT_SUPPORTED, text)


@dataclass(slots=True)
class _Book:
    """The rules that are to be there beside those of others, and what had to be left out."""

    scene: Scene
    foreign: Sequence[HaRule]
    wanted: dict[ObjectRef, HaRule] = field(default_factory=dict)
    left_out: dict[ObjectRef, str] = field(default_factory=dict)

    def write(self, rule: Rule) -> None:
        """Note the rule of PVE HA that says the same, or why there can be none."""
        sids = _sids(self.scene, rule)
        if not sids:
            return
        made = HaRule(rule_name(rule.ref.name), comment=rule_comment(rule.ref.name))
        if isinstance(rule, NodeRule):
            self._nodes(rule, made, sids)
        elif isinstance(rule, Apart | Together) and len(sids) > 1:
            self._group(rule, made, sids)
        elif isinstance(rule, Spread):
            self.left_out[rule.ref] = "PVE HA has no rule that spreads guests"

    def _nodes(self, rule: NodeRule, made: HaRule, sids: Sequence[str]) -> None:
        """One priority for all nodes: with several HA would take guests back, and refuse to keep them together or apart."""
        taken = {sid: other.name for other in self._about_nodes() for sid in other.resources}
        free = tuple(sid for sid in sids if sid not in taken)
        if len(free) < len(sids):
            said = ", ".join(f"{sid} is in {taken[sid]}" for sid in sids if sid in taken)
            self.left_out[rule.ref] = f"PVE HA takes one rule about nodes for each guest: {said}"
        if free and rule.nodes:
            nodes = MappingProxyType(dict.fromkeys(sorted(rule.nodes), 0))
            self.wanted[rule.ref] = replace(made, nodes=nodes, strict=True, resources=free)

    def _group(self, rule: Apart | Together, made: HaRule, sids: tuple[str, ...]) -> None:
        if reason := self._obstacle(rule, sids):
            self.left_out[rule.ref] = reason
        elif isinstance(rule, Apart):
            self.wanted[rule.ref] = replace(made, apart=sids)
        else:
            self.wanted[rule.ref] = replace(made, together=sids)

    def _obstacle(self, rule: Apart | Together, sids: Collection[str]) -> str:
        if rule.topology_key != NODE_LABEL:
            return f"rules of PVE HA know nodes only, not {rule.topology_key}"
        if isinstance(rule, Apart) and rule.most > 1:
            return f"PVE HA keeps guests apart one by one, not up to {rule.most} of them"
        if isinstance(rule, Apart) and len(sids) > len(self.scene.seen.nodes):
            return f"PVE HA takes no rule that keeps {len(sids)} guests apart over {len(self.scene.seen.nodes)} nodes"
        bound = [other for other in self._about_nodes() if not set(sids).isdisjoint(other.resources)]
        ranked = next((other for other in bound if len(set(other.nodes.values())) > 1), None)
        if ranked is not None:
            return f"PVE HA takes it beside rules about nodes with one priority only, and {ranked.name} has several"
        if isinstance(rule, Together) and len(bound) > 1:
            names = ", ".join(sorted(other.name for other in bound))
            return f"PVE HA keeps guests together that have at most one rule about nodes: these have {names}"
        opposite = [
            (other.name, other.apart if isinstance(rule, Together) else other.together) for other in self._all()
        ]
        clash = next((name for name, members in opposite if len(set(sids).intersection(members)) > 1), None)
        return f"PVE HA refuses it beside {clash}, which says the opposite of two of its guests" if clash else ""

    def _all(self) -> list[HaRule]:
        return [*self.foreign, *self.wanted.values()]

    def _about_nodes(self) -> list[HaRule]:
        return [rule for rule in self._all() if rule.nodes]


def _actions(own: dict[str, HaRule], wanted: dict[ObjectRef, HaRule]) -> Iterator[RuleAction]:
    """What goes makes room for what comes."""
    refs = {rule.name: ref for ref, rule in wanted.items()}
    for name, rule in sorted(own.items()):
        ref = ObjectRef("PlacementPolicy", rule_owner(rule.comment) or "")
        if name not in refs:
            yield RuleAction(RuleVerb.REMOVE, rule, ref, f"{ref} wants nothing of it any more")
        elif not rule.off and _kind(rule) != _kind(wanted[refs[name]]):
            yield RuleAction(RuleVerb.REMOVE, rule, ref, f"{ref} says something else by now; it is made anew")
    for ref, rule in sorted(wanted.items()):
        there = own.get(rule.name)
        if there is None:
            yield RuleAction(RuleVerb.CREATE, rule, ref, f"{ref} says so of {_members(rule)}: {_says(rule)}")
        elif not there.off and _kind(there) == _kind(rule) and there != rule:
            yield RuleAction(RuleVerb.UPDATE, rule, ref, f"{ref} says now of {_members(rule)}: {_says(rule)}")


def _kind(rule: HaRule) -> str:
    return "nodes" if rule.nodes else "apart" if rule.apart else "together"


def _members(rule: HaRule) -> str:
    return ", ".join(rule.resources or rule.apart or rule.together)


def _says(rule: HaRule) -> str:
    return f"only on {', '.join(sorted(rule.nodes))}" if rule.nodes else f"{_kind(rule)}"


def _states(book: _Book, own: dict[str, HaRule], actions: Sequence[RuleAction]) -> Iterator[RuleState]:
    pending = {action.cause for action in actions}
    for ref in sorted({*book.wanted, *book.left_out}):
        rule = book.wanted.get(ref)
        off = own[rule.name].off if rule is not None and rule.name in own else ""
        if ref in book.left_out:
            yield RuleState(ref, False, Why.HA_RULE_IMPOSSIBLE, book.left_out[ref])
        elif rule is not None and off:
            text = f"rule {rule.name} of PVE HA is there, but {off}; Drover does not touch it as long as that is so"
            yield RuleState(ref, False, Why.HA_RULE_OFF, text)
        elif ref in pending:
            yield RuleState(ref, False, Why.NOT_OBSERVED_YET, "the rule of PVE HA is about to be written")
        elif rule is not None:
            yield RuleState(ref, True, Why.AS_EXPECTED, f"rule {rule.name} of PVE HA says the same")
