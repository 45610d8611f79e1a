"""Rolling maintenance, in turns and whole: never too many nodes, a failure stops the rest, it ends, a restart changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.decide import decide, rolling
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory, Origin
from controller.model.observed import Guest, HaNodeState, Node, NodeState
from controller.model.override import Order, Override
from controller.model.plan import Blocked, Lane, Plan
from controller.model.reasons import Why
from controller.model.turn import HookAction, HookCall, HookRun, Turn, TurnPhase, TurnState
from controller.specs import NodeMaintenance, Specs
from tests.decide.build import AT, cluster, flight, guest, memory, node, origin, seen, specs

PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
ROLL = ObjectRef("NodeMaintenance", "patches")
HOOKED = cluster(maintenance={"drainedHook": "patch"})


def roll(generation: int = 1, **spec: Any) -> NodeMaintenance:
    return NodeMaintenance.model_validate(
        {"metadata": {"name": "patches", "generation": generation}, "spec": {"nodeSelector": {}, **spec}}
    )


# One turn at one look

BOOTED = 1000
DRAINED = Turn(ROLL, 1, PVE1, TurnPhase.DRAINED, AT - 20, drained_at=AT - 20, booted_at=AT - BOOTED)
SERVICING = replace(DRAINED, phase=TurnPhase.SERVICING)
WAITING = replace(DRAINED, phase=TurnPhase.WAITING_FOR_NODE)
RETURNING = replace(DRAINED, phase=TurnPhase.RETURNING)
CALL = HookCall("patch", HookAction.DRAINED, ROLL, PVE1, AT - 20)
ENDED = HookRun(CALL, 1, AT - 15, ended_at=AT - 5, exit_code=0)
UP = node("pve1", uptime_seconds=BOOTED)
DOWN = replace(UP, state=NodeState.OFFLINE, uptime_seconds=None)
AWAY = guest(101, "pve2")
HOME = {Vmid(101): origin(AWAY, "pve1", maintenance=ROLL)}
FREED = {PVE1: Override(PVE1, Order.IN_SERVICE, "root", AT, "")}


def step(turn: Turn, here: Node = UP, plan: Plan | None = None, *, hook: bool = True, **known: Any) -> Turn:
    """The turn of pve1 after a look."""
    found = rolling.advance(
        specs(*([HOOKED] if hook else []), roll(suspend=True)),
        seen([here, node("pve2")], [AWAY]),
        Memory(turns={turn.key: turn}, **known),
        plan,
    )
    return next(each for each in found if each.node == PVE1)


def test_a_drained_node_is_serviced_when_its_hook_has_begun() -> None:
    assert step(DRAINED).phase is TurnPhase.DRAINED
    assert step(DRAINED, hooks={CALL.key: replace(ENDED, ended_at=0.0)}).phase is TurnPhase.SERVICING


def test_a_hook_that_ran_for_an_earlier_drain_counts_for_nothing() -> None:
    old = replace(ENDED, call=replace(CALL, occasion=AT - 9000))
    assert step(DRAINED, hooks={CALL.key: old}).phase is TurnPhase.DRAINED


def test_without_a_hook_a_reboot_is_the_service() -> None:
    assert step(DRAINED, hook=False).phase is TurnPhase.DRAINED
    assert step(DRAINED, DOWN, hook=False).phase is TurnPhase.DRAINED
    assert step(DRAINED, replace(UP, uptime_seconds=5), hook=False).phase is TurnPhase.WAITING_FOR_NODE


@pytest.mark.parametrize(
    ("run", "state", "failure"),
    [
        (replace(ENDED, ended_at=0.0, exit_code=None), TurnState.SERVICING, ""),
        (ENDED, TurnState.WAITING_FOR_NODE, ""),
        (
            replace(ENDED, exit_code=2, output="a\nb\nc\nd"),
            TurnState.FAILED,
            "hook patch ended with exit code 2: b; c; d",
        ),
        (replace(ENDED, exit_code=None, output="too long"), TurnState.FAILED, "hook patch failed: too long"),
        (replace(ENDED, exit_code=1), TurnState.FAILED, "hook patch ended with exit code 1"),
    ],
    ids=["runs", "done", "failed", "ended", "silent"],
)
def test_how_the_hook_ends_decides(run: HookRun, state: TurnState, failure: str) -> None:
    turn = step(SERVICING, hooks={CALL.key: run})
    assert (turn.state, turn.failure) == (state, failure)


def test_a_node_has_to_be_healthy_for_a_while() -> None:
    first = step(WAITING)
    assert (first.phase, first.healthy_since) == (TurnPhase.WAITING_FOR_NODE, AT)
    assert step(replace(WAITING, healthy_since=AT - 29)).phase is TurnPhase.WAITING_FOR_NODE
    assert step(replace(WAITING, healthy_since=AT - 30)).phase is TurnPhase.RETURNING


@pytest.mark.parametrize(
    "here",
    [DOWN, replace(UP, ha=HaNodeState.MAINTENANCE), replace(UP, ha=HaNodeState.FENCE)],
    ids=["offline", "in PVE HA's maintenance", "fenced"],
)
def test_a_node_that_is_not_healthy_begins_anew_and_fails_after_an_hour(here: Node) -> None:
    well = replace(WAITING, healthy_since=AT - 20)
    assert step(well, here).healthy_since == 0.0
    assert step(replace(well, since=AT - 3599), here).failure == ""
    assert step(replace(well, since=AT - 3600), here).failure == "pve1 is not back 60 min after it was serviced"


def test_a_node_that_restarts_while_it_is_watched_is_watched_anew() -> None:
    turn = step(replace(WAITING, healthy_since=AT - 29), replace(UP, uptime_seconds=5))
    assert (turn.phase, turn.healthy_since) == (TurnPhase.WAITING_FOR_NODE, AT)


def test_a_turn_is_done_when_everybody_is_home() -> None:
    assert step(RETURNING).phase is TurnPhase.DONE
    assert step(RETURNING, origins=HOME).phase is TurnPhase.RETURNING
    late = replace(RETURNING, since=AT - 3600)
    assert step(late, origins=HOME).failure == "1 guests of pve1 are not home 60 min after its service"
    coming = flight(AWAY, "pve1", lane=Lane.RETURN)
    assert step(late, origins=HOME, flights={Vmid(101): coming}).state is TurnState.RETURNING


def test_who_can_not_come_home_fails_the_turn_until_that_is_mended() -> None:
    word = Blocked(Vmid(101), Why.LOCAL_DISK, "it has a local disk", "", ROLL)
    found = decide(specs(), seen([node("pve1")], []), memory())
    stuck = step(RETURNING, plan=replace(found, blocked=(word,)), origins=HOME)
    assert stuck.failure == "guests of pve1 can't come home: it has a local disk"
    assert step(stuck, plan=found, origins=HOME).failure == ""


def test_nobody_waits_for_guests_that_balance_will_move() -> None:
    homes = {vmid: replace(home, rebalances=True) for vmid, home in HOME.items()}
    assert step(RETURNING, origins=homes).phase is TurnPhase.DONE


@pytest.mark.parametrize(
    "phase", [TurnPhase.DRAINING, TurnPhase.DRAINED, TurnPhase.SERVICING, TurnPhase.WAITING_FOR_NODE]
)
@pytest.mark.parametrize("failure", ["", "the hook failed"])
def test_whoever_says_uncordon_has_serviced_the_node(phase: TurnPhase, failure: str) -> None:
    turn = step(replace(DRAINED, phase=phase, failure=failure), overrides=FREED)
    assert (turn.phase, turn.failure) == (TurnPhase.RETURNING, "")


# How many, and what a change of the object means


def turns(
    found: Specs, known: Mapping[str, Turn] = MappingProxyType({}), *, nodes: int = 4, **more: Any
) -> dict[str, str]:
    rows = [more.pop(f"pve{n}", node(f"pve{n}")) for n in range(1, nodes + 1)]
    return {t.node: t.state for t in rolling.advance(found, seen(rows, []), Memory(turns=known, **more), None)}


@pytest.mark.parametrize(
    ("most", "begun"), [(None, 1), (2, 2), (9, 4), ("1%", 1), ("50%", 2), ("74%", 2), ("100%", 4)], ids=str
)
def test_so_many_nodes_begin_at_once(most: int | str | None, begun: int) -> None:
    given: dict[str, Any] = {} if most is None else {"maxUnavailable": most}
    found = turns(specs(roll(**given)))
    assert list(found.values()) == ["Draining"] * begun + ["Pending"] * (4 - begun)


def test_a_node_that_is_offline_lets_the_next_one_go_first() -> None:
    assert turns(specs(roll()), pve1=replace(DOWN))["pve1"] == "Pending"
    assert turns(specs(roll()), pve1=replace(DOWN))["pve2"] == "Draining"


def finished(generation: int = 1, **spec: Any) -> dict[str, Turn]:
    """All turns of a roll that went well."""
    begun = rolling.advance(
        specs(roll(generation, **spec)), seen([node(f"pve{n}") for n in (1, 2)], []), Memory(), None
    )
    return {turn.key: replace(turn, phase=TurnPhase.DONE) for turn in begun}


def test_a_change_of_a_finished_roll_begins_a_new_round() -> None:
    assert turns(specs(roll(2, reason="again")), finished(), nodes=2) == {"pve1": "Draining", "pve2": "Pending"}


@pytest.mark.parametrize("suspend", [True, False])
def test_suspending_a_finished_roll_or_letting_it_go_on_begins_nothing(suspend: bool) -> None:
    known = finished(suspend=not suspend)
    assert set(turns(specs(roll(2, suspend=suspend)), known, nodes=2).values()) == {"Done"}


def test_a_change_of_what_goes_on_leaves_alone_what_is_done_and_tries_again_what_failed() -> None:
    known = finished()
    known["patches/pve2"] = replace(known["patches/pve2"], phase=TurnPhase.SERVICING, failure="x")
    assert turns(specs(roll(2, reason="again")), known, nodes=2) == {"pve1": "Done", "pve2": "Draining"}
    assert turns(specs(roll(2, suspend=True)), known, nodes=2) == {"pve1": "Done", "pve2": "Failed"}


def test_turns_from_before_a_digest_was_kept_go_by_the_generation() -> None:
    known = {key: replace(turn, asked="") for key, turn in finished().items()}
    assert set(turns(specs(roll()), known, nodes=2).values()) == {"Done"}
    assert turns(specs(roll(2)), known, nodes=2)["pve1"] == "Draining"


def test_a_node_that_is_no_longer_selected_is_forgotten() -> None:
    chosen = {"matchExpressions": [{"key": "drover.dev/node", "operator": "In", "values": ["pve2"]}]}
    assert turns(specs(roll(nodeSelector=chosen)), finished(), nodes=2) == {"pve2": "Done"}


# A whole roll, with the real planner and a cluster that does at once what it is asked for


@dataclass(frozen=True)
class Fate:
    """What becomes of one node: how long its hook takes and its reboot, in looks; None: it fails, it never comes back."""

    hook: int | None
    reboot: int | None


@dataclass
class Lab:
    """Nodes with guests; every look is two minutes after the one before."""

    specs: Specs
    fates: Mapping[NodeName, Fate]
    guests: dict[Vmid, Guest]
    most: int
    memory: Memory = field(default_factory=Memory)
    plan: Plan | None = None
    at: float = AT
    down: dict[NodeName, float] = field(default_factory=dict)  # until when
    ends: dict[str, float] = field(default_factory=dict)
    begun: list[NodeName] = field(default_factory=list)
    runs: list[NodeName] = field(default_factory=list)

    def restart(self) -> None:
        """The daemon forgets what is not on disk; a hook that runs is begun again."""
        self.plan = None
        self.memory = replace(self.memory, emptied=frozenset())
        for key, run in self.memory.hooks.items():
            if not run.over and key in self.ends:
                self.ends[key] = self.at + 120 * (self.fates[run.call.node].hook or 1)

    def look(self) -> None:
        """One tick."""
        self.at += 120.0
        rows = [node(name, state=self._state(name), uptime_seconds=self._uptime(name)) for name in sorted(self.fates)]
        look = seen(rows, self.guests.values(), at=self.at)
        before = self.memory.turns
        told = rolling.advance(self.specs, look, self.memory, self.plan)
        self.memory = replace(self.memory, turns={turn.key: turn for turn in told})
        self._judge(before, told)
        plan = decide(rolling.applied(self.specs, told), look, self.memory)
        assert plan.unsafe == ()
        self._hooks(plan)
        for move in plan.moves:
            assert self._state(move.source) is self._state(move.target) is NodeState.ONLINE
            self.guests[move.vmid] = replace(self.guests[move.vmid], node=move.target)
            self._remember(move.vmid, move.source if move.returns else None, move.target, move.cause)
        last = {drain.node for drain in plan.drains if drain.empty}
        self.plan, self.memory = plan, replace(self.memory, emptied=frozenset(last))

    def _state(self, name: NodeName) -> NodeState:
        return NodeState.OFFLINE if self.down.get(name, 0.0) > self.at else NodeState.ONLINE

    def _uptime(self, name: NodeName) -> int:
        return int(self.at - max(self.down.get(name, 0.0), AT - 9000))

    def _remember(self, vmid: Vmid, left: NodeName | None, now: NodeName, cause: ObjectRef) -> None:
        homes = dict(self.memory.origins)
        if left is not None:
            homes.setdefault(vmid, Origin(self.guests[vmid].identity, left, cause, self.at, now))
        if vmid in homes:
            homes[vmid] = replace(homes[vmid], expected=now)
            if homes[vmid].node == now:
                del homes[vmid]
        self.memory = replace(self.memory, origins=homes)

    def _hooks(self, plan: Plan) -> None:
        runs = dict(self.memory.hooks)
        for call in rolling.hooks(self.specs, plan, self.memory):
            if call.key in runs and runs[call.key].call.occasion == call.occasion:
                continue
            assert not [v for v, g in self.guests.items() if g.node == call.node], (
                "a node is serviced with guests on it"
            )
            runs[call.key] = HookRun(call, 1, self.at)
            self.ends[call.key] = self.at + 120 * (self.fates[call.node].hook or 1)
            self.runs.append(call.node)
        for key, at in list(self.ends.items()):
            name = runs[key].call.node
            if at <= self.at:
                fate = self.fates[name]
                runs[key] = replace(runs[key], ended_at=self.at, exit_code=1 if fate.hook is None else 0)
                self.down[name] = self.at + (1e9 if fate.reboot is None else 120.0 * fate.reboot)
                if fate.hook is None:
                    self.down[name] = 0.0
                del self.ends[key]
        self.memory = replace(self.memory, hooks=runs)

    def _judge(self, before: Mapping[str, Turn], told: tuple[Turn, ...]) -> None:
        active = [turn.node for turn in told if turn.phase not in (TurnPhase.PENDING, TurnPhase.DONE)]
        assert len(active) <= self.most, f"{active} at once"
        failed = any(turn.failure for turn in before.values())
        for turn in told:
            was = before[turn.key].phase if turn.key in before else TurnPhase.PENDING
            assert list(TurnPhase).index(turn.phase) >= list(TurnPhase).index(was), "a turn never goes back by itself"
            if was is TurnPhase.PENDING and turn.phase is not TurnPhase.PENDING:
                assert not failed, f"{turn.node} begins although another one has failed"
                self.begun.append(turn.node)

    @property
    def over(self) -> bool:
        """Whether nothing will happen any more."""
        states = [turn.state for turn in self.memory.turns.values()]
        failed = TurnState.FAILED in states
        still = {TurnState.DONE, TurnState.FAILED} | ({TurnState.PENDING} if failed else set())
        return bool(states) and set(states) <= still and not self.ends


LATE = 40  # looks: back after the hour that it has
FATES = st.builds(
    Fate,
    st.sampled_from([1, 1, 2, 3, None]),
    st.sampled_from([0, 0, 1, 5, LATE, None]),
)


def whole(fates: list[Fate], most: int, places: list[int], restarts: frozenset[int] = frozenset()) -> Lab:
    """Let a roll go to its end."""
    names = [NodeName(f"pve{number}") for number in range(1, len(fates) + 1)]
    spare = NodeName("pve9")
    chosen = {"matchExpressions": [{"key": "drover.dev/node", "operator": "NotIn", "values": [spare]}]}
    guests = {Vmid(101 + n): guest(101 + n, names[place % len(names)], 4) for n, place in enumerate(places)}
    found = specs(
        cluster(maintenance={"drainedHook": "patch"}, safety={"maxUnavailableNodes": 9, "keepQuorumMargin": 0}),
        roll(nodeSelector=chosen, maxUnavailable=most),
    )
    lab = Lab(found, {**dict(zip(names, fates, strict=True)), spare: Fate(1, 0)}, guests, most)
    for number in range(40 * len(names)):
        if number in restarts:
            lab.restart()
        lab.look()
        if lab.over:
            break
    for _ in range(15):  # what is over stays over, also when a node is back at last
        lab.look()
    return lab


@settings(max_examples=40, deadline=None)
@given(
    fates=st.lists(FATES, min_size=2, max_size=4),
    most=st.integers(1, 3),
    places=st.lists(st.integers(0, 3), max_size=6),
    restarts=st.frozensets(st.integers(0, 60), max_size=4),
)
@example(fates=[Fate(1, 0), Fate(None, 0), Fate(1, 0)], most=1, places=[0, 1, 2], restarts=frozenset({3, 4, 5}))
@example(fates=[Fate(None, 0), Fate(3, 5), Fate(1, 0)], most=2, places=[0, 1, 2], restarts=frozenset())
@example(fates=[Fate(1, LATE), Fate(1, 0)], most=1, places=[0], restarts=frozenset())
@example(fates=[Fate(2, None), Fate(1, 1), Fate(1, 0)], most=2, places=[0, 1, 1], restarts=frozenset())
def test_a_roll_ends_stops_at_a_failure_and_goes_on_after_restarts(
    fates: list[Fate], most: int, places: list[int], restarts: frozenset[int]
) -> None:
    lab, calm = whole(fates, most, places, restarts), whole(fates, most, places)
    for each in (lab, calm):
        assert each.over, {turn.node: (turn.state, turn.failure) for turn in each.memory.turns.values()}
        failed = {turn.node for turn in each.memory.turns.values() if turn.failure}
        doomed = {name for name, fate in each.fates.items() if fate.hook is None or fate.reboot in (LATE, None)}
        assert failed == doomed & set(each.begun)
        assert len(each.runs) == len(set(each.runs)), "no hook runs twice for one drain"
        in_service = {turn.node for turn in each.memory.turns.values() if not turn.in_maintenance}
        assert in_service == {turn.node for turn in each.memory.turns.values()} - failed
        if not failed:
            assert {v: g.node for v, g in each.guests.items()} == {
                Vmid(101 + n): f"pve{place % len(fates) + 1}" for n, place in enumerate(places)
            }
    if most == 1:
        assert lab.begun == calm.begun
        assert {t.node: t.state for t in lab.memory.turns.values()} == {
            t.node: t.state for t in calm.memory.turns.values()
        }
