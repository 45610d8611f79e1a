"""The second look: every reason, read fresh, why a move must not start. Pure checks over what was read just before.

Called by `act.execute` right before a move, and by whoever wants to show all findings of a move at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.decide.preflight import (
    cluster,
    cpu,
    disks,
    guest,
    ha,
    hardware,
    machine,
    media,
    network,
    replication,
    rights,
    time,
    verdict,
)
from controller.decide.preflight.finding import Check, Finding, Level, Look
from controller.model.ids import GuestKind
from controller.model.memory import Caution, Memory
from controller.model.observed import Fresh, Observed
from controller.model.plan import Move
from controller.specs import Specs
from controller.specs.migrationpolicy import ConntrackState

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Level",
    "Look",
    "cautions",
    "ejections",
    "findings",
    "mapped_to",
    "objections",
    "refine",
]

CHECKS: Sequence[Check] = (
    cluster.cluster_is_quorate,
    cluster.source_is_online,
    cluster.target_is_online,
    cluster.target_is_another_node,
    cluster.target_takes_guests,
    guest.guest_is_on_the_source,
    guest.guest_is_the_same,
    guest.guest_is_managed,
    guest.guest_is_unlocked,
    guest.run_state_is_as_planned,
    guest.guest_is_no_new_template,
    guest.container_may_be_restarted,
    guest.no_change_is_pending,
    ha.ha_is_settled,
    ha.ha_would_not_undo_it,
    ha.ha_moves_nobody_along,
    rights.token_may_move_it,
    cluster.memory_fits,
    cluster.vcpus_fit,
    cluster.cpus_are_not_overcommitted,
    cpu.processor_can_run_it,
    machine.machine_is_known_to_the_target,
    machine.software_is_no_older_there,
    hardware.not_bound_to_hardware,
    network.networks_are_on_the_target,
    verdict.pve_has_given_its_verdict,
    verdict.pve_allows_the_target,
    verdict.no_device_of_the_node,
    media.no_local_medium,
    disks.local_disks_may_move,
    disks.copied_disks_can_be_copied,
    disks.storages_are_on_the_target,
    disks.copied_disks_fit,
    replication.replication_leads_to_the_target,
    replication.no_replication_runs,
    replication.replication_is_well,
    time.duration_is_within_the_policy,
    time.memory_converges,
    time.change_window_is_open,
)


def findings(move: Move, fresh: Fresh, specs: Specs, seen: Observed, memory: Memory) -> tuple[Finding, ...]:
    """What every check says, all at once; a check that finds nothing wrong says so under its own name."""
    look = Look(move, fresh, specs, seen, memory)
    return tuple(finding for check in CHECKS for finding in check(look))


def mapped_to(move: Move, specs: Specs) -> frozenset[str]:
    """Storages that the move's policy puts disks on when they are called otherwise on the target: rights are needed there."""
    policy = specs.migrations.get(move.options.policy)
    return frozenset(policy.spec.target_storage.values()) if policy is not None else frozenset()


def objections(move: Move, fresh: Fresh, specs: Specs, seen: Observed, memory: Memory) -> tuple[Finding, ...]:
    """Only what speaks against starting the move now; the first one is the reason to name."""
    return tuple(each for each in findings(move, fresh, specs, seen, memory) if each.level is Level.FAIL)


def cautions(move: Move, fresh: Fresh, specs: Specs, seen: Observed, memory: Memory) -> tuple[Caution, ...]:
    """What is worth knowing about a move that starts all the same."""
    found = findings(move, fresh, specs, seen, memory)
    return tuple(Caution(each.why, each.message) for each in found if each.level is Level.WARN)


def ejections(move: Move, fresh: Fresh, specs: Specs, seen: Observed, memory: Memory) -> Mapping[str, str]:
    """CD drives that have to be emptied before the move, with what is in them; for a move without objections."""
    return media.ejections(Look(move, fresh, specs, seen, memory))


def refine(move: Move, fresh: Fresh, specs: Specs, seen: Observed, memory: Memory) -> Move:
    """The move with the options that the facts read just now demand; for a move without objections."""
    look = Look(move, fresh, specs, seen, memory)
    container = move.kind is GuestKind.LXC
    options = replace(
        move.options,
        online=look.live,
        restart=move.options.restart and look.running and container,
        # PVE wants the word also for disks of which only the difference to a replica moves, and for cloud-init images.
        with_local_disks=look.live and bool(disks.local_disks(look)),
        target_storage=disks.storage_map(look),
        conntrack=look.live and look.policy.conntrack_state is ConntrackState.AUTO and bool(look.facts.conntrack),
    )
    return replace(move, options=options)
