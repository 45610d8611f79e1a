"""How much memory of a node is taken, on its way, and kept free, as one value.

Made by `decide.capacity`; shown by `report`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """Bytes of one node. limit: what guests may hold there, None while PVE does not say how much memory it has."""

    limit_bytes: int | None
    held_bytes: int = 0  # by guests that are there, leaving ones included
    leaving_bytes: int = 0  # of that, by guests on their way to another node
    arriving_bytes: int = 0  # claimed by guests on their way here

    @property
    def free_bytes(self) -> int | None:
        """What may still be claimed; None when that is not known, below 0 when the node holds more than it may."""
        return None if self.limit_bytes is None else self.limit_bytes - self.held_bytes - self.arriving_bytes
