"""The rules of PVE HA, whichever way the release writes them. Called by `observe.cluster`, once a minute while HA has resources."""

from dataclasses import dataclass, replace

from controller.model.errors import DroverError
from controller.model.facts import HaRule
from controller.model.reasons import Why
from controller.pve.client import PveClient


@dataclass(frozen=True, slots=True)
class HaRules:
    """All rules in force, and the resources, such as vm:101, that do not go back to better nodes by themselves."""

    rules: tuple[HaRule, ...] = ()
    stays: frozenset[str] = frozenset()


async def read_ha_rules(client: PveClient) -> HaRules:
    """Two calls, one more while resources have a group. Raises DroverError.

    Since 9.0 there are rules, before there are groups, each a rule about nodes with the failback of its members; while a cluster
    is being upgraded resources may still have their groups (pve-ha-manager: PVE/HA/Groups.pm).
    """
    resources = await client.ha_resources()
    stays = {sid for sid, resource in resources.items() if not resource.failback}
    if not any(resource.group for resource in resources.values()):
        return HaRules(await _rules(client), frozenset(stays))
    found = []
    for name, (rule, failback) in sorted((await client.ha_groups()).items()):
        members = tuple(sorted(sid for sid, resource in resources.items() if resource.group == name))
        found.append(replace(rule, resources=members))
        stays.update(() if failback else members)
    return HaRules(tuple(found), frozenset(stays))


async def _rules(client: PveClient) -> tuple[HaRule, ...]:
    try:
        return await client.all_ha_rules()
    except DroverError as error:
        if error.why is Why.NOT_SUPPORTED:
            return ()
        raise
