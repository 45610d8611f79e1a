"""Calls below `/access` that clients need: who am I, what may I do, a ticket.

Registered with `routes.registry`; pve-access-control: PVE/API2/AccessControl.pm.
"""

from typing import Any

from controller.simulator.routes.registry import Call, route


@route("GET", "/access/permissions")
def permissions(call: Call) -> dict[str, dict[str, int]]:
    """Return the caller's (or another's) privileges by path."""
    who = str(call.get("userid") or call.auth.full)
    return call.world.access.permissions(who, call.get("path"))


@route("GET", "/access/domains")
def domains(call: Call) -> list[dict[str, Any]]:
    """List realms."""
    return [{"realm": name, **realm} for name, realm in call.world.access.realms.items()]


@route("POST", "/access/ticket")
def ticket(call: Call) -> dict[str, Any]:
    """Log in; a ticket that still holds counts as a password."""
    access = call.world.access
    name = str(call.params["username"])
    if call.get("realm") and "@" not in name:
        name = f"{name}@{call.get('realm')}"
    held = access.login(name, str(call.params["password"]))
    answer: dict[str, Any] = {"username": name, "ticket": held, "CSRFPreventionToken": access.csrf_for(name)}
    if len(call.world.nodes) > 1:
        answer["clustername"] = call.world.name
    answer["cap"] = {}
    return answer
