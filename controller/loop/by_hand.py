"""What people change by hand, from one tick to the next: noticed, remembered and told. Called by `loop.tick`."""

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from controller.decide import drift
from controller.model.errors import DroverError
from controller.model.event import Event
from controller.model.ids import Vmid
from controller.model.observed import Observed
from controller.model.view import ClusterView
from controller.report.events import of_moves_by_hand
from controller.report.store import Store


def notice(store: Store, seen: Observed, ours: Iterable[Vmid]) -> tuple[Event, ...]:
    """Remember where everybody is, and tell who was moved by somebody else. Raises Retry(STORE_FAILED)."""
    flying = {*ours, *store.memory().flights}
    found = drift.noticed(seen, store.places(), store.memory().moved_by_hand, flying)
    store.note_places(found.places, found.moved)
    return of_moves_by_hand(found.news, seen)


def with_drift(store: Store, view: ClusterView) -> ClusterView:
    """The view with everything that differs from what Drover left or wants, and since when."""
    if view.seen is None or view.plan is None:
        return view
    found = drift.drifts(view.seen, store.memory(), view.plan)
    by_name = {str(one.about): one.since for one in found if one.about.kind != "Guest" and one.since is not None}
    with contextlib.suppress(DroverError):  # the store says it itself, and the next tick tries again
        store.note_differing(by_name)
    return replace(view, drifts=found, memory=store.memory())
