"""PVE HA's maintenance mode of nodes that Drover empties: when the machine's hook has to switch it on and off. Pure.

PVE has no API for it, only `ha-manager crm-command node-maintenance enable|disable NODE` (pve-ha-manager: PVE/CLI/ha_manager.pm).
Called by `loop.tick`; `decide.gate` and `decide.rolling` ask what was switched on.
"""

from collections.abc import Iterator, Mapping

from controller.decide.maintenances import maintenances
from controller.model.desired import Maintenance
from controller.model.ids import NodeName
from controller.model.memory import Memory
from controller.model.observed import HaNodeState, Observed
from controller.model.plan import DrainMode, Plan
from controller.model.turn import HookAction, HookCall, HookRun
from controller.specs import PveCluster, Specs

EFFECT_SECONDS = 60.0
"""How long after the command the HA manager may take to show it: its rounds are 10 s apart."""


def switched_on(memory: Memory, node: NodeName) -> HookRun | None:
    """The hook that switches, or has switched, the HA maintenance of the node on for Drover."""
    runs = (r for r in memory.hooks.values() if r.call.action is HookAction.ENABLE and r.call.node == node)
    return next((run for run in runs if not run.over or run.succeeded), None)


def awaited(cluster: PveCluster, seen: Observed, memory: Memory, node: NodeName) -> bool:
    """Whether the HA maintenance of a node that is to be emptied is about to begin, so that HA guests are left to HA."""
    if cluster.spec.maintenance.ha_maintenance_hook is None or seen.nodes[node].ha is not HaNodeState.ONLINE:
        return False
    runs = [r for r in memory.hooks.values() if r.call.action is HookAction.ENABLE and r.call.node == node]
    if not runs:
        return True
    return any(not run.over or (run.succeeded and seen.at < run.ended_at + EFFECT_SECONDS) for run in runs)


def calls(specs: Specs, seen: Observed, plan: Plan, memory: Memory) -> tuple[HookCall, ...]:
    """Hooks that have to run, or whose result still matters: on for evacuations of HA guests, off when those are over."""
    cluster = specs.clusters[seen.cluster]
    hook = cluster.spec.maintenance.ha_maintenance_hook
    if hook is None:
        return ()
    wanted = _wanted(cluster, specs, seen)
    return (*_on(hook, seen, plan, memory, wanted), *_off(hook, seen, memory, wanted))


def _wanted(cluster: PveCluster, specs: Specs, seen: Observed) -> Mapping[NodeName, Maintenance]:
    """Maintenance that people want, without what follows from PVE HA's own."""
    settings = cluster.spec.maintenance.model_copy(update={"follow_ha_maintenance": False})
    by_people = cluster.model_copy(update={"spec": cluster.spec.model_copy(update={"maintenance": settings})})
    found = maintenances(by_people, specs, seen)
    return {node: each for node, each in found.items() if each.mode is DrainMode.EVACUATE}


def _on(
    hook: str, seen: Observed, plan: Plan, memory: Memory, wanted: Mapping[NodeName, Maintenance]
) -> Iterator[HookCall]:
    for drain in plan.drains:
        begun = memory.begun.get(drain.node)
        if drain.node not in wanted or begun is None or begun.maintenance != drain.ref or drain.hold is not None:
            continue
        call = HookCall(hook, HookAction.ENABLE, drain.ref, drain.node, begun.at)
        has_ha = any(guest.ha_managed for guest in seen.guests_on(drain.node))
        if call.key in memory.hooks or (has_ha and seen.nodes[drain.node].ha is HaNodeState.ONLINE):
            yield call


def _off(hook: str, seen: Observed, memory: Memory, wanted: Mapping[NodeName, Maintenance]) -> Iterator[HookCall]:
    for run in memory.hooks.values():
        on = run.call
        if on.action is not HookAction.ENABLE or on.node in wanted:
            continue
        if not run.over:
            yield on  # first it ends, or is run again: nobody knows what it has done
        elif run.succeeded:
            off = HookCall(hook, HookAction.DISABLE, on.maintenance, on.node, on.occasion)
            known = memory.hooks.get(off.key)
            done = known is not None and known.call.occasion == on.occasion and known.over
            gone = on.node not in seen.nodes or (done and seen.nodes[on.node].ha is not HaNodeState.MAINTENANCE)
            if not gone:
                yield off
                yield on
