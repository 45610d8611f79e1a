"""The wires: nobody gets more than a link or a ceiling allows, nothing is left idle that somebody wants, no byte is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulator.engine import Engine
from controller.simulator.network import Flow, Network, fair_share

NODES = ("a", "b", "c", "d")
rates = st.floats(min_value=1.0, max_value=1e9)
flows = st.lists(
    st.tuples(st.sampled_from(NODES), st.sampled_from(NODES), st.one_of(st.just(float("inf")), rates)).filter(
        lambda flow: flow[0] != flow[1]
    ),
    min_size=1,
    max_size=12,
)
links = st.fixed_dictionaries(dict.fromkeys(NODES, rates))


def _flows(specs: list[tuple[str, str, float]]) -> list[Flow]:
    return [Flow(src, dst, 1e6, cap, None) for src, dst, cap in specs]


def _load(found: list[Flow], node: str, *, out: bool) -> float:
    return sum(flow.rate for flow in found if (flow.src if out else flow.dst) == node)


@given(flows, links)
def test_no_link_and_no_ceiling_is_exceeded(specs: list[tuple[str, str, float]], speed: dict[str, float]) -> None:
    found = _flows(specs)
    fair_share(found, speed)
    for node in NODES:
        assert _load(found, node, out=True) <= speed[node] * 1.0001
        assert _load(found, node, out=False) <= speed[node] * 1.0001
    assert all(flow.rate <= flow.cap * 1.0001 for flow in found)


@given(flows, links)
def test_every_stream_is_held_back_by_something_full(
    specs: list[tuple[str, str, float]], speed: dict[str, float]
) -> None:
    found = _flows(specs)
    fair_share(found, speed)
    for flow in found:
        at_ceiling = flow.rate >= flow.cap * 0.999
        out_full = _load(found, flow.src, out=True) >= speed[flow.src] * 0.999
        in_full = _load(found, flow.dst, out=False) >= speed[flow.dst] * 0.999
        assert at_ceiling or out_full or in_full


@given(flows, links)
def test_who_shares_a_full_link_has_no_more_than_the_others_unless_they_are_held_elsewhere(
    specs: list[tuple[str, str, float]], speed: dict[str, float]
) -> None:
    found = _flows(specs)
    fair_share(found, speed)
    for flow in found:
        full = [
            [other for other in found if (other.src == flow.src if out else other.dst == flow.dst)]
            for out, node in ((True, flow.src), (False, flow.dst))
            if _load(found, node, out=out) >= speed[node] * 0.999
        ]
        biggest_somewhere = any(flow.rate >= max(other.rate for other in group) * 0.999 for group in full)
        assert biggest_somewhere or flow.rate >= flow.cap * 0.999


@pytest.mark.parametrize(
    ("specs", "speed", "expected"),
    [
        ([("a", "b", float("inf"))], {"a": 100.0, "b": 50.0}, [50.0]),
        ([("a", "b", float("inf")), ("a", "c", float("inf"))], {"a": 100.0, "b": 100.0, "c": 100.0}, [50.0, 50.0]),
        ([("a", "b", 20.0), ("a", "c", float("inf"))], {"a": 100.0, "b": 100.0, "c": 100.0}, [20.0, 80.0]),
        ([("a", "c", float("inf")), ("b", "c", float("inf"))], {"a": 10.0, "b": 100.0, "c": 100.0}, [10.0, 90.0]),
        ([("a", "b", float("inf")), ("b", "a", float("inf"))], {"a": 100.0, "b": 100.0}, [100.0, 100.0]),
        ([("a", "b", 0.0), ("a", "b", float("inf"))], {"a": 100.0, "b": 100.0}, [0.0, 100.0]),
    ],
    ids=["slower side", "two out", "a ceiling leaves room", "two in", "full duplex", "stopped stream"],
)
def test_shares(specs: list[tuple[str, str, float]], speed: dict[str, float], expected: list[float]) -> None:
    found = _flows(specs)
    fair_share(found, speed)
    assert [flow.rate for flow in found] == pytest.approx(expected, rel=1e-4)


@given(
    st.lists(
        st.tuples(st.sampled_from(NODES), st.sampled_from(NODES), st.floats(0, 5e9), st.floats(0, 30)).filter(
            lambda flow: flow[0] != flow[1]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_all_bytes_arrive_and_no_more(jobs: list[tuple[str, str, float, float]]) -> None:
    engine = Engine(1.75e9)
    network = Network(engine, dict.fromkeys(NODES, 1e8))
    started: list[Flow] = []
    for src, dst, size, delay in jobs:
        engine.after(delay, lambda job=(src, dst, size): started.append(network.start(*job)))  # type: ignore[misc] # mypy does not infer defaulted lambdas
    engine.advance(1.75e9 + 40 + sum(size for *_, size, _ in jobs) / 1e8 + 1)
    assert all(flow.done.fired and flow.done.value is True and flow.sent == flow.size for flow in started)
    assert network.moved == pytest.approx(sum(flow.size for flow in started), abs=2000 * len(jobs))
    assert network.flows == []


def test_a_cut_stream_says_so_and_frees_the_link() -> None:
    engine = Engine(0.0)
    network = Network(engine, {"a": 100.0, "b": 100.0, "c": 100.0})
    broken, other = network.start("a", "b", 1000.0), network.start("a", "c", 1000.0)
    engine.advance(10.0)
    network.cut(lambda flow: flow.dst == "b")
    assert broken.done.value is False
    assert broken.sent == pytest.approx(500.0)
    engine.advance(15.0)
    assert other.done.value is True
