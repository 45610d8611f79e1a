"""The API of the simulated cluster: from a request to PVE's answer.

`Simulator` is what `simulator.http`, `simulator.transport` and tests talk to; the modules beside this one hold the handlers.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from controller.simulator import expectations, faults, ha_actions
from controller.simulator.access import NOBODY, Auth, forbidden
from controller.simulator.api import REASONS, ApiError, Request, Response
from controller.simulator.nodes import Node
from controller.simulator.routes import (  # noqa: F401 - importing registers their handlers
    access,
    backup,
    bulk,
    cluster,
    cluster_config,
    cpu,
    creation,
    guest_config,
    guests,
    ha,
    ha_status,
    indexes,
    lxc_migrate,
    monitor,
    monitoring,
    nodes,
    pools,
    power,
    qemu_migrate,
    replication,
    resources,
    storage,
    tasks,
)
from controller.simulator.routes.registry import HANDLERS, Answer, Call
from controller.simulator.schema import Method, schema_for
from controller.simulator.world import World

__all__ = ["Simulator"]
ARP_SECONDS = 30.0
"""How long a dead node's address is still tried in vain; later the kernel knows that there is no route."""
NO_ROUTE_DELAY = 3.1


class Simulator:
    """PVE's pveproxy on every node of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        for part in (world, *world.elsewhere.values()):
            part.ha.perform = partial(ha_actions.perform, part)
            part.ha.reset = partial(faults.power_cycle, part)
        self.requests = 0
        faults.schedule(world)
        expectations.schedule(world)

    def handle(self, request: Request) -> Response:
        """Answer one request at the world's present moment; the caller advances the world first.

        The node asked must be one that `reachable` says yes for; else nobody would answer.
        """
        self.requests += 1
        for interceptor in tuple(self.world.interceptors):
            answer = interceptor(request, lambda: self._answer(request))
            if answer is not None:
                return self._worded(answer)
        return self._worded(self._answer(request))

    def _worded(self, response: Response) -> Response:
        """Leave the message out of error bodies when the cluster speaks as PVE did before 8.3."""
        if self.world.file.error_bodies == "full" or response.status < 400 or response.body is None:
            return response
        return replace(response, body={key: value for key, value in response.body.items() if key != "message"})

    def reachable(self, node: str) -> bool:
        """Whether a client outside gets an answer from this node's pveproxy."""
        return self.home(node).nodes[node].answers()

    def home(self, node: str) -> World:
        """Return the cluster that a node is in: the one of the file, or one of its own until it joins."""
        return self.world.elsewhere.get(node, self.world)

    def _answer(self, request: Request) -> Response:
        try:
            return self._dispatch(request)
        except ApiError as error:
            return error.response()

    def _dispatch(self, request: Request) -> Response:
        world = self.home(request.node)
        viewer = world.nodes[request.node]
        path = "/" + "/".join(part for part in request.path.split("/") if part)
        schema = schema_for(viewer.version)
        try:
            method, in_path = schema.find(request.method, path)
        except ApiError:
            world.access.authenticate(request.auth, request.cookie, request.csrf, request.method)
            raise
        auth = _authenticate(world, request, method)
        params: dict[str, Any] = dict(in_path)
        for name, value in request.params.items():
            if name in in_path and str(value) != in_path[name]:
                text = "duplicate parameter (already defined in URI) with conflicting values!"
                raise ApiError(400, REASONS[400], errors={name: text})
            params[name] = value
        if auth.token and method.ticket_only:
            raise forbidden(f"URI '{path}' not available with API token, need proper ticket.\n")
        world.access.check_call(auth, method.check, params)
        node = _worker(world, viewer, method, params)
        if node is not viewer:
            method, _ = schema_for(node.version).find(request.method, path)
        checked = schema_for(node.version).validate(method, params)
        handler = HANDLERS.get((request.method, method.template))
        if handler is None:
            raise ApiError(501, f"Method '{request.method} {path}' not implemented")
        return _respond(handler(Call(world, auth, request, checked, viewer, node)))


def _authenticate(world: World, request: Request, method: Method) -> Auth:
    if method.world and not (request.auth or request.cookie):
        return NOBODY
    return world.access.authenticate(request.auth, request.cookie, request.csrf, request.method)


def _worker(world: World, viewer: Node, method: Method, params: dict[str, Any]) -> Node:
    """Return the node that works on the call (pve-http-server: APIServer/AnyEvent.pm proxy_request)."""
    name = str(params.get(method.proxyto) or viewer.name) if method.proxyto else viewer.name
    node = viewer if name == "localhost" else world.nodes.get(name)
    if node is None:
        lookup = f"failed to get address info for: {name}: Name or service not known"
        raise ApiError(500, f"hostname lookup '{name}' failed - {lookup}")
    if node is not viewer:
        _connect(world, viewer, node)
    if method.protected and not node.daemon:
        raise ApiError(595, "Connection refused", empty=True)
    return node


def _connect(world: World, viewer: Node, node: Node) -> None:
    if not node.powered and node.refusing and viewer.group == node.group:
        raise ApiError(595, "Connection refused", empty=True)
    if not world.connected(viewer.name, node.name):
        dead_for = world.now - max(node.down_at, world.split_at)
        if dead_for < ARP_SECONDS:
            raise ApiError(595, "Connection timed out", empty=True, delay=ARP_SECONDS)
        raise ApiError(595, "No route to host", empty=True, delay=NO_ROUTE_DELAY)
    if not node.proxy:
        raise ApiError(595, "Connection refused", empty=True)


def _respond(result: Any) -> Response:
    if isinstance(result, Answer):
        return Response(200, "OK", {"data": result.data, **result.more}, result.delay)
    return Response(200, "OK", {"data": result})
