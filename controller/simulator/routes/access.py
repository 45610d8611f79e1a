"""Calls below `/access`: tickets, permissions, users, tokens, roles, ACLs.

Registered with `routes.registry`; pve-access-control: PVE/API2/AccessControl.pm, User.pm, Role.pm and ACL.pm.
"""

from typing import Any
from uuid import UUID

from controller.simulator import roles
from controller.simulator.access import Token, User
from controller.simulator.api import REASONS, ApiError
from controller.simulator.formats import split_list
from controller.simulator.routes.cluster import require_writable
from controller.simulator.routes.registry import Call, route

USER_CONFIG = "file-user_cfg"
_CAPABILITIES = {
    "access": ("/access", ("User", "Group", "Permissions")),
    "dc": ("/", ("Sys.Audit", "Sys.Modify", "SDN")),
    "mapping": ("/mapping", ("Mapping", "Permissions")),
    "nodes": ("/nodes", ("Sys", "Permissions")),
    "sdn": ("/sdn", ("SDN", "Permissions")),
    "storage": ("/storage", ("Datastore", "Permissions")),
    "vms": ("/vms", ("VM", "Permissions")),
}
"""Parts of a ticket's `cap`: where it looks and for what (pve-access-control: RPCEnvironment.pm compute_api_permission)."""


@route("GET", "/access")
def index(_call: Call) -> list[dict[str, str]]:
    """List what is below."""
    names = ("users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password", "permissions")
    return [{"subdir": name} for name in names]


@route("GET", "/access/permissions")
def permissions(call: Call) -> dict[str, dict[str, int]]:
    """Return the caller's (or another's) privileges by path."""
    who = str(call.get("userid") or call.auth.full)
    if who not in (call.auth.full, call.auth.user):
        call.check("/access", "Sys.Audit")
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
    if call.world.formed:
        answer["clustername"] = call.world.name
    answer["cap"] = {part: _capability(call, name, *where) for part, where in _CAPABILITIES.items()}
    return answer


def _capability(call: Call, name: str, path: str, wanted: tuple[str, ...]) -> dict[str, int]:
    return {
        privilege: 1
        for privilege in call.world.access.effective(name, path)
        if privilege in wanted or privilege.partition(".")[0] in wanted
    }


@route("GET", "/access/users")
def users(call: Call) -> list[dict[str, Any]]:
    """List users; without rights over users only the caller, and a token is not even its own user."""
    everybody = call.allowed("/access/groups", "User.Modify", "Sys.Audit", any_of=True)
    return [
        _user_row(call, name)
        for name, user in call.world.access.users.items()
        if (everybody or name == call.auth.full) and call.get("enabled") in (None, int(user.enable))
    ]


def _user_row(call: Call, name: str) -> dict[str, Any]:
    user = call.world.access.users[name]
    realm = name.rpartition("@")[2]
    row: dict[str, Any] = {"userid": name, "enable": int(user.enable), "expire": user.expire, "realm-type": realm}
    if user.comment:
        row["comment"] = user.comment
    row |= user.details
    if call.get("full"):
        row["tokens"] = [{"tokenid": name, **_token_row(token)} for name, token in user.tokens.items()]
        row["groups"] = ",".join(sorted(user.groups))
    return row


def _known_user(call: Call) -> User:
    name = str(call.params["userid"])
    user = call.world.access.users.get(name)
    if user is None:
        raise ApiError(500, f"no such user ('{name}')")
    return user


@route("GET", "/access/users/{userid}")
def user_entry(call: Call) -> dict[str, Any]:
    """Return one user with groups and tokens."""
    user = _known_user(call)
    row = _user_row(call, str(call.params["userid"]))
    tokens = {name: _token_row(token) for name, token in user.tokens.items()}
    return {key: row[key] for key in row if key not in ("userid", "realm-type")} | {
        "groups": sorted(user.groups),
        "tokens": tokens,
    }


@route("POST", "/access/users")
def create_user(call: Call) -> None:
    """Add a user."""
    require_writable(call, USER_CONFIG, "create user")
    access, name = call.world.access, str(call.params["userid"])
    if name in access.users:
        raise ApiError(500, f"create user failed: user '{name}' already exists")
    if name.rpartition("@")[2] not in access.realms:
        raise ApiError(500, f"create user failed: domain '{name.rpartition('@')[2]}' does not exist")
    access.users[name] = User(call.get("password"), details={"email": ""})
    _set_user(call, access.users[name])


def _set_user(call: Call, user: User) -> None:
    if call.get("enable") is not None:
        user.enable = bool(call.get("enable"))
    if call.get("expire") is not None:
        user.expire = int(call.get("expire"))
    if call.get("comment") is not None:
        user.comment = str(call.get("comment"))
    if call.get("groups") is not None:
        groups = set(split_list(str(call.get("groups"))))
        user.groups = user.groups | groups if call.get("append") else groups
    for key in ("email", "firstname", "lastname", "keys"):
        if call.get(key) is not None:
            user.details[key] = str(call.get(key))
    call.world.access.changed()


@route("PUT", "/access/users/{userid}")
def change_user(call: Call) -> None:
    """Change a user."""
    require_writable(call, USER_CONFIG, "update user")
    _set_user(call, _known_user(call))


@route("DELETE", "/access/users/{userid}")
def delete_user(call: Call) -> None:
    """Remove a user with tokens and rights."""
    require_writable(call, USER_CONFIG, "delete user")
    user, name = _known_user(call), str(call.params["userid"])
    for token in user.tokens:
        call.world.access.forget("token", f"{name}!{token}")
    del call.world.access.users[name]
    call.world.access.forget("user", name)


def _token_row(token: Token) -> dict[str, Any]:
    row: dict[str, Any] = {"privsep": int(token.privsep), "expire": token.expire}
    if token.comment:
        row["comment"] = token.comment
    return row


@route("GET", "/access/users/{userid}/token")
def tokens(call: Call) -> list[dict[str, Any]]:
    """List the tokens of a user, without their secrets."""
    return [{"tokenid": name, **_token_row(token)} for name, token in _known_user(call).tokens.items()]


def _known_token(call: Call) -> Token:
    name = str(call.params["tokenid"])
    token = _known_user(call).tokens.get(name)
    if token is None:
        raise ApiError(500, f"no such token '{name}' for user '{call.params['userid']}'")
    return token


@route("GET", "/access/users/{userid}/token/{tokenid}")
def token_entry(call: Call) -> dict[str, Any]:
    """Return one token, without its secret."""
    return _token_row(_known_token(call))


@route("POST", "/access/users/{userid}/token/{tokenid}")
def create_token(call: Call) -> dict[str, Any]:
    """Add a token; the only time that its secret is told."""
    require_writable(call, USER_CONFIG, "generating token")
    user, name = _known_user(call), str(call.params["tokenid"])
    if name in user.tokens:
        raise ApiError(400, REASONS[400], errors={"tokenid": "Token already exists."})
    secret = str(UUID(int=call.world.random.getrandbits(128), version=4))
    privsep = call.get("privsep", 1)
    user.tokens[name] = Token(secret, bool(privsep), int(call.get("expire", 0)), str(call.get("comment", "")))
    call.world.access.changed()
    info = {key: str(call.get(key)) for key in ("comment", "expire") if call.get(key) is not None}
    full = f"{call.params['userid']}!{name}"
    return {"full-tokenid": full, "value": secret, "info": {"privsep": str(privsep), **info}}


@route("PUT", "/access/users/{userid}/token/{tokenid}")
def change_token(call: Call) -> dict[str, Any]:
    """Change a token; what was given comes back as text."""
    require_writable(call, USER_CONFIG, "updating token info")
    token = _known_token(call)
    if call.get("privsep") is not None:
        token.privsep = bool(call.get("privsep"))
    if call.get("expire") is not None:
        token.expire = int(call.get("expire"))
    if call.get("comment") is not None:
        token.comment = str(call.get("comment"))
    call.world.access.changed()
    given = {key: str(call.get(key)) for key in ("privsep", "expire") if call.get(key) is not None}
    return {**_token_row(token), **given}


@route("DELETE", "/access/users/{userid}/token/{tokenid}")
def delete_token(call: Call) -> None:
    """Remove a token and its rights."""
    require_writable(call, USER_CONFIG, "deleting token")
    _known_token(call)
    user, name = str(call.params["userid"]), str(call.params["tokenid"])
    del call.world.access.users[user].tokens[name]
    call.world.access.forget("token", f"{user}!{name}")


@route("GET", "/access/roles")
def role_index(call: Call) -> list[dict[str, Any]]:
    """List roles, the built-in ones marked `special`."""
    access = call.world.access
    known = {**roles.builtin(access.version), **access.custom_roles}
    return [
        {"roleid": name, "privs": ",".join(sorted(held)), "special": int(name not in access.custom_roles)}
        for name, held in known.items()
    ]


@route("GET", "/access/roles/{roleid}")
def role_entry(call: Call) -> dict[str, int]:
    """Return the privileges of a role."""
    name = str(call.params["roleid"])
    held = call.world.access.role(name)
    if held is None:
        raise ApiError(500, f"role '{name}' does not exist")
    return dict.fromkeys(sorted(held), 1)


@route("POST", "/access/roles")
def create_role(call: Call) -> None:
    """Add a role."""
    require_writable(call, USER_CONFIG, "create role")
    access, name = call.world.access, str(call.params["roleid"])
    if access.role(name) is not None:
        raise ApiError(500, f"create role failed: role '{name}' already exists")
    access.custom_roles[name] = frozenset(split_list(str(call.get("privs", ""))))
    access.changed()


@route("PUT", "/access/roles/{roleid}")
def change_role(call: Call) -> None:
    """Change a role's privileges."""
    require_writable(call, USER_CONFIG, "update role")
    access, name = call.world.access, str(call.params["roleid"])
    if name in roles.builtin(access.version):
        raise ApiError(500, f"update role failed: auto-generated role '{name}' cannot be modified")
    if name not in access.custom_roles:
        raise ApiError(500, f"update role failed: role '{name}' does not exist")
    given = frozenset(split_list(str(call.get("privs", ""))))
    access.custom_roles[name] = access.custom_roles[name] | given if call.get("append") else given
    access.changed()


@route("DELETE", "/access/roles/{roleid}")
def delete_role(call: Call) -> None:
    """Remove a role."""
    require_writable(call, USER_CONFIG, "delete role")
    access, name = call.world.access, str(call.params["roleid"])
    if name in roles.builtin(access.version):
        raise ApiError(500, f"delete role failed: auto-generated role '{name}' cannot be deleted")
    if access.custom_roles.pop(name, None) is None:
        raise ApiError(500, f"delete role failed: role '{name}' does not exist")
    access.changed()


@route("GET", "/access/acl")
def acl(call: Call) -> list[dict[str, Any]]:
    """List the entries on paths where the caller may change rights, or all with Sys.Audit on /access."""
    if call.allowed("/access", "Sys.Audit"):
        return call.world.access.acl_rows()
    return [row for row in call.world.access.acl_rows() if call.allowed(row["path"], "Permissions.Modify")]


@route("PUT", "/access/acl")
def change_acl(call: Call) -> None:
    """Add or remove entries."""
    require_writable(call, USER_CONFIG, "ACL update")
    access, path = call.world.access, str(call.params["path"])
    named = [(kind, name) for kind in ("user", "group", "token") for name in split_list(str(call.get(f"{kind}s", "")))]
    for kind, name in named:
        known = {"user": name in access.users, "group": name in access.groups, "token": _token_exists(call, name)}
        if not known[kind] and not call.get("delete"):
            raise ApiError(500, f"ACL update failed: {kind} '{name}' does not exist")
    for role in split_list(str(call.params["roles"])):
        if access.role(role) is None:
            raise ApiError(500, f"ACL update failed: role '{role}' does not exist")
        for kind, name in named:
            if call.get("delete"):
                access.revoke(path, kind, name, role)
            else:
                access.grant(path, kind, name, role, propagate=bool(call.get("propagate", 1)))


def _token_exists(call: Call, name: str) -> bool:
    user, _, token = name.partition("!")
    owner = call.world.access.users.get(user)
    return owner is not None and token in owner.tokens


@route("GET", "/access/groups")
def groups(call: Call) -> list[dict[str, Any]]:
    """List groups."""
    access = call.world.access
    return [
        {
            "groupid": name,
            "users": ",".join(sorted(who for who, user in access.users.items() if name in user.groups)),
            **({"comment": comment} if comment else {}),
        }
        for name, comment in access.groups.items()
        if call.allowed(f"/access/groups/{name}", "User.Modify", "Sys.Audit", "Group.Allocate", any_of=True)
    ]
