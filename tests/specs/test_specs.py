"""Reading, marking and collecting objects."""

import pytest

from controller import yamlpos
from controller.model.ids import NodeName, ObjectRef
from controller.specs import (
    KINDS,
    InvalidError,
    MigrationPolicy,
    Mode,
    NodeMaintenance,
    PlacementPolicy,
    PveCluster,
    PveNode,
    Resource,
    Specs,
    parse,
)
from controller.specs.nodemaintenance import MaintenanceMode
from controller.specs.placementpolicy import KeepApart, NodeAffinity


def read(text: str) -> Resource:
    [document] = yamlpos.parse(text, "file.yaml")
    return parse(document)


def one(kind: str, spec: str = "{}", *, name: str = "a", labels: str = "{}") -> Resource:
    head = f"apiVersion: drover.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, labels: {labels}}}\n"
    return read(f"{head}spec: {spec}\n")


CLUSTER = '{endpoints: ["https://a:8006"], auth: {credentialsRef: a}%s}'


def cluster(more: str = "", name: str = "default") -> PveCluster:
    found = one("PveCluster", CLUSTER % (f", {more}" if more else ""), name=name)
    assert isinstance(found, PveCluster)
    return found


def problems(text: str) -> list[str]:
    found = []
    for document in yamlpos.read(text, "file.yaml").documents:
        try:
            parse(document)
        except InvalidError as error:
            found += [str(problem) for problem in error.problems]
    return found


def test_attributes_are_words_and_numbers() -> None:
    found = cluster("mode: Enforce, limits: {maxMigrations: 3}, network: {linkMiBps: 100}")
    assert found.spec.mode is Mode.ENFORCE
    assert found.spec.limits.max_migrations == 3
    assert found.spec.network.link_mibps == 100
    assert found.spec.capacity.reserve_memory_mib == 0
    assert found.spec.managed_guests.tags.none == ("unmanaged",)


def test_the_documented_defaults() -> None:
    spec = cluster().spec
    assert (spec.mode, spec.limits.max_moves_per_hour, spec.limits.max_moves_per_guest_per_day) == (Mode.PLAN, 60, 3)
    assert (spec.network.share_percent, spec.capacity.reserve_memory_percent, spec.capacity.cpu_overcommit_ratio) == (
        80,
        10,
        4.0,
    )
    assert (spec.safety.max_unavailable_nodes, spec.safety.max_stale_seconds) == (1, 60)
    assert (spec.prune.max_deletes_percent, spec.prune.empty_source_allowed) == (30, False)
    assert (spec.maintenance.label_key, spec.maintenance.follow_ha_maintenance) == ("drover.dev/maintenance", True)
    migration = one("MigrationPolicy", "{guestSelector: {}}")
    assert isinstance(migration, MigrationPolicy)
    retry = migration.spec.retry
    assert (retry.limit, retry.backoff_seconds, retry.backoff_factor, retry.max_backoff_seconds) == (5, 20, 2.0, 1800)
    assert migration.cluster == "default"


def test_a_policy_gives_its_one_rule() -> None:
    apart = one("PlacementPolicy", "{guestSelector: {}, keepApart: {maxPerDomain: 2}}")
    near = one("PlacementPolicy", "{guestSelector: {}, nodeAffinity: {nodes: [b, a]}, enforcement: Should}")
    assert isinstance(apart, PlacementPolicy)
    assert isinstance(near, PlacementPolicy)
    assert apart.spec.rule == KeepApart(topology_key="drover.dev/node", max_per_domain=2)
    assert near.spec.rule == NodeAffinity(nodes=(NodeName("b"), NodeName("a")))
    assert (apart.spec.corrects_existing, near.spec.corrects_existing) == (True, False)


@pytest.mark.parametrize(
    ("labels", "asks_for"),
    [
        ("{}", None),
        ('{drover.dev/maintenance: "false"}', None),
        ('{drover.dev/maintenance: "true"}', MaintenanceMode.EVACUATE),
        ("{drover.dev/maintenance: evacuate}", MaintenanceMode.EVACUATE),
        ("{drover.dev/maintenance: cordon}", MaintenanceMode.CORDON),
        ('{example.org/down: "true"}', None),
    ],
)
def test_the_label_of_a_node_says_what_it_asks_for(labels: str, asks_for: MaintenanceMode | None) -> None:
    node = one("PveNode", labels=labels)
    assert isinstance(node, PveNode)
    assert node.labelled() is asks_for


def test_another_label_may_mean_maintenance() -> None:
    node = one("PveNode", labels='{example.org/down: "true", drover.dev/maintenance: cordon}')
    assert isinstance(node, PveNode)
    assert node.labelled("example.org/down") is MaintenanceMode.EVACUATE


def test_a_node_is_called_as_pve_calls_it() -> None:
    node = one("PveNode", "{nodeName: PVE1}", name="pve1", labels="{rack: a}")
    assert isinstance(node, PveNode)
    assert node.node_name == "PVE1"
    assert node.labels == {"rack": "a", "drover.dev/node": "PVE1"}


SELECTOR = (
    "{matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [d, e]}, {key: f, operator: NotIn, values: [g]},"
    " {key: a, operator: Exists}, {key: h, operator: DoesNotExist}]}"
)


@pytest.mark.parametrize(
    ("labels", "selected"),
    [
        ({"a": "b", "c": "d"}, True),
        ({"a": "b", "c": "e", "f": "x"}, True),
        ({"a": "x", "c": "d"}, False),
        ({"c": "d"}, False),
        ({"a": "b"}, False),
        ({"a": "b", "c": "d", "f": "g"}, False),
        ({"a": "b", "c": "d", "h": ""}, False),
    ],
)
def test_label_selectors_select_as_in_kubernetes(labels: dict[str, str], selected: bool) -> None:
    maintenance = one("NodeMaintenance", f"{{nodeSelector: {SELECTOR}}}")
    assert isinstance(maintenance, NodeMaintenance)
    assert maintenance.spec.node_selector is not None
    assert maintenance.spec.node_selector.matches(labels) is selected


def test_documents_that_are_no_objects_of_ours_are_refused() -> None:
    foreign = "apiVersion: apps/v1\nkind: Deployment\n"
    text = f"- 1\n---\nkind: PveNod\napiVersion: drover.dev/v1alpha1\n---\n{foreign}---\na: 1\n---\nx\n"
    kinds = ", ".join(KINDS)
    assert problems(text) == [
        "file.yaml:1:1: the document is a list; allowed: an object with apiVersion and kind",
        f'file.yaml:3:7: kind: "PveNod" is no kind of drover.dev (did you mean PveNode?); allowed: {kinds}',
        "file.yaml:6:13: apiVersion: apps/v1 is not Drover's; allowed: drover.dev/v1alpha1",
        f"file.yaml:9:1: kind: is missing; allowed: {kinds}",
        'file.yaml:11:1: the document is the text "x"; allowed: an object with apiVersion and kind',
    ]


def test_problems_point_at_the_place_in_the_file() -> None:
    text = (
        "apiVersion: drover.dev/v1alpha1\nkind: PveNode\nmetadata:\n  name: a\n  labels:\n    x: 5\n"
        "spec:\n  maxInbound: -1\n  reserve:\n    memory: 5\n  reserve: {}\n"
    )
    a_value = "text of at most 63 letters, digits, '-', '_' and '.', in quotes if it looks like a number or true"
    assert problems(text) == [
        f"file.yaml:6:8: metadata.labels.x: is 5 without quotes, which is not text; allowed: {a_value}",
        "file.yaml:8:15: spec.maxInbound: is -1; allowed: a whole number from 0 to 1000000",
        "file.yaml:10:5: spec.reserve.memory: is not a field here (did you mean memoryMiB?); allowed: memoryMiB, cpus",
        "file.yaml:11:3: duplicate key 'reserve'; the first one is at file.yaml:9:3",
    ]


def test_an_object_knows_its_place_but_is_equal_wherever_it_stands() -> None:
    text = "apiVersion: drover.dev/v1alpha1\nkind: PveNode\nmetadata: {name: a}\n"
    here, there = read(text), read("\n\n" + text)
    assert (str(here.origin), str(there.origin)) == ("file.yaml:1:1", "file.yaml:3:1")
    assert here == there
    assert hash(here) == hash(there)
    assert here != one("PveNode", "{maxInbound: 1}")
    assert here != "a"


def test_specs_are_found_by_kind_name_and_cluster() -> None:
    far = one("PveNode", "{clusterRef: {name: far}, nodeName: PVE1}", name="pve1")
    near = one("PveNode", name="pve2")
    specs = Specs.of([near, far, cluster(name="far"), cluster()])
    assert list(specs.nodes) == ["pve1", "pve2"]
    assert list(specs.for_cluster("far")) == [specs.clusters["far"], far]
    assert specs.get("PveNode", "pve2") is near
    assert specs.get("PveNode", "pve3") is None
    assert specs.for_cluster("far").node("PVE1") is far
    assert len(specs) == 4
    assert near.ref == ObjectRef("PveNode", "pve2")


def test_a_name_counts_once() -> None:
    with pytest.raises(ValueError, match="the same kind and name"):
        Specs.of([one("PveNode"), one("PveNode")])


def test_rules_hold_for_objects_made_in_python_too() -> None:
    made = cluster()
    with pytest.raises(ValueError, match="exactly one of nodeName and nodeSelector"):
        NodeMaintenance.model_validate({"metadata": made.metadata, "spec": {"reason": "x"}})
