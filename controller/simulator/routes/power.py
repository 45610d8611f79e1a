"""Starting, stopping, pausing guests: calls that only fork a worker.

Registered with `routes.registry`. Nothing is checked in the request except rights: see `simulator.power`.
"""

from controller.simulator import power
from controller.simulator.access import only_root
from controller.simulator.preconditions import require_quorum
from controller.simulator.routes.registry import Call, Handler, route


def _handler(kind: str, verb: str) -> Handler:
    def handle(call: Call) -> str:
        vmid = int(call.params["vmid"])
        only_root(call.auth, call.params, "skiplock", "migratedfrom", "stateuri", "migration_type", "migration_network")
        if verb == "start":
            require_quorum(call.world, call.node.name)
        body = power.worker(call.world, call.node.name, kind, vmid, verb=verb, params=dict(call.params))
        name = power.task_type(kind, verb)
        return call.world.spawn(call.node.name, name, str(vmid), call.auth.full, body).upid

    return handle


for _kind in ("qemu", "lxc"):
    for _verb in ("start", "stop", "shutdown", "reboot", "suspend", "resume"):
        route("POST", f"/nodes/{{node}}/{_kind}/{{vmid}}/status/{_verb}")(_handler(_kind, _verb))
