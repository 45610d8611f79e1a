"""When Drover keeps its hands off, and which reason it gives."""

import pytest

from controller.act.guardrails import armed
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import Guest, HaNodeState, Node, NodeState, Observed, Power
from controller.model.reasons import Why
from controller.specs import Meta, Mode, PveCluster
from controller.specs.pvecluster import Auth, PveClusterSpec

LAB = ClusterName("lab")
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
WEB = GuestIdentity(Vmid(101), GuestKind.QEMU)


def cluster(mode: Mode = Mode.ENFORCE, *, suspend: bool = False) -> PveCluster:
    spec = PveClusterSpec(
        endpoints=("https://pve1:8006",), auth=Auth(credentials_ref="lab"), mode=mode, suspend=suspend
    )
    return PveCluster(metadata=Meta(name="lab"), spec=spec)


def seen(*, quorate: bool = True, ha: HaNodeState = HaNodeState.ONLINE, ha_state: str = "started") -> Observed:
    return Observed(
        cluster=LAB,
        at=1000.0,
        quorate=quorate,
        pve_name="lab",
        nodes={PVE1: Node(PVE1, NodeState.ONLINE), PVE2: Node(PVE2, NodeState.ONLINE, ha=ha)},
        guests={Vmid(101): Guest(WEB, "web", PVE1, Power.RUNNING, ha_state=ha_state)},
    )


@pytest.mark.parametrize(
    ("spec", "look", "age", "store", "why"),
    [
        (cluster(), seen(), 0.0, "", Why.ARMED),
        (cluster(), seen(), 60.0, "", Why.ARMED),
        (cluster(Mode.OBSERVE), None, 0.0, "full", Why.MODE_OBSERVE),
        (cluster(Mode.PLAN), seen(quorate=False), 0.0, "full", Why.MODE_PLAN),
        (cluster(suspend=True), seen(quorate=False), 0.0, "full", Why.SUSPENDED),
        (cluster(), None, 0.0, "the disk is full", Why.STORE_FAILED),
        (cluster(), None, 0.0, "", Why.STALE),
        (cluster(), seen(quorate=False), 60.1, "", Why.STALE),
        (cluster(), seen(quorate=False, ha=HaNodeState.FENCE), 0.0, "", Why.NO_QUORUM),
        (cluster(), seen(ha=HaNodeState.FENCE), 0.0, "", Why.HA_FENCING),
        (cluster(), seen(ha_state="recovery"), 0.0, "", Why.HA_FENCING),
        (cluster(), seen(ha_state="fence"), 0.0, "", Why.HA_FENCING),
        (cluster(), seen(ha=HaNodeState.MAINTENANCE), 0.0, "", Why.ARMED),
    ],
)
def test_the_first_reason_in_the_fixed_order_counts(
    spec: PveCluster, look: Observed | None, age: float, store: str, why: Why
) -> None:
    found = armed(spec, look, age_seconds=age, store_failure=store)
    assert found.why is why
    assert found.ok == (why is Why.ARMED)
    assert found.message
