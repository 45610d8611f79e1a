"""Checks of QEMU's machine and of what binds a guest to its node's hardware. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, warn
from controller.model.facts import Topic
from controller.model.observed import Node, NodeState
from controller.model.reasons import Why


@check(Why.MACHINE_UNKNOWN, Why.NOT_CHECKED)
def machine_is_known_to_the_target(look: Look) -> tuple[Finding, ...]:
    """QEMU on the target has to know the version of the machine that runs (qemu-server: PVE/QemuServer/Machine.pm)."""
    target = look.fresh.target
    if not look.live or look.guest is None or target is None or target.state is not NodeState.ONLINE:
        return ()
    if not look.guest.machine:
        return warn(
            Why.NOT_CHECKED, "not checked whether the target knows the machine: PVE does not say which one runs"
        )
    if look.facts.machines is None:
        return unchecked(look, Topic.MACHINES, f"whether {target.name} knows {look.guest.machine}")
    if look.guest.machine in look.facts.machines:
        return ()
    return fail(Why.MACHINE_UNKNOWN, f"{look.named} runs as {look.guest.machine}, which {target.name} does not know")


@check(Why.TARGET_OLDER, Why.NOT_CHECKED)
def software_is_no_older_there(look: Look) -> tuple[Finding, ...]:
    """PVE supports live migration from old to new; the other way it works only as long as QEMU knows all that runs."""
    source, target = look.fresh.source, look.fresh.target
    if not look.live or source is None or target is None or target.state is not NodeState.ONLINE:
        return ()
    if not source.version or not target.version:
        silent = target.name if source.version else source.name
        return warn(Why.NOT_CHECKED, f"not checked which software is older: {silent} does not tell its version")
    if source.version[:2] <= target.version[:2]:
        return ()
    return warn(Why.TARGET_OLDER, f"{source.name} runs PVE {_dotted(source)}, {target.name} only {_dotted(target)}")


def _dotted(node: Node) -> str:
    return ".".join(map(str, node.version))
