"""A contradiction in words: which rules clash over which guests, who gives way, and what would resolve it.

Called by `decide.contradictions`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from controller.decide.impossible import Ground
from controller.decide.words import size
from controller.model.conflict import Conflict
from controller.model.desired import Apart, GroupRule, NodeRule, Rule, Spread, Together
from controller.model.ids import NodeName, Vmid
from controller.model.reasons import Why


@dataclass(frozen=True, slots=True)
class Core:
    """The smallest set of rules and guests that was found to be impossible; the rule that gives way is the last one."""

    rules: tuple[Rule, ...]
    vmids: tuple[Vmid, ...]
    memory: bool  # possible, if it were not for memory

    def why(self) -> Why:
        """What kind of contradiction it is."""
        if any(rule.ref.kind != "PlacementPolicy" for rule in self.rules):
            return Why.CONFLICTS_WITH_HA_RULE
        if self.memory:
            return Why.CAPACITY_IMPOSSIBLE
        kinds = {type(rule) for rule in self.rules}
        if {Together, Apart} <= kinds:
            return Why.CONTRADICTORY_AFFINITY
        return Why.NODE_SETS_DISJOINT if kinds <= {NodeRule, Together} else Why.TOO_FEW_DOMAINS


def told(core: Core, guests: Mapping[Vmid, object], ground: Ground) -> Conflict:
    """The conflict as people read it."""
    whom = _names(guests, core.vmids)
    clauses = [_clause(rule, core, guests) for rule in core.rules]
    if core.memory:
        text = f"{whom} need {size(sum(ground.needs.get(v) or 0 for v in core.vmids))} together, but {_where(core, ground)}"
        text += f"; {' and '.join(clauses)}"
    elif len(core.rules) == 1:
        text = clauses[0]
    else:
        text = f"{', '.join(clauses[:-1])} and {clauses[-1]}: {_end(core)}"
    return Conflict(
        why=core.why(),
        parties=tuple(rule.ref for rule in core.rules),
        vmids=core.vmids,
        message=f"{text}. {_gives_way(core)}",
        remedy=_remedy(core),
    )


def _names(guests: Mapping[Vmid, object], vmids: Iterable[Vmid]) -> str:
    said = [str(guests.get(vmid, f"guest {vmid}")) for vmid in vmids]
    return ", ".join(said) if len(said) <= 5 else f"{', '.join(said[:5])} and {len(said) - 5} more"


def _clause(rule: Rule, core: Core, guests: Mapping[Vmid, object]) -> str:
    members = [vmid for vmid in core.vmids if vmid in rule.members]
    whom = _names(guests, members)
    if isinstance(rule, NodeRule):
        return f"{rule.ref} allows {whom} only {_nodes(rule.nodes)}"
    if isinstance(rule, Together):
        return f"{rule.ref} keeps {whom} together in one {noun(rule.topology_key)}"
    if isinstance(rule, Apart):
        count = f"these {len(members)} guests" if len(members) > 1 else "this guest"
        most = "apart" if rule.most == 1 else f"at most {rule.most} together"
        return f"{rule.ref} says that {count} ({whom}) must be {most} over {_places(rule)}"
    assert isinstance(rule, Spread)
    return f"{rule.ref} spreads {len(members)} guests ({whom}) over {_places(rule)} with a maxSkew of {rule.skew}"


def _places(rule: GroupRule) -> str:
    domains = sorted(frozenset(rule.domains.values()))
    word = noun(rule.topology_key)
    if not domains:
        return f"nodes with label {rule.topology_key}, of which there are none"
    if any(unnamed(node) for node in rule.domains):
        return f"{word}s, however many there are"
    shown = ", ".join(domains) if len(domains) <= 8 else f"{', '.join(domains[:8])} and {len(domains) - 8} more"
    return f"{len(domains)} {word}{'s' if len(domains) > 1 else ''} ({shown})"


def _nodes(nodes: Collection[NodeName]) -> str:
    ordered = sorted(node for node in nodes if not unnamed(node))
    if len(ordered) < len(list(nodes)):
        return ", ".join((*ordered[:8], "and nodes that no manifest names"))
    return ", ".join(ordered) if len(ordered) <= 8 else f"{', '.join(ordered[:8])} and {len(ordered) - 8} more"


def unnamed(node: NodeName) -> bool:
    """Whether it only stands for nodes that there may be: no node of PVE has a blank in its name."""
    return " " in node


def noun(topology_key: str) -> str:
    """What people call a domain: `rack` for topology.drover.dev/rack, `node` for the node itself."""
    return topology_key.rpartition("/")[2]


def _where(core: Core, ground: Ground) -> str:
    """The nodes that they may use, and what these hold."""
    nodes = ground.nodes
    for rule in core.rules:
        if isinstance(rule, NodeRule) and rule.members.issuperset(core.vmids):
            nodes &= rule.nodes
    sizes = {node: ground.room.get(node) or 0 for node in nodes}
    keeper = next((rule for rule in core.rules if isinstance(rule, Together)), None)
    if keeper is not None:
        halls: dict[str, int] = {}
        for node in nodes & keeper.domains.keys():
            halls[keeper.domains[node]] = halls.get(keeper.domains[node], 0) + sizes[node]
        best = max(sorted(halls), key=lambda domain: halls[domain], default="")
        return f"the largest {noun(keeper.topology_key)} that they may use, {best}, holds {size(halls.get(best, 0))}"
    if len(core.vmids) == 1:
        best_node = max(sorted(nodes), key=lambda node: sizes[node])
        return f"the largest node that it may use, {best_node}, holds {size(sizes[best_node])}"
    return f"{_nodes(nodes)} hold{'s' if len(nodes) == 1 else ''} {size(sum(sizes.values()))}"


def _end(core: Core) -> str:
    match core.why():
        case Why.NODE_SETS_DISJOINT:
            return "no node is left"
        case Why.CONTRADICTORY_AFFINITY:
            return "both can't be"
        case _:
            return "there is no way to keep all of it"


def _gives_way(core: Core) -> str:
    loser = core.rules[-1]
    if len(core.rules) == 1:
        return f"{loser.ref} counts as a Should until then"
    others = [rule for rule in core.rules[:-1] if rule.ref.kind == "PlacementPolicy"]
    if not others:
        return f"{loser.ref} gives way and counts as a Should, because PVE HA keeps its own rules whatever happens"
    if min(rule.priority for rule in others) > loser.priority:
        return f"{loser.ref} gives way and counts as a Should: it has the lowest priority ({loser.priority})"
    return f"{loser.ref} gives way and counts as a Should: of those with priority {loser.priority} its name comes last"


def _remedy(core: Core) -> str:
    loser, why = core.rules[-1], core.why()
    raise_it = f"To let another one give way, raise the priority of {loser.ref}."
    several = len(core.rules) > 1
    match why:
        case Why.CAPACITY_IMPOSSIBLE:
            text = "Allow more nodes, take guests out of a guestSelector, or give the nodes more memory."
        case Why.TOO_FEW_DOMAINS:
            text = _more_domains(core)
        case Why.CONTRADICTORY_AFFINITY:
            text = "Take the guests out of one of the guestSelectors, or raise maxPerDomain."
        case Why.CONFLICTS_WITH_HA_RULE:
            return "Change the rule of PVE HA, or the policy."
        case _:
            text = "Name a node that all of them allow, or take the guests out of one of the guestSelectors."
    return f"{text} {raise_it}" if several else text


def _more_domains(core: Core) -> str:
    rule = next((rule for rule in core.rules if isinstance(rule, Apart)), None)
    if rule is None or len(core.rules) > 1:
        return "Label more nodes, allow more of them, or take guests out of a guestSelector."
    word, domains = noun(rule.topology_key), len(frozenset(rule.domains.values()))
    needed = f", or set maxPerDomain: {-(-len(rule.members) // domains)}" if domains else ""
    more = f"Add another {word}" if word == "node" else f"Label nodes of another {word}"
    return f"{more}, take guests out of the guestSelector{needed}."
