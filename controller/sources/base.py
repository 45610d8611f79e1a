"""What a source of specs is, and what one reading of it gives.

Implemented by `folder` and `git`; asked by `loop.daemon`, which hands each Snapshot to `merge`.
"""

from dataclasses import dataclass
from typing import Protocol

from controller.model.ids import ObjectRef
from controller.model.revision import SourceView
from controller.specs import Problem, Resource


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision, read whole: what is good in it and everything that is not."""

    revision: str
    """Names the content: the same content has the same revision."""
    complete: bool
    """False when something could not be read at all: then nothing that is missing counts as deleted."""
    objects: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    broken: frozenset[ObjectRef] = frozenset()
    """Objects that are there but wrong."""
    broken_files: frozenset[str] = frozenset()
    """Files with parts that do not even say which object they are."""
    empty: bool = False
    """There is a source, but nothing in it."""


class Source(Protocol):
    """Where specs come from."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    @property
    def view(self) -> SourceView | None:
        """Which revision is in force and what became of the newest; None for a source without revisions."""
        ...

    def look_now(self) -> None:
        """End the present wait."""
        ...

    def confirm(self, revision: str) -> bool:
        """Put a revision in force that waits for somebody's word; False when it is not the one waiting."""
        ...

    async def read(self) -> Snapshot:
        """Read everything. What is wrong is in the snapshot; nothing is raised for it."""
        ...

    async def wait_change(self) -> None:
        """Return when it is time to look again: after a hint of a change, and every now and then without one."""
        ...
