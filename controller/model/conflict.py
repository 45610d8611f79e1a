"""Policies that can't hold together, and which of them gives way.

Found by `decide.contradictions`; shown in conditions, `drover validate` and `drover plan`.
"""

from dataclasses import dataclass

from controller.model.ids import ObjectRef, Vmid
from controller.model.reasons import Why


@dataclass(frozen=True, slots=True)
class Conflict:
    """The smallest set of rules found that no placement satisfies; one rule alone may ask too much of the cluster."""

    why: Why
    parties: tuple[ObjectRef, ...]  # all of them, the one that gives way last
    vmids: tuple[Vmid, ...]  # as few guests as were found to show it
    message: str  # one sentence with names: what clashes, and who gives way
    remedy: str

    @property
    def loser(self) -> ObjectRef:
        """The one that gives way: it counts as a Should as long as the conflict lasts."""
        return self.parties[-1]
