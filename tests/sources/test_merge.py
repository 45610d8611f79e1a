"""Nothing is lost because something broke, and nothing stays because it was there once."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import yamlpos
from controller.model.ids import ObjectRef
from controller.sources import Held, Snapshot, merge
from controller.sources.folder import FolderSource
from controller.specs import parse
from tests.sources.writing import apart, cluster, node, obj, write


class Repository:
    """A folder and what is held of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = FolderSource(path, watch=False)
        self.held = Held.empty()

    def push(self, *, remove: Iterable[str] = (), **files: str) -> "Repository":
        for name in remove:
            (self.path / f"{name}.yaml").unlink()
        write(self.path, **files)
        self.held = merge(self.held, self.source.read_now())
        return self

    @property
    def names(self) -> list[str]:
        return sorted(resource.name for resource in self.held.specs)

    def generation(self, kind: str, name: str) -> int:
        found = self.held.specs.get(kind, name)
        assert found is not None
        return found.metadata.generation

    def said(self) -> list[str]:
        return [str(problem).removeprefix(f"{self.path}/") for problem in self.held.problems]


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path).push(c=cluster(), n1=node("n1"), n2=node("n2"), p=apart("p"), q=apart("q"))


def test_a_broken_document_keeps_the_last_good_version_of_that_object(repo: Repository) -> None:
    repo.push(n1=node("n1", spec="{maxInbound: 3}"))
    repo.push(n1=node("n1", spec="{maxInbound: -1}"), n2=node("n2", spec="{maxInbound: 7}"))
    assert repo.names == ["default", "n1", "n2", "p", "q"]
    assert repo.held.specs.nodes["n1"].spec.max_inbound == 3
    assert repo.held.specs.nodes["n2"].spec.max_inbound == 7
    assert [line.split(": ")[0] for line in repo.said()] == ["n1.yaml:4:20"]
    repo.push(n1=node("n1", spec="{maxInbound: 4}"))
    assert repo.held.specs.nodes["n1"].spec.max_inbound == 4
    assert repo.said() == []


def test_a_file_that_is_no_yaml_keeps_all_its_objects_and_only_those(repo: Repository) -> None:
    repo.push(remove=("n1", "n2"), n=node("n1") + "---\n" + node("n2"))
    repo.push(remove=("q",), n=node("n1") + "---\n{")
    assert repo.names == ["default", "n1", "n2", "p"]
    assert "n2: it is gone, but may be" in " ".join(repo.said()).replace("n.yaml:6:1", "n2")


def test_a_file_emptied_by_an_editor_keeps_its_objects(repo: Repository) -> None:
    assert repo.push(n1="").names == ["default", "n1", "n2", "p", "q"]
    assert repo.said()[0].startswith("n1.yaml:1:1: the file is empty")


def test_a_file_renamed_and_broken_at_once_loses_nothing(repo: Repository) -> None:
    repo.push(remove=("n1",), m1="{")
    assert repo.names == ["default", "n1", "n2", "p", "q"]
    assert any("it is gone, but may be in a part of" in line and "m1.yaml" in line for line in repo.said())
    assert repo.push(remove=("m1",)).names == ["default", "n2", "p", "q"]


def test_duplicates_keep_the_last_good_version(repo: Repository) -> None:
    repo.push(n1=node("n1", spec="{maxInbound: 3}"))
    repo.push(x=node("n1", spec="{maxInbound: 4}"))
    assert repo.held.specs.nodes["n1"].spec.max_inbound == 3
    assert len(repo.said()) == 2


def test_what_is_gone_is_gone(repo: Repository) -> None:
    assert repo.push(remove=("q",)).names == ["default", "n1", "n2", "p"]
    assert (repo.held.awaiting, repo.said()) == (None, [])


def test_generation_counts_changes_of_the_spec_and_uid_stays(repo: Repository) -> None:
    uid = repo.held.specs.nodes["n1"].metadata.uid
    assert uid
    assert uid != repo.held.specs.nodes["n2"].metadata.uid
    assert repo.generation("PveNode", "n1") == 1
    repo.push(n1="\n# moved\n" + node("n1", spec="{maxInbound: 0}"))  # says the same
    assert repo.generation("PveNode", "n1") == 1
    repo.push(n1=node("n1", spec="{maxInbound: 1}"))
    assert repo.generation("PveNode", "n1") == 2
    repo.push(n1=node("n1", label="cordon", spec="{maxInbound: 1}"))  # labels of a node are part of what is wanted
    assert repo.generation("PveNode", "n1") == 3
    repo.push(p=obj("PlacementPolicy", "p", "{guestSelector: {}, keepApart: {}}", "{a: b}"))
    assert repo.generation("PlacementPolicy", "p") == 1
    assert repo.held.specs.nodes["n1"].metadata.uid == uid


def test_an_object_that_comes_again_is_another_one(repo: Repository) -> None:
    uid = repo.held.specs.placements["q"].metadata.uid
    repo.push(remove=("q",)).push(q=apart("q"), z=apart("z"))
    assert repo.held.specs.placements["q"].metadata.uid != uid
    assert repo.generation("PlacementPolicy", "q") == 1


def test_what_a_source_assigns_itself_is_kept(repo: Repository) -> None:
    text = node("n9").replace("{name: n9", "{name: n9, uid: abc, generation: 7")
    repo.push(n9=text)
    assert (repo.held.specs.nodes["n9"].metadata.uid, repo.generation("PveNode", "n9")) == ("abc", 7)


def test_a_vanished_file_of_a_labelled_node_keeps_it_in_maintenance(repo: Repository) -> None:
    repo.push(n1=node("n1", label="true"))
    repo.push(remove=("n1",))
    assert repo.held.vanished_nodes == ("n1",)
    assert repo.held.specs.nodes["n1"].labelled() is not None
    repo.push(p=apart("p", "{guestSelector: {}, keepApart: {}, priority: 5}"))  # and stays so
    assert repo.held.vanished_nodes == ("n1",)
    repo.push(n1=node("n1", label="false"))
    assert not repo.held.vanished_nodes
    assert "n1" not in repo.push(remove=("n1",)).names


def test_a_vanished_file_of_a_node_in_service_is_gone(repo: Repository) -> None:
    assert "n1" not in repo.push(remove=("n1",)).names
    assert repo.held.vanished_nodes == ()


def test_the_label_that_counts_is_the_one_the_cluster_names(repo: Repository) -> None:
    repo.push(c=cluster(more="maintenance: {labelKey: x/down}"), n1=obj("PveNode", "n1", "{}", "{x/down: cordon}"))
    repo.push(remove=("n1",))
    assert repo.held.vanished_nodes == ("n1",)


def test_many_objects_vanishing_at_once_wait_for_a_person(repo: Repository) -> None:
    before = repo.names
    repo.push(remove=("n1", "p"))  # 2 of 5 are 40 %
    assert repo.names == before
    assert repo.held.awaiting == repo.held.revision
    allowed = f"its file back, or `drover confirm {repo.held.awaiting}`"
    message = f"it is gone together with 1 others; it stays in force until that is confirmed; allowed: {allowed}"
    assert [line.split(": ", 1)[1] for line in repo.said()] == [message, message]
    assert repo.held.confirm("another") is repo.held
    assert repo.held.awaiting is not None
    repo.held = repo.held.confirm(repo.held.awaiting)
    assert (repo.names, repo.said(), repo.held.awaiting) == (["default", "n2", "q"], [], None)
    repo.push()
    assert (repo.names, repo.held.awaiting) == (["default", "n2", "q"], None)


def test_a_later_revision_needs_its_own_confirmation(repo: Repository) -> None:
    first = repo.push(remove=("n1", "p")).held.awaiting
    second = repo.push(q=apart("q", "{guestSelector: {}, keepApart: {}, priority: 5}")).held.awaiting
    assert first is not None
    assert second not in (None, first)
    assert repo.held.confirm(first) is repo.held


def test_files_that_come_back_end_the_waiting(repo: Repository) -> None:
    repo.push(remove=("n1", "p"))
    repo.push(n1=node("n1"), p=apart("p"))
    assert (repo.held.awaiting, repo.held.pending, repo.said()) == (None, frozenset(), [])
    assert repo.generation("PveNode", "n1") == 1


def test_the_rest_of_a_revision_counts_while_its_deletions_wait(repo: Repository) -> None:
    repo.push(remove=("n1", "p"), q=apart("q", "{guestSelector: {}, keepApart: {}, priority: 5}"))
    assert repo.held.specs.placements["q"].spec.priority == 5


def test_few_objects_and_maintenances_vanish_without_asking(tmp_path: Path) -> None:
    few = Repository(tmp_path).push(c=cluster(), n1=node("n1"), p=apart("p"))
    assert few.push(remove=("n1", "p")).names == ["default"]
    drains = {f"m{n}": obj("NodeMaintenance", f"m{n}", f"{{nodeName: n{n}}}") for n in range(5)}
    write(few.path, **drains)
    few.push(n1=node("n1"), n2=node("n2"), p=apart("p"))
    assert few.push(remove=drains).names == ["default", "n1", "n2", "p"]
    assert few.held.awaiting is None


def test_exactly_the_percentage_may_vanish(tmp_path: Path) -> None:
    write(tmp_path, **{f"p{number}": apart(f"p{number}") for number in range(9)})
    repo = Repository(tmp_path).push(c=cluster())
    assert repo.push(remove=("p0", "p1", "p2")).held.awaiting is None  # 3 of 10
    assert repo.push(remove=("p3", "p4", "p5")).held.awaiting is not None  # 3 of 7


def test_a_confirmed_deletion_ends_no_maintenance(repo: Repository) -> None:
    repo.push(n1=node("n1", label="true")).push(remove=("n1", "p"))
    assert repo.held.pending == {ObjectRef("PlacementPolicy", "p")}
    assert repo.held.awaiting is not None
    repo.held = repo.held.confirm(repo.held.awaiting)
    assert repo.push().names == ["default", "n1", "n2", "q"]
    assert repo.held.vanished_nodes == ("n1",)


def test_the_percentage_is_that_of_the_cluster(tmp_path: Path) -> None:
    repo = Repository(tmp_path).push(
        c=cluster(more="prune: {maxDeletesPercent: 0}"), a=apart("a"), b=apart("b"), d=apart("d")
    )
    assert repo.push(remove=("a",)).held.awaiting is not None
    repo.push(c=cluster(more="prune: {maxDeletesPercent: 100}"))
    assert (repo.held.awaiting, repo.names) == (None, ["b", "d", "default"])


def test_clusters_are_counted_apart(repo: Repository) -> None:
    far = "{clusterRef: {name: far}, guestSelector: {}, keepApart: {}}"
    repo.push(f=cluster("far"), f1=apart("f1", far), f2=apart("f2", far), f3=apart("f3", far))
    repo.push(remove=("f1", "f2", "n1"))  # 2 of 4, and 1 of 5
    assert repo.held.pending == {ObjectRef("PlacementPolicy", "f1"), ObjectRef("PlacementPolicy", "f2")}
    assert "n1" not in repo.names


def test_a_vanished_node_in_maintenance_is_not_counted_again_and_again(repo: Repository) -> None:
    repo.push(n1=node("n1", label="true")).push(remove=("n1",))
    repo.push(remove=("q",))  # 1 of the other 4
    assert (repo.held.vanished_nodes, repo.held.awaiting) == (("n1",), None)
    assert repo.names == ["default", "n1", "n2", "p"]


def test_an_empty_folder_deletes_nothing(repo: Repository) -> None:
    before = repo.names
    revision = repo.held.revision
    repo.push(remove=("c", "n1", "n2", "p", "q"))
    assert (repo.names, repo.held.revision, repo.held.awaiting) == (before, revision, None)
    assert "holds no manifests" in repo.said()[0]


def test_an_empty_folder_is_believed_where_that_is_allowed(repo: Repository) -> None:
    repo.push(c=cluster(more="prune: {emptySourceAllowed: true}"), n1=node("n1", label="true"))
    repo.push(remove=("c", "n1", "n2", "p", "q"))
    assert repo.names == ["n1"]  # in maintenance, so it stays
    assert repo.held.vanished_nodes == ("n1",)


def test_after_an_empty_folder_was_believed_it_is_no_problem_any_more(repo: Repository) -> None:
    repo.push(c=cluster(more="prune: {emptySourceAllowed: true}"))
    repo.push(remove=("c", "n1", "n2", "p", "q"))
    assert (repo.names, repo.said()) == ([], [])
    assert repo.push().said() == []


def test_an_incomplete_snapshot_deletes_nothing_but_brings_what_is_new(repo: Repository) -> None:
    repo.push(remove=("n1", "p"))
    awaiting = repo.held.awaiting
    snapshot = repo.source.read_now()
    partly = replace(
        snapshot, complete=False, revision="partly", objects=tuple(r for r in snapshot.objects if r.name == "default")
    )
    held = merge(repo.held, partly)
    assert sorted(resource.name for resource in held.specs) == repo.names
    assert (held.awaiting, held.pending) == (awaiting, repo.held.pending)


def test_what_is_wrong_between_objects_is_found(tmp_path: Path) -> None:
    repo = Repository(tmp_path).push(
        c=cluster(
            more="maintenance: {labelKey: x/down}, windows: [{name: w, kind: Allow, schedule: '0 1 * * *', durationSeconds: 60}]"
        ),
        a=apart("a", "{clusterRef: {name: nowhere}, guestSelector: {}, keepApart: {}}"),
        m=obj("NodeMaintenance", "m1", "{nodeName: A}") + "---\n" + obj("NodeMaintenance", "m2", "{nodeName: A}"),
        n=node("n1", spec="{nodeName: A}") + "---\n" + obj("PveNode", "n2", "{nodeName: A}", "{x/down: yes}"),
        p=obj("MigrationPolicy", "p", "{guestSelector: {}, windows: [w, v]}"),
    )
    unknown = '"yes" does not say what to do with the node, so it counts as "false"; allowed: "true", "evacuate", "cordon", "false"'
    assert sorted(repo.said()) == [
        "a.yaml:1:1: spec.clusterRef.name: there is no PveCluster 'nowhere', so this has no effect; allowed: default",
        f"m.yaml:1:1: spec.nodeName: node A is also that of m2 ({tmp_path}/m.yaml:6:1); allowed: one NodeMaintenance for each node",
        f"m.yaml:6:1: spec.nodeName: node A is also that of m1 ({tmp_path}/m.yaml:1:1); allowed: one NodeMaintenance for each node",
        f"n.yaml:1:1: spec.nodeName: node A is also that of n2 ({tmp_path}/n.yaml:6:1); allowed: one PveNode for each node",
        f"n.yaml:6:1: metadata.labels[x/down]: {unknown}",
        f"n.yaml:6:1: spec.nodeName: node A is also that of n1 ({tmp_path}/n.yaml:1:1); allowed: one PveNode for each node",
        "p.yaml:1:1: spec.windows: PveCluster default has no window 'v'; allowed: w",
    ]


def test_one_cluster_under_two_names_is_told_at_both(repo: Repository) -> None:
    said = repo.push(o=cluster("other").replace("https://a:8006", "https://A:8006")).said()
    allowed = "so none of them may start moves; allowed: one PveCluster for each cluster of PVE"
    assert said == [
        f"c.yaml:1:1: spec.endpoints: an endpoint is also that of other, {allowed}",
        f"o.yaml:1:1: spec.endpoints: an endpoint is also that of default, {allowed}",
    ]


def test_what_is_held_survives_a_restart_with_a_broken_repository(repo: Repository) -> None:
    repo.push(n1=node("n1", label="true"), n2=node("n2", spec="{maxInbound: 2}")).push(remove=("n1",)).push(
        remove=("n2", "p")
    )
    assert repo.held.awaiting
    again = Held.from_json(repo.held.to_json())
    assert again == replace(repo.held, problems=())
    assert [str(resource.origin) for resource in again.specs] == [str(resource.origin) for resource in repo.held.specs]
    assert again.to_json() == repo.held.to_json()
    for name in ("c", "q"):
        (repo.path / f"{name}.yaml").write_text("{")
    broken = merge(again, repo.source.read_now())
    assert list(broken.specs) == list(again.specs)
    assert broken.specs.nodes["n2"].metadata == again.specs.nodes["n2"].metadata


def test_what_an_older_or_newer_version_remembered_is_left_out_and_reported(repo: Repository) -> None:
    text = repo.held.to_json()
    other = text.replace('"keepApart": {}', '"keepFar": {}', 1).replace(
        '"kind": "PveNode", "object"', '"kind": "PveHost", "object"', 1
    )
    again = Held.from_json(other)
    assert sorted(resource.name for resource in again.specs) == ["default", "n2", "q"]
    assert [problem.message.split(":")[0] for problem in again.problems] == [
        "a remembered PveHost is not a kind any more",
        "a remembered object is not understood any more",
    ]
    assert str(again.problems[0]).startswith(f"{repo.path}/n1.yaml:1:1: ")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"objects": 5}', '{"objects": [{}]}', '{"objects": [5]}', "null"])
def test_a_memory_that_cannot_be_read_is_a_problem_and_no_crash(text: str) -> None:
    held = Held.from_json(text)
    assert (len(held.specs), len(held.problems)) == (0, 1)


POLICIES = "abcdef"
NAMES = st.sampled_from(POLICIES)
GOOD = {
    resource.name: resource
    for document in yamlpos.parse("---\n".join([cluster(), *(apart(name) for name in POLICIES)]), "all.yaml")
    for resource in [parse(document)]
}


@given(st.lists(st.tuples(st.frozensets(NAMES), st.frozensets(NAMES), st.booleans()), max_size=6))
def test_no_sequence_of_revisions_loses_what_is_broken_or_resurrects_what_is_gone(
    revisions: list[tuple[frozenset[str], frozenset[str], bool]],
) -> None:
    held = Held.empty()
    for number, (present, broken, complete) in enumerate(revisions):
        snapshot = Snapshot(
            f"r{number}",
            complete=complete,
            objects=tuple(GOOD[name] for name in ("default", *sorted(present - broken))),
            problems=(),
            broken=frozenset(ObjectRef("PlacementPolicy", name) for name in broken),
        )
        before, held = {r.ref for r in held.specs}, merge(held, snapshot)
        now = {resource.ref for resource in held.specs}
        assert {resource.ref for resource in snapshot.objects} <= now
        assert now <= before | {resource.ref for resource in snapshot.objects}
        assert before & snapshot.broken <= now
        assert complete or before <= now
        assert held.pending <= now
        assert (held.awaiting is None) == (not held.pending)
        assert Held.from_json(held.to_json()) == replace(held, problems=())
        lost = before - now
        if len(before) >= 4:
            assert len(lost) * 100 <= 30 * len(before)
