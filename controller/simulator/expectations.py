"""Expectations in a cluster file: what should be true of a guest at a moment, looked at when the moment comes.

Scheduled by `routes.Simulator`; `World.unmet` and the journal tell what did not hold.
"""

from controller.simulator.seed import ExpectFile
from controller.simulator.world import World


def schedule(world: World) -> None:
    """Put the expectations of the cluster file onto the world's clock."""
    for expected in world.file.expect:
        world.at(world.start + expected.at, lambda expected=expected: _look(world, expected))  # type: ignore[misc] # mypy does not infer defaulted lambdas


def _look(world: World, expected: ExpectFile) -> None:
    guest = world.guests.get(expected.guest)
    found = {
        "node": guest.node if guest is not None else "none",
        "status": guest.run if guest is not None else "gone",
        "lock": (guest.lock or "none") if guest is not None else "none",
    }
    wrong = [
        f"{key} is {found[key]}, expected {wanted}"
        for key, wanted in expected.model_dump(include=set(found)).items()
        if wanted is not None and wanted != found[key]
    ]
    for text in wrong:
        world.unmet.append(f"{expected.at:.0f} s: guest {expected.guest}: {text}")
    world.log("expectation", guest=expected.guest, met=not wrong, found="; ".join(wrong) or None)
