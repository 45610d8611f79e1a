"""What is in force: the last good version of everything, updated by each snapshot. Pure.

Called by `loop.daemon` for every reading; `Held` survives a restart as text in the state store.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from controller.model.ids import ObjectRef
from controller.sources.base import Snapshot
from controller.sources.crosscheck import about, crosscheck
from controller.specs import (
    KINDS,
    MAINTENANCE_LABEL,
    NodeMaintenance,
    Origin,
    Problem,
    PveCluster,
    PveNode,
    Resource,
    Specs,
)
from controller.yamlpos import Position

_UIDS = uuid.UUID("5f1c9d52-0f6e-5b0a-9a53-5a1f6f3f2f11")
_FEWEST = 4
"""Objects that a cluster has to have before a percentage of them means anything."""
_DEFAULT_PERCENT = 30


@dataclass(frozen=True, slots=True)
class Held:
    """The objects in force and what is wrong with the source."""

    specs: Specs = field(default_factory=Specs)
    problems: tuple[Problem, ...] = ()
    revision: str = ""
    """The last revision that was read whole or in part; empty before the first."""
    awaiting: str | None = None
    """The revision whose deletions wait for `drover confirm`."""
    pending: frozenset[ObjectRef] = frozenset()
    """The objects that would go then."""
    vanished_nodes: tuple[str, ...] = ()
    """metadata.name of PveNodes whose file is gone while their label keeps them in maintenance."""

    @classmethod
    def empty(cls) -> "Held":
        """Before anything was read."""
        return cls()

    def confirm(self, revision: str) -> "Held":
        """Let the deletions of `revision` happen, if it is the one that waits."""
        if revision != self.awaiting:
            return self
        return replace(
            self,
            specs=Specs.of(resource for resource in self.specs if resource.ref not in self.pending),
            problems=tuple(problem for problem in self.problems if problem.ref not in self.pending),
            awaiting=None,
            pending=frozenset(),
        )

    def to_json(self) -> str:
        """Write everything but the problems, which the next reading finds again."""
        return json.dumps(
            {
                "revision": self.revision,
                "awaiting": self.awaiting,
                "pending": [[ref.kind, ref.name] for ref in sorted(self.pending)],
                "vanishedNodes": list(self.vanished_nodes),
                "objects": [_stored(resource) for resource in self.specs],
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Held":
        """Read what `to_json` wrote. What this version does not understand is left out and reported; nothing is raised."""
        try:
            stored = json.loads(text)
            entries = stored["objects"]
            read = [_read_back(entry) for entry in entries]
            resources = [one for one in read if not isinstance(one, Problem)]
            return cls(
                specs=Specs.of(resources),
                problems=tuple(one for one in read if isinstance(one, Problem)),
                revision=str(stored["revision"]),
                awaiting=stored["awaiting"],
                pending=frozenset(ObjectRef(kind, name) for kind, name in stored["pending"]),
                vanished_nodes=tuple(stored["vanishedNodes"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return cls(problems=(_lost(f"the remembered specs cannot be read: {error!r}"),))


def _stored(resource: Resource) -> dict[str, object]:
    origin = resource.origin
    written = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    place = None if origin is None else [origin.file, origin.line, origin.column]
    return {"kind": resource.kind, "object": written, "origin": place}


def _read_back(entry: Mapping[str, object]) -> Resource | Problem:
    written, place = json.dumps(entry["object"]), entry["origin"]
    origin = Origin(str(place[0]), int(place[1]), int(place[2])) if isinstance(place, list) else None
    kind = KINDS.get(str(entry["kind"]))
    if kind is None:
        return _lost(f"a remembered {entry['kind']} is not a kind any more", origin)
    try:
        resource = kind.model_validate_json(written, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return _lost(f"a remembered object is not understood any more: {error.errors()[0]['msg']}", origin)
    return resource.written_at(origin)


def _lost(message: str, origin: Origin | None = None) -> Problem:
    return Problem(origin or Position("state", 1, 1), "", message, "nothing to do: the next good reading replaces it")


def merge(previous: Held, snapshot: Snapshot) -> Held:
    """Return what is in force after `snapshot`.

    An object that is broken, or may be in a part that could not be read, stays as it was. One that is gone goes, unless its
    label keeps a node in maintenance, or so many go at once that a person has to confirm it.
    """
    change = _Change(previous, snapshot)
    stuck, pending = change.stuck, change.pending
    leaving = {resource.ref for resource in change.gone} - stuck - pending
    kept = {ref: resource for ref, resource in change.old.items() if ref not in leaving}
    specs = Specs.of({**kept, **change.new}.values())
    taken = snapshot.complete or bool(snapshot.objects) or bool(leaving)
    wanted_empty = snapshot.empty and not len(specs) and (bool(leaving) or previous.revision == snapshot.revision)
    return Held(
        specs=specs,
        problems=(*(() if wanted_empty else snapshot.problems), *change.explanations(), *crosscheck(specs)),
        revision=snapshot.revision if taken else previous.revision,
        awaiting=change.awaiting,
        pending=pending,
        vanished_nodes=tuple(sorted(ref.name for ref in stuck)),
    )


class _Change:
    """What a snapshot changes, worked out once."""

    def __init__(self, previous: Held, snapshot: Snapshot) -> None:
        self._previous = previous
        self._snapshot = snapshot
        self.old = {resource.ref: resource for resource in previous.specs}
        self.new = {r.ref: _identified(r, self.old.get(r.ref), snapshot.revision) for r in snapshot.objects}
        missing = [resource for ref, resource in self.old.items() if ref not in self.new and ref not in snapshot.broken]
        self._strangers = snapshot.broken_files - {r.origin.file for r in self.old.values() if r.origin is not None}
        self.hidden = [resource for resource in missing if self._may_be_hidden(resource)]
        self.gone = [resource for resource in missing if not self._may_be_hidden(resource) and self._may_go(resource)]
        self._was_stuck = {ObjectRef("PveNode", name) for name in previous.vanished_nodes}
        going = {resource.ref for resource in self.gone}
        self.stuck = {r.ref for r in self.gone if self._keeps_maintenance(r)} | (
            {resource.ref for resource in missing if resource.ref not in going} & self._was_stuck
        )
        self.pending = self._pending()
        self.awaiting = None if not self.pending else snapshot.revision if snapshot.complete else previous.awaiting

    def _cluster(self, resource: Resource) -> PveCluster | None:
        ref = ObjectRef("PveCluster", resource.cluster)
        cluster = self.new.get(ref, self.old.get(ref))
        return cluster if isinstance(cluster, PveCluster) else None

    def _may_be_hidden(self, resource: Resource) -> bool:
        """Whether it may stand in a part of a file that could not be read; a file we knew nothing of may hold anything."""
        file = resource.origin.file if resource.origin is not None else ""
        return bool(self._strangers) or file in self._snapshot.broken_files

    def _may_go(self, resource: Resource) -> bool:
        cluster = self._cluster(resource)
        allowed = self._snapshot.empty and cluster is not None and cluster.spec.prune.empty_source_allowed
        return self._snapshot.complete or allowed

    def _keeps_maintenance(self, resource: Resource) -> bool:
        if not isinstance(resource, PveNode):
            return False
        cluster = self._cluster(resource)
        return (
            resource.labelled(cluster.spec.maintenance.label_key if cluster is not None else MAINTENANCE_LABEL)
            is not None
        )

    def _pending(self) -> frozenset[ObjectRef]:
        if self._snapshot.empty:
            return frozenset()
        if not self._snapshot.complete:
            return self._previous.pending - set(self.new)
        found: set[ObjectRef] = set()
        counted = [r for r in self.old.values() if not isinstance(r, NodeMaintenance) and r.ref not in self._was_stuck]
        for name in {resource.cluster for resource in counted}:
            whole = [resource for resource in counted if resource.cluster == name]
            going = {resource.ref for resource in self.gone} & {resource.ref for resource in whole}
            cluster = self._cluster(whole[0])
            percent = cluster.spec.prune.max_deletes_percent if cluster is not None else _DEFAULT_PERCENT
            if len(whole) >= _FEWEST and len(going) * 100 > percent * len(whole):
                found |= going
        return frozenset(found - self.stuck)

    def explanations(self) -> Iterator[Problem]:
        """Say of each object that stays although it is not there, why."""
        for resource in self.hidden:
            files = ", ".join(sorted(self._strangers)) or (resource.origin.file if resource.origin is not None else "")
            message = f"it is gone, but may be in a part of {files} that cannot be read; it stays in force"
            yield about(resource, "", message, "a file without errors")
        for ref in sorted(self.pending):
            message = (
                f"it is gone together with {len(self.pending) - 1} others; it stays in force until that is confirmed"
            )
            yield about(self.old[ref], "", message, f"its file back, or `drover confirm {self.awaiting}`")


def _identified(resource: Resource, before: Resource | None, revision: str) -> Resource:
    """Give uid and generation to an object whose source has none."""
    if resource.metadata.uid:
        return resource
    if before is None:
        uid, generation = str(uuid.uuid5(_UIDS, f"{resource.ref}@{revision}")), 1
    else:
        labelled = isinstance(resource, PveNode) and resource.metadata.labels != before.metadata.labels
        uid, generation = before.metadata.uid, before.metadata.generation + (labelled or resource.spec != before.spec)
    metadata = resource.metadata.model_copy(update={"uid": uid, "generation": generation})
    return resource.model_copy(update={"metadata": metadata})
