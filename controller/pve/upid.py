"""PVE's task ids: `UPID:node:pid:pstart:starttime:type:id:user:` (pve-common: PVE/UPID.pm).

Used by `pve.client` and `pve.decode`, and by everybody who has to know where a task runs.
"""

import re
from dataclasses import dataclass

from controller.model.ids import NodeName, Upid

_UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9][A-Za-z0-9-]*):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8}):"
    r"(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)


class UpidError(ValueError):
    """The text is not a task id."""


@dataclass(frozen=True, slots=True)
class UpidParts:
    """What a task id tells. start: epoch seconds by the clock of `node`. user: with the token, `bot@pve!drover`."""

    upid: Upid
    node: NodeName
    pid: int
    pstart: int
    start: int
    type: str
    target_id: str
    user: str


def parse(text: str) -> UpidParts:
    """The parts of a task id. Raises UpidError."""
    found = _UPID.fullmatch(text)
    if found is None:
        raise UpidError(f"not a task id of Proxmox VE: {text[:200]!r}")
    return UpidParts(
        upid=Upid(text),
        node=NodeName(found["node"]),
        pid=int(found["pid"], 16),
        pstart=int(found["pstart"], 16),
        start=int(found["start"], 16),
        type=found["type"],
        target_id=found["id"],
        user=found["user"],
    )
