"""Whether the token may do what Drover does, and the lines an administrator types when it may not.

Used by `observe.cluster` and `app`. Needed because PVE does not refuse lists to a token without rights: it leaves rows out
(pve-manager: PVE/API2/Cluster.pm), so a cluster would merely look smaller than it is.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.specs import Specs
from controller.specs.migrationpolicy import Control, LocalDisks
from controller.specs.nodemaintenance import Behavior, OnDeadline
from controller.specs.pvecluster import Coexistence

ROLE: Final = "DroverController"
ANY_TOKEN: Final = "USER@REALM!TOKEN"  # noqa: S105 - a placeholder in printed lines, not a secret


class Extra(StrEnum):
    """What manifests may ask for that needs rights which nobody gets unasked."""

    REPLICATION = "replication"
    SHUTDOWN = "shutdown"
    HA_RULES = "HA rules"
    GUEST_AGENT = "guest agent"
    MONITOR = "monitor"


_SHUTS_DOWN: Final = (Behavior.SHUTDOWN, Behavior.SHUTDOWN_AND_RESTART_ELSEWHERE)


def extras_of(specs: Specs) -> frozenset[Extra]:
    """What these manifests ask for beyond the usual."""
    migrations, found = [policy.spec for policy in specs.migrations.values()], set()
    if specs.replications or any(spec.local_disks is LocalDisks.REPLICATE_FIRST for spec in migrations):
        found.add(Extra.REPLICATION)
    implied = (cluster.spec.maintenance.template for cluster in specs.clusters.values())
    for spec in (*implied, *(maintenance.spec for maintenance in specs.maintenances.values())):
        behaviors = {spec.default_behavior, *(rule.behavior for rule in spec.rules)}
        if not behaviors.isdisjoint(_SHUTS_DOWN) or spec.on_deadline is OnDeadline.SHUTDOWN_REMAINING:
            found.add(Extra.SHUTDOWN)
    if any(cluster.spec.ha.coexistence is Coexistence.COORDINATE for cluster in specs.clusters.values()):
        found.add(Extra.HA_RULES)
    if any(spec.verify.guest_agent_ping for spec in migrations):
        found.add(Extra.GUEST_AGENT)
    if any(spec.control is Control.MONITOR for spec in migrations):
        found.add(Extra.MONITOR)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Need:
    privilege: str
    path: str
    why: str
    hides: bool = False  # lists are filtered without it
    since: tuple[int, ...] = ()
    before: tuple[int, ...] = ()  # the version that no longer asks for it
    required: bool = True
    extras: frozenset[Extra] = frozenset()  # only for those who ask for one of these; (): for all


_NEEDS: Final = (
    _Need("Sys.Audit", "/", "to see quorum, HA states and the tasks of others"),
    _Need("Sys.Audit", "/nodes", "to see the memory of nodes and to read task logs", hides=True),
    _Need("VM.Audit", "/vms", "to see guests, their locks and their configs", hides=True),
    _Need("VM.Migrate", "/vms", "to ask whether a guest can be moved, and to move it"),
    _Need("Datastore.Audit", "/storage", "to see storages", hides=True),
    _Need("Pool.Audit", "/pool", "to see which pool a guest is in", hides=True),
    _Need("Mapping.Audit", "/mapping", "to see mapped devices", required=False),
    _Need("SDN.Audit", "/sdn", "to see bridges and networks", required=False),
    _Need("VM.Config.CDROM", "/vms", "to eject local media, which hold guests back", required=False),
    _Need("VM.Replicate", "/vms", "to manage replication jobs", since=(9,), required=False),
    _Need(
        "Datastore.Allocate",
        "/storage",
        "to manage replication jobs",
        since=(1,),
        before=(9,),
        required=False,
        extras=frozenset({Extra.REPLICATION}),
    ),
    _Need(
        "VM.PowerMgmt",
        "/vms",
        "to shut guests down and start them again",
        required=False,
        extras=frozenset({Extra.SHUTDOWN}),
    ),
    _Need("Sys.Console", "/", "to write rules of PVE HA", required=False, extras=frozenset({Extra.HA_RULES})),
    _Need(
        "VM.GuestAgent.Audit",
        "/vms",
        "to ask guest agents whether they answer",
        since=(9,),
        required=False,
        extras=frozenset({Extra.GUEST_AGENT}),
    ),
    _Need(
        "VM.Monitor",
        "/vms",
        "to speak to guest agents and QEMU's monitor",
        since=(1,),
        before=(9,),
        required=False,
        extras=frozenset({Extra.GUEST_AGENT, Extra.MONITOR}),
    ),
    _Need("Sys.Modify", "/", "to give orders to QEMU's monitor", required=False, extras=frozenset({Extra.MONITOR})),
)
_ROOTS: Final = frozenset(need.path for need in _NEEDS)


@dataclass(frozen=True, slots=True)
class Missing:
    """A privilege that the token lacks at a path. hides: without it PVE silently leaves rows out of lists."""

    privilege: str
    path: str
    why: str
    hides: bool = False

    def __str__(self) -> str:
        return (
            f"{self.privilege} on {self.path} ({self.why}{'; lists are incomplete without it' if self.hides else ''})"
        )


def check(
    permissions: Mapping[str, Mapping[str, bool]], *, version: tuple[int, ...], ha_rules: bool = False
) -> tuple[Missing, ...]:
    """What is missing. permissions: as `PveClient.permissions` returns them. version: of the cluster, () when not known.

    ha_rules: with what `ha.coexistence: Coordinate` needs.

    Below /vms and the like a more special ACL replaces the general one (pve-access-control: PVE/RPCEnvironment.pm), so what
    would be hidden there is missing as well; a guest that the token may see but not move is left to its administrator.
    """
    found = []
    for need in _NEEDS:
        if not (need.required or (ha_rules and Extra.HA_RULES in need.extras)) or not _asked(need, version):
            continue
        if not permissions.get(need.path, {}).get(need.privilege):
            found.append(Missing(need.privilege, need.path, need.why, need.hides))
        elif need.hides:
            below = sorted(path for path in permissions if path.startswith(f"{need.path}/"))
            found += [Missing(need.privilege, p, need.why, True) for p in below if need.privilege not in permissions[p]]
    return tuple(found)


def _asked(need: _Need, version: tuple[int, ...]) -> bool:
    """Whether a cluster of this version knows and asks for the privilege; () = not known: what all versions know."""
    return version >= need.since and (not need.before or version < need.before)


def pveum_lines(
    token_id: str, missing: Iterable[Missing], version: tuple[int, ...], extras: Collection[Extra] = ()
) -> tuple[str, ...]:
    """Shell lines, for root on any node, that grant what is missing by the role DroverController; none when nothing is.

    The user and its token both need the role: a token with separated privileges can do only what both may. What the role
    has already stays. token_id: `user@realm!name`, "" when not known. extras: with what these need, some of which lets a
    token do much else.
    """
    paths = [item.path for item in missing]
    if not paths:
        return ()
    token = token_id or ANY_TOKEN
    user = token.partition("!")[0]
    asked = [need for need in _NEEDS if _asked(need, version) and (not need.extras or need.extras & {*extras})]
    privileges = ",".join(dict.fromkeys(need.privilege for need in asked))
    wanted = dict.fromkeys("/" if path in _ROOTS else path for path in paths)
    lines = [
        f"pveum role add {ROLE} --privs '{privileges}' || pveum role modify {ROLE} --append 1 --privs '{privileges}'"
    ]
    for path in wanted:
        if user != "root@pam":
            lines.append(f"pveum acl modify {path} --users '{user}' --roles {ROLE}")
        if "!" in token:
            lines.append(f"pveum acl modify {path} --tokens '{token}' --roles {ROLE}")
    return tuple(lines)
