"""What an administrator told Drover by hand about a node, over the control socket: it counts until the repository speaks again.

Kept by `report.store` as a part of `Memory`; laid over the specs by `decide.overrides`.
"""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import NodeName


class Order(StrEnum):
    """What was asked for."""

    DRAIN = "Drain"  # `drover drain`: the node has to be empty
    IN_SERVICE = "InService"  # `drover uncordon`: the node is in service, whatever label and maintenances say


@dataclass(frozen=True, slots=True)
class Override:
    """One order. It lapses when what the repository says about the node is no longer `said`."""

    node: NodeName
    order: Order
    by: str  # who typed it
    at: float  # epoch seconds, our clock
    said: str  # what the repository said about the node then (`decide.overrides.said`)
    reason: str = ""  # for people
