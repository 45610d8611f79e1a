"""The judges are judged: generated clusters are the committed ones, and the checker sees what it is for."""

import json

from tests.bench.checker import Flight, one_after_the_other, violations
from tests.bench.clusters import HASHES, Cluster, Guest, Node, sized, tight


def test_generated_clusters_are_those_whose_hashes_were_committed() -> None:
    committed = json.loads(HASHES.read_text(encoding="utf-8"))
    for cluster in (sized("S"), sized("M"), sized("L"), tight("5/40 96%", 3), tight("8/80 93%", 7)):
        assert cluster is not None
        assert cluster.digest() == committed[cluster.name]


def test_generated_clusters_start_with_nothing_broken_but_the_maintenance() -> None:
    cluster = sized("M")
    assert all(found.endswith("is left on pve9") for found in violations(cluster, []))


SMALL = Cluster(
    name="small",
    nodes=(Node("a", 10, 10, "r1"), Node("b", 10, 10, "r1"), Node("c", 10, 10, "r2")),
    guests=(Guest(1, "a", 6, 1), Guest(2, "b", 6, 1), Guest(3, "c", 2, 1), Guest(4, "c", 2, 1)),
    apart=((1, 2),),
    apart_racks=(),
    together=((3, 4),),
    pinned={1: ("a", "c")},
    maintenance=(),
)


def test_checker_sees_every_kind_of_violation() -> None:
    assert violations(SMALL, []) == []
    assert violations(SMALL, one_after_the_other([(1, "b")])) == [
        "b is overfull when 1 comes", "1 may not be on b", "1 meets 2 on b",
    ]  # fmt: skip
    assert violations(SMALL, one_after_the_other([(3, "a")])) == ["(3, 4) are torn apart"]
    assert violations(SMALL, one_after_the_other([(3, "a"), (4, "a")])) == []


def test_checker_counts_a_flying_guest_on_both_nodes() -> None:
    swap = [Flight(1, "c", 0, 2), Flight(2, "a", 1, 3)]
    assert violations(SMALL, swap) == ["a is overfull when 2 comes", "2 meets 1 on a"]
    assert violations(SMALL, one_after_the_other([(1, "c"), (2, "a")])) == []
