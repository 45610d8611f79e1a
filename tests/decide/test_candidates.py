"""`drover explain`: every node with its verdict, and the number or the policy behind it."""

import pytest

from controller.decide import decide
from controller.decide.candidates import Explainer
from controller.decide.estimate import LIVE_SECONDS
from controller.model.explanation import Explanation
from controller.model.ids import Vmid
from tests.decide.build import GIB, apart, cluster, guest, in_maintenance, memory, node, policy, seen, specs
from tests.decide.test_replication import job, look, state

GUESTS = [guest(101, "pve1", 4), guest(102, "pve2", 4), guest(103, "pve3", 4)]
LOOK = seen([node(f"pve{i}", 10 if i < 5 else 2) for i in range(1, 7)], GUESTS)
RULES = (apart("pair", 101, 102), policy("not-six", {"vmids": [101]}, nodeAntiAffinity={"nodes": ["pve6"]}))


def told(vmid: int = 101, **network: int) -> Explanation:
    wanted = specs(cluster(network=network), in_maintenance("pve1"), *RULES)
    return Explainer(wanted, LOOK, memory(), decide(wanted, LOOK, memory())).explain(Vmid(vmid))


def test_every_node_says_which_policy_or_which_number_speaks_for_or_against_it() -> None:
    assert [(str(one.fitness), f"{one.node} {one.message}") for one in told().candidates] == [
        ("Here", "pve1 is where it is, and is in maintenance (NodeMaintenance/label-pve1)"),
        ("RuledOut", "pve2 has VM 102 g102 (PlacementPolicy/pair allows 1)"),
        ("Possible", "pve3 has 6 GiB free when the plan is done, 2 GiB with it"),
        ("Chosen", "pve4 has 10 GiB free when the plan is done, 6 GiB with it"),
        ("RuledOut", "pve5 has 2 GiB of 2 GiB free"),
        ("RuledOut", "pve6 is ruled out by PlacementPolicy/not-six"),
    ]


def test_the_choice_has_its_cost_and_a_guest_that_is_fine_has_none() -> None:
    moves = told(linkMiBps=1000)
    assert (moves.target, moves.move_bytes) == ("pve4", 4 * GIB)
    assert moves.seconds == pytest.approx(LIVE_SECONDS + 4 * 1024 / 800, abs=0.2)
    assert moves.message.startswith("pve1 is in maintenance")
    stays = told(103)
    assert (stays.target, stays.why, stays.message) == (None, None, "")
    assert told().seconds is None  # nobody has said what the network carries


def test_a_node_with_a_replica_gets_only_what_changed_and_one_whose_first_sync_is_to_come_says_so() -> None:
    who = guest(101, "pve1", 4)
    jobs = (job("101-0", "pve1", "pve3"), job("101-1", "pve1", "pve4"))
    states = {"101-0": state(jobs[0]), "101-1": state(jobs[1], last_sync=0)}
    given, looked = specs(), look([who], jobs, states=states)
    said = {
        str(one.node): one.message.rpartition("; ")[2]
        for one in Explainer(given, looked, memory(), decide(given, looked, memory())).explain(who.vmid).candidates
    }
    assert said["pve2"] == "10 GiB of volumes would be copied"
    assert said["pve3"] == "has a replica: only what changed since would be copied"
    assert said["pve4"] == "job 101-1 has made no replica there yet"
