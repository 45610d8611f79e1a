"""Hooks on the stage: what the commands of a machine's settings would do to the simulated cluster, on its clock.

Used by `rehearse.stage`; written in the `hooks` of a story.
"""

from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict

from controller.act.hooks import HookResult
from controller.clock import Clock
from controller.simulator import faults
from controller.simulator.world import World


class StageHook(BaseModel):
    """A hook as an actor: how long it takes, what it does to its node, and for which nodes it goes wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = 30.0
    reboots: bool = False  # resets its node when it ends, as a playbook that does not wait
    maintains: bool = False  # switches PVE HA's maintenance of its node, as DROVER_ACTION says
    fails: tuple[str, ...] = ()  # nodes for which it ends with exit code 1
    fails_to: str = ""  # the action, as DROVER_ACTION names it, in which it ends with exit code 1 for every node
    loses: tuple[str, ...] = ()  # nodes that it switches off


class StageHooks:
    """A `HookRunner` that plays."""

    def __init__(self, hooks: Mapping[str, StageHook], world: World, clock: Clock) -> None:
        self._hooks = hooks
        self._world = world
        self._clock = clock

    async def __call__(
        self,
        name: str,
        environment: Mapping[str, str],
        begun: str,  # noqa: ARG002 - a HookRunner
        note: Callable[[str], None],  # noqa: ARG002 - a HookRunner
    ) -> HookResult:
        """See `HookRunner`."""
        hook, node = self._hooks[name], environment["DROVER_NODE"]
        await self._clock.sleep(hook.seconds)
        self._world.advance(self._clock.wall())
        if hook.fails_to == environment["DROVER_ACTION"]:
            return HookResult(1, f"ssh: connect to host {node} port 22: No route to host")
        if node in hook.fails:
            return HookResult(1, f"TASK [upgrade] {node} failed: held back packages")
        if node in hook.loses:
            faults.apply(self._world, "node-crash", node=node)
        elif hook.reboots:
            faults.power_cycle(self._world, node)
        if hook.maintains:
            faults.apply(self._world, "admin-maintain", node=node, on=environment["DROVER_ACTION"] == "enable")
        return HookResult(0, "")
