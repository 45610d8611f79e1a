"""Who of one group counts in which domain, and what one more guest there would do to its rule. Called by `decide.stage`.

A guest may count on several nodes at once: in flight it does at both ends. In the fullest domain it then counts twice, in the
emptiest not at all, because any flight may fail.
"""

from collections import Counter, defaultdict
from collections.abc import Callable

from controller.model.desired import Apart, Group, Spread, Together
from controller.model.ids import NodeName, Vmid


class Seats:
    """One group's sheet of paper. accepting: the domains with a node that accepts guests at this moment."""

    def __init__(self, group: Group, accepting: frozenset[str]) -> None:
        self.group = group
        self.heading: str | None = None
        self._accepting = accepting
        self._nodes: dict[Vmid, set[NodeName]] = defaultdict(set)
        self._there: dict[str, set[Vmid]] = defaultdict(set)
        self._sure: Counter[str] = Counter()  # members that are in the domain and nowhere else

    def copy(self) -> "Seats":
        """An independent sheet that says the same."""
        other = Seats(self.group, self._accepting)
        other.heading = self.heading
        other._nodes.update({vmid: set(nodes) for vmid, nodes in self._nodes.items()})
        other._there.update({domain: set(vmids) for domain, vmids in self._there.items()})
        other._sure.update(self._sure)
        return other

    def arrive(self, vmid: Vmid, node: NodeName) -> None:
        """The guest counts on the node as well; where there is no label it counts in no domain."""
        if node in self.group.domains:
            self._change(vmid, lambda nodes: nodes.add(node))

    def leave(self, vmid: Vmid, node: NodeName) -> None:
        """The guest no longer counts on the node."""
        if node in self.group.domains:
            self._change(vmid, lambda nodes: nodes.discard(node))

    def there(self, domain: str) -> tuple[Vmid, ...]:
        """Members in the domain, ascending."""
        return tuple(sorted(self._there.get(domain, ())))

    def occupied(self, *, besides: Vmid | None = None) -> frozenset[str]:
        """Domains with members, `besides` one of them if asked."""
        return frozenset(domain for domain, there in self._there.items() if there - {besides})

    def _settled(self, *, besides: Vmid) -> frozenset[str]:
        """Domains with members that are nowhere else."""
        own = self._own(besides)
        alone = next(iter(own)) if len(own) == 1 else None
        return frozenset(domain for domain, count in self._sure.items() if count > (domain == alone))

    def takes(self, vmid: Vmid, node: NodeName) -> bool:
        """Whether the rule holds with the guest on the node as well, or is at least broken no further than before."""
        group, domain = self.group, self.group.domains.get(node)
        if domain is None:
            return False
        if isinstance(group, Apart):
            there = self._there.get(domain, ())
            return vmid in there or len(there) < group.most
        if isinstance(group, Together):
            others = self._settled(besides=vmid) or self.occupied(besides=vmid)
            return not others or domain in others or domain == self.heading
        return self._with(vmid, domain) <= max(group.skew, self.skew())

    def skew(self) -> int:
        """The worst difference between two domains that may come about."""
        fullest = max((len(there) for there in self._there.values()), default=0)
        return fullest - min((self._sure[domain] for domain in self._accepting), default=fullest)

    def _with(self, vmid: Vmid, domain: str) -> int:
        own = self._own(vmid)
        sure = Counter(self._sure)
        if own == {domain}:
            return self.skew()
        if len(own) == 1:
            sure[next(iter(own))] -= 1
        elif not own:
            sure[domain] += 1
        fullest = max((len(there) for there in self._there.values()), default=0)
        fullest = max(fullest, len(self._there.get(domain, ())) + (domain not in own))
        return fullest - min((sure[name] for name in self._accepting), default=fullest)

    def _own(self, vmid: Vmid) -> set[str]:
        return {self.group.domains[node] for node in self._nodes.get(vmid, ())}

    def _change(self, vmid: Vmid, change: Callable[[set[NodeName]], None]) -> None:
        before = self._own(vmid)
        change(self._nodes[vmid])
        after = self._own(vmid)
        if before == after:
            return
        for domain in before - after:
            self._there[domain].discard(vmid)
        for domain in after - before:
            self._there[domain].add(vmid)
        if len(before) == 1:
            self._sure[next(iter(before))] -= 1
        if len(after) == 1:
            self._sure[next(iter(after))] += 1


def seats(group: Group, open_nodes: frozenset[NodeName]) -> Seats:
    """Empty seats; `open_nodes` accept guests at this moment."""
    reachable = group.reachable if isinstance(group, Spread) else frozenset()
    accepting = frozenset(group.domains[node] for node in open_nodes if node in group.domains)
    return Seats(group, accepting & reachable)
