"""Guests that Drover shut down for a maintenance are started again: elsewhere, or when it is over. Called by `decide.pipeline`."""

from controller.decide.draft import Draft
from controller.decide.gate import blocked
from controller.decide.rights import no_power
from controller.decide.scene import Scene
from controller.model.memory import Halted
from controller.model.observed import Guest
from controller.model.plan import PowerAction, PowerVerb, Waiting
from controller.model.reasons import Why

START_SECONDS = 120.0
"""How long a guest may take to be seen running before a person is asked to look."""


def plan(draft: Draft) -> None:
    """Say who is started, and of whom nothing has to be remembered any more."""
    scene, board = draft.scene, draft.board
    for vmid, noted in sorted(scene.memory.halted.items()):
        guest = scene.seen.guests.get(vmid)
        if guest is None:
            continue  # lists may be filtered by a token without rights: what is not seen is not gone
        gone = guest.node != noted.node
        now = scene.wanted.maintenance.get(noted.node)
        over = now is None or (gone and now.ref != noted.maintenance)  # another one moved it away
        if not noted.identity.same_as(guest.identity) or (guest.power.holds_memory and (over or gone)):
            board.forget_halted.add(vmid)
        elif not guest.power.holds_memory and (over or (noted.elsewhere and gone)) and not board.knows(vmid):
            _start(draft, scene, guest, noted)


def _start(draft: Draft, scene: Scene, guest: Guest, noted: Halted) -> None:
    board, cause = draft.board, noted.maintenance
    node = scene.seen.nodes.get(guest.node)
    if guest.lock or node is None or not node.usable:
        trouble = f"it is locked ({guest.lock})" if guest.lock else f"{guest.node} is not in service"
        board.say(Waiting(guest.vmid, Why.STARTING_AGAIN, f"{guest} is started again later: {trouble}", cause))
    elif not noted.started_at and (denied := no_power(scene.seen, guest.vmid)):
        board.say(blocked(guest, Why.PERMISSION_MISSING, f"{guest} can't be started again: {denied}", cause))
    elif not noted.started_at:
        text = f"{guest} is started on {guest.node}: it was shut down only for {cause}"
        board.power.append(PowerAction(PowerVerb.START, guest.identity, guest.name, guest.node, cause, text))
        board.say(Waiting(guest.vmid, Why.STARTING_AGAIN, text, cause))
    elif scene.seen.at < noted.started_at + START_SECONDS:
        board.say(Waiting(guest.vmid, Why.STARTING_AGAIN, f"{guest} is starting on {guest.node}", cause))
    else:
        text = f"{guest} was asked to start {scene.seen.at - noted.started_at:.0f} s ago and does not run"
        board.say(blocked(guest, Why.DID_NOT_START, text, cause))
