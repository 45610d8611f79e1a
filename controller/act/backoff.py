"""When a guest whose move failed or was refused may be moved again. Pure; called by `act.execute`, `act.inflight`, `loop`.

The delays have no random part: a story must repeat bit by bit, and moves are spread by slots, not by chance.
"""

from collections.abc import Iterable
from dataclasses import replace

from controller.decide.maintenances import implied_ref
from controller.model.ids import GuestIdentity, NodeName, ObjectRef, Vmid
from controller.model.memory import Backoff, Memory, Refusal
from controller.model.outcome import Outcome, Result
from controller.model.reasons import Why
from controller.specs import Specs
from controller.specs.migrationpolicy import Retry

LOOK_AGAIN_SECONDS = 60.0
"""How long an obstacle that waiting does not remove stays blocked before it is looked at again."""
SELDOM_SECONDS = 300.0
"""How long at most a target that was found unfit every time is left alone; every look costs some requests."""

REFUSED_FIRST_SECONDS, REFUSED_MOST_SECONDS = 60.0, 1800.0
"""After PVE refused to change a replication job or a rule of HA it is asked again, twice as late each time."""

_OFTEN = 4  # looks at such a target before they become fewer

PASSING = frozenset(
    {
        Why.BUSY,
        Why.FIRST_SYNC,
        Why.GUEST_GONE,
        Why.GUEST_LOCKED,
        Why.GUEST_MOVED,
        Why.GUEST_MOVING,
        Why.HA_FENCING,
        Why.HA_MANAGED,
        Why.HA_UNSETTLED,
        Why.IDENTITY_CHANGED,
        Why.IS_TEMPLATE,
        Why.LAST_SYNC,
        Why.NODE_OFFLINE,
        Why.NODE_UNREACHABLE,
        Why.NOT_OBSERVED_YET,
        Why.NO_QUORUM,
        Why.REPLICATION_RUNNING,
        Why.SLOT_TAKEN,
        Why.STALE,
        Why.STATE_CHANGED,
        Why.STORE_FAILED,
        Why.TARGET_IN_MAINTENANCE,
        Why.TARGET_OFFLINE,
        Why.UNMANAGED,
        Why.WAITING_FOR_ROOM,
        Why.WINDOW_CLOSED,
        Why.WINDOW_TOO_SHORT,
        Why.WITHDRAWN,
        Why.WAITING_FOR_PARTNER,
    }
)
"""Objections that the next look at the cluster sees by itself: no back-off, the next plan knows better."""


def refused_until(failures: int, now: float) -> float:
    """From when PVE is asked again for a change that it has refused `failures` times in a row. `now` in epoch seconds."""
    return now + min(REFUSED_FIRST_SECONDS * 2.0 ** min(failures - 1, 20), REFUSED_MOST_SECONDS)


def after_failure(
    identity: GuestIdentity, before: Backoff | None, retry: Retry, *, why: Why, message: str, now: float, under: str
) -> Backoff:
    """The back-off after one more failed move: the policy's delay, multiplied by every further failure up to its maximum.

    Past the policy's limit the plan calls the guest blocked (RetryLimit). `now` in epoch seconds.
    """
    failures = 1 + _failures(before, identity, under)
    # The exponent is bounded: a float overflows at 1024 doublings.
    delay = retry.backoff_seconds * retry.backoff_factor ** min(failures - 1, 100)
    return Backoff(identity, failures, now + min(delay, retry.max_backoff_seconds), why, message, under)


def obstacle(
    identity: GuestIdentity, before: Backoff | None, *, why: Why, message: str, until: float, under: str
) -> Backoff:
    """What is remembered of a guest that can't be moved as it is: no failure more, and none forgotten."""
    return Backoff(identity, _failures(before, identity, under), until, why, message, under)


def target_refused(
    identity: GuestIdentity,
    target: NodeName,
    before: Refusal | None,
    *,
    why: Why,
    message: str,
    now: float,
    under: str,
) -> Refusal:
    """What is remembered of a target that is no good for the guest: looked at again later, after some times less often."""
    known = _same(before, identity, under)
    looks = known.looks if known is not None else 0
    until = now + min(SELDOM_SECONDS, LOOK_AGAIN_SECONDS * 2 ** min(max(0, looks - _OFTEN), 10))
    failures = known.failures if known is not None else 0
    return Refusal(identity, target, why, message, until, under, looks + 1, failures)


def target_failed(
    identity: GuestIdentity, target: NodeName, before: Refusal | None, *, why: Why, message: str, under: str
) -> Refusal | None:
    """What is remembered of a target after a move to it failed: it stays a candidate, the last one. None: not its fault."""
    if why is Why.DOWNTIME_EXCEEDED:  # the guest's own doing, everywhere
        return before
    known = _same(before, identity, under) or Refusal(identity, target, why, message, under=under)
    return replace(known, why=why, message=message, failures=known.failures + 1)


def _same(before: Refusal | None, identity: GuestIdentity, under: str) -> Refusal | None:
    same = before is not None and before.identity.same_as(identity) and before.under == under
    return before if same else None


def _failures(before: Backoff | None, identity: GuestIdentity, under: str) -> int:
    same = before is not None and before.identity.same_as(identity) and before.under == under
    return before.failures if before is not None and same else 0


def holds_back(outcome: Outcome, memory: Memory) -> bool:
    """Whether a refusal is one that waiting does not remove: the next plan says blocked, or chooses another target."""
    backoff, refusal = memory.backoffs.get(outcome.vmid), _refusal(outcome, memory)
    ends = max(backoff.until if backoff is not None else 0.0, refusal.until if refusal is not None else 0.0)
    return outcome.result is Result.REFUSED and ends > outcome.at


def _refusal(outcome: Outcome, memory: Memory) -> Refusal | None:
    return memory.refusals.get(outcome.vmid, {}).get(outcome.target)


def news(outcomes: Iterable[Outcome], before: Memory) -> tuple[Outcome, ...]:
    """The outcomes without refusals for what was known already: every obstacle is looked at again once a minute.

    That disks have to be replicated first is no news either: planning sees to it as soon as it knows the guest's config. Nor is
    that a guest does not leave alone: what keeps its partner is told of that one.
    """

    def known(outcome: Outcome) -> bool:
        held = (before.backoffs.get(outcome.vmid), _refusal(outcome, before))
        said = {(each.why, each.message) for each in held if each is not None}
        told = outcome.why in (Why.FIRST_SYNC, Why.WAITING_FOR_PARTNER) or (outcome.why, outcome.message) in said
        return outcome.result is Result.REFUSED and told

    return tuple(outcome for outcome in outcomes if not known(outcome))


def mark(cause: ObjectRef, policy: str, specs: Specs) -> str:
    """The specs that a move was made under, with their generations: when this changes, back-off starts anew."""
    policies = (ObjectRef("MigrationPolicy", policy),) if policy else ()
    return " ".join(f"{ref}@{_generation(ref, specs)}" for ref in (cause, *policies))


def outdated(memory: Memory, specs: Specs) -> tuple[Vmid, ...]:
    """Guests whose back-off belongs to specs that have changed since: they are free again."""
    return tuple(vmid for vmid, backoff in memory.backoffs.items() if backoff.under != _same_refs(backoff.under, specs))


def outdated_refusals(memory: Memory, specs: Specs) -> tuple[tuple[Vmid, NodeName], ...]:
    """Targets that were no good under specs that have changed since: they are candidates again."""
    found = (refusal for of in memory.refusals.values() for refusal in of.values())
    return tuple(
        (refusal.identity.vmid, refusal.target)
        for refusal in found
        if refusal.under != _same_refs(refusal.under, specs)
    )


def retry_of(policy: str, specs: Specs) -> Retry:
    """How the guests of a MigrationPolicy are tried again; "" or a policy that is gone: the defaults."""
    found = specs.migrations.get(policy)
    return found.spec.retry if found is not None else Retry()


def _same_refs(under: str, specs: Specs) -> str:
    refs = (text.rpartition("@")[0].partition("/") for text in under.split())
    return " ".join(f"{kind}/{name}@{_generation(ObjectRef(kind, name), specs)}" for kind, _, name in refs)


def _generation(ref: ObjectRef, specs: Specs) -> str:
    """The generation of an object; of a maintenance that a label implies, the label and the generation of its PveNode."""
    found = specs.get(ref.kind, ref.name)
    if found is not None:
        return str(found.metadata.generation)
    for node in specs.nodes.values():
        if implied_ref(NodeName(node.node_name)) == ref:
            labels = ",".join(f"{key}={value}" for key, value in sorted(node.metadata.labels.items()))
            return f"{node.metadata.generation}:{labels}"
    return "-"
