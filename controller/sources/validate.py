"""Everything that is wrong with a folder of manifests, without a cluster or a daemon.

Called by `drover validate PATH` and by tests of the examples.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controller.sources.crosscheck import crosscheck
from controller.sources.folder import FolderSource
from controller.specs import KINDS, Problem, Specs


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a folder."""

    revision: str
    counts: Mapping[str, int]
    """Good objects by kind, every kind present."""
    problems: tuple[Problem, ...]
    """What has to be put right, in the order of the files."""
    specs: Specs = field(default_factory=Specs)
    """The good objects."""

    @property
    def ok(self) -> bool:
        """Nothing has to be put right."""
        return not self.problems


def validate(path: Path | str) -> Report:
    """Read `path`, a folder or a file, and check everything that can be checked offline."""
    snapshot = FolderSource(path, watch=False).read_now()
    specs = Specs.of(snapshot.objects)
    found = (*snapshot.problems, *crosscheck(specs))
    counts = Counter(resource.ref.kind for resource in snapshot.objects)
    return Report(
        snapshot.revision,
        {kind: counts[kind] for kind in KINDS},
        tuple(sorted(found, key=lambda problem: (problem.position, problem.field))),
        specs,
    )
