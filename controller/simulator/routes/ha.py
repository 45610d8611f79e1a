"""Calls below `/cluster/ha`: resources, rules, groups, requests to move, and arming.

Registered with `routes.registry`; pve-ha-manager: PVE/API2/HA/Resources.pm, Rules.pm and Groups.pm. What reads the state is in
`routes.ha_status`.
"""

from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.ha_rules import Rule, split
from controller.simulator.preconditions import require_quorum
from controller.simulator.routes.registry import Call, route

MIGRATED = "ha groups have been migrated to rules"
_CONTROL = ("sid", "rule", "group", "node", "digest", "delete", "type")


def _sid(call: Call, name: str = "sid") -> str:
    """The resource id of a call; a bare number is that of the guest."""
    text = str(call.params[name])
    if not text.isdigit():
        return text
    guest = call.world.guests.get(int(text))
    return call.world.ha.sid_of(guest) if guest is not None else f"vm:{text}"


def _writable(call: Call) -> None:
    require_quorum(call.world, call.node.name)


def _resource_row(call: Call, sid: str) -> dict[str, Any]:
    ha = call.world.ha
    return {"sid": sid, "type": sid.partition(":")[0], "digest": ha.digest, **ha.resources[sid]}


@route("GET", "/cluster/ha/resources")
def resources(call: Call) -> list[dict[str, Any]]:
    """List the configured resources, defaults not filled in."""
    wanted = call.get("type")
    return [_resource_row(call, sid) for sid in call.world.ha.resources if wanted in (None, sid.partition(":")[0])]


@route("GET", "/cluster/ha/resources/{sid}")
def resource(call: Call) -> dict[str, Any]:
    """Return one resource."""
    sid = _sid(call)
    if sid not in call.world.ha.resources:
        raise ApiError(500, f"no such resource '{sid}'")
    return _resource_row(call, sid)


@route("POST", "/cluster/ha/resources")
def add_resource(call: Call) -> None:
    """Put a guest under HA."""
    _writable(call)
    world, sid = call.world, _sid(call)
    kind, _, ident = sid.partition(":")
    if kind not in ("vm", "ct"):
        raise ApiError(500, f"unknown section type '{kind}'")
    guest = world.guests.get(int(ident)) if ident.isdigit() else None
    if guest is None:
        raise ApiError(500, f"resource '{sid}' does not exist in cluster")
    if world.ha.sid_of(guest) != sid:
        raise ApiError(500, f"resource '{sid}' - guest with ID {ident} is not a {'VM' if kind == 'vm' else 'CT'}")
    _check_group(call)
    if sid in world.ha.resources:
        raise ApiError(500, f"create resource failed: resource ID '{sid}' already defined")
    entry = {key: value for key, value in call.params.items() if key not in _CONTROL}
    world.ha.resources[sid] = {"state": "started", **entry} if "state" in entry else entry
    if call.get("group") is not None:
        world.ha.resources[sid]["group"] = world.ha.book.group_of[sid] = str(call.get("group"))
    world.ha.wake()


def _check_group(call: Call) -> None:
    if call.get("group") is None:
        return
    if call.world.ha.has_rules:
        raise ApiError(500, f"invalid parameter 'group': {MIGRATED}")
    if call.get("group") not in call.world.ha.book.groups:
        raise ApiError(500, f"no such HA group '{call.get('group')}'")


@route("PUT", "/cluster/ha/resources/{sid}")
def change_resource(call: Call) -> None:
    """Change a resource; `disabled` and then `started` clear an error."""
    _writable(call)
    ha, sid = call.world.ha, _sid(call)
    if sid not in ha.resources:
        raise ApiError(500, f"update resources config failed: no such resource '{sid}'")
    _check_group(call)
    for key in split(str(call.get("delete", ""))):
        ha.resources[sid].pop(key, None)
    ha.resources[sid].update({key: value for key, value in call.params.items() if key not in _CONTROL})
    if call.get("group") is not None:
        ha.resources[sid]["group"] = ha.book.group_of[sid] = str(call.get("group"))
    ha.wake()


@route("DELETE", "/cluster/ha/resources/{sid}")
def delete_resource(call: Call) -> None:
    """Take a guest out of HA; it stays as it is."""
    _writable(call)
    sid = _sid(call)
    if sid not in call.world.ha.resources:
        raise ApiError(500, f"cannot delete service '{sid}', not HA managed!")
    call.world.ha.forget(sid)


@route("POST", "/cluster/ha/resources/{sid}/migrate")
@route("POST", "/cluster/ha/resources/{sid}/relocate")
def move(call: Call) -> dict[str, Any] | None:
    """Queue a move with the CRM. Unknown, offline and present nodes are no error here; the CRM drops them."""
    _writable(call)
    ha, sid, node = call.world.ha, _sid(call), str(call.params["node"])
    if sid not in ha.resources:
        raise ApiError(500, f"resource '{sid}' is not HA managed")
    answer: dict[str, Any] = {"sid": sid, "requested-node": node}
    if partners := ha.book.partners(sid, "positive"):
        answer["comigrated-resources"] = partners
    if blockers := ha.blockers(sid, node):
        answer["blocking-resources"] = [{"sid": other, "cause": "resource-affinity"} for other in blockers]
    ha.request(call.request.path.rstrip("/").rpartition("/")[2], sid, node)
    return answer if call.viewer.at_least("9.0") else None


@route("GET", "/cluster/ha/rules")
def rules(call: Call) -> list[dict[str, Any]]:
    """List rules, of one type or about one resource if asked."""
    book = call.world.ha.book
    return [
        rule.row(order, call.world.ha.rules_digest)
        for order, rule in enumerate(book.rules.values(), 1)
        if call.get("type") in (None, rule.type) and call.get("resource") in (None, *rule.resources)
    ]


@route("GET", "/cluster/ha/rules/{rule}")
def rule(call: Call) -> dict[str, Any]:
    """Return one rule."""
    name = str(call.params["rule"])
    book = call.world.ha.book
    if name not in book.rules:
        raise ApiError(500, f"no such ha rule '{name}'")
    return book.rules[name].row(list(book.rules).index(name) + 1, call.world.ha.rules_digest)


@route("POST", "/cluster/ha/rules")
def add_rule(call: Call) -> None:
    """Add a rule; one that cannot be is refused with every reason."""
    _writable(call)
    name = str(call.params["rule"])
    if not call.world.ha.has_rules:
        raise ApiError(500, "cannot create ha rule: ha groups have not been migrated yet")
    made = Rule.of(name, call.params)
    _check_members(call, made, "create ha rule failed")
    if name in call.world.ha.book.rules:
        raise ApiError(500, f"create ha rule failed: HA rule '{name}' already defined")
    _check_feasible(call, made, "create ha rule failed")
    call.world.ha.add_rule(made)


def _check_members(call: Call, made: Rule, what: str) -> None:
    strangers = [sid for sid in made.resources if sid not in call.world.ha.resources]
    if strangers:
        raise ApiError(500, f"{what}: cannot use unmanaged resource(s) {', '.join(strangers)}.")
    unknown = [node for node in made.nodes if node not in call.world.nodes]
    if unknown:
        raise ApiError(500, f"{what}: cannot use non-existent node(s) {', '.join(unknown)}.")


def _check_feasible(call: Call, made: Rule, what: str) -> None:
    if objections := call.world.ha.book.objections(made, len(call.world.nodes)):
        reason = f"{what}: 400 Rule '{made.name}' is invalid."
        raise ApiError(500, reason, f"{reason}\nresources: {', '.join(objections)}")


@route("PUT", "/cluster/ha/rules/{rule}")
def change_rule(call: Call) -> None:
    """Change a rule."""
    _writable(call)
    name, ha = str(call.params["rule"]), call.world.ha
    if name not in ha.book.rules:
        raise ApiError(500, f"update HA rules failed: HA rule '{name}' does not exist")
    if call.get("digest") not in (None, ha.rules_digest):
        changed = "detected modified configuration - file changed by other user? Try again."
        raise ApiError(500, f"update HA rules failed: {changed}")
    entry = ha.book.rules[name].row(1, "")
    for key in split(str(call.get("delete", ""))):
        entry.pop(key, None)
    made = Rule.of(name, entry | {key: value for key, value in call.params.items() if key not in _CONTROL})
    _check_members(call, made, "update HA rules failed")
    _check_feasible(call, made, "update HA rules failed")
    ha.add_rule(made)


@route("DELETE", "/cluster/ha/rules/{rule}")
def delete_rule(call: Call) -> None:
    """Remove a rule; an unknown one is no error."""
    _writable(call)
    call.world.ha.book.rules.pop(str(call.params["rule"]), None)


@route("GET", "/cluster/ha/groups")
def groups(call: Call) -> list[dict[str, Any]]:
    """List groups; 9.x has moved them to rules."""
    _only_before_rules(call, "cannot index groups")
    ha = call.world.ha
    return [
        {"group": name, "type": "group", "digest": ha.rules_digest, **entry} for name, entry in ha.book.groups.items()
    ]


@route("GET", "/cluster/ha/groups/{group}")
def group(call: Call) -> dict[str, Any]:
    """Return one group."""
    _only_before_rules(call, "cannot read group")
    name, ha = str(call.params["group"]), call.world.ha
    if name not in ha.book.groups:
        raise ApiError(500, f"no such ha group '{name}'")
    return {"group": name, "type": "group", "digest": ha.rules_digest, **ha.book.groups[name]}


@route("POST", "/cluster/ha/groups")
def add_group(call: Call) -> None:
    """Add a group."""
    _only_before_rules(call, "cannot create group")
    _writable(call)
    name, ha = str(call.params["group"]), call.world.ha
    if name in ha.book.groups:
        raise ApiError(500, f"create ha group failed: group ID '{name}' already defined")
    ha.book.groups[name] = {key: value for key, value in call.params.items() if key not in _CONTROL}
    ha.wake()


@route("PUT", "/cluster/ha/groups/{group}")
def change_group(call: Call) -> None:
    """Change a group."""
    _only_before_rules(call, "cannot update group")
    _writable(call)
    name, ha = str(call.params["group"]), call.world.ha
    if name not in ha.book.groups:
        raise ApiError(500, f"update ha group failed: no such ha group '{name}'")
    for key in split(str(call.get("delete", ""))):
        ha.book.groups[name].pop(key, None)
    ha.book.groups[name].update({key: value for key, value in call.params.items() if key not in _CONTROL})
    ha.wake()


@route("DELETE", "/cluster/ha/groups/{group}")
def delete_group(call: Call) -> None:
    """Remove a group that no resource uses."""
    _only_before_rules(call, "cannot delete group")
    _writable(call)
    name, ha = str(call.params["group"]), call.world.ha
    if name in ha.book.group_of.values():
        raise ApiError(500, f"delete group failed: group '{name}' is still used")
    ha.book.groups.pop(name, None)


def _only_before_rules(call: Call, what: str) -> None:
    if call.world.ha.has_rules:
        raise ApiError(500, f"{what}: {MIGRATED}")


@route("POST", "/cluster/ha/status/disarm-ha")
def disarm(call: Call) -> None:
    """Take HA out of service; nothing is recovered until it is armed again."""
    _writable(call)
    call.world.ha.disarm = {"mode": str(call.get("resource-mode", "freeze")), "state": "disarming"}
    call.world.ha.wake()


@route("POST", "/cluster/ha/status/arm-ha")
def arm(call: Call) -> None:
    """Put HA back into service."""
    _writable(call)
    call.world.ha.arm()
