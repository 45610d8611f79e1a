"""What waits until people release it: steps of objects that say `approval: Manual`. Pure.

Called by `decide.order` when all targets are chosen, and by `loop` for what is to be remembered. An approval counts for exactly
the steps that were shown: as they are done fewer are left, which asks for nothing; one more, or one to elsewhere, asks again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from controller.decide import departure
from controller.decide.draft import Draft
from controller.decide.maintenances import implied_ref
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.model.approval import ANNOTATION, Approval, Approved, Step, StepVerb
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.plan import Plan, PowerVerb, Waiting
from controller.model.reasons import Why
from controller.specs import PveCluster, Specs
from controller.specs.base import Model
from controller.specs.common import ApprovalMode

_ASIDE = frozenset({"suspend", "comment", "approval", "mode", "node_selector"})
"""Fields that change neither what is done nor to whom. A rolling maintenance narrows its selector itself, step by step."""


def judge(draft: Draft, assigned: Iterable[tuple[Intent, NodeName]]) -> Mapping[Vmid, str]:
    """Find out what is released: fills `board.approvals`, takes back what is not, and returns the digest that each guest waits for.

    assigned: every move with its target, those that wait for room or a slot too. Guests that wait for approval and would be
    shut down get their word here; those that would move get it from the caller.
    """
    scene, board = draft.scene, draft.board
    policies: dict[Step, str] = {}
    steps = [*_moves(scene, assigned, policies), *_later(draft), *_shutdowns(draft), *_rules(draft)]
    asked: dict[ObjectRef, list[Step]] = {}
    for step in steps:
        for gate in _gates(scene, step):
            asked.setdefault(gate, []).append(step)
    if not asked:
        return {}
    for gate, mine in sorted(asked.items()):
        board.approvals.append(_verdict(scene, gate, tuple(sorted(mine, key=_key)), policies))
    waiting = {step: one.digest for one in reversed(board.approvals) if one.waits for step in one.steps}
    _hold_shutdowns(draft, waiting)
    rules = {step.subject for step in waiting if step.verb is StepVerb.HA_RULE}
    draft.ha = replace(draft.ha, actions=tuple(a for a in draft.ha.actions if a.rule.name not in rules))
    return {Vmid(int(step.subject)): digest for step, digest in waiting.items() if step.verb is StepVerb.MOVE}


def gated(scene: Scene, cause: ObjectRef, vmid: Vmid) -> bool:
    """Whether a move for this reason has to be approved at all."""
    return bool(_gates(scene, Step(StepVerb.MOVE, str(vmid), "", "", Why.NODE_MAINTENANCE, cause)))


def _key(step: Step) -> tuple[str, ...]:
    return step.verb, step.subject.zfill(12), step.source, step.target


def _moves(scene: Scene, assigned: Iterable[tuple[Intent, NodeName]], policies: dict[Step, str]) -> Iterator[Step]:
    for intent, target in assigned:
        guest = intent.guest
        if departure.halted(scene, guest) is not None:
            continue  # that it is shut down and started elsewhere was approved as one thing: it is not left lying there
        step = Step(StepVerb.MOVE, str(guest.vmid), guest.node, target, intent.why, intent.cause, guest.name)
        policies[step] = intent.options.policy
        yield step


def _later(draft: Draft) -> Iterator[Step]:
    """Guests that leave after others of their node: they belong to the same evacuation."""
    scene = draft.scene
    for vmid, word in draft.board.waiting.items():
        guest = scene.seen.guests[vmid]
        if word.why is not Why.LEAVES_LATER:
            continue
        maintenance = scene.wanted.maintenance[guest.node]
        if guest.power.holds_memory and departure.shuts_down(scene, maintenance, guest):
            yield Step(StepVerb.SHUTDOWN, str(vmid), guest.node, "", Why.SHUTTING_DOWN, word.cause, guest.name)
        elif vmid in draft.kept:
            target = draft.kept[vmid]
            yield Step(StepVerb.MOVE, str(vmid), guest.node, target, Why.NODE_MAINTENANCE, word.cause, guest.name)


def _shutdowns(draft: Draft) -> Iterator[Step]:
    """What is only started again was approved when it was shut down."""
    for action in draft.board.power:
        if action.verb is PowerVerb.SHUTDOWN:
            why = Why.SHUTTING_DOWN
            yield Step(StepVerb.SHUTDOWN, str(action.vmid), action.node, "", why, action.cause, action.name)


def _rules(draft: Draft) -> Iterator[Step]:
    """PVE HA moves guests by itself as soon as a rule says so."""
    for action in draft.ha.actions:
        yield Step(StepVerb.HA_RULE, action.rule.name, action.verb, "", Why.VIOLATED, action.cause)


def _gates(scene: Scene, step: Step) -> tuple[ObjectRef, ...]:
    """The objects that have to be asked: one says `approval: Manual` and is the step's reason, or the whole cluster does."""
    if scene.cluster.spec.approval is ApprovalMode.MANUAL:
        return (scene.cluster.ref,)
    return (step.cause,) if _asks(scene, step) else ()


def _asks(scene: Scene, step: Step) -> bool:
    cause, specs = step.cause, scene.specs
    if cause.kind == "PlacementPolicy":
        policy = specs.placements.get(cause.name)
        return policy is not None and policy.spec.approval is ApprovalMode.MANUAL
    if cause.kind != "NodeMaintenance":
        return False
    written = specs.maintenances.get(cause.name)
    if written is not None:
        return written.spec.approval is ApprovalMode.MANUAL
    origin = scene.memory.origins.get(Vmid(int(step.subject))) if step.verb is StepVerb.MOVE else None
    if origin is not None and origin.maintenance == cause and origin.asks:
        return True  # the object is gone, and its guests were told to ask
    implied = any(implied_ref(node) == cause for node in scene.seen.nodes)
    return implied and scene.cluster.spec.maintenance.template.approval is ApprovalMode.MANUAL


def _verdict(scene: Scene, gate: ObjectRef, steps: tuple[Step, ...], policies: Mapping[Step, str]) -> Approval:
    named = {ObjectRef("MigrationPolicy", policies[step]) for step in steps if policies.get(step)}
    stamps = _stamps(scene.specs, {gate, *(step.cause for step in steps), *named})
    found = Approval(gate, steps, stamps, None)
    given = digests(scene.specs, scene.cluster, gate)
    known = scene.memory.approvals.get(gate)
    if known is not None and not known.used:
        changes = _changes(known, found)
        withdrawn = known.by_commit and known.digest not in given
        if not changes and not withdrawn:
            return replace(found, released=known)
        found = replace(found, changes=changes or ("the approval was taken back",))
    if found.digest in given and not (known is not None and known.used and known.digest == found.digest):
        by = f"the repository ({ANNOTATION})"
        approved = Approved(gate, found.digest, steps, stamps, by, scene.seen.at, by_commit=True)
        return replace(found, released=approved, changes=())
    return found


def _changes(known: Approved, now: Approval) -> tuple[str, ...]:
    """What is wanted beyond what was approved, and what is wanted no more; nothing when only finished steps are missing."""
    before = {(step.verb, step.subject): step for step in known.steps}
    said = []
    for step in now.steps:
        old = before.get((step.verb, step.subject))
        if old is None:
            said.append(f"added: {step}")
        elif (old.source, old.target) != (step.source, step.target):
            said.append(f"redirected: {step}, approved was {old.source} -> {old.target}")
        elif old != step:
            said.append(f"another reason: {step}, approved was {old.why} of {old.cause}")
    for ref, stamp in sorted(now.stamps.items()):
        if known.stamps.get(ref) != stamp and (ref in known.stamps or not said):
            said.append(f"{ref} says something else than when it was approved")
    if said:
        left = {(step.verb, step.subject) for step in now.steps}
        said += [f"done, or wanted no more: {step}" for key, step in before.items() if key not in left]
    return tuple(said)


def digests(specs: Specs, cluster: PveCluster, gate: ObjectRef) -> frozenset[str]:
    """What the repository approves: on the object that asks, or on its PveCluster."""
    holders = [cluster, *(resource for resource in specs if resource.ref == gate)]
    texts = (holder.metadata.annotations.get(ANNOTATION, "") for holder in holders)
    return frozenset(word for text in texts for word in text.replace(",", " ").split())


def _stamps(specs: Specs, refs: Iterable[ObjectRef]) -> dict[str, str]:
    """Fingerprints of what these objects say. Not generations: those count differently on every machine.

    Defaults are left out: a Drover that knows a field more does not ask again.
    """
    wanted = frozenset(refs)
    return {str(resource.ref): _stamp(resource.spec) for resource in specs if resource.ref in wanted}


def _stamp(spec: object) -> str:
    assert isinstance(spec, Model)
    text = json.dumps(spec.model_dump(mode="json", exclude=set(_ASIDE), exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hold_shutdowns(draft: Draft, waiting: Mapping[Step, str]) -> None:
    board, guests = draft.board, draft.scene.seen.guests
    held = {Vmid(int(step.subject)): digest for step, digest in waiting.items() if step.verb is StepVerb.SHUTDOWN}
    for action in [each for each in board.power if each.verb is PowerVerb.SHUTDOWN and each.vmid in held]:
        board.power.remove(action)
        text = f"{guests[action.vmid]} is shut down when that is approved: `drover approve {held[action.vmid]}`"
        board.waiting[action.vmid] = Waiting(action.vmid, Why.AWAITING_APPROVAL, text, action.cause)


# What is remembered


def targets(memory: Memory) -> dict[Vmid, NodeName]:
    """Where approved moves lead: a plan that is made anew after a restart should be the same."""
    steps = (step for one in memory.approvals.values() if not one.used for step in one.steps)
    return {Vmid(int(step.subject)): NodeName(step.target) for step in steps if step.verb is StepVerb.MOVE}


def remembered(plan: Plan, memory: Memory, specs: Specs) -> dict[ObjectRef, Approved]:
    """The approvals to keep after this plan: those in force, what a commit has approved just now, and which are used up."""
    cluster = specs.clusters[plan.cluster]
    now = {one.gate: one for one in plan.approvals}
    words = {*(word.vmid for word in plan.waiting), *(word.vmid for word in plan.blocked)}
    busy = {str(vmid) for vmid in (*words, *plan.flying, *(move.vmid for move in plan.moves))}
    found = {}
    for gate in now.keys() | memory.approvals.keys():
        asked, known = now.get(gate), memory.approvals.get(gate)
        one = asked.released if asked is not None and asked.released is not None else known
        if one is None:
            continue
        given = one.digest in digests(specs, cluster, gate)
        if one.by_commit and not given:
            continue  # taken back, or tidied up
        over = asked is None and not any(step.subject in busy for step in one.steps)
        if over and not one.used:
            one = replace(one, used=True)
        if one.used and not given:
            continue
        found[gate] = one
    return found
