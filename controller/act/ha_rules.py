"""Carries out what a plan asks of PVE HA's rules: looks again, makes, changes or removes one rule after the other.

Called by `loop.tick` before the moves of a plan, which PVE HA would undo under the old rules. A rule that is not Drover's is
never touched: its comment is read again right before each change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.act.backoff import refused_until
from controller.clock import Clock
from controller.model.errors import Ambiguous, Busy, Denied, DroverError, Rejected, Retry, Stale
from controller.model.event import Event, EventType
from controller.model.facts import HaRule
from controller.model.ha_rules import RuleAction, RuleVerb, rule_owner
from controller.model.ids import ObjectRef
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.pve.client import PveClient
from controller.report.events import Told

_VERBS = {RuleVerb.CREATE: "make", RuleVerb.UPDATE: "change", RuleVerb.REMOVE: "remove"}
_TOLD = {
    RuleVerb.CREATE: Told.HA_RULE_CREATED,
    RuleVerb.UPDATE: Told.HA_RULE_CHANGED,
    RuleVerb.REMOVE: Told.HA_RULE_REMOVED,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """What PVE said no to, and from when (epoch seconds) it is asked again."""

    action: RuleAction
    why: Why
    message: str
    failures: int
    until: float


@dataclass(slots=True)
class RuleWriter:
    """Writes the rules of one cluster. What was refused is forgotten at a restart: PVE is asked once more, and says so again."""

    client: PveClient
    clock: Clock
    _refused: dict[str, Refused] = field(default_factory=dict)

    def refused(self) -> Mapping[ObjectRef, Finding]:
        """Policies whose rules PVE refused."""
        return MappingProxyType({r.action.cause: Finding(False, r.why, r.message) for r in self._refused.values()})

    async def carry_out(
        self, actions: Sequence[RuleAction], *, still_wanted: Callable[[], Finding | None] = lambda: None
    ) -> tuple[tuple[Event, ...], bool]:
        """Do what can be done of `actions`, in this order; what is to be told, and whether PVE was asked to change anything.

        `still_wanted` returns, before each of them, why nothing more is to be done. Raises nothing of PVE's.
        """
        asked = {action.rule.name: action for action in actions}
        self._refused = {name: r for name, r in self._refused.items() if _same(r.action, asked.get(name))}
        events: list[Event] = []
        changed = False
        for action in actions:
            known = self._refused.get(action.rule.name)
            if known is not None and known.until > self.clock.wall():
                continue
            if still_wanted() is not None:
                break
            try:
                event = await self._do(action)
            except (Retry, Busy) as error:
                if error.why in (Why.NO_QUORUM, Why.UNREACHABLE):
                    break  # the same would happen to all others
                continue
            changed = True
            events += [event] if event is not None else []
        return tuple(events), changed

    async def _do(self, action: RuleAction) -> Event | None:
        try:
            if action.verb is RuleVerb.CREATE:
                await self._create(action.rule)
            else:
                await self._change(action)
        except Ambiguous as error:
            text = f"the request to {_doing(action)} was sent, but {error.message}; Drover looks what became of it"
            return self._event(action, EventType.WARNING, Told.ANSWER_LOST, text)
        except Stale:
            return None  # the next look sees what has changed
        except (Denied, Rejected) as error:
            return self._refuse(action, error)
        self._refused.pop(action.rule.name, None)
        return self._event(action, EventType.NORMAL, _TOLD[action.verb], f"{action.rule.name}: {action.message}")

    async def _create(self, rule: HaRule) -> None:
        try:
            await self.client.create_ha_rule(rule)
        except Rejected as refused:
            try:
                there, _ = await self.client.ha_rule(rule.name)
            except DroverError:
                raise refused from None
            if there.comment != rule.comment:
                text = f"there is a rule {rule.name} already that is not Drover's: its comment is {there.comment!r}"
                raise Rejected(Why.NOT_OURS, text) from None
            raise Stale(Why.STATE_CHANGED, f"rule {rule.name} is there by now") from None

    async def _change(self, action: RuleAction) -> None:
        there, digest = await self.client.ha_rule(action.rule.name)
        if rule_owner(there.comment) is None:
            text = f"rule {there.name} is not Drover's any more: its comment is {there.comment!r}"
            raise Rejected(Why.NOT_OURS, text)
        if action.verb is RuleVerb.REMOVE:
            await self.client.remove_ha_rule(action.rule.name)
        elif there.off:
            raise Stale(Why.STATE_CHANGED, f"rule {there.name} was switched off")
        else:
            await self.client.change_ha_rule(action.rule, digest=digest)

    def _refuse(self, action: RuleAction, error: DroverError) -> Event | None:
        """Remember the refusal; it is told when it is new."""
        before = self._refused.get(action.rule.name)
        failures = before.failures + 1 if before is not None else 1
        until = refused_until(failures, self.clock.wall())
        self._refused[action.rule.name] = Refused(action, error.why, error.message, failures, until)
        if before is not None and (before.why, before.message) == (error.why, error.message):
            return None
        text = f"could not {_doing(action)}: {error.message}"
        return self._event(action, EventType.WARNING, Told.HA_RULE_REFUSED, text)

    def _event(self, action: RuleAction, type_: EventType, reason: Told, text: str) -> Event:
        now = self.clock.wall()
        return Event(type_, reason, action.cause, text, now, now)


def _same(refused: RuleAction, action: RuleAction | None) -> bool:
    return action is not None and replace(refused, message="") == replace(action, message="")


def _doing(action: RuleAction) -> str:
    return f"{_VERBS[action.verb]} rule {action.rule.name} of PVE HA"
