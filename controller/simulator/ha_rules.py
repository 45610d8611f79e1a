"""HA rules (9.x) and groups (8.x): what they allow, and why PVE refuses one.

Used by `simulator.ha` to choose nodes and by `simulator.routes.ha` to accept rules. The feasibility texts are those of
pve-ha-manager: PVE/HA/Rules/NodeAffinity.pm and ResourceAffinity.pm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Rule:
    """One rule. `nodes` maps a node to its priority; `affinity` is `positive` or `negative`."""

    name: str
    type: str
    resources: tuple[str, ...]
    nodes: dict[str, int]
    affinity: str = ""
    strict: bool = False
    disable: bool = False
    comment: str = ""

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> "Rule":
        """Read it from the parameters of an API call or the cluster file."""
        return cls(
            name,
            str(entry["type"]),
            tuple(sorted(split(str(entry.get("resources", ""))))),
            priorities(str(entry.get("nodes", ""))),
            str(entry.get("affinity", "")),
            bool(int(entry.get("strict", 0))),
            bool(int(entry.get("disable", 0))),
            str(entry.get("comment", "")),
        )

    def row(self, order: int, digest: str) -> dict[str, Any]:
        """Return it as the API lists it."""
        row: dict[str, Any] = {"rule": self.name, "type": self.type, "resources": ",".join(self.resources)}
        row |= {"order": order, "digest": digest}
        if self.type == "node-affinity":
            row["nodes"] = ",".join(f"{node}:{prio}" if prio else node for node, prio in self.nodes.items())
            if self.strict:
                row["strict"] = 1
        else:
            row["affinity"] = self.affinity
        if self.disable:
            row["disable"] = 1
        if self.comment:
            row["comment"] = self.comment
        return row


def split(text: str) -> list[str]:
    """Entries of a comma, semicolon or blank separated list."""
    return text.replace(",", " ").replace(";", " ").split()


def priorities(text: str) -> dict[str, int]:
    """`pve1:2,pve2` as node to priority, 0 when none is given."""
    found = {}
    for entry in split(text):
        node, _, priority = entry.partition(":")
        found[node] = int(priority or 0)
    return found


class RuleBook:
    """All rules, in order, and the questions that the CRM asks them. On 8.x the groups stand in as node affinities."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.group_of: dict[str, str] = {}

    def node_affinity(self, sid: str) -> tuple[dict[str, int], bool] | None:
        """Return the preferred nodes of a resource with priorities, and whether others are forbidden."""
        if (group := self.groups.get(self.group_of.get(sid, ""))) is not None:
            return priorities(str(group["nodes"])), bool(int(group.get("restricted", 0)))
        for rule in self._active("node-affinity"):
            if sid in rule.resources:
                return rule.nodes, rule.strict
        return None

    def partners(self, sid: str, affinity: str) -> list[str]:
        """Return the resources that share a positive (negative) rule with this one."""
        found: set[str] = set()
        for rule in self._active("resource-affinity"):
            if rule.affinity == affinity and sid in rule.resources:
                found.update(rule.resources)
        return sorted(found - {sid})

    def _active(self, kind: str) -> Iterable[Rule]:
        return [rule for rule in self.rules.values() if rule.type == kind and not rule.disable]

    def allowed(self, sid: str, online: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return the nodes that a resource may use, and of those the ones of the best priority class."""
        up = set(online)
        affinity = self.node_affinity(sid)
        if affinity is None:
            return up, set(up)
        wanted, strict = affinity
        known = {node: priority for node, priority in wanted.items() if node in up}
        if not known:
            return (set(), set()) if strict else (up, set(up))
        best = max(known.values())
        return (set(known) if strict else up), {node for node, priority in known.items() if priority == best}

    def objections(self, rule: Rule, nodes: int) -> list[str]:
        """Return why a rule cannot be with the others; `nodes` is the size of the cluster."""
        others = [other for other in self.rules.values() if other.name != rule.name and not other.disable]
        if rule.disable:
            return []
        if rule.type == "node-affinity":
            taken = {sid for other in others if other.type == rule.type for sid in other.resources}
            return [
                f"resource '{sid}' is already used in another node affinity rule"
                for sid in rule.resources
                if sid in taken
            ]
        return self._affinity_objections(rule, others, nodes)

    def _affinity_objections(self, rule: Rule, others: list[Rule], nodes: int) -> list[str]:
        found = []
        if len(rule.resources) < 2:
            found.append("rule is ineffective as there are less than two resources")
        opposite = "positive" if rule.affinity == "negative" else "negative"
        for other in others:
            shared = set(other.resources) & set(rule.resources)
            if other.type == rule.type and other.affinity == opposite and len(shared) >= 2:
                found.append(f"rule shares two or more resources with a {opposite} resource affinity rule")
        if rule.affinity == "negative" and len(rule.resources) > nodes:
            found.append("rule defines more resources than available nodes")
        bound = [
            other for other in others if other.type == "node-affinity" and set(other.resources) & set(rule.resources)
        ]
        if any(len(set(other.nodes.values())) > 1 for other in bound):
            found.append("resources are in node affinity rules with multiple priorities")
        elif rule.affinity == "positive" and len(bound) > 1:
            found.append("resources are in multiple node affinity rules")
        return found
