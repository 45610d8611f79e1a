"""What the token may do, as PVE lists it: privileges by path, asked before something is planned that PVE would refuse.

Filled in by `observe.cluster`, asked by `decide.rights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rights:
    """Privileges by path, each with whether it holds below the path too; None: PVE has not told yet."""

    by_path: Mapping[str, Mapping[str, bool]] | None = None

    def allow(self, privilege: str, path: str) -> bool:
        """Whether the token has the privilege there; what is not known is taken to be allowed, and PVE has the last word.

        A path of its own replaces what holds above it (pve-access-control: PVE/RPCEnvironment.pm, permissions).
        """
        if self.by_path is None:
            return True
        if path in self.by_path:
            return privilege in self.by_path[path]
        above = path
        while above != "/":
            above = above.rpartition("/")[0] or "/"
            if above in self.by_path:
                return bool(self.by_path[above].get(privilege))
        return False
