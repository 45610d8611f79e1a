"""How one guest leaves a node that has to be empty: moved, shut down, or left where it is. Called by `evacuation`."""

from controller.decide.draft import Board
from controller.decide.gate import blocked
from controller.decide.rights import no_power
from controller.decide.scene import Scene
from controller.model.desired import Leaving, Maintenance
from controller.model.memory import Halted
from controller.model.observed import Guest, Power
from controller.model.plan import Blocked, PowerAction, PowerVerb, Waiting
from controller.model.reasons import Why

SHUTDOWN_SECONDS = 300.0
"""How long a guest may take to shut down before a person is asked to look. PVE itself waits for 180 s, of a container for 60."""


def of(scene: Scene, maintenance: Maintenance, guest: Guest) -> Leaving:
    """What happens to the guest: as its rule says, and past the deadline as that says."""
    if maintenance.shuts_down_remaining and is_overdue(scene, maintenance):
        return Leaving.SHUTDOWN
    return maintenance.departure(guest.vmid).how


def is_overdue(scene: Scene, maintenance: Maintenance) -> bool:
    """Whether the evacuation has taken longer than it may."""
    begun = scene.memory.begun.get(maintenance.node)
    if begun is None or begun.maintenance != maintenance.ref or not maintenance.deadline_seconds:
        return False
    return scene.seen.at >= begun.at + maintenance.deadline_seconds


def overdue(scene: Scene, maintenance: Maintenance, guest: Guest) -> Blocked | None:
    """The word about a guest that is still there after the deadline and is left to people."""
    if maintenance.shuts_down_remaining or not is_overdue(scene, maintenance):
        return None
    text = (
        f"{guest} is still on {guest.node} after the {maintenance.deadline_seconds} s that {maintenance.ref} may take"
    )
    return blocked(guest, Why.DEADLINE_EXCEEDED, text, maintenance.ref)


def halted(scene: Scene, guest: Guest) -> Halted | None:
    """What is remembered of the guest if Drover shut it down, or is doing so."""
    noted = scene.memory.halted.get(guest.vmid)
    return noted if noted is not None and noted.identity.same_as(guest.identity) else None


def shuts_down(scene: Scene, maintenance: Maintenance, guest: Guest) -> bool:
    """Whether the guest leaves by being shut down first."""
    return of(scene, maintenance, guest).shuts_down


def stays(scene: Scene, maintenance: Maintenance, guest: Guest, *, managed: bool) -> bool:
    """Whether the guest is left on the node on purpose."""
    how = of(scene, maintenance, guest)
    running = guest.power.holds_memory
    if how is Leaving.SKIP or (guest.template and not maintenance.include_templates):
        return True
    if running:
        return False
    if how is Leaving.SHUTDOWN or not managed:
        return True
    noted = halted(scene, guest)
    moved_down = noted is not None and (noted.elsewhere or how is Leaving.SHUTDOWN_AND_RESTART_ELSEWHERE)
    return not (guest.template or maintenance.include_stopped or moved_down)


def shut_down(scene: Scene, board: Board, maintenance: Maintenance, guest: Guest) -> None:
    """Ask for it once, then wait for it; a guest that doesn't obey is never stopped by force."""
    noted, ref = halted(scene, guest), maintenance.ref
    if guest.power is Power.PAUSED:
        text = f"{guest} is paused, and can't shut down before it runs"
        board.say(blocked(guest, Why.DID_NOT_SHUT_DOWN, text, ref))
        return
    elsewhere = of(scene, maintenance, guest) is Leaving.SHUTDOWN_AND_RESTART_ELSEWHERE
    begun = noted is not None and noted.node == guest.node and noted.sent
    if not begun and (denied := no_power(scene.seen, guest.vmid)):
        text = f"{guest} can't be shut down, as {ref} says: {denied}"
        board.say(blocked(guest, Why.PERMISSION_MISSING, text, ref))
    elif noted is None or not begun:
        said = "ShutdownRemaining" if is_overdue(scene, maintenance) else "Shutdown"
        then = "it is moved and started elsewhere" if elsewhere else "it is started again after the maintenance"
        text = f"{guest} is shut down because {ref} says {said}; {then}"
        board.power.append(
            PowerAction(PowerVerb.SHUTDOWN, guest.identity, guest.name, guest.node, ref, text, elsewhere)
        )
        board.say(Waiting(guest.vmid, Why.SHUTTING_DOWN, text, ref))
    elif scene.seen.at < noted.at + SHUTDOWN_SECONDS:
        board.say(Waiting(guest.vmid, Why.SHUTTING_DOWN, f"{guest} is shutting down, as {ref} says", ref))
    else:
        text = f"{guest} was asked to shut down {scene.seen.at - noted.at:.0f} s ago and still runs"
        board.say(blocked(guest, Why.DID_NOT_SHUT_DOWN, text, ref))
