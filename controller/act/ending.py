"""How a move ended, judged from facts alone. Pure; called by `act.inflight`, which gathers the facts.

Done means observed: the guest is on the target, runs as before, its lock is gone. What PVE's task says decides nothing by
itself; it only explains.
"""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import GuestIdentity, GuestKind, NodeName
from controller.model.memory import Flight
from controller.model.observed import IDLE_LOCK_SECONDS, Guest, Power
from controller.model.outcome import Result
from controller.model.reasons import Why

GRACE_SECONDS = 30.0
"""PVE's proxy may deliver a request this late, and a guest may take this long to run again after its task."""
HA_START_SECONDS = 120.0
"""The HA manager decides every 10 s and its agent starts within 10 s more (pve-ha-manager: PVE/HA/LRM.pm); four at a time."""
AGENT_SECONDS = 60.0
"""A guest that has just arrived is given this long until its agent answers."""
WELL = "it to stay well"
"""What is waited for once the guest is well on its target."""
NODE_LOST_SECONDS = 60.0
"""PVE fences a silent node after this long (pve-ha-manager: PVE/HA/NodeStatus.pm, fence_delay)."""
HA_RECOVERY_SECONDS = 600.0
"""Fencing and the node's lock take two to three minutes, its guests are then started four at a time."""


class Word(StrEnum):
    """What is known of the task that moves the guest."""

    NONE = "none"  # no task of ours is known
    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    LOST = "lost"  # ended without a result: killed, or its node restarted, or its log is gone
    UNREADABLE = "unreadable"  # its node does not answer


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read about one flight, the task first and the guest after it."""

    task: Word
    where: NodeName | None = None  # the node that holds the guest's config; None: no node does
    guest: Guest | None = None  # as that node itself describes it; None while it can't be asked
    online: bool = True  # whether that node is online
    identity: GuestIdentity | None = None  # from its config, when it was worth reading
    error: str = ""  # PVE's words about a failed task
    sent: bool = False  # memory or disks were already being copied
    only_asked: bool = False  # PVE HA has the request; its own task has not been seen yet
    ha_moving: bool = False  # and HA says that it is at it
    ha_managed: bool = False  # PVE HA recovers the guest when its node dies
    source_lost: bool = False  # the flight's source is offline
    agent_error: str = ""  # why the guest agent did not answer; "": it did, or was not asked


@dataclass(frozen=True, slots=True)
class Ending:
    """How a move ended. `counts`: as a failure of the guest, for back-off."""

    result: Result
    why: Why
    message: str
    counts: bool = False
    warning: str = ""
    restarts: bool = False  # it is down because Drover had it restarted elsewhere: Drover starts it again


@dataclass(frozen=True, slots=True)
class Verdict:
    """An ending that holds once it has been the verdict for `patience` seconds; without one the move goes on.

    `waiting` names what is waited for, and is the same as long as the wait is.
    """

    ending: Ending | None = None
    waiting: str = ""
    patience: float = 0.0


_GOES_ON = Verdict()


def judge(flight: Flight, facts: Facts) -> Verdict:
    """How the move stands."""
    who = f"{flight.identity.kind.noun} {flight.vmid} {flight.name}".rstrip()
    if facts.identity is not None and not facts.identity.same_as(flight.identity):
        text = f"the number {flight.vmid} belongs to another guest now; what was remembered about {who} is forgotten"
        return Verdict(Ending(Result.GONE, Why.IDENTITY_CHANGED, text))
    if facts.task is Word.RUNNING:
        return _GOES_ON
    if facts.where is None:
        text = f"{who} no longer exists on any node: it was removed while its move was under way"
        return Verdict(
            Ending(Result.GONE, Why.GUEST_GONE, text), waiting="proof that it is gone", patience=GRACE_SECONDS
        )
    if facts.guest is None:
        return _silent(facts, facts.where, who)
    return _seen(flight, facts, facts.guest, who)


def _seen(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    """Its task does not run, and a node has just told about the guest."""
    if guest.lock == "migrate":
        return _locked(flight, facts, guest, who)
    if guest.node == flight.target:
        return _arrived(flight, facts, guest, who)
    if guest.node == flight.source:
        return _stayed(flight, facts, guest, who)
    return _elsewhere(flight, facts, guest, who)


def _silent(facts: Facts, where: NodeName, who: str) -> Verdict:
    """The node that has the guest can't be asked."""
    if facts.online:
        return Verdict(waiting=f"an answer of {where}")
    if facts.ha_managed:
        text = (
            f"{where} went offline with {who} on it, and PVE HA has not recovered it in {HA_RECOVERY_SECONDS / 60:.0f} minutes;"
            " see its state in `ha-manager status`"
        )
        return Verdict(
            Ending(Result.STUCK, Why.NODE_OFFLINE, text),
            waiting=f"PVE HA to fence {where} and recover it",
            patience=HA_RECOVERY_SECONDS,
        )
    text = f"{where} went offline with {who} on it; how the move ended shows when the node is back"
    return Verdict(
        Ending(Result.STUCK, Why.NODE_OFFLINE, text), waiting=f"{where} to come back", patience=NODE_LOST_SECONDS
    )


def _locked(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    """Who is locked and does not run either serves nobody: once the task is over that is not kept for ten minutes."""
    over = facts.task in (Word.OK, Word.ERROR, Word.LOST)
    if over and flight.was_running and guest.power in (Power.STOPPED, Power.PAUSED):
        text = (
            f"{who} ran on {flight.source} before its move; now it is {guest.power} on {guest.node} with the lock `migrate`,"
            f" and nobody works at it any more: {_revive(flight, facts, guest, unlock=True)}"
        )
        patience = HA_START_SECONDS if facts.ha_managed else GRACE_SECONDS
    else:
        text = (
            f"{who} on {guest.node} still has the lock `migrate`, but no task has held it for {IDLE_LOCK_SECONDS / 60:.0f} minutes;"
            f" when you are sure that none runs, `{_tool(flight)} unlock {flight.vmid}` on that node. Drover never does"
        )
        patience = IDLE_LOCK_SECONDS
    ending = Ending(
        Result.STUCK, Why.LOCK_LEFT_BEHIND, text, counts=True, restarts=_was_restarted(flight, facts, guest)
    )
    return Verdict(ending, waiting="its lock `migrate` to go", patience=patience)


def _was_restarted(flight: Flight, facts: Facts, guest: Guest) -> bool:
    """Whether a container is down because its migration, which stops and starts it, broke off before the start.

    After a task that went well it did start, and whoever stopped it then wanted that.
    """
    broke_off = facts.task in (Word.ERROR, Word.LOST) and not facts.ha_managed
    restarted = flight.was_running and flight.identity.kind is GuestKind.LXC
    return broke_off and restarted and guest.power is Power.STOPPED


def _revive(flight: Flight, facts: Facts, guest: Guest, *, unlock: bool) -> str:
    """What a person types when the guest does not run where it is: two of them on the same disks would destroy these."""
    if _was_restarted(flight, facts, guest):
        if not unlock:
            return "Drover starts it again"
        first = f"make sure that it runs on no other node, then `pct unlock {flight.vmid}` on {guest.node}"
        return f"{first}; Drover starts it again then"
    tool, verb = _tool(flight), "resume" if guest.power is Power.PAUSED else "start"
    lines = [f"`{tool} unlock {flight.vmid}`"] if unlock else []
    typed = " and ".join([*lines, f"`{tool} {verb} {flight.vmid}`"])
    return f"make sure that it runs on no other node, then {typed} on {guest.node}. Drover does not"


def _tool(flight: Flight) -> str:
    return "pct" if flight.identity.kind is GuestKind.LXC else "qm"


def _arrived(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    if flight.was_running and guest.power is not Power.RUNNING:
        return _not_running(flight, facts, guest, who)
    now = "runs" if guest.power is Power.RUNNING else "is"
    warning, patience = _misgiving(flight, facts), float(flight.verify.healthy_seconds) if flight.was_running else 0.0
    if facts.agent_error:
        silence = f"its guest agent does not answer: {facts.agent_error}"
        warning, patience = "; ".join(filter(None, (warning, silence))), max(patience, AGENT_SECONDS)
    ending = Ending(Result.SUCCEEDED, flight.why, f"{who} {now} on {flight.target}", warning=warning)
    return Verdict(ending, waiting=WELL if patience else "", patience=patience)


def _misgiving(flight: Flight, facts: Facts) -> str:
    """What a person should know although the guest is well."""
    match facts.task:
        case Word.ERROR:
            return f"the guest is well, but PVE's task reports: {facts.error}"
        case Word.LOST:
            return "the guest is well, but PVE's task ended without a result; copies of its disks may be left on the source"
        case Word.UNREADABLE if facts.source_lost and facts.ha_managed:
            return (
                f"{flight.source} went offline meanwhile, so PVE HA may have started it anew there instead of moving it"
            )
        case Word.UNREADABLE:
            return "the guest is well, but the result of PVE's task can't be read"
        case _ if flight.abort is not None and flight.abort.refused:
            return flight.abort.message
        case _:
            return ""


def _stayed(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    if facts.task is Word.NONE:
        text = f"the request to move {who} never reached PVE; nothing was started"
        return Verdict(
            Ending(Result.REFUSED, Why.NOT_SUBMITTED, text),
            waiting="a task that PVE may start late",
            patience=GRACE_SECONDS,
        )
    if facts.task is Word.UNREADABLE:
        return Verdict(waiting=f"an answer of {flight.source}")
    if facts.only_asked and facts.ha_moving:
        return Verdict(waiting="PVE HA")
    if facts.only_asked and facts.task is Word.OK:
        text = f"PVE HA accepted the request to move {who} to {flight.target}, but has not begun with it; its journal says why"
        ending = Ending(Result.FAILED, Why.MIGRATION_ABORTED, text, counts=True)
        return Verdict(ending, waiting="PVE HA to begin", patience=HA_START_SECONDS)
    if flight.was_running and guest.power is not Power.RUNNING:
        return _not_running(flight, facts, guest, who)
    return Verdict(_failure(flight, facts, who))


def _failure(flight: Flight, facts: Facts, who: str) -> Ending:
    still = f"{who} is still on {flight.source}, as it was"
    if flight.abort is not None and not flight.abort.refused:
        text = f"Drover stopped the move: {flight.abort.message}; {still}"
        return Ending(Result.FAILED, flight.abort.why, text, counts=flight.abort.why is not Why.WITHDRAWN)
    match facts.task:
        case Word.OK:
            why, text = Why.MIGRATION_FAILED, f"PVE calls the task a success, but {still}"
        case Word.LOST:
            why, text = Why.TASK_LOST, f"PVE's task ended without a result; {still}"
        case _ if facts.sent:
            why, text = Why.MIGRATION_FAILED, f"the migration broke off while copying: {facts.error}; {still}"
        case _:
            why, text = Why.MIGRATION_ABORTED, f"PVE gave up at the start: {facts.error}; {still}"
    return Ending(Result.FAILED, why, text, counts=True)


def _not_running(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    """It ran before, and does not now."""
    patience = HA_START_SECONDS if flight.ha else GRACE_SECONDS
    if guest.power is Power.UNKNOWN:
        return Verdict(waiting=f"{guest.node} to say whether it runs")
    text = (
        f"{who} ran on {flight.source} before its move; now it is {guest.power} on {guest.node}:"
        f" {_revive(flight, facts, guest, unlock=False)}"
    )
    ending = Ending(
        Result.STUCK, Why.NOT_RUNNING_AFTERWARDS, text, counts=True, restarts=_was_restarted(flight, facts, guest)
    )
    return Verdict(ending, waiting="it to run again", patience=patience)


def _elsewhere(flight: Flight, facts: Facts, guest: Guest, who: str) -> Verdict:
    if flight.was_running and guest.power is not Power.RUNNING:
        return _not_running(flight, facts, guest, who)
    if facts.source_lost and facts.ha_managed:
        text = f"{flight.source} went offline during the move of {who}, and PVE HA has recovered it on {guest.node}"
        return Verdict(Ending(Result.FAILED, Why.RECOVERED_BY_HA, text))
    text = f"{who} is on {guest.node}: PVE HA or a person moved it there, instead of to {flight.target}"
    return Verdict(Ending(Result.FAILED, Why.TARGET_MISMATCH, text))
