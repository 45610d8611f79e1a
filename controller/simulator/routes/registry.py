"""Handlers by method and path template, and what a handler gets.

Every module of `simulator.routes` registers its handlers here; `routes.Simulator` looks them up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.simulator.access import Auth
from controller.simulator.api import ApiError, Request
from controller.simulator.guests import Guest
from controller.simulator.nodes import Node
from controller.simulator.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """One checked call. `viewer` is the node whose pveproxy was asked, `node` the one that works on it.

    params: path and request parameters as PVE's schema converts them.
    """

    world: World
    auth: Auth
    request: Request
    params: Mapping[str, Any]
    viewer: Node
    node: Node

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter."""
        return self.params.get(name, default)

    def allowed(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether the caller has these privileges; for lists, which are filtered."""
        return self.world.access.allowed(self.auth, path, *privileges, any_of=any_of)

    def check(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """Refuse with 403 unless the caller has these privileges."""
        self.world.access.check(self.auth, path, *privileges, any_of=any_of)

    def with_params(self, **params: Any) -> "Call":
        """Return the same call with other parameters, for handlers that build on others."""
        return replace(self, params=params)

    def guest(self, kind: str) -> Guest:
        """Return the guest of the path, whose configuration must be on the node (pve-guest-common: AbstractConfig.pm)."""
        vmid = int(self.params["vmid"])
        guest = self.world.guests.get(vmid)
        if guest is None or guest.node != self.node.name or guest.type != kind:
            folder = "lxc" if kind == "lxc" else "qemu-server"
            raise ApiError(500, f"Configuration file 'nodes/{self.node.name}/{folder}/{vmid}.conf' does not exist")
        return guest


@dataclass(frozen=True, slots=True)
class Answer:
    """Data with company: `more` stands beside `data` (such as `total`), `delay` is the time it takes."""

    data: Any
    more: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0


Handler = Callable[[Call], Any]
HANDLERS: dict[tuple[str, str], Handler] = {}


def route(method: str, template: str) -> Callable[[Handler], Handler]:
    """Register a handler; it returns the data or an `Answer`, and raises ApiError."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method, template] = handler
        return handler

    return register
