"""How many of several classes of guests can be seated in domains of limited size. Called by `decide.contradictions`."""

from collections import deque
from collections.abc import Mapping, Sequence


def seated(supplies: Sequence[tuple[int, frozenset[str]]], places: Mapping[str, int]) -> int:
    """The greatest number that finds a place: each supply is a count and the domains it may use (maximum flow)."""
    taken: list[dict[str, int]] = [{} for _ in supplies]
    left, free = [count for count, _ in supplies], dict(places)
    reach = [sorted(domains & free.keys()) for _, domains in supplies]
    while (found := _path(reach, taken, left, free)) is not None:
        _push(*found, taken, left, free)
    return sum(count for count, _ in supplies) - sum(left)


_Came = dict[str, tuple[int, str | None]]
"""Domain -> the supply that would come, and which domain it would leave."""


def _path(
    reach: Sequence[Sequence[str]], taken: Sequence[Mapping[str, int]], left: Sequence[int], free: Mapping[str, int]
) -> tuple[str, _Came] | None:
    """The shortest way to a domain with free seats, through domains whose guests could sit elsewhere."""
    came: _Came = {}
    for index, domains in enumerate(reach):
        for domain in domains if left[index] else ():
            came.setdefault(domain, (index, None))
    queue = deque(came)
    while queue:
        domain = queue.popleft()
        if free[domain]:
            return domain, came
        for index, own in enumerate(taken):
            for other in reach[index] if own.get(domain) else ():
                if other not in came:
                    came[other] = (index, domain)
                    queue.append(other)
    return None


def _push(
    end: str,
    came: _Came,
    taken: list[dict[str, int]],
    left: list[int],
    free: dict[str, int],
) -> None:
    path, domain = [], end
    while True:
        index, before = came[domain]
        path.append((index, before, domain))
        if before is None:
            break
        domain = before
    amount = min(free[end], left[path[-1][0]], *(taken[i][b] for i, b, _ in path if b is not None))
    free[end] -= amount
    left[path[-1][0]] -= amount
    for index, before, domain in path:
        taken[index][domain] = taken[index].get(domain, 0) + amount
        if before is not None:
            taken[index][before] -= amount
