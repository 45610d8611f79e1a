"""Complaints about other tools, and the story that shows that Drover gives no reason for each of them.

1-13: what users of KubeVirt, Nova, Nomad, DRS, ProxLB and PVE HA complain about of drains. A and G: what users of tools
for Proxmox VE ask for about maintenance and rolling patches.
"""

from pathlib import Path

import pytest

from controller.rehearse import story

HERE = Path(__file__).parent
COMPLAINTS = {
    "1: a drain can't be cancelled": ["complaint_01_a_drain_can_be_called_off", "called_off_with_abort_running"],
    "2: the same VM is migrated twice": [
        "complaint_02_nobody_is_moved_twice_in_one_drain",
        "a_lost_answer_is_not_posted_again",
    ],
    "3: two drains break a budget together": [
        "complaint_03_two_drains_share_one_ledger",
        "two_labels_on_a_cluster_that_can_not_take_both",
        "the_second_node_waits_for_the_first",
    ],
    "4: one node's queue starves the others": ["complaint_04_one_drain_does_not_starve_another"],
    "5: no inbound limit": ["complaint_05_a_target_takes_so_many_at_once"],
    "6: static limits fit nobody": ["complaint_06_links_are_filled_and_the_end_is_foretold"],
    "7: a progress timer on a saw-tooth lies": [
        "complaint_07_progress_in_rounds_is_progress",
        "guard_a_dead_link_ends_the_move",
    ],
    "8: batches, too few CPUs": ["complaint_08_no_batches_and_enough_cpus"],
    "8: believes a migration succeeded when it did not": ["ok_without_effect_is_no_success"],
    "8: loses track of what HA moves": ["ha_guests_are_asked_for_through_ha"],
    "8: sends a parameter that PVE 8 rejects": ["guests_move_from_old_to_new", "replicate_first_on_8_4"],
    "9: HA's maintenance is misunderstood": [
        "complaint_09_ha_maintenance_without_a_hook",
        "ha_maintenance_is_switched_by_the_hook",
        "ha_maintenance_hook_fails_to_enable",
        "ha_maintenance_hook_fails_to_disable",
    ],
    "10: Musts stop maintenance silently": [
        "complaint_10_a_must_that_stops_a_drain_is_named",
        "policies_that_clash_are_told",
    ],
    "11: backoff reset wrongly": ["complaint_11_back_off_survives_restarts", "a_move_that_always_fails_ends_blocked"],
    "12: a drain fails half-way though VMs move later": ["complaint_12_one_failure_fails_no_drain"],
    "13: tunnels fail spuriously": ["complaint_13_a_tunnel_that_fails_is_tried_again"],
    "A1: one click to migrate all VMs of a node": ["users_a3_nobody_has_to_pick_a_target", "drain_and_return"],
    "A2: guests without HA, too": ["users_a2_pve_moves_its_ha_guests_and_drover_all_others"],
    "A3: one target may not take the load": ["users_a3_nobody_has_to_pick_a_target"],
    "A4: groups do not come back, one VM stays": [
        "users_a4_who_is_kept_together_leaves_and_returns_together",
        "users_a4_nobody_stays_because_of_a_wish",
    ],
    "A5: migrated onto nodes in HA maintenance": ["users_a5_nobody_goes_to_a_node_in_ha_maintenance"],
    "A6: maintenance is forgotten on restart": ["users_a6_a_restart_forgets_no_maintenance"],
    "A7: ignored guests have to leave, anti-affinity has to hold": [
        "users_a7_who_is_left_alone_leaves_a_node_all_the_same",
        "unmanaged_guests_are_not_touched",
    ],
    "A8: a pin must not hang a drain": ["users_a8_a_pin_does_not_hang_a_drain"],
    "A9: drain flagged failed for VMs that did migrate": ["users_a9_who_has_arrived_is_no_failure"],
    "A10: manual maintenance, automatic return": ["users_a10_drained_by_hand_until_uncordoned"],
    "A11: not fence one by draining, afterwards balance": [
        "users_a11_after_maintenance_balance_again",
        "quorum_is_lost_and_found",
    ],
    "G41: patch, drain, reboot, refill, next node": ["users_g41_rolling_one_node_after_another"],
    "G42: a failure stops the run": [
        "users_g42_rolling_stops_at_a_failed_hook",
        "rolling_waits_for_a_node_that_does_not_come_back",
        "rolling_when_a_node_dies_while_draining",
    ],
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_every_complaint_has_its_stories(complaint: str) -> None:
    for name in COMPLAINTS[complaint]:
        assert story.load(HERE / f"{name}.yaml").why
        assert (HERE / f"{name}.log").exists()


def test_every_story_that_is_named_after_a_complaint_is_listed() -> None:
    named = {path.stem for path in HERE.glob("complaint_*.yaml")} | {
        path.stem for path in HERE.glob("users_[ag]*.yaml")
    }
    assert named <= {name for names in COMPLAINTS.values() for name in names}
    numbers = {name.split("_")[1] for name in named if name.startswith("complaint_")}
    assert numbers == {f"{number:02}" for number in range(1, 14)}
