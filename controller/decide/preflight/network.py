"""Checks of what a guest's network devices are plugged into. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, warn
from controller.model.facts import Topic
from controller.model.observed import NodeState
from controller.model.reasons import Why


@check(Why.NETWORK_MISSING, Why.NOT_CHECKED)
def networks_are_on_the_target(look: Look) -> tuple[Finding, ...]:
    """PVE finds out only when the guest starts on the target (pve-common: PVE/Network.pm, tap_plug).

    Bridges are hidden from a token without SDN.Audit (pve-manager: PVE/API2/Network.pm): one that shows on neither node
    proves nothing, because the guest uses it on the source.
    """
    setup, target = look.facts.setup, look.fresh.target
    plugged = {nic.bridge: nic.key for nic in setup.nics if nic.bridge} if setup is not None else {}
    if not plugged or target is None or target.state is not NodeState.ONLINE:
        return ()
    if look.facts.networks is None:
        return unchecked(look, Topic.NETWORKS, f"whether {target.name} has {', '.join(sorted(plugged))}")
    here = look.facts.networks.get(look.move.source, frozenset())
    missing = plugged.keys() - look.facts.networks.get(target.name, frozenset())
    found: tuple[Finding, ...] = ()
    for bridge in sorted(missing & here):
        found += fail(Why.NETWORK_MISSING, f"{target.name} has no {bridge}, which {plugged[bridge]} uses")
    for bridge in sorted(missing - here):
        text = f"not checked whether {target.name} has {bridge}: the token may not see it on either node (SDN.Audit)"
        found += warn(Why.NOT_CHECKED, text)
    return found
