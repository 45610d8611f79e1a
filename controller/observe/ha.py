"""The rules of PVE HA, whichever way the release writes them. Called by `observe.cluster`, once a minute while HA has resources."""

from dataclasses import dataclass, replace

from controller.model.errors import DroverError
from controller.model.facts import HaRule
from controller.model.reasons import Why
from controller.pve.client import PveClient


@dataclass(frozen=True, slots=True)
class HaRules:
    """All rules, groups being rules too, and the resources, such as vm:101, that do not go back to better nodes by themselves."""

    rules: tuple[HaRule, ...] = ()  # in force
    stays: frozenset[str] = frozenset()
    off: tuple[HaRule, ...] = ()  # not in force
    has_rules: bool | None = None  # None: not read; False: the cluster has groups


async def read_ha_rules(client: PveClient) -> HaRules:
    """Two calls, one more while resources have a group. Raises DroverError.

    Since 9.0 there are rules, before there are groups, each a rule about nodes with the failback of its members; while a cluster
    is being upgraded resources may still have their groups (pve-ha-manager: PVE/HA/Groups.pm).
    """
    resources = await client.ha_resources()
    stays = {sid for sid, resource in resources.items() if not resource.failback}
    if not any(resource.group for resource in resources.values()):
        found = await _rules(client)
        if found is None:
            return HaRules((), frozenset(stays), has_rules=False)
        in_force = tuple(rule for rule in found if not rule.off)
        return HaRules(in_force, frozenset(stays), tuple(rule for rule in found if rule.off), True)
    groups = []
    for name, (rule, failback) in sorted((await client.ha_groups()).items()):
        members = tuple(sorted(sid for sid, resource in resources.items() if resource.group == name))
        groups.append(replace(rule, resources=members))
        stays.update(() if failback else members)
    return HaRules(tuple(groups), frozenset(stays), has_rules=False)


async def _rules(client: PveClient) -> tuple[HaRule, ...] | None:
    try:
        return await client.all_ha_rules()
    except DroverError as error:
        if error.why is Why.NOT_SUPPORTED:
            return None
        raise
