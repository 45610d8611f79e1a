"""One look at a cluster as a file: what CI plans on, without a token of PVE. No secrets, and no names of people. Pure.

Written by `report.http` and by `drover snapshot`; read by `rehearse.whatif`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from controller.model.approval import Approved
from controller.model.ids import ClusterName, ObjectRef
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.replication import is_for_move, owner_of
from controller.model.view import ClusterView
from controller.pve.scrub import Scrubber
from controller.report.objects import Data
from controller.report.units import timestamp
from controller.specs import API_VERSION

KIND = "ClusterSnapshot"
_T = TypeVar("_T")
_Json: TypeAlias = bool | int | float | str | list["_Json"] | dict[str, "_Json"] | None
_SEEN = TypeAdapter(Observed)
_MEMORY = TypeAdapter(Memory)
_APPROVALS = TypeAdapter(tuple[Approved, ...])


class SnapshotError(ValueError):
    """A file is no snapshot, or one that this version can't read; the message says so."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen and remembered. `seen.at` says when."""

    cluster: ClusterName
    seen: Observed
    memory: Memory


def to_data(view: ClusterView) -> Data:
    """The snapshot of a view that has been looked at; texts without users, addresses, tickets and hardware's identifiers."""
    assert view.seen is not None
    scrub = Scrubber(keep_names=True)
    jobs = tuple(
        job if is_for_move(job.comment) or owner_of(job.comment) is not None else replace(job, comment="")
        for job in view.seen.jobs
    )
    memory = view.memory
    kept = replace(
        memory,
        approvals=MappingProxyType({}),
        overrides={node: replace(each, by="somebody", reason="") for node, each in memory.overrides.items()},
        hooks={key: replace(run, output="", begun="") for key, run in memory.hooks.items()},
    )
    approved = tuple(
        replace(each, by="somebody" if not each.by_commit else each.by) for each in memory.approvals.values()
    )
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": view.cluster},
        "takenTime": timestamp(view.seen.at),
        "seen": _clean(_plain(_SEEN, replace(view.seen, jobs=jobs)), scrub),
        "memory": _clean(_plain(_MEMORY, kept), scrub),
        "approvals": _clean(_plain(_APPROVALS, approved), scrub),
    }


def read(text: str) -> Snapshot:
    """Read what `to_data` made. Raises SnapshotError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise SnapshotError(f"it is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise SnapshotError(f"it is no {KIND}")
    try:
        seen, memory = _of(_SEEN, data.get("seen")), _of(_MEMORY, data.get("memory"))
        approvals: Mapping[ObjectRef, Approved] = {each.gate: each for each in _of(_APPROVALS, data.get("approvals"))}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        text = f"{place}: {first['msg']}; was it written by another version of Drover?"
        raise SnapshotError(text) from error
    return Snapshot(seen.cluster, seen, replace(memory, approvals=approvals))


def _plain(adapter: TypeAdapter[_T], value: _T) -> _Json:
    plain: _Json = json.loads(adapter.dump_json(value, fallback=dict, warnings=False))
    return plain


def _of(adapter: TypeAdapter[_T], value: _Json) -> _T:
    return adapter.validate_json(json.dumps(value))


def _clean(value: _Json, scrub: Scrubber) -> _Json:
    if isinstance(value, dict):
        return {key: _clean(part, scrub) for key, part in value.items()}
    if isinstance(value, list):
        return [_clean(part, scrub) for part in value]
    return scrub.text(value) if isinstance(value, str) else value
