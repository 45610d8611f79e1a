"""In which order moves are possible, every Must and every capacity kept at every instant; what cannot be done says why.

Called by the planner with the places `solve` has chosen. Full clusters are reordered by going first where room is, and when
nothing can go first by a detour over a third bin; nobody is sent on a detour when waiting for what already flies suffices.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controller.decide.solve.dice import Dice
from controller.decide.solve.problem import GroupKind, Problem
from controller.decide.solve.yard import Hurdle, Yard

_EXACT = 10
"""So many moves are tried in every order."""
_TRIES = 24
"""More are tried in so many."""
_STATES = 4_000


@dataclass(frozen=True, slots=True)
class Step:
    """A move that may start when others have ended. Any timing that keeps to this keeps every Must."""

    item: int
    source: int
    target: int
    after: tuple[int, ...] = ()
    """Steps, as indices into `Sequence.steps`, that must have ended."""
    landed: tuple[int, ...] = ()
    """Items already in flight that must have arrived."""
    detour: bool = False
    """The target is not where the item shall be: another step of the same item follows, unless it is one of the helpers."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An item for which no order, and no detour, was found."""

    item: int
    target: int
    hurdle: Hurdle
    """What is in the way when all steps have been done."""
    leaves: tuple[int, ...]
    """Items that are to leave that bin, or domain, and wait themselves."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The steps, each possible when all before it have ended."""

    steps: tuple[Step, ...]
    waiting: tuple[Waiting, ...] = ()


def sequence(
    problem: Problem,
    places: tuple[int, ...],
    *,
    leaving: Mapping[int, int] | None = None,
    may_detour: bool | AbstractSet[int] = True,
    helpers: AbstractSet[int] = frozenset(),
    seed: int = 0,
) -> Sequence:
    """An order of all moves from where the items are to these places.

    leaving: items in flight (their `at` is the target) -> the bin where they still take room, too. may_detour: which of those
    that move may take a detour. helpers: items that need not move, and may step aside to any bin for good.
    """
    return _Sequencing(problem, places, leaving or {}, seed=seed, may_detour=may_detour, helpers=helpers).run()


Moves = list[tuple[int, int]]


class _Sequencing:
    def __init__(
        self,
        problem: Problem,
        places: tuple[int, ...],
        leaving: Mapping[int, int],
        *,
        seed: int,
        may_detour: bool | AbstractSet[int],
        helpers: AbstractSet[int],
    ) -> None:
        self.problem, self.places, self.leaving = problem, places, leaving
        self.dice = Dice(seed)
        self.movers = [n for n, item in enumerate(problem.items) if places[n] != item.at]
        self.helpers = sorted(helpers - set(self.movers))
        detours = set(self.movers) if may_detour is True else may_detour or frozenset[int]()
        self.aside = [n for n in self.movers if n in detours] + self.helpers
        """Who may be sent to a third bin; those first that move anyway."""
        self.involved = self.movers + self.helpers
        self.start = Yard(problem, self.involved, leaving)

    def run(self) -> Sequence:
        now = self._order(landed=False)
        done: Moves = now
        before_landing = len(now)
        if self.leaving and len(now) < len(self.movers):
            done = now + self._order(landed=True, done=now)
        if len(done) < len(self.movers) and self.aside:
            further = self._detours(done)
            if further is None and (whole := self._whole()) is not None:
                done, before_landing = whole, 0
            else:
                done = done + (further or [])
        yard = self._yard(done, before_landing)
        arrived = {n for n in self.movers if yard.place[n] == self.places[n]}
        waiting = [self._waiting(yard, n) for n in self.movers if n not in arrived]
        return Sequence(self._steps(done, before_landing), tuple(waiting))

    def _yard(self, done: Moves, before_landing: int | None) -> Yard:
        """The yard after these moves, landed after so many of them."""
        yard = self.start.copy()
        for n, (item, target) in enumerate(done):
            if n == before_landing:
                yard.land()
            yard.move(item, target)
        if before_landing is not None:
            yard.land()
        return yard

    def _order(self, *, landed: bool, done: Moves | None = None) -> Moves:
        """As many of the moves that are left as possible, each possible when those before it have ended."""
        done = done or []
        left = [n for n in self.movers if n not in {item for item, _ in done}]
        yard = self._yard(done, len(done) if landed else None)
        best = self._go(yard, left)
        if len(best) == len(left):
            return best
        if len(left) <= _EXACT:
            return self._every(done, left, landed)
        for _ in range(_TRIES):
            shuffled = left.copy()
            self.dice.shuffle(shuffled)
            found = self._go(self._yard(done, len(done) if landed else None), shuffled)
            if len(found) > len(best):
                best = found
        return best

    def _go(self, yard: Yard, left: list[int]) -> Moves:
        """Move whatever can move, in rounds, until nothing can."""
        found: Moves = []
        while left:
            stay = []
            for item in left:
                if yard.hurdle(item, self.places[item]) is None:
                    yard.move(item, self.places[item])
                    found.append((item, self.places[item]))
                else:
                    stay.append(item)
            if len(stay) == len(left):
                break
            left = stay
        return found

    def _every(self, done: Moves, left: list[int], landed: bool) -> Moves:
        """The longest order there is: depth first over the sets of what has moved."""
        yard = self._yard(done, len(done) if landed else None)
        seen: set[frozenset[int]] = set()
        best: Moves = []
        path: Moves = []

        def go(rest: frozenset[int]) -> bool:
            nonlocal best
            if len(path) > len(best):
                best = path.copy()
            if not rest:
                return True
            if rest in seen:
                return False
            seen.add(rest)
            for item in sorted(rest):
                target = self.places[item]
                if yard.hurdle(item, target) is None:
                    source = yard.place[item]
                    yard.move(item, target)
                    path.append((item, target))
                    if go(rest - {item}):
                        return True
                    path.pop()
                    yard.move(item, source)
            return False

        go(frozenset(left))
        return best

    def _detours(self, done: Moves) -> Moves | None:
        """Further moves, some of them to a third bin, after which all are where they shall be; None if none were found.

        Breadth first over detours, each followed by all that can then move: as few as possible come first, the cheaper before
        the dearer.
        """
        start = self._yard(done, len(done))
        left = [n for n in self.movers if start.place[n] != self.places[n]]
        seen = {self._key(start)}
        wave: list[Moves] = [[]]
        while wave and len(seen) < _STATES:
            following: list[tuple[int, Moves]] = []
            for path in wave:
                here = self._after(start, path)
                for item, target in self._asides(here, left):
                    yard = here.copy()
                    yard.move(item, target)
                    went = [
                        *path,
                        (item, target),
                        *self._go(yard, [n for n in left if yard.place[n] != self.places[n]]),
                    ]
                    if all(yard.place[n] == self.places[n] for n in left):
                        return went
                    key = self._key(yard)
                    if key not in seen:
                        seen.add(key)
                        following.append((self._bytes(went), went))
            wave = [path for _, path in sorted(following)]
        return None

    def _whole(self) -> Moves | None:
        """All moves from the start, every order and detour of a few: moves that were possible may have led nowhere."""
        start = self._yard([], 0)
        seen = {self._key(start)}
        wave: list[tuple[Yard, Moves]] = [(start, [])]
        while wave and len(seen) < _STATES:
            following: list[tuple[Yard, Moves]] = []
            for yard, path in wave:
                straight = [(n, self.places[n]) for n in self.movers if yard.place[n] != self.places[n]]
                possible = [move for move in straight if yard.hurdle(*move) is None]
                for item, target in possible + self._asides(yard, self.movers):
                    other = yard.copy()
                    other.move(item, target)
                    key = self._key(other)
                    if key not in seen:
                        seen.add(key)
                        following.append((other, [*path, (item, target)]))
                        if all(other.place[n] == self.places[n] for n in self.movers):
                            return following[-1][1]
            wave = following
        return None

    def _asides(self, yard: Yard, left: list[int]) -> Moves:
        """Possible moves to a bin that is neither where the item is nor where it shall be; the cheapest first."""
        bystanders, unready = set(self.helpers), set(left)
        found = [
            (item in bystanders, self._bytes([(item, target)]), item, target)
            for item in self.aside
            if item in bystanders or item in unready
            for target in range(len(self.problem.bins))
            if target != yard.place[item]
            and (item in bystanders or target != self.places[item])
            and yard.welcome(item, target)
            and yard.hurdle(item, target) is None
        ]
        return [(item, target) for _, _, item, target in sorted(found)]

    def _after(self, start: Yard, path: Moves) -> Yard:
        yard = start.copy()
        for item, target in path:
            yard.move(item, target)
        return yard

    def _key(self, yard: Yard) -> tuple[int, ...]:
        return tuple(yard.place[n] for n in self.involved)

    def _bytes(self, moves: Moves) -> int:
        costs = [(self.problem.items[item].cost, target) for item, target in moves]
        return sum(cost if isinstance(cost, int) else cost[target] for cost, target in costs)

    def _waiting(self, yard: Yard, item: int) -> Waiting:
        target = self.places[item]
        hurdle = yard.hurdle(item, target) or Hurdle(target)
        domain = self.problem.groups[hurdle.group].domain if hurdle.group is not None else range(len(self.problem.bins))
        leaves = tuple(
            n
            for n in self.movers
            if n != item and domain[yard.place[n]] == domain[target] and domain[self.places[n]] != domain[target]
        )
        return Waiting(item, target, hurdle, leaves)

    def _steps(self, done: Moves, before_landing: int) -> tuple[Step, ...]:
        return _Overlap(self.problem, self.involved, self.leaving, before_landing).steps(done, self.places)


class _Overlap:
    """Which of the moves of an order have to wait for which others.

    An arrival has to wait for the first departures that leave enough room for itself and all arrivals before it in the order. So
    whatever has started, the last of them in the order has made sure that there is room for all.
    """

    def __init__(self, problem: Problem, movers: list[int], leaving: Mapping[int, int], before_landing: int) -> None:
        self.problem, self.before_landing = problem, before_landing
        self.yard = Yard(problem, movers, leaving)
        self.arrivals: dict[tuple[str, int, int], int] = {}
        """Resource of a bin, or domain of a group -> what has been promised there in all."""
        self.departures: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
        """The same -> (step, how much it frees); what is in flight already is a step below 0."""
        self.last: dict[int, int] = {}
        """Item, or SPREAD group (negative) -> its last step."""
        self.flying = sorted(leaving)
        self.sources = leaving

    def steps(self, done: Moves, places: tuple[int, ...]) -> tuple[Step, ...]:
        at = {item: self.problem.items[item].at for item, _ in done}
        found = []
        for n, (item, target) in enumerate(done):
            if n == self.before_landing:
                self._land()
            waits = self._waits(n, item, at[item], target)
            after = tuple(sorted(step for step in waits if step >= 0))
            landed = tuple(sorted(self.flying[-1 - step] for step in waits if step < 0))
            found.append(Step(item, at[item], target, after, landed, detour=target != places[item]))
            at[item] = target
        return tuple(found)

    def _land(self) -> None:
        for n, item in enumerate(self.flying):
            if self.sources[item] == self.problem.items[item].at:
                continue
            for key, much in self._uses(item, self.sources[item], self.problem.items[item].at):
                self.departures.setdefault(key, []).append((-1 - n, much))
            for group in self._spreads(item):
                self.last[group] = -1 - n

    def _spreads(self, item: int) -> list[int]:
        groups = self.yard.groups.get(item, ())
        return [-1 - group for group in groups if self.problem.groups[group].kind is GroupKind.SPREAD]

    def _uses(self, item: int, where: int, other: int) -> list[tuple[tuple[str, int, int], int]]:
        """What the item takes there, as the keys of `arrivals`, but for domains it is in on the other bin, too."""
        needs = enumerate(self.problem.items[item].need)
        found = [(("bin", where, resource), need) for resource, need in needs if need]
        for group in self.yard.groups.get(item, ()):
            one = self.problem.groups[group]
            here = one.domain[where]
            if one.kind is GroupKind.APART and here is not None and here != one.domain[other]:
                found.append((("group", group, here), 1))
        return found

    def _waits(self, n: int, item: int, source: int, target: int) -> set[int]:
        waits = set()
        for key, much in self._uses(item, target, source):
            kind, number, part = key
            if kind == "bin":
                room = (self.problem.bins[number].capacity[part] or 0) - self.yard.load[
                    number * self.yard.resources + part
                ]
            else:
                room = self.problem.groups[number].limit - self.yard.count[number][part]
            self.arrivals[key] = self.arrivals.get(key, 0) + much
            lacking = self.arrivals[key] - room
            for step, freed in self.departures.get(key, ()):
                if lacking <= 0:
                    break
                waits.add(step)
                lacking -= freed
        for key_of_last in (item, *self._spreads(item)):
            if key_of_last in self.last:
                waits.add(self.last[key_of_last])
            self.last[key_of_last] = n
        for key, much in self._uses(item, source, target):
            self.departures.setdefault(key, []).append((n, much))
        return waits
