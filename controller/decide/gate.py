"""What keeps a guest from being moved just now, whatever the target. Called by `evacuation`, `repair` and `homecoming`."""

import math
from datetime import UTC, datetime

from controller.decide import ha_maintenance
from controller.decide.drift import held
from controller.decide.estimate import at_most
from controller.decide.scene import Scene
from controller.decide.windows import too_short
from controller.model.desired import Carriage
from controller.model.ids import GuestKind, ObjectRef
from controller.model.observed import Guest, HaNodeState, NodeState, Power
from controller.model.plan import Blocked, DrainMode, Lane, MoveOptions, Waiting
from controller.model.reasons import Why

HA_SETTLED = frozenset({"", "ignored", "started", "stopped", "disabled"})
"""States of an HA resource in which the HA manager does nothing with it (pve-ha-manager: PVE/HA/Manager.pm)."""
_GIVES_WAY = frozenset({Lane.REPAIR, Lane.BALANCE})
"""Lanes in which a guest is left for a while where somebody moved it by hand."""
_STUCK = frozenset({Why.GUEST_STUCK, Why.LOCK_LEFT_BEHIND})


def gate(
    scene: Scene,
    guest: Guest,
    cause: ObjectRef,
    lane: Lane,
    *,
    restart_containers: bool = True,
    as_it_runs: bool = True,
) -> Waiting | Blocked | None:
    """Why the guest can't be moved for `cause` now, or None; the first obstacle that a person would want to hear of.

    as_it_runs: it is moved in its present run state; otherwise it is shut down first.
    """
    return (
        _node(scene, guest, cause)
        or _memory_of_failures(scene, guest, cause)
        or _ha(scene, guest, cause, lane)
        or (held(scene, guest, cause) if lane in _GIVES_WAY else None)
        or _lock(scene, guest, cause)
        or (_method(scene, guest, cause, restart_containers=restart_containers) if as_it_runs else None)
        or _size(scene, guest, cause)
        or _window(scene, guest, cause)
    )


def blocked(guest: Guest, why: Why, message: str, cause: ObjectRef) -> Blocked:
    """A `Blocked` with the remedy that belongs to its reason."""
    return Blocked(guest.vmid, why, message, why.remedy, cause)


def options(scene: Scene, guest: Guest) -> MoveOptions:
    """How PVE will be asked to move the guest, from what is seen; the look right before the move has the last word."""
    carriage = scene.wanted.carriage(guest.vmid)
    running, container = guest.power.holds_memory, guest.kind is GuestKind.LXC
    return MoveOptions(
        online=running and not container,
        restart=running and container,
        # PVE wants it said even for disks of which only the difference to the replica moves.
        with_local_disks=running and not container and guest.vmid in scene.replicas,
        bandwidth_limit_mib_s=carriage.bandwidth_limit_mib_s,
        policy=carriage.policy,
    )


def _node(scene: Scene, guest: Guest, cause: ObjectRef) -> Blocked | None:
    node = scene.seen.nodes.get(guest.node)
    if node is not None and node.state is NodeState.ONLINE:
        return None
    return blocked(guest, Why.NODE_OFFLINE, f"{guest} can't leave {guest.node}, which is not online", cause)


def _memory_of_failures(scene: Scene, guest: Guest, cause: ObjectRef) -> Waiting | Blocked | None:
    backoff = scene.memory.backoffs.get(guest.vmid)
    if backoff is None or not backoff.identity.same_as(guest.identity):
        return None
    if backoff.why in _STUCK and guest.lock:
        return blocked(guest, Why.GUEST_STUCK, f"{guest} is stuck: {backoff.message}", cause)
    if backoff.failures > scene.wanted.carriage(guest.vmid).retry_limit:
        return blocked(
            guest, Why.RETRY_LIMIT, f"{guest} failed to move {backoff.failures} times: {backoff.message}", cause
        )
    if backoff.until <= scene.seen.at:
        return None
    if backoff.failures == 0:
        return blocked(guest, backoff.why, backoff.message, cause)
    again = datetime.fromtimestamp(backoff.until, UTC).strftime("%H:%M:%S UTC")
    return Waiting(guest.vmid, Why.BACKING_OFF, f"{guest} is tried again at {again}: {backoff.message}", cause)


def _ha(scene: Scene, guest: Guest, cause: ObjectRef, lane: Lane) -> Waiting | Blocked | None:
    if not guest.ha_managed:
        return None
    if lane is not Lane.DRAIN and scene.left_to_ha(guest):
        return blocked(guest, Why.HA_MANAGED, f"{guest} is left to PVE HA outside of a drain", cause)
    if guest.ha_state == "error":
        return blocked(guest, Why.HA_UNSETTLED, f"{guest} is in HA state error, which only a person can clear", cause)
    if guest.ha_state not in HA_SETTLED:
        return Waiting(guest.vmid, Why.HA_UNSETTLED, f"{guest} is in HA state {guest.ha_state}", cause)
    return _ha_maintenance(scene, guest, cause) if guest.power is not Power.STOPPED else None


def _ha_maintenance(scene: Scene, guest: Guest, cause: ObjectRef) -> Waiting | None:
    """In its maintenance mode HA empties the node of its own guests, and nobody else should."""
    if scene.seen.nodes[guest.node].ha is HaNodeState.MAINTENANCE:
        return Waiting(guest.vmid, Why.HA_UNSETTLED, f"PVE HA itself moves {guest} off {guest.node}", cause)
    maintenance = scene.wanted.maintenance.get(guest.node)
    evacuated = maintenance is not None and maintenance.mode is DrainMode.EVACUATE
    if evacuated and ha_maintenance.awaited(scene.cluster, scene.seen, scene.memory, guest.node):
        text = f"{guest} is moved by PVE HA as soon as its maintenance of {guest.node} is switched on"
        return Waiting(guest.vmid, Why.HA_UNSETTLED, text, cause)
    return None


def _lock(scene: Scene, guest: Guest, cause: ObjectRef) -> Waiting | Blocked | None:
    if not guest.lock:
        return None
    if guest.vmid in scene.seen.idle_locks:
        tool = "pct" if guest.kind is GuestKind.LXC else "qm"
        text = f"{guest} has the lock `migrate` on {guest.node}, but no task holds it any more"
        if not guest.power.holds_memory:
            text += "; it is stopped, and nothing starts it"
        text += f": when you are sure that none runs, `{tool} unlock {guest.vmid}`"
        return blocked(guest, Why.LOCK_LEFT_BEHIND, text, cause)
    return Waiting(guest.vmid, Why.GUEST_LOCKED, f"{guest} is locked ({guest.lock})", cause)


def _policy(carriage: Carriage) -> ObjectRef:
    return ObjectRef("MigrationPolicy", carriage.policy)


def _method(scene: Scene, guest: Guest, cause: ObjectRef, *, restart_containers: bool) -> Blocked | None:
    carriage = scene.wanted.carriage(guest.vmid)
    policy = _policy(carriage)
    if not guest.power.holds_memory:
        return None
    if carriage.offline_only:
        return blocked(guest, Why.OFFLINE_ONLY, f"{guest} runs, and {policy} moves it only while it is stopped", cause)
    if guest.kind is not GuestKind.LXC:
        return None
    if carriage.live_only:
        return blocked(guest, Why.LIVE_NOT_POSSIBLE, f"{guest} is a running container, and {policy} says Live", cause)
    if not restart_containers:
        return blocked(guest, Why.CONTAINER_NEEDS_RESTART, f"{guest} runs, and {cause} says `containers: Block`", cause)
    return None


def _size(scene: Scene, guest: Guest, cause: ObjectRef) -> Blocked | None:
    if scene.needs.get(guest.vmid) is not None:
        return None
    return blocked(
        guest, Why.SIZE_UNKNOWN, f"PVE reports no memory size for {guest}, so no room can be kept for it", cause
    )


def _window(scene: Scene, guest: Guest, cause: ObjectRef) -> Waiting | Blocked | None:
    """What closes the windows of the whole cluster disarms it, and hides no plan; only the policy's own are its guests' matter."""
    carriage = scene.wanted.carriage(guest.vmid)
    now, most = scene.openings.of(carriage.policy), scene.openings.longest(carriage.policy)
    if most == math.inf and now.until == math.inf:
        return None
    word = too_short(now, at_most(scene.estimate(guest), carriage.seconds_per_gib), most, scene.seen.at)
    if word is None:
        if now.open or not carriage.windowed or not scene.openings.of("").open:
            return None
        text = f"{guest} waits for a window of {_policy(carriage)}: {now.message}"
        return Waiting(guest.vmid, Why.WINDOW_CLOSED, text, cause)
    reason, never = word
    text = f"{guest} stays: {reason}" if never else f"{guest} waits: {reason}"
    if never:
        return blocked(guest, Why.WINDOW_TOO_SHORT, text, cause)
    return Waiting(guest.vmid, Why.WINDOW_TOO_SHORT, text, cause)
