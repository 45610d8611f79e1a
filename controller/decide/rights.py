"""What the token may not do, told before it is asked of PVE. Used by `decide.replication`, `decide.staging` and `decide.departure`.

Needed because a plan that asks for what PVE will refuse would look as if it could be carried out.
"""

from controller.model.ids import Vmid
from controller.model.observed import Observed

_NEW_RIGHTS = (9,)
"""The version that brought VM.Replicate (pve-manager: PVE/API2/ReplicationConfig.pm)."""


def no_jobs(seen: Observed, vmid: Vmid) -> str:
    """Why the token can't manage replication jobs of the guest, with what to do; "" when it can, or nobody knows yet.

    A cluster of mixed versions asks for what the node wants that answers: there either right will do.
    """
    versions = {node.version >= _NEW_RIGHTS for node in seen.nodes.values() if node.version}
    asked = {True: ("VM.Replicate", f"/vms/{vmid}", "9"), False: ("Datastore.Allocate", "/storage", "8")}
    lacking = [asked[new] for new in sorted(versions) if not seen.rights.allow(*asked[new][:2])]
    if not lacking or len(lacking) < len(versions):
        return ""
    privilege, path, major = lacking[-1]
    return (
        f"the token lacks {privilege} on {path}, which PVE {major} wants for replication jobs; "
        f"`drover rights --replication {major}` prints the lines that grant it"
    )


def no_power(seen: Observed, vmid: Vmid) -> str:
    """Why the token can't shut the guest down or start it, with what to do; "" when it can, or nobody knows yet."""
    if seen.rights.allow("VM.PowerMgmt", f"/vms/{vmid}"):
        return ""
    return f"the token lacks VM.PowerMgmt on /vms/{vmid}; `drover rights --shutdown` prints the lines that grant it"
