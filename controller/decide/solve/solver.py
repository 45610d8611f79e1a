"""The fewest moves, then the least penalty, then the fewest bytes. `solve` is called by the planner for every plan.

Work on what must move first, everything else frozen; only when that does not suffice look for as few others as possible: one,
then two together, cheapest first, which is a proof where it was complete; else by ruin and recreate. What people wish decides
between plans of equally many moves, before bytes: they wrote it down. Only then come voluntary moves.
"""

from collections.abc import Sequence

from controller.decide.solve import bounds, voluntary
from controller.decide.solve.dice import Dice
from controller.decide.solve.mend import mend
from controller.decide.solve.model import AS_IS, BROKEN, PENALTY, Model, moves_in
from controller.decide.solve.others import Others
from controller.decide.solve.pack import BudgetUsedUpError, hardest_first, insert, pack, put_back
from controller.decide.solve.problem import Core, GroupKind, Problem, Proof, Shortage, Solution
from controller.decide.solve.search import Search
from controller.decide.solve.state import ABSENT, State

DEFAULT = 600_000
"""Questions whether something fits: about a second of one core."""
_STICKY = 20
"""The last plan is kept when it costs at most a twentieth more bytes than a new one, with as many moves."""


def solve(problem: Problem, *, seed: int = 0, effort: int = DEFAULT) -> Solution:
    """The best places that were found for all items within the effort; equal input gives equal output."""
    found = _Solver(problem, seed, effort).run()
    torn = frozenset(
        number
        for number, group in enumerate(problem.groups)
        if group.kind is GroupKind.TOGETHER
        and not group.weight
        and len({problem.items[member].at for member in group.members}) > 1
        and not group.members.isdisjoint(found.unplaced)
    )
    if torn:  # who is apart already and cannot be brought together may at least leave one by one
        singly = _Solver(problem, seed, effort, torn).run()
        if len(singly.unplaced) < len(found.unplaced):
            return singly
    return found


class _Solver:
    def __init__(self, problem: Problem, seed: int, effort: int, dissolved: frozenset[int] = frozenset()) -> None:
        self.problem, self.effort, self.dice = problem, effort, Dice(seed)
        self.model = model = Model(problem, dissolved)
        self.state = State(model)
        self.must = [unit for unit in self._movers() if model.options(unit) and not model.stuck[unit]]
        self.hopeless = [unit for unit in self._movers() if not model.options(unit) or model.stuck[unit]]
        self.proof = Proof.NONE
        self.hinted: list[tuple[int, int]] | None = None
        """The last plan, if it is still possible."""
        self.cores: tuple[Core, ...] = ()
        self.floor = sum(model.options(unit)[0][0] for unit in self.must) + self._mending()
        """No plan costs less."""
        prices = [{cost for cost, _ in model.options(unit)} for unit in self.must]
        self.equal = all(len(some) < 2 for some in prices) and not any(model.soft[unit] for unit in self.must)
        """Whether it makes no difference to the cost where the movers go."""

    def _movers(self) -> list[int]:
        """Units that have to move, or that may, to mend a Must that is broken now."""
        model = self.model
        mend = {number for number, rule in enumerate(model.rules) if not rule.weight and rule.at_first}
        return [
            unit
            for unit in range(len(model.members))
            if model.must[unit]
            or model.home[unit] == AS_IS
            or (mend and not model.stuck[unit] and any(number in mend for number, _ in model.hard[unit]))
        ]

    def _mending(self) -> int:
        """What it costs at least to mend groups that share no member with another: the cheapest of too many move."""
        model, total, seen = self.model, 0, set[int]()
        for number, rule in enumerate(model.rules):
            if rule.weight or not rule.at_first or rule.kind is GroupKind.TOGETHER:
                continue
            units = {model.unit_of[member] for member in self.problem.groups[number].members}
            if units & seen or any(model.must[unit] or len(model.members[unit]) > 1 for unit in units):
                continue
            seen |= units
            price = {unit: options[1][0] for unit in units if len(options := model.options(unit)) > 1}
            if rule.kind is GroupKind.SPREAD:  # one move brings the fullest and the emptiest nearer by two
                total += sum(sorted(price.values())[: (rule.at_first + 1) // 2])
                continue
            for domain, count in enumerate(rule.count):
                here = [price[unit] for unit in price if rule.domain[model.home[unit]] == domain]
                total += sum(sorted(here)[: max(0, count - rule.limit)])
        return total

    def run(self) -> Solution:
        self.hinted = self._hinted() if self.problem.hint else None
        if self.must:
            self._place()
            self._stick()
            self._retreat()
        self._prove()
        moved = {unit for unit, where in enumerate(self.state.place) if where not in (AS_IS, self.model.home[unit])}
        voluntary.improve(self.state, self.problem.soft_may_move)
        return self._solution(moved)

    def _hinted(self) -> list[tuple[int, int]] | None:
        """The last plan, where it is still possible as a whole; the state is left as it was."""
        state, model = self.state, self.model
        before = state.place.copy()
        hint = {model.unit_of[item]: where for item, where in sorted(self.problem.hint.items())}
        must = set(self.must)
        wanted = [
            (unit, where)
            for unit, where in sorted(hint.items())
            if not model.stuck[unit] and where != model.home[unit] and (unit in must or self.problem.movable_for_room)
        ]
        involved = sorted({unit for unit, _ in wanted} | must)
        for unit in involved:
            state.take(unit)
        kept = True
        for unit, where in wanted:
            if any(there == where for _, there in model.options(unit)) and state.fits(unit, where):
                state.put(unit, where)
            else:
                kept = False
        if kept:
            insert(state, hardest_first(model, [unit for unit in involved if state.place[unit] == ABSENT]), level=True)
            kept = self._cost(involved) < BROKEN
        found = self._places(involved) if kept else None
        put_back(state, [(unit, before[unit]) for unit in involved])
        return found

    def _stick(self) -> None:
        """Go back to the last plan when the new one is hardly better."""
        hinted = self.hinted
        if hinted is None:
            return
        model, state = self.model, self.state
        moved = {unit for unit, where in enumerate(state.place) if where not in (AS_IS, model.home[unit])}
        involved = sorted(moved | {unit for unit, _ in hinted} | set(self.must))
        new, places = self._cost(involved), self._places(involved)
        last = dict(hinted)
        put_back(state, [(unit, last.get(unit, model.first[unit])) for unit in involved])
        old = self._cost(involved)
        slack = (new % PENALTY) // _STICKY
        if old > new + slack:
            put_back(state, places)

    def _retreat(self) -> None:
        """Who has no place and lost its own to others gets it back; who is in the way there, or has left alone, goes home too."""
        state, model = self.state, self.model
        for unit, where in enumerate(state.place):
            if where == ABSENT:
                state.put(unit, model.first[unit])
        away = [unit for unit, where in enumerate(state.place) if where != model.first[unit]]
        while (wrong := next(filter(self._wrong, away), None)) is not None:
            state.take(wrong)
            state.put(wrong, model.first[wrong])
            away.remove(wrong)

    def _wrong(self, unit: int) -> bool:
        """Whether a unit that has moved is where there is too little room, or in a group that is worse than at the start."""
        state, model = self.state, self.model
        base = state.place[unit] * model.resources
        return any(state.load[base + r] > model.capacity[base + r] >= 0 for r, _ in model.needs[unit]) or any(
            model.rules[number].violation(state.count[number]) > model.rules[number].at_first
            for number, _ in model.hard[unit]
        )

    def _place(self) -> None:
        """Find places for all that must move."""
        state, model = self.state, self.model
        best: tuple[int, list[tuple[int, int]]] | None = None
        forced = [unit for unit in self.must if model.must[unit] or model.home[unit] == AS_IS]
        tries = [(True, forced), *((level, self.must) for level in (True, False))]
        for level, units in tries:
            some = set(units)
            put_back(state, [(unit, ABSENT if unit in some else model.first[unit]) for unit in self.must])
            insert(state, hardest_first(model, units), level=level)
            if len(units) < len(self.must):
                mend(state, set(self.must))
            cost = self._cost(self.must)
            if best is None or cost < best[0]:
                best = cost, self._places(self.must)
            if cost < BROKEN:
                break
        assert best is not None
        put_back(state, best[1])
        if best[0] >= BROKEN:
            self._tight()
        moved = [unit for unit, where in enumerate(state.place) if where not in (AS_IS, model.home[unit])]
        involved = sorted({*self.must, *moved})
        if not self.equal and self.floor < self._cost(involved) < BROKEN:
            Search(state, involved, self.dice).run(self.effort // 5, enough=self.floor)

    def _tight(self) -> None:
        """The straight way failed: look harder, then move others, then find out why it is impossible."""
        state, model = self.state, self.model
        possible = self.must
        places = self._places(possible)
        put_back(state, [(unit, ABSENT) for unit in possible])
        try:
            if pack(state, possible, self.effort // 10):
                return
            others_needed = True
        except BudgetUsedUpError:
            others_needed = False
        put_back(state, places)
        if not others_needed and Search(state, possible, self.dice).run(self.effort // 5, enough=BROKEN) < BROKEN:
            return
        self.cores = bounds.cores(model, self._loose(), possible)
        others = self._movable() if self.problem.movable_for_room else []
        if others and not self.cores:
            search = Others(state, possible, others, self.effort if self.hinted is None else self.effort // 5)
            if others_needed or len(others) <= 100:
                found = search.fewest()
                if found:
                    if others_needed and search.complete and self.equal:
                        self.proof |= Proof.MINIMAL_MOVES | (Proof.MINIMAL_BYTES if search.cheapest else Proof.NONE)
                    return
        if self.hinted is not None:
            return  # no need to search for what is known already
        if self.cores or others or not others_needed:
            Search(state, self.must + others, self.dice).run(self.effort // 2, enough=self.floor)
        if self._cost(self.must) < BROKEN:
            Others(state, possible, others, self.effort).thrift()
        elif not self.cores:
            self._exhaust(possible, others)

    def _loose(self) -> list[bool]:
        model, musts = self.model, set(self.must)
        movable = self.problem.movable_for_room
        return [not model.stuck[unit] and (movable or unit in musts) for unit in range(len(model.members))]

    def _movable(self) -> list[int]:
        """Units that may be moved to make room, the cheapest first."""
        model, musts = self.model, set(self.must)
        found = [
            (options[1][0], unit)
            for unit in range(len(model.members))
            if unit not in musts and not model.stuck[unit] and len(options := model.options(unit)) > 1
        ]
        return [unit for _, unit in sorted(found)]

    def _exhaust(self, possible: list[int], others: list[int]) -> None:
        """Try every arrangement, then leave out what makes no difference."""
        state = self.state
        before = self._places(self.must + others)
        put_back(state, [(unit, ABSENT) for unit in possible + others])
        budget = self.effort // 5
        try:
            if not pack(state, possible + others, budget):
                core = possible + others
                self._name(core)
                for unit in others[::-1] + possible[::-1]:
                    rest = [one for one in core if one != unit]
                    if pack(state, rest, budget // 10):
                        put_back(state, [(one, ABSENT) for one in rest])
                    else:
                        core = rest
                        self._name(core)
        except BudgetUsedUpError:
            pass
        put_back(state, before)

    def _name(self, core: Sequence[int]) -> None:
        items = sorted(member for unit in core for member in self.model.members[unit])
        self.cores = (Core(Shortage.EXHAUSTED, tuple(items)),)

    def _prove(self) -> None:
        """What the lower bound says about the plan."""
        moved = [unit for unit, where in enumerate(self.state.place) if where not in (AS_IS, self.model.home[unit])]
        cost = self._cost(sorted({*moved, *self.must}))
        if cost < BROKEN:
            self.cores = ()
        self.cores += tuple(core for unit in self.hopeless if (core := bounds.alone(self.model, unit)) is not None)
        if self.cores or cost >= BROKEN:
            self.proof = Proof.INFEASIBLE if self.cores else Proof.NONE
            return
        if moves_in(cost) == moves_in(self.floor):
            self.proof |= Proof.MINIMAL_MOVES
        if cost == self.floor:
            self.proof |= Proof.MINIMAL_BYTES

    def _places(self, units: Sequence[int]) -> list[tuple[int, int]]:
        return [(unit, self.state.place[unit]) for unit in units]

    def _cost(self, units: Sequence[int]) -> int:
        """Of these units, with all groups they are in."""
        state, model = self.state, self.model
        total = state.broken(sorted({number for unit in units for number, _ in model.hard[unit]}))
        total += state.unwished(sorted({number for unit in units for number, _ in model.soft[unit]}))
        for unit in units:
            where = state.place[unit]
            total += 2 * BROKEN if where == ABSENT else model.price(unit, where)
        return total

    def _counted(self, number: int, places: Sequence[int]) -> list[int]:
        """Members of a group per domain; the state does not follow those that are one unit."""
        rule = self.model.rules[number]
        count = [0] * len(rule.count)
        for member in self.problem.groups[number].members:
            if (domain := rule.domain[places[member]]) >= 0:
                count[domain] += 1
        return count

    def _solution(self, moved: set[int]) -> Solution:
        model, items = self.model, self.problem.items
        places = [item.at for item in items]
        for unit, where in enumerate(self.state.place):
            assert where != ABSENT
            if where != AS_IS:
                for member in model.members[unit]:
                    places[member] = where
        movers = [n for n, item in enumerate(items) if places[n] != item.at]
        prices = [items[n].cost for n in movers]
        penalty = sum(item.preference.get(where, 0) for item, where in zip(items, places, strict=True))
        violations = [rule.violation(self._counted(number, places)) for number, rule in enumerate(model.rules)]
        return Solution(
            places=tuple(places),
            unplaced=tuple(
                n for n, item in enumerate(items) if item.must_leave and not item.fixed and places[n] == item.at
            ),
            broken=tuple(n for n, rule in enumerate(model.rules) if violations[n] and not rule.weight),
            voluntary=frozenset(n for n in movers if model.unit_of[n] not in moved),
            moves=len(movers),
            bytes=sum(p if isinstance(p, int) else p[places[n]] for n, p in zip(movers, prices, strict=True)),
            penalty=penalty + sum(violations[n] * rule.weight for n, rule in enumerate(model.rules)),
            proof=self.proof,
            cores=self.cores,
        )
