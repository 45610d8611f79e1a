"""Privileges and built-in roles of each PVE release (pve-access-control: PVE/AccessControl.pm).

Called by `simulator.access` and `simulator.formats`. 9.0 replaced VM.Monitor by the VM.GuestAgent privileges and brought
VM.Replicate.
"""

from functools import cache

_ROOT = {
    "Permissions.Modify", "Realm.Allocate", "Sys.AccessNetwork", "Sys.Incoming", "Sys.Modify", "Sys.PowerMgmt",
}  # fmt: skip
_VM_ADMIN = {
    "VM.Allocate", "VM.Clone", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory",
    "VM.Config.Network", "VM.Config.Options", "VM.Migrate", "VM.Snapshot", "VM.Snapshot.Rollback",
}  # fmt: skip
_VM_USER = {"VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.PowerMgmt"}
_AUDIT = {"Datastore.Audit", "Mapping.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit"}
_DATASTORE_ADMIN = {"Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"}
_SYSTEM_ADMIN = {"Sys.Audit", "Sys.Console", "Sys.Syslog"}
_USER_ADMIN = {"Group.Allocate", "Realm.AllocateUser", "User.Modify"}
_SDN_ADMIN = {"SDN.Allocate", "SDN.Audit", "SDN.Use"}
_AGENT_USER = {
    "VM.GuestAgent.Audit", "VM.GuestAgent.FileRead", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite",
}  # fmt: skip


@cache
def builtin(version: str) -> dict[str, frozenset[str]]:
    """Role name to privileges, for a release such as `8.4` or `9.2`. NoAccess holds none."""
    old = version.startswith(("7.", "8."))
    user = {"VM.Audit"} | _VM_USER | (set() if old else _AGENT_USER)
    machines = user | _VM_ADMIN | ({"VM.Monitor"} if old else {"VM.GuestAgent.Unrestricted", "VM.Replicate"})
    audit = _AUDIT | (set() if old else {"VM.GuestAgent.Audit"})
    admin = machines | audit | _DATASTORE_ADMIN | _SYSTEM_ADMIN | _USER_ADMIN | _SDN_ADMIN
    admin |= {"Mapping.Use", "Pool.Allocate"}
    roles = {
        "Administrator": admin | _ROOT | {"Mapping.Modify"},
        "NoAccess": set(),
        "PVEAdmin": admin,
        "PVEAuditor": audit,
        "PVEDatastoreAdmin": _DATASTORE_ADMIN,
        "PVEDatastoreUser": {"Datastore.AllocateSpace", "Datastore.Audit"},
        "PVEMappingAdmin": {"Mapping.Audit", "Mapping.Modify", "Mapping.Use"},
        "PVEMappingUser": {"Mapping.Audit", "Mapping.Use"},
        "PVEPoolAdmin": {"Pool.Allocate", "Pool.Audit"},
        "PVEPoolUser": {"Pool.Audit"},
        "PVESDNAdmin": _SDN_ADMIN,
        "PVESDNUser": {"SDN.Audit", "SDN.Use"},
        "PVESysAdmin": _SYSTEM_ADMIN,
        "PVETemplateUser": {"VM.Audit", "VM.Clone"},
        "PVEUserAdmin": _USER_ADMIN,
        "PVEVMAdmin": machines,
        "PVEVMUser": user,
    }
    return {name: frozenset(privileges) for name, privileges in roles.items()}


def privileges(version: str) -> frozenset[str]:
    """Every privilege that a release knows; any other in a role is refused."""
    return builtin(version)["Administrator"]
