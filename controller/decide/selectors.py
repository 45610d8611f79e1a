"""Which guests and nodes a selector means, and how specific it is. Called by `decide.desired` and `decide.verify`.

Guests are indexed once per look: policies usually name tags, pools or VMIDs, so a policy costs what it selects and not the
whole cluster.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest
from controller.specs import GuestSelector, PveNode
from controller.specs.common import NODE_LABEL


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def matches(selector: GuestSelector, guest: Guest) -> bool:
    """Whether the selector means the guest: members ANDed, entries of a list ORed."""
    tags = selector.tags
    return (
        (not selector.vmids or guest.vmid in selector.vmids)
        and guest.kind in selector.types
        and (not tags.any or not guest.tags.isdisjoint(tags.any))
        and guest.tags.issuperset(tags.all)
        and guest.tags.isdisjoint(tags.none)
        and (not selector.pools or guest.pool in selector.pools)
        and (not selector.nodes or guest.node in selector.nodes)
        and (selector.ha_managed is None or selector.ha_managed == guest.ha_managed)
        and (not selector.names or any(_glob(name).fullmatch(guest.name) for name in selector.names))
    )


def specificity(selector: GuestSelector) -> int:
    """How exactly a selector points at guests; only to break ties: vmids > names > tags > pools > the rest."""
    tags = selector.tags
    ladder = (selector.vmids, selector.names, tags.all or tags.any or tags.none, selector.pools)
    return next((len(ladder) - step for step, given in enumerate(ladder) if given), 0)


class GuestIndex:
    """Guests by what selectors ask for."""

    def __init__(self, guests: Iterable[Guest]) -> None:
        self._all = {guest.vmid: guest for guest in sorted(guests, key=lambda guest: guest.vmid)}
        self._by_tag: dict[str, list[Guest]] = defaultdict(list)
        self._by_pool: dict[str, list[Guest]] = defaultdict(list)
        for guest in self._all.values():
            for tag in guest.tags:
                self._by_tag[tag].append(guest)
            self._by_pool[guest.pool].append(guest)

    def select(self, selector: GuestSelector) -> tuple[Vmid, ...]:
        """VMIDs of the guests that the selector means, ascending."""
        found = {guest.vmid for guest in self._narrowed(selector) if matches(selector, guest)}
        return tuple(sorted(found))

    def _narrowed(self, selector: GuestSelector) -> Iterable[Guest]:
        """A superset of what is meant, as small as the index can tell."""
        if selector.vmids:
            return [self._all[vmid] for vmid in selector.vmids if vmid in self._all]
        if selector.tags.all:
            return min((self._by_tag.get(tag, []) for tag in selector.tags.all), key=len)
        if selector.tags.any:
            return [guest for tag in selector.tags.any for guest in self._by_tag.get(tag, ())]
        if selector.pools:
            return [guest for pool in selector.pools for guest in self._by_pool.get(pool, ())]
        return self._all.values()


def node_labels(nodes: Iterable[NodeName], specs: Iterable[PveNode]) -> Mapping[NodeName, Mapping[str, str]]:
    """Labels of every node, the implied `drover.dev/node` included; nodes without a PveNode have only that one."""
    written = {spec.node_name: spec.labels for spec in specs}
    return {node: written.get(node, {NODE_LABEL: node}) for node in nodes}
