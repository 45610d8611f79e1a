"""Starting, stopping, pausing guests: calls that only fork a worker.

Registered with `routes.registry`. Nothing is checked in the request except rights: see `simulator.power`. For guests that HA
manages, start and stop only change what HA is asked for.
"""

from collections.abc import Generator
from typing import Any

from controller.simulator import power
from controller.simulator.access import only_root
from controller.simulator.engine import Wait
from controller.simulator.preconditions import require_quorum
from controller.simulator.routes.registry import Call, Handler, route
from controller.simulator.tasks import Task

_HA = {"start": ("start", "started"), "stop": ("stop", "stopped"), "shutdown": ("stop", "stopped")}


def _handler(kind: str, verb: str) -> Handler:
    def handle(call: Call) -> str:
        vmid = int(call.params["vmid"])
        only_root(call.auth, call.params, "skiplock", "migratedfrom", "stateuri", "migration_type", "migration_network")
        if verb == "start":
            require_quorum(call.world, call.node.name)
        guest = call.world.guests.get(vmid)
        if guest is not None and verb in _HA and call.world.ha.manages(guest):
            return _ask_ha(call, call.world.ha.sid_of(guest), *_HA[verb])
        body = power.worker(call.world, call.node.name, kind, vmid, verb=verb, params=dict(call.params))
        name = power.task_type(kind, verb)
        return call.world.spawn(call.node.name, name, str(vmid), call.auth.full, body).upid

    return handle


def _ask_ha(call: Call, sid: str, verb: str, state: str) -> str:
    word, _, vmid = sid.partition(":")

    def body(task: Task) -> Generator[Wait, Any, None]:
        task.log.append(f"Requesting HA {verb} for {word.upper()} {vmid}")
        yield 0.5
        if state == "stopped":
            call.world.ha.request_stop(sid)
        else:
            call.world.ha.set_state(sid, state)

    return call.world.spawn(call.node.name, f"ha{verb}", vmid, call.auth.full, body).upid


for _kind in ("qemu", "lxc"):
    for _verb in ("start", "stop", "shutdown", "reboot", "suspend", "resume"):
        route("POST", f"/nodes/{{node}}/{_kind}/{{vmid}}/status/{_verb}")(_handler(_kind, _verb))
