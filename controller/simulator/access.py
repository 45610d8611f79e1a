"""Who calls and what they may do: users, tokens, tickets, roles and ACLs as PVE reads them from user.cfg.

Asked by `simulator.simulator` for every request and by `simulator.routes` to filter lists. The rules are those of
pve-access-control: PVE/AccessControl.pm and PVE/RPCEnvironment.pm.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from controller.simulator import roles
from controller.simulator.api import ApiError
from controller.simulator.seed import AccessFile

TICKET_SECONDS = 7200
CLOCK_SKEW = 300
UNAUTHORIZED_DELAY = 3.0
"""Seconds that pveproxy holds back every 401 (pve-http-server: APIServer/AnyEvent.pm)."""
ROOT = "root@pam"
TOP_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
_PATH = re.compile(r"/|(/[A-Za-z0-9._@:-]+)+")
_TOKEN = re.compile(r"(?P<user>[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+)!(?P<name>[A-Za-z][A-Za-z0-9._-]+)=(?P<secret>.+)")
_TICKET = re.compile(r"PVE:(?P<user>[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+):(?P<time>[0-9A-F]{8})::(?P<mark>[0-9a-f]+)")


@dataclass(slots=True)
class Token:
    """An API token. secret: the UUID. expire: epoch seconds, 0 = never. privsep: has only what its own ACLs grant."""

    secret: str
    privsep: bool = True
    expire: int = 0
    comment: str = ""


@dataclass(slots=True)
class User:
    """A user of a realm. password: None = cannot log in. expire: epoch seconds, 0 = never."""

    password: str | None = None
    enable: bool = True
    expire: int = 0
    comment: str = ""
    details: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    tokens: dict[str, Token] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Auth:
    """The caller. full: `root@pam` or `bot@pve!drover`; user: without the token; token: its name, "" for a ticket."""

    full: str
    user: str
    token: str = ""

    @property
    def is_root(self) -> bool:
        """root@pam with a ticket. A token of root is not root (qemu-server: PVE/API2/Qemu.pm)."""
        return self.full == ROOT


NOBODY = Auth("", "")


class Access:
    """user.cfg of one cluster, and the judge over it.

    version: the release whose privileges exist. now: the cluster's epoch seconds. pools: pool name to its (vmids, storages).
    """

    def __init__(
        self,
        version: str,
        now: Callable[[], float],
        pools: Callable[[], Mapping[str, tuple[Collection[int], Collection[str]]]] = dict,
    ) -> None:
        self.version = version
        self.users: dict[str, User] = {ROOT: User()}
        self.groups: dict[str, str] = {}
        self.custom_roles: dict[str, frozenset[str]] = {}
        self.realms = {
            "pam": {"type": "pam", "comment": "Linux PAM standard authentication"},
            "pve": {"type": "pve", "comment": "Proxmox VE authentication server"},
        }
        self._acls: dict[str, dict[tuple[str, str], dict[str, int]]] = {}
        self.revision = 0
        self._now = now
        self._pools = pools
        self._known: dict[tuple[str, str], Mapping[str, int]] = {}
        self._all = dict.fromkeys(sorted(roles.privileges(version)), 1)
        self.key = b"authkey of the simulated cluster"
        """What tickets are signed with."""

    @classmethod
    def of(
        cls,
        file: AccessFile,
        version: str,
        now: Callable[[], float],
        pools: Callable[[], Mapping[str, tuple[Collection[int], Collection[str]]]] = dict,
    ) -> "Access":
        """Build it from the cluster file."""
        access = cls(version, now, pools)
        access.groups.update(file.groups)
        access.custom_roles.update({name: frozenset(privileges) for name, privileges in file.roles.items()})
        for name, user in file.users.items():
            access.users[name] = User(
                user.password, user.enable, user.expire, user.comment or "", groups=set(user.groups)
            )
        for name, token in file.tokens.items():
            owner, _, short = name.partition("!")
            access.users.setdefault(owner, User()).tokens[short] = Token(
                token.secret, token.privsep, token.expire, token.comment or ""
            )
        for entry in file.acl:
            kind = "group" if entry.to.startswith("@") else "token" if "!" in entry.to else "user"
            access.grant(entry.path, kind, entry.to.removeprefix("@"), entry.role, propagate=entry.propagate)
        return access

    def changed(self) -> None:
        """Forget what was worked out. Call it after changing users, roles, ACLs or pools."""
        self.revision += 1
        self._known.clear()

    # -- who calls

    def authenticate(self, header: str, cookie: str, csrf: str, method: str) -> Auth:
        """The caller of a request; a cookie shadows the header. Raises ApiError 401 without a body.

        header: the Authorization header. csrf: the CSRFPreventionToken header, needed with a ticket for all but GET.
        """
        ticket = cookie or _header_value(header, "PVEAuthCookie")
        if ticket:
            user = self.user_of_ticket(ticket)
            if user is None:
                raise _unauthorized("Authentication failed!")
            if method != "GET" and not self._csrf_holds(user, csrf):
                raise _unauthorized("Permission denied - invalid csrf token")
            return Auth(user, user)
        token = _header_value(header, "PVEAPIToken")
        if not token:
            raise _unauthorized("No ticket")
        auth = self._token_owner(token)
        if auth is None:
            raise _unauthorized("Authentication failed!")
        return auth

    def login(self, name: str, password: str) -> str:
        """The ticket for a user name with realm and a password (or a ticket that still holds). Raises ApiError 401."""
        user = self.users.get(name)
        held = self.user_of_ticket(password) if password.startswith("PVE:") else None
        if user is None or not self._enabled(user) or (held != name and user.password != password):
            raise ApiError(401, "authentication failure", delay=UNAUTHORIZED_DELAY)
        return self.ticket_for(name)

    def ticket_for(self, name: str) -> str:
        """A fresh ticket, without a question."""
        stamp = f"{int(self._now()):08X}"
        return f"PVE:{name}:{stamp}::{self._mark('ticket', name, stamp)}"

    def csrf_for(self, name: str) -> str:
        """The CSRFPreventionToken that goes with a ticket."""
        stamp = f"{int(self._now()):08X}"
        return f"{stamp}:{self._mark('csrf', name, stamp)}"

    def user_of_ticket(self, ticket: str) -> str | None:
        """Whose ticket it is, None when it is forged, older than two hours, or its user is disabled."""
        match = _TICKET.fullmatch(unquote(ticket))
        if match is None or not hmac.compare_digest(match["mark"], self._mark("ticket", match["user"], match["time"])):
            return None
        user = self.users.get(match["user"])
        if user is None or not self._enabled(user) or not self._fresh(match["time"]):
            return None
        return match["user"]

    def _token_owner(self, text: str) -> Auth | None:
        match = _TOKEN.fullmatch(text)
        user = self.users.get(match["user"]) if match else None
        token = user.tokens.get(match["name"]) if match and user else None
        if match is None or user is None or token is None or not self._enabled(user):
            return None
        if token.secret != match["secret"] or 0 < token.expire <= self._now():
            return None
        return Auth(f"{match['user']}!{match['name']}", match["user"], match["name"])

    def _enabled(self, user: User) -> bool:
        return user.enable and not 0 < user.expire <= self._now()

    def _fresh(self, stamp: str) -> bool:
        return -CLOCK_SKEW < self._now() - int(stamp, 16) < TICKET_SECONDS

    def _csrf_holds(self, user: str, csrf: str) -> bool:
        stamp, _, mark = csrf.partition(":")
        if not re.fullmatch(r"[0-9A-F]{8}", stamp) or not self._fresh(stamp):
            return False
        return hmac.compare_digest(mark.encode(), self._mark("csrf", user, stamp).encode())

    def _mark(self, purpose: str, user: str, stamp: str) -> str:
        digest = hmac.new(self.key, f"{purpose} {user} {stamp}".encode(), hashlib.sha256)
        return digest.hexdigest() if purpose == "ticket" else b64encode(digest.digest()).decode().rstrip("=")

    # -- what they may do

    def role(self, name: str) -> frozenset[str] | None:
        """The privileges of a role, None when there is no such role."""
        return roles.builtin(self.version).get(name, self.custom_roles.get(name))

    def grant(self, path: str, kind: str, name: str, role: str, *, propagate: bool = True) -> None:
        """Add an ACL entry; kind is `user`, `group` or `token`."""
        self._acls.setdefault(path, {}).setdefault((kind, name), {})[role] = int(propagate)
        self.changed()

    def revoke(self, path: str, kind: str, name: str, role: str) -> None:
        """Remove an ACL entry; one that is not there changes nothing."""
        entries = self._acls.get(path, {})
        entries.get((kind, name), {}).pop(role, None)
        if not entries.get((kind, name), True):
            del entries[(kind, name)]
        if not entries:
            self._acls.pop(path, None)
        self.changed()

    def forget(self, kind: str, name: str) -> None:
        """Remove every ACL entry of a deleted user, group or token."""
        for path in list(self._acls):
            for role in list(self._acls[path].get((kind, name), {})):
                self.revoke(path, kind, name, role)
        self.changed()

    def acl_rows(self) -> list[dict[str, Any]]:
        """Every entry as `GET /access/acl` answers it."""
        return [
            {"path": path, "type": kind, "ugid": name, "roleid": role, "propagate": propagate}
            for path, entries in sorted(self._acls.items())
            for (kind, name), granted in sorted(entries.items())
            for role, propagate in sorted(granted.items())
        ]

    def effective(self, who: str, path: str) -> Mapping[str, int]:
        """Privileges of a user or token on a path; 1 = they also hold below it, 0 = on this path only."""
        key = (who, path)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._work_out(who, path)
        return known

    def _work_out(self, who: str, path: str) -> Mapping[str, int]:
        if who == ROOT:
            return self._all
        user, bang, name = who.partition("!")
        owner = self.users.get(user)
        if owner is None:
            return {}
        if not bang:
            return self._privileges(who, path)
        token = owner.tokens.get(name)
        if token is None:
            return {}
        of_user = self.effective(user, path)
        if not token.privsep:
            return of_user
        own = self._privileges(who, path)
        return {name: int(bool(own[name] and of_user[name])) for name in own if name in of_user}

    def _privileges(self, who: str, path: str) -> dict[str, int]:
        granted = self._roles(who, path)
        from_pools = self._pool_roles(who, path)
        if "NoAccess" not in granted and from_pools:
            granted = {"NoAccess": 0} if "NoAccess" in from_pools else {**from_pools, **granted}
        found: dict[str, int] = {}
        for role, propagate in granted.items():
            for privilege in self.role(role) or ():
                found[privilege] = found.get(privilege) or propagate
        return dict(sorted(found.items()))

    def _roles(self, who: str, path: str) -> dict[str, int]:
        """Walk from / to the path: a deeper entry replaces what came down, one for the user beats those of groups."""
        kind = "token" if "!" in who else "user"
        groups = self.users[who].groups if kind == "user" else set()
        current: dict[str, int] = {}
        for step in _steps(path):
            entries = self._acls.get(step)
            if entries is None:
                continue
            here = step == path
            own = {r: p for r, p in entries.get((kind, who), {}).items() if here or p}
            if not own:
                own = {
                    role: propagate
                    for group in sorted(groups)
                    for role, propagate in entries.get(("group", group), {}).items()
                    if here or propagate
                }
            current = own or current
        return {"NoAccess": current["NoAccess"]} if "NoAccess" in current else current

    def _pool_roles(self, who: str, path: str) -> dict[str, int]:
        """Roles on a pool count for its guests and storages themselves."""
        kind, _, name = path[1:].partition("/")
        if kind not in ("vms", "storage") or not name:
            return {}
        found: dict[str, int] = {}
        for pool, (vmids, storages) in self._pools().items():
            if (name.isdigit() and int(name) in vmids) if kind == "vms" else name in storages:
                found.update(self._roles(who, f"/pool/{pool}"))
        return found

    def permissions(self, who: str, path: str | None = None) -> dict[str, dict[str, int]]:
        """`GET /access/permissions`: every path where something is granted, or the one asked for."""
        if path is not None:
            return {path: dict(self.effective(who, path))}
        paths = {*TOP_PATHS, *self._acls}
        for vmids, storages in self._pools().values():
            paths |= {f"/vms/{vmid}" for vmid in vmids} | {f"/storage/{name}" for name in storages}
        found = {path: dict(self.effective(who, path)) for path in sorted(paths)}
        return {path: privileges for path, privileges in found.items() if privileges}

    def allowed(self, auth: Auth, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether the caller has all (or one) of the privileges on a path. For lists, which are filtered, never refused."""
        held = self.effective(auth.full, path) if _PATH.fullmatch(path) else {}
        return (any if any_of else all)(privilege in held for privilege in privileges)

    def check(self, auth: Auth, path: str, *privileges: str, any_of: bool = False) -> None:
        """Raise ApiError 403 in PVE's words unless `allowed`."""
        if not _PATH.fullmatch(path):
            path = ""
        held = self.effective(auth.full, path) if path else {}
        lacking = [privilege for privilege in privileges if privilege not in held]
        if not lacking or (any_of and len(lacking) < len(privileges)):
            return
        raise forbidden(f"{path}, {'|'.join(privileges) if any_of else lacking[0]}")

    def check_call(self, auth: Auth, expression: Sequence[Any] | None, params: Mapping[str, Any]) -> None:
        """Judge a call by the permission expression of PVE's schema (pve-access-control: RPCEnvironment.pm exec_api2_perm_check).

        Raises ApiError 403. None: any user may call.
        """
        if expression is None or auth.is_root:
            return
        verb, *rest = expression
        if verb == "root":
            raise forbidden("user != root@pam")
        if verb == "and":
            for part in rest:
                self.check_call(auth, part, params)
        elif verb == "or":
            self._check_alternatives(auth, rest, params)
        elif verb == "perm":
            options = dict(zip(rest[2::2], rest[3::2], strict=False))
            if (needed := options.get("require_param")) and params.get(needed) is None:
                raise forbidden("")
            self.check(auth, _filled(rest[0], params), *rest[1], any_of=bool(options.get("any")))
        elif verb == "perm-modify":
            self._check_modify(auth, _filled(rest[0], params))
        else:
            self._check_user(auth, expression, params)

    def _check_alternatives(self, auth: Auth, parts: Sequence[Sequence[Any]], params: Mapping[str, Any]) -> None:
        for part in parts:
            try:
                self.check_call(auth, part, params)
            except ApiError:
                continue
            return
        raise forbidden("")

    def _check_modify(self, auth: Auth, path: str) -> None:
        also = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}
        kind = path.split("/")[1] if path.startswith("/") else ""
        privileges = ["Permissions.Modify", *([also[kind]] if kind in also and path != f"/{kind}" else [])]
        self.check(auth, path, *privileges, any_of=True)

    def _check_user(self, auth: Auth, expression: Sequence[Any], params: Mapping[str, Any]) -> None:
        """`userid-param` and `userid-group`: rights over another user."""
        verb, what, *_ = expression
        other = str(params.get("userid", ""))
        if verb == "userid-param":
            if what == "self":
                if auth.user != other:
                    raise forbidden("")
                return
            self.check(auth, f"/access/realm/{other.rpartition('@')[2]}", what)
            return
        if self.allowed(auth, "/access/groups", *what, any_of=True):
            return
        groups = self.users[other].groups if other in self.users else set()
        if not any(self.allowed(auth, f"/access/groups/{group}", *what, any_of=True) for group in groups):
            raise forbidden(f"/access/groups, {'|'.join(what)}")


def forbidden(what: str) -> ApiError:
    """A 403. what: `/vms/100, VM.Migrate`, or "" for the bare text."""
    return ApiError(403, f"Permission check failed ({what})" if what else "Permission check failed")


def only_root(auth: Auth, params: Mapping[str, Any], *names: str) -> None:
    """Raise ApiError 400 when a caller other than root@pam gives one of these parameters (qemu-server: API2/Qemu.pm)."""
    given = {} if auth.is_root else {name: "Only root may use this option." for name in names if params.get(name)}
    if given:
        raise ApiError(400, "Parameter verification failed.", errors=given)


def _unauthorized(reason: str) -> ApiError:
    return ApiError(401, reason, empty=True, delay=UNAUTHORIZED_DELAY)


def _header_value(header: str, scheme: str) -> str:
    match = re.search(rf"(?:^|\s){scheme}[= ]([^;]*)", header)
    return unquote(match[1]) if match else ""


def _filled(template: str, params: Mapping[str, Any]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(params.get(match[1], "")), template)


def _steps(path: str) -> list[str]:
    """`/vms/100` as `/`, `/vms`, `/vms/100`."""
    steps, at = ["/"], ""
    for part in path.strip("/").split("/"):
        if part:
            at += f"/{part}"
            steps.append(at)
    return steps
