"""Moves under way for a maintenance that is no longer wanted, and that said `onCancel: AbortRunning`. Pure.

Called by `loop.tick`; `act.abort` stops them while that does no harm.
"""

from controller.decide.maintenances import maintenances
from controller.model.memory import Flight, Memory
from controller.model.observed import Observed
from controller.model.plan import DrainMode, Lane
from controller.specs import Specs


def called_off(specs: Specs, seen: Observed, memory: Memory) -> tuple[Flight, ...]:
    """Those of which nobody has said yet that they are to be stopped. specs: as planners get them."""
    running = [f for f in memory.flights.values() if f.aborts and f.abort is None and f.lane is Lane.DRAIN]
    if not running:
        return ()
    wanted = maintenances(specs.clusters[seen.cluster], specs, seen)
    empty = {node for node, maintenance in wanted.items() if maintenance.mode is DrainMode.EVACUATE}
    return tuple(flight for flight in running if flight.source not in empty)
